//! What a rehearsal makes go wrong with requests and admission webhooks.
//!
//! Only clients meet these faults: controllers and kubelets, which call the verbs directly, do not. What goes wrong with
//! images, pods and nodes is `node::World`'s.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::authz::Access;

/// What becomes of a request instead of its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server refuses before it does anything.
    Refused {
        /// An HTTP status from 400 on.
        code: u16,
        /// Empty for the server's usual words.
        message: String,
        /// Seconds for the header `Retry-After`.
        retry_after: Option<u64>,
    },
    /// The connection breaks before the request is carried out.
    Cut,
    /// The request is carried out, and its answer is lost.
    AnswerLost,
}

/// Which requests a fault meets; empty fields match all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matching {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`
    pub verb: String,
    pub group: String,
    /// `deployments`; the group counts only with it.
    pub plural: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
}

impl Matching {
    fn meets(&self, access: &Access) -> bool {
        let same = |wanted: &str, found: &str| wanted.is_empty() || wanted == found;
        let resource = self.plural.is_empty()
            || (self.plural == access.resource
                && self.group == access.group
                && self.subresource == access.subresource);
        // Without a resource, what is no resource at all (discovery, health) stays as it is.
        resource
            && !access.resource.is_empty()
            && same(&self.verb, &access.verb)
            && same(&self.namespace, &access.namespace)
            && same(&self.name, &access.name)
    }

    fn to_json(&self) -> Value {
        let mut resource = super::api_server::group_resource(&self.group, &self.plural);
        if !self.subresource.is_empty() {
            resource = format!("{resource}/{}", self.subresource);
        }
        let fields = [
            ("verb", self.verb.as_str()),
            ("resource", &resource),
            ("namespace", &self.namespace),
            ("name", &self.name),
        ];
        fields.into_iter().filter(|(_, text)| !text.is_empty()).collect()
    }
}

/// How an admission webhook answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookFault {
    /// It denies every request with this message.
    Denies(String),
    /// Nobody answers, for the transport's reason.
    Unreachable(String),
}

#[derive(Clone, Debug)]
struct RequestFault {
    matching: Matching,
    outcome: Outcome,
    /// Requests that it still meets; `None` is all.
    left: Option<u64>,
}

/// The faults of one cluster's API server.
#[derive(Debug, Default)]
pub struct Faults {
    requests: Mutex<Vec<RequestFault>>,
    hooks: Mutex<BTreeMap<String, HookFault>>,
}

impl Faults {
    /// The next `times` requests that match (all for `None`) come to `outcome`. The first fault set decides.
    pub fn fail(&self, matching: Matching, outcome: Outcome, times: Option<u64>) {
        self.requests.lock().push(RequestFault { matching, outcome, left: times });
    }

    /// What a request comes to, if a fault meets it; that counts.
    pub fn meet(&self, access: &Access) -> Option<Outcome> {
        let mut requests = self.requests.lock();
        let at = requests.iter().position(|fault| fault.matching.meets(access))?;
        let fault = &mut requests[at];
        let outcome = fault.outcome.clone();
        if let Some(left) = &mut fault.left {
            *left -= 1;
            if *left == 0 {
                requests.remove(at);
            }
        }
        Some(outcome)
    }

    /// Whether any request may be met: the usual case costs one look.
    pub fn any(&self) -> bool {
        !self.requests.lock().is_empty()
    }

    /// How the webhook of this name (`validation.istio.io`) answers from here on; `None` ends the fault.
    pub fn set_hook(&self, name: &str, fault: Option<HookFault>) {
        let mut hooks = self.hooks.lock();
        match fault {
            Some(fault) => drop(hooks.insert(name.to_owned(), fault)),
            None => drop(hooks.remove(name)),
        }
    }

    /// How a webhook answers instead of its own way.
    pub fn hook(&self, name: &str) -> Option<HookFault> {
        self.hooks.lock().get(name).cloned()
    }

    /// Ends all.
    pub fn heal(&self) {
        self.requests.lock().clear();
        self.hooks.lock().clear();
    }

    /// What is set at present, one map each.
    pub fn list(&self) -> Vec<Value> {
        let requests = self.requests.lock();
        let requests = requests.iter().map(|fault| {
            let mut shown = fault.matching.to_json();
            shown["fault"] = match &fault.outcome {
                Outcome::Refused { code, .. } => json!(format!("refused with {code}")),
                Outcome::Cut => "cut".into(),
                Outcome::AnswerLost => "answer lost".into(),
            };
            shown["of"] = "requests".into();
            if let Some(left) = fault.left {
                shown["times"] = left.into();
            }
            shown
        });
        let hooks = self.hooks.lock();
        let hooks = hooks.iter().map(|(name, fault)| {
            let (fault, message) = match fault {
                HookFault::Denies(message) => ("denies", message),
                HookFault::Unreachable(message) => ("unreachable", message),
            };
            json!({"of": "webhook", "name": name, "fault": fault, "message": message})
        });
        requests.chain(hooks).collect()
    }
}
