//! Cases of the kind `k8s`: what the cluster functions do against a real API server, the test bed's.
//!
//! Each case has a namespace of its own. Without the test bed they are one line that says so.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use libtest_mimic::{Failed, Trial};
use meshscript::base::clock::SystemClock;
use meshscript::base::diagnostic::Diagnostic;
use meshscript::base::net::TcpDialer;
use meshscript::base::object_ref::ObjectRef;
use meshscript::base::progress::{Change, Progress, Waiting};
use meshscript::base::secret::Redactor;
use meshscript::k8s::apply::{self, ApplyOptions};
use meshscript::k8s::cluster::{Cluster, ClusterParts};
use meshscript::k8s::manifest::{self, Manifest};
use meshscript::k8s::target::{self, TargetOptions};
use parking_lot::Mutex;

#[path = "k8s_cases.rs"]
mod cases;

/// A case: it gets a connection whose namespace is empty and its own.
type Case = for<'a> fn(&'a World) -> LocalBoxFuture<'a, Result<(), Failed>>;

/// What a case works with.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) heard: Arc<Heard>,
    pub(crate) options: TargetOptions,
}

/// Everything that was told while a case ran.
#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) lines: Mutex<Vec<String>>,
}

impl Progress for Heard {
    fn object(&self, object: &ObjectRef, change: Change) {
        self.lines.lock().push(format!("{object} {}", change.name()));
    }
    fn waiting(&self, waiting: &Waiting) {
        self.lines.lock().push(format!("waiting for {}: {}", waiting.what, waiting.reason));
    }
    fn waited(&self, what: &str) {
        self.lines.lock().push(format!("waited for {what}"));
    }
    fn info(&self, text: &str) {
        self.lines.lock().push(text.to_owned());
    }
    fn warn(&self, text: &str) {
        self.lines.lock().push(format!("warning: {text}"));
    }
}

impl Heard {
    pub(crate) fn all(&self) -> String {
        self.lines.lock().join("\n")
    }
}

impl World {
    /// A connection, with a namespace of its own unless it is empty.
    pub(crate) fn connect(options: &TargetOptions, namespace: &str) -> Result<Self, Failed> {
        let redactor = Arc::new(Redactor::default());
        let target = target::from_kubeconfig(options, &redactor).map_err(fail)?;
        let heard = Arc::new(Heard::default());
        let cluster = Cluster::new(ClusterParts {
            client: target.client,
            clock: Arc::new(SystemClock::new()),
            dialer: Arc::new(TcpDialer),
            progress: heard.clone(),
            redactor,
            info: target.info,
            namespace: if namespace.is_empty() { target.namespace } else { namespace.to_owned() },
            request_timeout: Duration::from_secs(20),
            in_flight: 16,
        });
        Ok(Self { cluster, heard, options: options.clone() })
    }

    /// Applies YAML; `kind/name change` of each object.
    pub(crate) async fn apply(&self, text: &str) -> Result<Vec<String>, Failed> {
        self.apply_with(text, &ApplyOptions::default()).await
    }

    pub(crate) async fn apply_with(
        &self,
        text: &str,
        options: &ApplyOptions,
    ) -> Result<Vec<String>, Failed> {
        let applied = apply::apply(&self.cluster, self.objects(text)?, options).await;
        let line = |done: &apply::Applied| {
            format!("{}/{} {}", done.reference.kind, done.reference.name, done.change.name())
        };
        Ok(applied.map_err(fail)?.iter().map(line).collect())
    }

    pub(crate) fn objects(&self, text: &str) -> Result<Vec<Manifest>, Failed> {
        manifest::parse(text).map_err(fail)
    }

    /// How many requests that could change something were sent so far.
    pub(crate) fn writes(&self) -> u64 {
        self.cluster.requests().1
    }
}

/// An error as a person reads it.
pub(crate) fn fail(error: impl Into<Diagnostic>) -> Failed {
    let diagnostic = error.into();
    format!("{} ({})\nhints: {:?}", diagnostic, diagnostic.kind, diagnostic.hints).into()
}

/// Fails unless two values are the same.
pub(crate) fn same<T: PartialEq + std::fmt::Debug>(found: T, expected: T) -> Result<(), Failed> {
    if found == expected {
        Ok(())
    } else {
        Err(format!("expected {expected:#?}\nfound {found:#?}").into())
    }
}

/// Fails unless a text holds another.
pub(crate) fn says(text: &str, part: &str) -> Result<(), Failed> {
    if text.contains(part) { Ok(()) } else { Err(format!("`{part}` is not in:\n{text}").into()) }
}

pub(crate) fn trials() -> Vec<Trial> {
    let Some(kubeconfig) = std::env::var_os("MESHBED_KUBECONFIG").map(PathBuf::from) else {
        return vec![Trial::test("k8s/real_cluster", || {
            if std::env::var_os("MESHBED_REQUIRE").is_some() {
                return Err("the test bed is required and is not there: run inside of it".into());
            }
            println!("skipped: no test bed");
            Ok(())
        })];
    };
    let trial = |(name, case): &(&'static str, Case)| {
        let (name, case, kubeconfig) = (*name, *case, kubeconfig.clone());
        Trial::test(format!("k8s/{name}"), move || run(name, case, kubeconfig))
    };
    cases::CASES.iter().map(trial).collect()
}

fn run(name: &str, case: Case, kubeconfig: PathBuf) -> Result<(), Failed> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let options = TargetOptions { files: vec![kubeconfig], ..TargetOptions::default() };
    let namespace = format!("k8s-{}", name.replace('_', "-"));
    runtime.block_on(async {
        let world = World::connect(&options, &namespace)?;
        let own = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}}}");
        let delete = meshscript::k8s::delete::DeleteOptions::default();
        let cluster = &world.cluster;
        meshscript::k8s::delete::delete(cluster, "ns", &namespace, None, &delete)
            .await
            .map_err(fail)?;
        world.apply(&own).await?;
        let result = case(&world).await;
        let quick = meshscript::k8s::delete::DeleteOptions { wait: false, ..delete };
        // What a failed case leaves behind is in the way of nobody: the namespace is its own.
        let _ = meshscript::k8s::delete::delete(cluster, "ns", &namespace, None, &quick).await;
        result.map_err(|error| {
            format!("{}\n--- told\n{}", error.message().unwrap_or_default(), world.heard.all())
                .into()
        })
    })
}
