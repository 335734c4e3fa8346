//! What controllers, the kubelet and the data plane see of the API server.
//!
//! Calls are synchronous (the store is in memory) and pass through the same verb pipeline as a client's request:
//! admission, defaulting, validation, managedFields, no-op suppression, watch events.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::base::net::Stream;
use crate::base::virtual_clock::VirtualClock;

/// Names a collection: group (empty for core), version, plural resource name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resource {
    pub group: String,
    pub version: String,
    /// `deployments`
    pub plural: String,
}

impl Resource {
    /// `Resource::new("apps", "v1", "deployments")`
    pub fn new(group: &str, version: &str, plural: &str) -> Self {
        Self { group: group.to_owned(), version: version.to_owned(), plural: plural.to_owned() }
    }
}

/// The `Status` object of a refused request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub code: u16,
    /// `NotFound`, `AlreadyExists`, `Conflict`, `Invalid`, …
    pub reason: String,
    pub message: String,
    /// `details`, as the API server writes it; `Null` when absent.
    pub details: Value,
}

/// What a stored object tells its watchers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    Added,
    Modified,
    Deleted,
}

/// One change in the store.
#[derive(Clone, Debug)]
pub struct Changed {
    pub resource: Resource,
    pub event: EventType,
    pub object: Arc<Value>,
}

/// The API server as a controller uses it. Namespaces are `""` for cluster-scoped objects.
pub trait Api: Send + Sync {
    /// One object, `None` when it is not there (or its kind is not served).
    fn get(&self, resource: &Resource, namespace: &str, name: &str) -> Option<Arc<Value>>;
    /// All objects of a namespace, or of all namespaces for `""`, ordered by namespace and name.
    fn list(&self, resource: &Resource, namespace: &str) -> Vec<Arc<Value>>;
    /// Whether the resource is served (built in, or by an established CRD).
    fn serves(&self, resource: &Resource) -> bool;
    /// The resource of an `apiVersion` and `kind`.
    fn resource_of(&self, api_version: &str, kind: &str) -> Option<Resource>;
    /// POST.
    fn create(&self, manager: &str, object: Value) -> Result<Arc<Value>, Status>;
    /// PUT.
    fn update(&self, manager: &str, object: Value) -> Result<Arc<Value>, Status>;
    /// PUT of the `status` subresource.
    fn update_status(&self, manager: &str, object: Value) -> Result<Arc<Value>, Status>;
    /// Server-side apply, forced, as controllers do it.
    fn apply(&self, manager: &str, object: Value) -> Result<Arc<Value>, Status>;
    /// Server-side apply of the `status` subresource, forced.
    fn apply_status(&self, manager: &str, object: Value) -> Result<Arc<Value>, Status>;
    /// JSON merge patch; `subresource` is `""` or `"status"`.
    fn merge_patch(
        &self,
        manager: &str,
        resource: &Resource,
        namespace: &str,
        name: &str,
        subresource: &str,
        patch: Value,
    ) -> Result<Arc<Value>, Status>;
    /// DELETE; `propagation` is `Background`, `Foreground` or `Orphan`.
    fn delete(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        propagation: &str,
    ) -> Result<(), Status>;
    /// All served collections, with whether they are namespaced; for what walks over every kind (garbage collection,
    /// namespace deletion).
    fn resources(&self) -> Vec<(Resource, bool)> {
        Vec::new()
    }
    /// DELETE with a grace period of zero, as a kubelet ends a pod that has stopped.
    fn delete_now(&self, resource: &Resource, namespace: &str, name: &str) -> Result<(), Status> {
        self.delete(resource, namespace, name, "Background")
    }
    /// POST of `pods/binding`, as the scheduler does it.
    fn bind(&self, namespace: &str, pod: &str, node: &str) -> Result<Arc<Value>, Status> {
        let patch = serde_json::json!({ "spec": { "nodeName": node } });
        let pods = Resource::new("", "v1", "pods");
        self.merge_patch("kube-scheduler", &pods, namespace, pod, "", patch)
    }
    /// PUT of `namespaces/finalize` without the finalizer `kubernetes`: an emptied namespace goes.
    fn finalize_namespace(&self, name: &str) -> Result<(), Status> {
        let patch = serde_json::json!({ "spec": { "finalizers": null } });
        let namespaces = Resource::new("", "v1", "namespaces");
        self.merge_patch("kube-controller-manager", &namespaces, "", name, "", patch).map(drop)
    }
    /// Writes an Event as a component does: `event_type` is `Normal` or `Warning`.
    fn event(
        &self,
        component: &str,
        regarding: &Value,
        event_type: &str,
        reason: &str,
        message: &str,
    );
    /// Notes that a run met something which the sandbox does not model; listed at the end of the run.
    fn not_modelled(&self, what: &str);
    /// The cluster's clock.
    fn clock(&self) -> Arc<VirtualClock>;
    /// A random text of `length` characters of `bcdfghjklmnpqrstvwxz2456789`, from the cluster's seed.
    fn random_suffix(&self, length: usize) -> String;
    /// A random UUID from the cluster's seed.
    fn random_uid(&self) -> String;
}

