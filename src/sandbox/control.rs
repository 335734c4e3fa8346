//! What a rehearsal asks of its world beside the Kubernetes API: faults, the clock, the whole state.
//!
//! The functions arrive as POSTs below `/meshscript/v1/`, from a script that rehearses in this process and from one that
//! works on a served sandbox alike. Arguments are checked here; who may call is decided by RBAC over the path.

use std::sync::{Arc, Weak};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::api::{Control, Status};
use super::api_server::kinds::Kind;
use super::api_server::runner::Waker;
use super::api_server::{ApiServer, status};
use super::certificates::{Authority, Pair};
use super::controllers::kinds::PODS;
use super::controllers::{node_lifecycle, object};
use super::faults::{HookFault, Matching, Outcome};
use super::node::{Fault, KUBELET, World};
use crate::base::duration;
use crate::sandbox::api::Api as _;

/// The authorities whose keys belong to a saved state, by their names in it.
pub(super) type Authorities = [(&'static str, Arc<Authority>); 2];

/// The world of one cluster as a rehearsal changes it.
pub(super) struct Controls {
    pub(super) server: Weak<ApiServer>,
    pub(super) world: Arc<World>,
    pub(super) waker: Waker,
    pub(super) authorities: Authorities,
}

/// The functions, in the order of [`Controls::call`].
const FUNCTIONS: &[&str] = &[
    "set_image",
    "set_pod",
    "set_node",
    "set_webhook",
    "fail_requests",
    "faults",
    "heal",
    "advance",
    "save",
    "load",
];

impl Control for Controls {
    fn call(&self, function: &str, arguments: &Value) -> Result<Value, Status> {
        let server = self.server.upgrade().ok_or_else(|| status::internal("the cluster ends"))?;
        let arguments = Arguments(arguments);
        match function {
            "set_image" => self.set_image(&server, &arguments),
            "set_pod" => self.set_pod(&server, &arguments),
            "set_node" => self.set_node(&server, &arguments),
            "set_webhook" => set_webhook(&server, &arguments),
            "fail_requests" => fail_requests(&server, &arguments),
            "faults" => Ok(json!({"faults": self.faults(&server)})),
            "heal" => Ok(self.heal(&server)),
            "advance" => advance(&server, &arguments),
            "save" => self.save(&server),
            "load" => self.load(&server, arguments.0),
            other => Err(status::bad_request(format!(
                "the sandbox has no function `{other}`; it has {}",
                FUNCTIONS.join(", ")
            ))),
        }
    }
}

/// Arguments by name.
struct Arguments<'a>(&'a Value);

impl Arguments<'_> {
    fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_default()
    }

    fn required(&self, name: &str) -> Result<&str, Status> {
        match self.text(name) {
            "" => Err(status::bad_request(format!("`{name}` must be given"))),
            text => Ok(text),
        }
    }

    /// A word out of a list.
    fn choice(&self, name: &str, choices: &[&'static str]) -> Result<&'static str, Status> {
        let text = self.text(name);
        choices.iter().find(|choice| **choice == text).copied().ok_or_else(|| {
            let list = choices.join("`, `");
            status::bad_request(format!("`{name}` is `{text}`; it is one of `{list}`"))
        })
    }
}

/// What an image or a pod does from here on; `None` is its own way.
fn behaviour(arguments: &Arguments<'_>, choices: &[&'static str]) -> Result<Option<Fault>, Status> {
    Ok(match arguments.choice("behaviour", choices)? {
        "unpullable" => Some(Fault::Unpullable(arguments.text("message").to_owned())),
        "crash" => {
            let code = arguments.0["exit_code"].as_i64().unwrap_or(1);
            let code = i32::try_from(code).ok().filter(|code| (0..=255).contains(code));
            let code = code.ok_or_else(|| {
                status::bad_request("`exit_code` is a number from 0 to 255".to_owned())
            })?;
            Some(Fault::Crash(code))
        }
        "unready" => Some(Fault::NeverReady),
        _ => None,
    })
}

impl Controls {
    fn set_image(&self, server: &ApiServer, arguments: &Arguments<'_>) -> Result<Value, Status> {
        let image = arguments.required("image")?;
        let fault = behaviour(arguments, &["unpullable", "crash", "unready", "works"])?;
        self.world.set_image(image, fault);
        self.wake_pods(server, |_| true);
        Ok(json!({}))
    }

    fn set_pod(&self, server: &ApiServer, arguments: &Arguments<'_>) -> Result<Value, Status> {
        let namespace = arguments.required("namespace")?;
        let prefix = arguments.required("name")?;
        let fault = behaviour(arguments, &["crash", "unready", "unpullable", "works"])?;
        self.world.set_pod(namespace, prefix, fault);
        let n_pods = self.wake_pods(server, |pod| {
            object::namespace(pod) == namespace && object::name(pod).starts_with(prefix)
        });
        Ok(json!({"pods": n_pods}))
    }

    fn set_node(&self, server: &ApiServer, arguments: &Arguments<'_>) -> Result<Value, Status> {
        let name = arguments.required("name")?;
        let lost = arguments.choice("behaviour", &["lost", "works"])? == "lost";
        let nodes = &super::controllers::kinds::NODES;
        if server.get(nodes, "", name).is_none() {
            return Err(status::not_found("", "nodes", name));
        }
        self.world.set_node_lost(name, lost);
        self.wake_node(server, name);
        Ok(json!({}))
    }

    fn wake_node(&self, server: &ApiServer, name: &str) {
        self.waker.wake(node_lifecycle::NAME, "", name);
        self.wake_pods(server, |pod| pod["spec"]["nodeName"] == name);
    }

