//! A controller written with kube-rs runs on a served sandbox as on a real API server: CRDs of its own, watches (listed, and streamed as initial events), owned objects, finalizers, statuses by server-side apply, events, and two
//! instances that take turns by a Lease.
//!
//! What is seen from outside along the way is one text, recorded from the test bed's API server (kube-apiserver 1.36.3) in
//! `cases/kube_rs/two_instances.out`. The sandbox is held to it always, the real server on the test bed.

mod kinds;
mod lease;
mod team;
mod tunnel;

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::wait::{Condition, await_condition, conditions};
use kube::runtime::watcher;
use kube::{Api, Client, Config, Resource, ResourceExt as _};
use libtest_mimic::{Failed, Trial};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use self::kinds::custom;
use self::team::{HOLD, Team, TeamSpec};
use self::tunnel::Tunnel;
use super::serve::Sandbox;

const TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("kube_rs/two_instances_of_a_controller_on_a_sandbox", || {
            let sandbox = Sandbox::start(&["--speed", "50"])?;
            expect(&play(&World { kubeconfig: sandbox.kubeconfig.clone(), is_sandbox: true })?)
        }),
        Trial::test("kube_rs/two_instances_of_a_controller_on_the_test_bed", || {
            let Some(kubeconfig) = std::env::var_os("MESHBED_KUBECONFIG").map(PathBuf::from) else {
                return skipped();
            };
            expect(&play(&World { kubeconfig, is_sandbox: false })?)
        }),
    ]
}

fn skipped() -> Result<(), Failed> {
    if std::env::var_os("MESHBED_REQUIRE").is_some() {
        return Err("the test bed is required and is not there: run inside of it".into());
    }
    println!("skipped: no test bed");
    Ok(())
}

fn expect(seen: &str) -> Result<(), Failed> {
    crate::harness::expect(&crate::harness::folder("kube_rs").join("two_instances.out"), seen)
}

struct World {
    kubeconfig: PathBuf,
    is_sandbox: bool,
}

/// A kind without a controller.
mod page {
    use serde::{Deserialize, Serialize};
    use serde_json::json;

    super::custom! {
        Page, "pages", PageSpec, (), json!({
            "type": "object",
            "properties": {"spec": {"type": "object", "properties": {"text": {"type": "string"}}}}
        })
    }

    #[derive(Clone, Debug, Deserialize, Serialize)]
    pub(super) struct PageSpec {
        pub(super) text: String,
    }
}

use self::page::{Page, PageSpec};

fn play(world: &World) -> Result<String, Failed> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let mut scene = Scene::set(world).await?;
        let played = scene.play().await;
        let cleared = scene.clear().await;
        played?;
        cleared?;
        Ok(scene.seen)
    })
}

/// What an instance needs to find its server: each gets a door of its own.
async fn config(kubeconfig: &Path) -> Result<Config, Failed> {
    let config = kube::config::Kubeconfig::read_from(kubeconfig)?;
    Ok(Config::from_custom_kubeconfig(config, &Default::default()).await?)
}

/// A process of the controller, as far as one process of tests can hold it: a runtime, a client and a door of its own.
struct Instance {
    runtime: Option<Runtime>,
    running: JoinHandle<Result<(), String>>,
    stop: Option<oneshot::Sender<()>>,
    door: Tunnel,
}

impl Instance {
    async fn start(
        world: &World,
        namespace: &str,
        identity: &str,
        watch: watcher::Config,
    ) -> Result<Self, Failed> {
        let (door, config) = door(world).await?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let (namespace, identity) = (namespace.to_owned(), identity.to_owned());
        let running = runtime.spawn(async move {
            let client = Client::try_from(config).map_err(|error| error.to_string())?;
            team::run(client, namespace, identity, watch, stopped).await;
            Ok(())
        });
        Ok(Self { runtime: Some(runtime), running, stop: Some(stop), door })
    }

    /// Lets it end in order.
    async fn stop(mut self) -> Result<(), Failed> {
        drop(self.stop.take());
        Ok(tokio::time::timeout(TIMEOUT, &mut self.running).await???)
    }
}