/// When a controller wants to see an object again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requeue {
    /// When something that it watches changes.
    OnChange,
    /// After a span of the cluster's time, too.
    After(Duration),
}

/// One controller: told of changes, it brings the world nearer to what objects ask for.
///
/// Controllers are run one at a time, after each write, until nothing is left to do.
pub trait Controller: Send {
    /// Its name, which is also its field manager unless it says otherwise.
    fn name(&self) -> &'static str;
    /// Which objects to look at after a change: `(namespace, name)` keys in its own terms; empty if the change is none
    /// of its business.
    fn keys(&self, api: &dyn Api, change: &Changed) -> Vec<(String, String)>;
    /// Brings one key up to date. An `Err` is tried again with back-off, as a real controller does.
    fn reconcile(&mut self, api: &dyn Api, namespace: &str, name: &str) -> Result<Requeue, Status>;
}

/// Which lines of a container's log are asked for (`PodLogOptions`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogRequest {
    /// `None` is the pod's only container, or the one that an annotation names.
    pub container: Option<String>,
    /// Goes on while the container runs.
    pub follow: bool,
    /// The container's last life.
    pub previous: bool,
    pub timestamps: bool,
    pub tail_lines: Option<usize>,
    pub since_seconds: Option<u64>,
    pub since_time: Option<jiff::Timestamp>,
    pub limit_bytes: Option<usize>,
}

/// The streams of a command in a container.
pub struct ExecStreams {
    /// Closed when the client sends no more.
    pub stdin: mpsc::Receiver<Bytes>,
    pub stdout: mpsc::Sender<Bytes>,
    pub stderr: mpsc::Sender<Bytes>,
    /// The client is a terminal: what is typed is shown, and both outputs are one.
    pub tty: bool,
}

/// How a command in a container ends: its exit code, or why it could not be started.
pub type Ended = BoxFuture<'static, Result<i32, Status>>;

/// Where the API server's proxy sends a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyTarget {
    /// `services` or `pods`.
    pub plural: String,
    pub namespace: String,
    pub name: String,
    /// `http` or `https`.
    pub scheme: String,
    /// A port's number or name; empty for the only one.
    pub port: String,
}

/// What the API server asks of kubelets: the streams of subresources. Called on the runtime.
pub trait Nodes: Send + Sync {
    /// `pods/log`.
    fn logs(
        &self,
        namespace: &str,
        pod: &str,
        request: &LogRequest,
    ) -> Result<BoxStream<'static, Bytes>, Status>;
    /// `pods/exec`: `Err` when the container cannot be entered.
    fn exec(
        &self,
        namespace: &str,
        pod: &str,
        container: Option<&str>,
        command: &[String],
        streams: ExecStreams,
    ) -> Result<Ended, Status>;
    /// `pods/attach`: the streams of the container's main process; the future ends with it.
    fn attach(
        &self,
        namespace: &str,
        pod: &str,
        container: Option<&str>,
        streams: ExecStreams,
    ) -> Result<Ended, Status>;
    /// `pods/portforward`: a connection to a port in the pod's network namespace.
    fn port_forward(&self, namespace: &str, pod: &str, port: u16) -> io::Result<Box<dyn Stream>>;
    /// `services/proxy` and `pods/proxy`: the request's path and query are those after `/proxy`.
    fn proxy(
        &self,
        target: ProxyTarget,
        request: http::Request<Bytes>,
    ) -> BoxFuture<'static, Result<http::Response<Bytes>, Status>>;
}

/// What a rehearsal asks of its world beside the Kubernetes API, by POST below `/meshscript/v1/`: faults, time, state.
pub trait Control: Send + Sync {
    /// Carries out a function with its arguments by name.
    fn call(&self, function: &str, arguments: &Value) -> Result<Value, Status>;
}
