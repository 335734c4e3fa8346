//! A controller as kube-rs has it, for Teams: each gets a ConfigMap with its members, a status, an event, and a farewell
//! when it goes. Two instances of it take turns by a Lease.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::finalizer::{self, finalizer};
use kube::runtime::watcher;
use kube::{Api, Client, Resource as _, ResourceExt as _};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::oneshot;

use super::kinds::custom;
use super::lease::{self, Elector};

pub(super) const MANAGER: &str = "teams-controller";
pub(super) const FINALIZER: &str = "clients.example.com/farewell";
/// Whoever sets it on a Team keeps it from going.
pub(super) const HOLD: &str = "clients.example.com/hold";

custom! {
    Team, "teams", TeamSpec, TeamStatus, json!({
        "type": "object", "required": ["spec"],
        "properties": {
            "spec": {
                "type": "object", "required": ["members"],
                "properties": {
                    "members": {"type": "array", "items": {"type": "string"}},
                    "greeting": {"type": "string", "nullable": true}
                }
            },
            "status": {
                "type": "object", "nullable": true, "required": ["ready", "members", "observedGeneration"],
                "properties": {
                    "ready": {"type": "boolean"},
                    "members": {"type": "integer", "format": "int32"},
                    "observedGeneration": {"type": "integer", "format": "int64"}
                }
            }
        }
    })
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct TeamSpec {
    pub(super) members: Vec<String>,
    /// Comes first in what the Team is told.
    pub(super) greeting: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TeamStatus {
    pub(super) ready: bool,
    pub(super) members: i32,
    pub(super) observed_generation: i64,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Kube(#[from] kube::Error),
    #[error("the Team is held")]
    Held,
    #[error(transparent)]
    Finalizer(#[from] Box<finalizer::Error<Self>>),
}

struct Context {
    client: Client,
    identity: String,
    recorder: Recorder,
}

/// One instance: leads when it holds the Lease, until it is told to stop, and gives the Lease up then.
///
/// # Errors
/// The API server refuses what the instance needs; a connection that breaks is no error.
pub(super) async fn run(
    client: Client,
    namespace: String,
    identity: String,
    watch: watcher::Config,
    mut stop: oneshot::Receiver<()>,
) {
    let mut elector = Elector::new(client.clone(), &namespace, &identity);
    loop {
        while !matches!(elector.try_once().await, Ok(true)) {
            tokio::select! {
                _ = &mut stop => return,
                () = tokio::time::sleep(lease::RETRY) => {}
            }
        }
        let leading = lead(client.clone(), &namespace, &identity, watch.clone());
        let mut renewed = Instant::now();
        let lost = async {
            while renewed.elapsed() < lease::RENEW_DEADLINE {
                tokio::time::sleep(lease::RETRY).await;
                let deadline = lease::RENEW_DEADLINE.saturating_sub(renewed.elapsed());
                match tokio::time::timeout(deadline, elector.try_once()).await {
                    Ok(Ok(true)) => renewed = Instant::now(),
                    Ok(Ok(false)) => return,
                    // Not reached: it may be again before the deadline.
                    Ok(Err(_)) | Err(_) => {}
                }
            }
        };
        let stopped = tokio::select! {
            () = leading => false,
            () = lost => false,
            _ = &mut stop => true,
        };
        if stopped {
            // Another one takes it when it runs out, if this fails.
            let _ = elector.release().await;
            return;
        }
    }
}

async fn lead(client: Client, namespace: &str, identity: &str, watch: watcher::Config) {
    let reporter = Reporter { controller: MANAGER.to_owned(), instance: Some(identity.to_owned()) };
    let context = Arc::new(Context {
        client: client.clone(),
        identity: identity.to_owned(),
        recorder: Recorder::new(client.clone(), reporter),
    });
    Controller::new(Api::<Team>::namespaced(client.clone(), namespace), watch.clone())
        .owns(Api::<ConfigMap>::namespaced(client, namespace), watch)
        .run(reconcile, |_, _, _| Action::requeue(Duration::from_millis(300)), context)
        .for_each(|_| futures::future::ready(()))
        .await;
}

async fn reconcile(team: Arc<Team>, context: Arc<Context>) -> Result<Action, Error> {
    let teams = Api::namespaced(context.client.clone(), &team.namespace().unwrap_or_default());
    let (of, around) = (&teams, &context);
    let done = finalizer(&teams, FINALIZER, team, |event| async move {
        match event {
            finalizer::Event::Apply(team) => apply(of, &team, around).await,
            finalizer::Event::Cleanup(team) => clean_up(&team, around).await,
        }
    });
    done.await.map_err(|error| Box::new(error).into())
}

async fn apply(teams: &Api<Team>, team: &Team, context: &Context) -> Result<Action, Error> {
    let maps: Api<ConfigMap> =
        Api::namespaced(context.client.clone(), &team.namespace().unwrap_or_default());
    let manager = PatchParams::apply(MANAGER).force();
    let name = team.name_any();
    let greeting = team.spec.greeting.as_deref().unwrap_or("welcome");
    let roster = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": format!("{name}-roster"), "ownerReferences": [team.controller_owner_ref(&())]},
        "data": {"members": team.spec.members.join(","), "greeting": greeting, "by": context.identity},
    });
    maps.patch(&format!("{name}-roster"), &manager, &Patch::Apply(roster)).await?;
    let observed = team.status.as_ref().map_or(0, |status| status.observed_generation);
    if team.meta().generation.is_some_and(|generation| generation > observed) {
        let event = Event {
            type_: EventType::Normal,
            reason: "Written".to_owned(),
            note: Some(format!(
                "the roster of generation {} is written",
                team.meta().generation.unwrap_or(0)
            )),
            action: "Write".to_owned(),
            secondary: None,
        };
        context.recorder.publish(&event, &team.object_ref(&())).await?;
    }
    let status = json!({
        "apiVersion": "clients.example.com/v1", "kind": "Team", "metadata": {"name": name},
        "status": TeamStatus {
            ready: true,
            members: i32::try_from(team.spec.members.len()).unwrap_or(i32::MAX),
            observed_generation: team.meta().generation.unwrap_or(0),
        },
    });
    teams.patch_status(&team.name_any(), &manager, &Patch::Apply(status)).await?;
    Ok(Action::await_change())
}

async fn clean_up(team: &Team, context: &Context) -> Result<Action, Error> {
    if team.annotations().contains_key(HOLD) {
        return Err(Error::Held);
    }
    let name = format!("{}-farewell", team.name_any());
    let maps: Api<ConfigMap> =
        Api::namespaced(context.client.clone(), &team.namespace().unwrap_or_default());
    let farewell = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
        "data": {"by": context.identity},
    });
    maps.patch(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(farewell)).await?;
    Ok(Action::await_change())
}
