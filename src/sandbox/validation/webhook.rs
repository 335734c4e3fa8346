//! Admission webhooks: which ones a request must pass, and what the API server says when one refuses or cannot be
//! reached. The call itself is the API server's.

use serde_json::{Value, json};

use super::cause::quoted;
use super::request::{Conditions, Request, compile_conditions, conditions, list};

/// One webhook that a request must pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Hook {
    /// The configuration that holds it.
    pub configuration: String,
    /// `validation.istio.io`
    pub name: String,
    pub target: Target,
    /// `failurePolicy: Ignore`: a call that fails is as if there was none.
    pub ignores_failure: bool,
    pub timeout_seconds: u64,
    /// `reinvocationPolicy: IfNeeded`, of mutating webhooks.
    pub reinvoked: bool,
    /// `sideEffects` that a dry run may not have.
    pub has_side_effects: bool,
}

/// Where a webhook is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Service { namespace: String, name: String, port: u16, path: String },
    Url(String),
}

/// The webhooks of the configurations (in the order given; the API server sorts them by name) that cover the request,
/// or the error of a match condition of one that must not be left out.
pub fn matching<'a>(
    configurations: impl IntoIterator<Item = &'a Value>,
    request: &Request<'_>,
) -> Result<Vec<Hook>, String> {
    let mut found = Vec::new();
    if request.is_exempt() {
        return Ok(found);
    }
    for configuration in configurations {
        for hook in list(&configuration["webhooks"]) {
            if covers(hook, request)? {
                found.push(read(configuration, hook));
            }
        }
    }
    Ok(found)
}

fn covers(hook: &Value, request: &Request<'_>) -> Result<bool, String> {
    let equivalent = hook["matchPolicy"] != "Exact";
    let covered = list(&hook["rules"]).iter().any(|rule| request.matches_rule(rule, equivalent))
        && request.matches_namespace(&hook["namespaceSelector"])
        && request.matches_object(&hook["objectSelector"]);
    if !covered || list(&hook["matchConditions"]).is_empty() {
        return Ok(covered);
    }
    match conditions(&compile_conditions(&hook["matchConditions"]), &request.variables()) {
        Conditions::AllTrue => Ok(true),
        Conditions::NotAll => Ok(false),
        Conditions::Failed(_) if hook["failurePolicy"] == "Ignore" => Ok(false),
        Conditions::Failed(why) => Err(why),
    }
}

fn read(configuration: &Value, hook: &Value) -> Hook {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let client = &hook["clientConfig"];
    let service = &client["service"];
    let target = if service.is_object() {
        let port = service["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        Target::Service {
            namespace: text(&service["namespace"]),
            name: text(&service["name"]),
            port: port.unwrap_or(443),
            path: text(&service["path"]),
        }
    } else {
        Target::Url(text(&client["url"]))
    };
    Hook {
        configuration: text(&configuration["metadata"]["name"]),
        name: text(&hook["name"]),
        target,
        ignores_failure: hook["failurePolicy"] == "Ignore",
        timeout_seconds: hook["timeoutSeconds"].as_u64().unwrap_or(10),
        reinvoked: hook["reinvocationPolicy"] == "IfNeeded",
        has_side_effects: !["None", "NoneOnDryRun"]
            .iter()
            .any(|found| hook["sideEffects"] == *found),
    }
}

impl Hook {
    /// The address that is called, as errors show it.
    pub fn url(&self) -> String {
        let timeout = self.timeout_seconds;
        match &self.target {
            Target::Service { namespace, name, port, path } => {
                let slash = if path.starts_with('/') || path.is_empty() { "" } else { "/" };
                format!("https://{name}.{namespace}.svc:{port}{slash}{path}?timeout={timeout}s")
            }
            Target::Url(url) => {
                let and = if url.contains('?') { '&' } else { '?' };
                format!("{url}{and}timeout={timeout}s")
            }
        }
    }

    /// The message of the 500 when the call fails for the transport's reason `why`, such as
    /// `no endpoints available for service "istiod"`.
    pub fn unreachable(&self, why: &str) -> String {
        format!(
            "Internal error occurred: failed calling webhook {}: failed to call webhook: Post {}: {why}",
            quoted(&self.name),
            quoted(&self.url())
        )
    }

    /// The message when the Service has no ready endpoint.
    pub fn without_endpoints(&self) -> String {
        self.unreachable(&format!("no endpoints available for service {}", quoted(self.service())))
    }

    /// The message when there is no such Service.
    pub fn without_service(&self) -> String {
        self.unreachable(&format!("service {} not found", quoted(self.service())))
    }

    fn service(&self) -> &str {
        match &self.target {
            Target::Service { name, .. } => name,
            Target::Url(_) => "",
        }
    }

    /// The refusal of a dry run that would have side effects; 400.
    pub fn refuses_dry_run(&self) -> String {
        format!("admission webhook {} does not support dry run", quoted(&self.name))
    }

    /// The refusal of a request, from the `status` of the webhook's response (`Null` if it gave none): code, reason and
    /// message.
    pub fn denied(&self, status: &Value) -> (u16, String, String) {
        let by = format!("admission webhook {} denied the request", quoted(&self.name));
        let text = |field: &str| status[field].as_str().filter(|text| !text.is_empty());
        let message = match (text("message"), text("reason")) {
            (Some(why), _) | (None, Some(why)) => format!("{by}: {why}"),
            (None, None) => format!("{by} without explanation"),
        };
        let code = status["code"].as_u64().and_then(|code| u16::try_from(code).ok());
        let code = code.filter(|code| *code >= 400).unwrap_or(400);
        (code, text("reason").unwrap_or_default().to_owned(), message)
    }

    /// The `AdmissionReview` to post.
    pub fn review(&self, request: &Request<'_>, uid: &str) -> Value {
        let resource = request.resource;
        let kind =
            json!({"group": resource.group, "version": resource.version, "kind": resource.kind});
        let plural = json!({"group": resource.group, "version": resource.version, "resource": resource.plural});
        let mut body = json!({
            "uid": uid, "kind": kind, "requestKind": kind, "resource": plural, "requestResource": plural,
            "operation": request.operation,
            "userInfo": {"username": request.user.name, "groups": request.user.groups},
            "object": request.object, "oldObject": request.old_object, "dryRun": request.dry_run,
            "options": null,
        });
        for (field, value) in [
            ("name", request.name),
            ("namespace", request.namespace),
            ("subResource", request.subresource),
        ] {
            if !value.is_empty() {
                body[field] = value.into();
            }
        }
        json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": body})
    }
}