impl Drop for Instance {
    /// Ends it wherever it is, as a kill does.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn door(world: &World) -> Result<(Tunnel, Config), Failed> {
    let mut config = config(&world.kubeconfig).await?;
    let server = config.cluster_url.authority().ok_or("a server in the kubeconfig")?.to_string();
    let door = Tunnel::to(server).await?;
    config.cluster_url = format!("https://{}/", door.address).parse()?;
    Ok((door, config))
}

/// One world while the piece is played on it.
struct Scene<'a> {
    world: &'a World,
    client: Client,
    namespace: String,
    seen: String,
}

impl<'a> Scene<'a> {
    async fn set(world: &'a World) -> Result<Self, Failed> {
        let client = Client::try_from(config(&world.kubeconfig).await?)?;
        let namespace = format!("kube-rs-{}", std::process::id());
        let metadata = ObjectMeta { name: Some(namespace.clone()), ..ObjectMeta::default() };
        let object = Namespace { metadata, ..Namespace::default() };
        let namespaces: Api<Namespace> = Api::all(client.clone());
        namespaces.create(&PostParams::default(), &object).await?;
        Ok(Self { world, client, namespace, seen: String::new() })
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn crds(&self) -> Api<CustomResourceDefinition> {
        Api::all(self.client.clone())
    }

    /// Writes down what is seen, without names and times of this run.
    fn see(&mut self, what: &str, value: impl Serialize) -> Result<(), Failed> {
        let text = serde_yaml::to_string(&serde_json::to_value(value)?)?;
        self.seen.push_str(&format!("# {what}\n{}\n", text.replace(&self.namespace, "NAMESPACE")));
        Ok(())
    }

    /// Waits until an object is as wanted, by a watch.
    async fn until<K>(&self, name: &str, wanted: impl Condition<K>) -> Result<Option<K>, Failed>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned
            + Send
            + 'static,
    {
        let waiting = await_condition(self.api::<K>(), name, wanted);
        let outcome = tokio::time::timeout(TIMEOUT, waiting).await;
        Ok(outcome.map_err(|_| format!("{name} is not as wanted; so far:\n{}", self.seen))??)
    }

    /// Waits until the controller has seen a generation of a Team.
    async fn written(&self, name: &str, generation: i64) -> Result<Team, Failed> {
        let team = self.until(name, move |team: Option<&Team>| {
            let status = team.and_then(|team| team.status.as_ref());
            status.is_some_and(|status| status.observed_generation == generation)
        });
        Ok(team.await?.ok_or("the Team is gone")?)
    }

    async fn roster(&self, name: &str) -> Result<Value, Failed> {
        let roster = self.api::<ConfigMap>().get(&format!("{name}-roster")).await?;
        let owners = roster.owner_references().iter();
        let owners = owners.map(|owner| {
            json!({"kind": owner.kind, "name": owner.name, "controller": owner.controller,
                "blocks": owner.block_owner_deletion})
        });
        Ok(
            json!({"data": roster.data, "owners": owners.collect::<Vec<_>>(), "managers": managers(&roster.metadata)}),
        )
    }

    async fn define(&self, name: &str, crd: Value) -> Result<CustomResourceDefinition, Failed> {
        self.crds().patch(name, &PatchParams::apply("test").force(), &Patch::Apply(crd)).await?;
        let established = await_condition(self.crds(), name, conditions::is_crd_established());
        let crd = tokio::time::timeout(TIMEOUT, established).await??;
        Ok(crd.ok_or("the definition is gone")?)
    }

    async fn undefine(&self, name: &str) -> Result<(), Failed> {
        if let Some(uid) = self.crds().get_opt(name).await?.and_then(|crd| crd.uid()) {
            self.crds().delete(name, &DeleteParams::default()).await?;
            let gone = await_condition(self.crds(), name, conditions::is_deleted(&uid));
            tokio::time::timeout(TIMEOUT, gone).await??;
        }
        Ok(())
    }

    async fn clear(&self) -> Result<(), Failed> {
        for crd in [Team::CRD, Page::CRD] {
            // Nobody says farewell to what a piece that failed leaves behind.
            if crd == Team::CRD && self.crds().get_opt(crd).await?.is_some() {
                for team in self.api::<Team>().list(&ListParams::default()).await? {
                    let none = json!({"metadata": {"finalizers": null}});
                    let params = PatchParams::default();
                    self.api::<Team>()
                        .patch(&team.name_any(), &params, &Patch::Merge(none))
                        .await?;
                }
            }
            self.undefine(crd).await?;
        }
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces.delete(&self.namespace, &DeleteParams::default()).await?;
        Ok(())
    }

    async fn play(&mut self) -> Result<(), Failed> {
        let crd = self.define(Team::CRD, Team::crd()).await?;
        self.see(
            "the definition of Teams",
            json!({"spec": crd.spec, "status": crd.status.map(|mut status| {
                for condition in status.conditions.iter_mut().flatten() {
                    condition.last_transition_time = None;
                }
                status
            })}),
        )?;
        let listed = watcher::Config::default();
        let first = Instance::start(self.world, &self.namespace, "first", listed).await?;
        self.held_by("first").await?;
        let streamed = watcher::Config::default().streaming_lists();
        let second = Instance::start(self.world, &self.namespace, "second", streamed).await?;
        self.objects().await?;
        self.versions().await?;
        drop(first);
        self.succession().await?;
        self.cut(&second.door).await?;
        self.forgotten(&second.door).await?;
        self.farewell().await?;
        second.stop().await?;
        let lease = self.api::<Lease>().get(lease::NAME).await?;
        self.see("the Lease after the second instance ended", holder(&lease))
    }

    async fn held_by(&self, identity: &str) -> Result<Lease, Failed> {
        let identity = identity.to_owned();
        let held = self.until(lease::NAME, move |lease: Option<&Lease>| {
            let spec = lease.and_then(|lease| lease.spec.as_ref());
            spec.and_then(|spec| spec.holder_identity.as_deref()) == Some(identity.as_str())
        });
        Ok(held.await?.ok_or("the Lease is gone")?)
    }

    /// A Team is made, changed, and what it owns is touched by others.
    async fn objects(&mut self) -> Result<(), Failed> {
        let spec = TeamSpec { members: vec!["ann".to_owned(), "bob".to_owned()], greeting: None };
        self.api::<Team>().create(&PostParams::default(), &Team::new("red", spec)).await?;
        let team = self.written("red", 1).await?;
        self.see("a Team that was made", about(&team))?;
        let roster = self.roster("red").await?;
        self.see("its roster", roster)?;

        let change = json!({"spec": {"members": ["ann", "bob", "cid"], "greeting": "hello"}});
        self.change("red", change).await?;
        let team = self.written("red", 2).await?;
        self.see("the Team after a change", about(&team))?;

        let maps = self.api::<ConfigMap>();
        let uid = maps.get("red-roster").await?.uid().unwrap_or_default();
        let touched = json!({"data": {"members": "nobody", "note": "of somebody else"}});
        let manager = PatchParams { field_manager: Some("other".to_owned()), ..Default::default() };
        maps.patch("red-roster", &manager, &Patch::Merge(touched)).await?;
        self.until("red-roster", |map: Option<&ConfigMap>| members(map) == Some("ann,bob,cid"))
            .await?;
        let roster = self.roster("red").await?;
        self.see("a roster that somebody else touched", roster)?;

        maps.delete("red-roster", &DeleteParams::default()).await?;
        self.until("red-roster", move |map: Option<&ConfigMap>| {
            map.is_some_and(|map| map.uid().is_some_and(|found| found != uid))
        })
        .await?;
        let roster = self.roster("red").await?;
        self.see("a roster that somebody else deleted", roster)?;

        let events = self.events("red").await?;
        self.see("the events of the Team", events)
    }

    async fn change(&self, name: &str, change: Value) -> Result<(), Failed> {
        let manager = PatchParams { field_manager: Some("user".to_owned()), ..Default::default() };
        self.api::<Team>().patch(name, &manager, &Patch::Merge(change)).await?;
        Ok(())
    }

    async fn events(&self, name: &str) -> Result<Vec<Value>, Failed> {
        let about = ListParams::default()
            .fields(&format!("involvedObject.name={name},involvedObject.kind=Team"));
        let mut events: Vec<Value> = Vec::new();
        for event in self.api::<Event>().list(&about).await? {
            events.push(json!({"type": event.type_, "reason": event.reason, "message": event.message,
                "action": event.action, "controller": event.reporting_component, "instance": event.reporting_instance,
                "apiVersion": event.involved_object.api_version}));
        }
        events.sort_by_key(|event| event["message"].to_string());
        Ok(events)
    }

    /// Of two that write one object, the one with the older version loses.
    async fn versions(&mut self) -> Result<(), Failed> {
        let leases = self.api::<Lease>();
        let old = leases.get(lease::NAME).await?;
        let version = old.resource_version();
        self.until(lease::NAME, move |lease: Option<&Lease>| {
            lease.is_some_and(|lease| lease.resource_version() != version)
        })
        .await?;
        match leases.replace(lease::NAME, &PostParams::default(), &old).await {
            Err(kube::Error::Api(status)) => {
                self.see("the answer to a write from an older version", status)
            }
            other => Err(format!("a write from an older version: {other:?}").into()),
        }
    }

    /// The first instance was killed: the second one leads when the Lease ran out.
    async fn succession(&mut self) -> Result<(), Failed> {
        self.change("red", json!({"spec": {"greeting": "hello again"}})).await?;
        let lease = self.held_by("second").await?;
        self.see("the Lease after the first instance was killed", holder(&lease))?;
        let team = self.written("red", 3).await?;
        self.see("a Team that was changed meanwhile", about(&team))?;
        let roster = self.roster("red").await?;
        self.see("its roster", roster)
    }

    /// Every connection of the leading instance breaks, and none comes up for a while.
    async fn cut(&mut self, door: &Tunnel) -> Result<(), Failed> {
        door.shut();
        let spec = TeamSpec { members: vec!["dan".to_owned()], greeting: None };
        self.api::<Team>().create(&PostParams::default(), &Team::new("blue", spec)).await?;
        self.change("red", json!({"spec": {"members": ["eve"]}})).await?;
        door.open();
        let team = self.written("blue", 1).await?;
        self.see("a Team that was made behind a cut connection", about(&team))?;
        let team = self.written("red", 4).await?;
        self.see("a Team that was changed behind it", about(&team))
    }

    /// A watch that goes on at a version which the server knows no more.
    async fn forgotten(&mut self, of_leader: &Tunnel) -> Result<(), Failed> {
        let page = |text: &str| Page::new(text, PageSpec { text: text.to_owned() });
        self.define(Page::CRD, Page::crd()).await?;
        self.api::<Page>().create(&PostParams::default(), &page("one")).await?;
        let (door, config) = door(self.world).await?;
        let watched = Api::<Page>::namespaced(Client::try_from(config)?, &self.namespace);
        let (told, mut heard) = mpsc::unbounded_channel();
        let listening = tokio::spawn(async move {
            let mut events = watcher(watched, watcher::Config::default()).boxed();
            while let Some(event) = events.next().await {
                let text = match event {
                    Ok(event) => event.to_string(),
                    Err(watcher::Error::WatchError(status)) => {
                        format!("{} {}", status.code, status.reason)
                    }
                    // Doors that are shut; a resumption that is tried at once finds them so many times.
                    Err(_) => {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                };
                if told.send(text).is_err() {
                    return;
                }
            }
        });
        let mut events = Vec::new();
        self.hear(&mut heard, "InitDone", &mut events).await?;
        self.api::<Page>().create(&PostParams::default(), &page("two")).await?;
        self.hear(&mut heard, "Apply(two)", &mut events).await?;
        door.shut();
        of_leader.shut();
        // A real API server's memory of a custom resource goes with its definition.
        self.undefine(Page::CRD).await?;
        self.define(Page::CRD, Page::crd()).await?;
        self.api::<Page>().create(&PostParams::default(), &page("three")).await?;
        self.forget().await?;
        door.open();
        of_leader.open();
        self.hear(&mut heard, "InitDone", &mut events).await?;
        listening.abort();
        self.see("what a watcher is told when its version is too old", events)?;
        self.change("blue", json!({"spec": {"members": ["dan", "fay"]}})).await?;
        let team = self.written("blue", 2).await?;
        self.see("a Team that is changed after that", about(&team))
    }

    /// Events as far as the one that is waited for.
    async fn hear(
        &self,
        heard: &mut mpsc::UnboundedReceiver<String>,
        last: &str,
        events: &mut Vec<String>,
    ) -> Result<(), Failed> {
        loop {
            let event = tokio::time::timeout(TIMEOUT, heard.recv()).await;
            let event = event.map_err(|_| format!("no `{last}` after {events:?}"))?;
            let event = event.ok_or("the watcher ended")?;
            events.push(event.clone());
            if event == last {
                return Ok(());
            }
        }
    }

    /// The sandbox's memory of changes goes when a state is loaded.
    async fn forget(&self) -> Result<(), Failed> {
        if !self.world.is_sandbox {
            return Ok(());
        }
        let ask = async |function: &str, body: Vec<u8>| -> Result<Value, Failed> {
            let request = http::Request::post(format!("/meshscript/v1/{function}")).body(body)?;
            Ok(self.client.request(request).await?)
        };
        let state = ask("save", b"{}".to_vec()).await?;
        ask("load", serde_json::to_vec(&state)?).await.map(drop)
    }

    /// A Team goes only when its finalizer is gone, and what it owns goes after it.
    async fn farewell(&mut self) -> Result<(), Failed> {
        let hold = json!({"metadata": {"annotations": {HOLD: "yes"}}});
        self.change("red", hold).await?;
        self.api::<Team>().delete("red", &DeleteParams::default()).await?;
        let team = self.until("red", |team: Option<&Team>| {
            team.is_some_and(|team| team.metadata.deletion_timestamp.is_some())
        });
        let team = team.await?.ok_or("the Team is gone")?;
        let uid = team.uid().unwrap_or_default();
        self.see("a Team that is held", about(&team))?;
        let again = Team::new("red", TeamSpec { members: Vec::new(), greeting: None });
        match self.api::<Team>().create(&PostParams::default(), &again).await {
            Err(kube::Error::Api(status)) => self.see("another one of its name", status)?,
            other => return Err(format!("another one of its name: {other:?}").into()),
        }
        self.change("red", json!({"metadata": {"annotations": {HOLD: null}}})).await?;
        self.until("red", conditions::is_deleted::<Team>(&uid)).await?;
        self.until("red-roster", |map: Option<&ConfigMap>| map.is_none()).await?;
        let farewell = self.api::<ConfigMap>().get("red-farewell").await?;
        self.see("its farewell", farewell.data)?;
        let left: Vec<String> = self
            .api::<Team>()
            .list(&ListParams::default())
            .await?
            .iter()
            .map(|team| format!("{} {:?}", team.name_any(), team.finalizers()))
            .collect();
        self.see("the Teams that are left", left)?;
        let blue = self.api::<Team>().get("blue").await?.uid().unwrap_or_default();
        self.api::<Team>().delete("blue", &DeleteParams::foreground()).await?;
        self.until("blue", conditions::is_deleted::<Team>(&blue)).await?;
        let maps = self.api::<ConfigMap>().list(&ListParams::default()).await?;
        let left: Vec<String> = maps.iter().map(|map| map.name_any()).collect();
        self.see("the ConfigMaps after a deletion in the foreground", left)
    }
}

fn members(map: Option<&ConfigMap>) -> Option<&str> {
    map?.data.as_ref()?.get("members").map(String::as_str)
}

fn holder(lease: &Lease) -> Value {
    let spec = lease.spec.clone().unwrap_or_default();
    json!({"holder": spec.holder_identity, "transitions": spec.lease_transitions, "seconds": spec.lease_duration_seconds})
}

fn about(team: &Team) -> Value {
    json!({
        "generation": team.metadata.generation,
        "finalizers": team.finalizers(),
        "deleting": team.metadata.deletion_timestamp.is_some(),
        "spec": team.spec,
        "status": team.status,
        "managers": managers(&team.metadata),
    })
}

/// Who wrote which fields.
fn managers(metadata: &ObjectMeta) -> Vec<Value> {
    let entries = metadata.managed_fields.iter().flatten();
    let mut all: Vec<Value> = entries
        .map(|entry| {
            let by = format!(
                "{} {} {}",
                entry.manager.as_deref().unwrap_or_default(),
                entry.operation.as_deref().unwrap_or_default(),
                entry.subresource.as_deref().unwrap_or_default()
            );
            let mut fields = json!(entry.fields_v1);
            // Owners are named by their uid.
            if let Some(owners) = fields["f:metadata"].get_mut("f:ownerReferences") {
                *owners = json!(owners.as_object().map(serde_json::Map::len));
            }
            json!({by.trim(): fields})
        })
        .collect();
    // The server sorts by times, which have seconds only.
    all.sort_by_key(Value::to_string);
    all
}