    fn wake_pods(&self, server: &ApiServer, which: impl Fn(&Value) -> bool) -> usize {
        let mut pods = server.list(&PODS, "");
        pods.retain(|pod| which(pod));
        for pod in &pods {
            self.waker.wake(KUBELET, object::namespace(pod), object::name(pod));
        }
        pods.len()
    }

    fn faults(&self, server: &ApiServer) -> Vec<Value> {
        let mut faults = self.world.faults();
        faults.extend(server.faults.list());
        faults
    }

    fn heal(&self, server: &ApiServer) -> Value {
        let n_faults = self.faults(server).len();
        server.faults.heal();
        for node in self.world.heal() {
            self.waker.wake(node_lifecycle::NAME, "", &node);
        }
        self.wake_pods(server, |_| true);
        json!({"ended": n_faults})
    }

    fn save(&self, server: &ApiServer) -> Result<Value, Status> {
        let mut state = server.state();
        let mut authorities = Map::new();
        for (name, authority) in &self.authorities {
            let pair = authority.root().map_err(|error| status::internal(error.to_string()))?;
            authorities.insert(
                (*name).to_owned(),
                json!({"certificate": pair.certificate, "key": pair.key}),
            );
        }
        state["authorities"] = authorities.into();
        Ok(state)
    }

    fn load(&self, server: &ApiServer, state: &Value) -> Result<Value, Status> {
        let left_out = server.restore(state)?;
        for (name, authority) in &self.authorities {
            let saved = &state["authorities"][*name];
            if let (Some(certificate), Some(key)) =
                (saved["certificate"].as_str(), saved["key"].as_str())
            {
                let pair = Pair { certificate: certificate.to_owned(), key: key.to_owned() };
                authority
                    .restore(pair)
                    .map_err(|error| status::bad_request(format!("authority `{name}`: {error}")))?;
            }
        }
        Ok(json!({"notServed": left_out}))
    }
}

fn set_webhook(server: &ApiServer, arguments: &Arguments<'_>) -> Result<Value, Status> {
    let name = arguments.required("name")?;
    let message = arguments.text("message");
    let or = |default: &str| if message.is_empty() { default } else { message }.to_owned();
    let fault = match arguments.choice("behaviour", &["denies", "unreachable", "works"])? {
        "denies" => Some(HookFault::Denies(or("denied by a fault of the rehearsal"))),
        "unreachable" => Some(HookFault::Unreachable(or("context deadline exceeded"))),
        _ => None,
    };
    server.faults.set_hook(name, fault);
    Ok(json!({}))
}

const VERBS: &[&str] =
    &["", "get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];

fn fail_requests(server: &ApiServer, arguments: &Arguments<'_>) -> Result<Value, Status> {
    let mut matching = Matching {
        verb: arguments.choice("verb", VERBS)?.to_owned(),
        namespace: arguments.text("namespace").to_owned(),
        name: arguments.text("name").to_owned(),
        ..Matching::default()
    };
    let resource = arguments.text("resource");
    if !resource.is_empty() {
        let (named, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let kind = kind_named(server, named).ok_or_else(|| {
            status::bad_request(format!(
                "`resource` is `{resource}`, which is not served; it is a name such as `deployments`, `deploy` or `httproutes.gateway.networking.k8s.io`"
            ))
        })?;
        matching.group.clone_from(&kind.group);
        matching.plural.clone_from(&kind.plural);
        subresource.clone_into(&mut matching.subresource);
    }
    let outcome = match arguments.choice("how", &["refusal", "cut", "lost_answer"])? {
        "cut" => Outcome::Cut,
        "lost_answer" => Outcome::AnswerLost,
        _ => {
            let code = arguments.0["code"].as_u64().and_then(|code| u16::try_from(code).ok());
            let code = code.filter(|code| (400..=599).contains(code)).ok_or_else(|| {
                status::bad_request("`code` is an HTTP status from 400 to 599".to_owned())
            })?;
            Outcome::Refused {
                code,
                message: arguments.text("message").to_owned(),
                retry_after: arguments.0["retry_after"].as_u64(),
            }
        }
    };
    let times = arguments.0["times"].as_u64();
    if times == Some(0) {
        return Err(status::bad_request("`times` is at least 1".to_owned()));
    }
    server.faults.fail(matching, outcome, times);
    Ok(json!({}))
}

/// A kind by its plural, singular or short name, or its kind, with or without its group.
fn kind_named(server: &ApiServer, name: &str) -> Option<Arc<Kind>> {
    let (name, group) = name.split_once('.').unwrap_or((name, ""));
    let wanted = name.to_lowercase();
    let groups = server.kinds.groups();
    let kinds = groups.iter().flat_map(|group| &group.versions).flat_map(|(_, kinds)| kinds);
    kinds
        .filter(|kind| group.is_empty() || kind.group == group)
        .find(|kind| {
            kind.plural == wanted
                || kind.singular == wanted
                || kind.kind.to_lowercase() == wanted
                || kind.short_names.contains(&wanted)
        })
        .cloned()
}

/// The clock jumps: what is due on the way happens in order, and what follows from it afterwards.
fn advance(server: &ApiServer, arguments: &Arguments<'_>) -> Result<Value, Status> {
    let text = arguments.required("by")?;
    let span = duration::parse(text)
        .map_err(|error| status::bad_request(format!("`by` is `{text}`: {error}")))?;
    if span > Duration::from_secs(100 * 365 * 86_400) {
        return Err(status::bad_request("`by` is at most 100 years".to_owned()));
    }
    server.clock.advance(span);
    Ok(json!({"time": object::now(server)}))
}
