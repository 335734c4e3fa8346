//! ValidatingAdmissionPolicy: whether a bound policy refuses a request, and in which words.
//!
//! Not modelled: `authorizer` (`Policy::asks_authorizer` tells) and audit annotations, which no client can see.

use std::sync::Arc;

use kube_cel::cel;
use serde_json::Value;

use super::cel::engine::{self, Expression, Variables};
use super::request::{Condition, Conditions, Request, compile_conditions, conditions, list};

/// A policy with its expressions compiled.
pub struct Policy {
    value: Arc<Value>,
    match_conditions: Vec<Condition>,
    variables: Vec<(String, Expression)>,
    validations: Vec<Validation>,
}

struct Validation {
    source: String,
    expression: Expression,
    message: Option<String>,
    message_expression: Option<Expression>,
    reason: Option<String>,
}

/// Which parameters a binding asks for.
#[derive(Clone, Copy, Debug)]
pub struct ParamQuery<'a> {
    /// `spec.paramKind` of the policy.
    pub api_version: &'a str,
    pub kind: &'a str,
    /// `spec.paramRef.namespace`; without it a namespaced kind is looked for in the request's namespace.
    pub namespace: Option<&'a str>,
    /// `spec.paramRef.name`, or else the selector.
    pub name: Option<&'a str>,
    /// `spec.paramRef.selector`; `Null` if a name is given.
    pub selector: &'a Value,
}

/// What the policies say together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The first refusal of those with the action `Deny`.
    pub denied: Option<Denial>,
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
}

/// A refused request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// `ValidatingAdmissionPolicy 'P' with binding 'B' denied request: WHY`; the Status says
    /// `RESOURCE "NAME" is forbidden: ` before it and has it as its only cause.
    pub message: String,
    /// `Invalid` unless the policy says otherwise.
    pub reason: String,
    pub code: u16,
}

impl Policy {
    /// Compiles a policy. Expressions that do not compile fail when they are evaluated.
    pub fn new(value: Arc<Value>) -> Self {
        let spec = &value["spec"];
        let text = |value: &Value, field: &str| value[field].as_str().map(str::to_owned);
        let variables = list(&spec["variables"])
            .iter()
            .map(|variable| {
                let source = variable["expression"].as_str().unwrap_or_default();
                (text(variable, "name").unwrap_or_default(), Expression::new(source))
            })
            .collect();
        let validations = list(&spec["validations"])
            .iter()
            .map(|validation| {
                let source = text(validation, "expression").unwrap_or_default();
                Validation {
                    expression: Expression::new(&source),
                    message: text(validation, "message"),
                    message_expression: validation["messageExpression"]
                        .as_str()
                        .map(Expression::new),
                    reason: text(validation, "reason"),
                    source,
                }
            })
            .collect();
        Self {
            match_conditions: compile_conditions(&spec["matchConditions"]),
            variables,
            validations,
            value,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.value["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// Whether an expression asks the authorizer, which is not modelled.
    pub fn asks_authorizer(&self) -> bool {
        self.validations
            .iter()
            .map(|validation| &validation.expression)
            .chain(self.variables.iter().map(|(_, expression)| expression))
            .chain(self.match_conditions.iter().map(|condition| &condition.expression))
            .any(|expression| expression.uses("authorizer"))
    }

    /// Expressions that do not compile, with the reason.
    pub fn broken(&self) -> Vec<(String, String)> {
        self.validations
            .iter()
            .filter_map(|validation| {
                Some((validation.source.clone(), validation.expression.broken()?))
            })
            .collect()
    }

    fn fails_closed(&self) -> bool {
        self.value["spec"]["failurePolicy"] != "Ignore"
    }
}

/// Evaluates all bindings of all policies on a request. `params` finds the objects that a query asks for.
pub fn evaluate(
    policies: &[Policy],
    bindings: &[Arc<Value>],
    request: &Request<'_>,
    params: &dyn Fn(&ParamQuery<'_>) -> Vec<Arc<Value>>,
) -> Verdict {
    let mut verdict = Verdict::default();
    if request.is_exempt() {
        return verdict;
    }
    for policy in policies {
        if !covers(&policy.value["spec"]["matchConstraints"], request) {
            continue;
        }
        for binding in bindings {
            let spec = &binding["spec"];
            if spec["policyName"] == policy.name()
                && (spec["matchResources"].is_null() || covers(&spec["matchResources"], request))
            {
                evaluate_binding(policy, binding, request, params, &mut verdict);
            }
        }
    }
    verdict
}

fn covers(constraints: &Value, request: &Request<'_>) -> bool {
    let equivalent = constraints["matchPolicy"] != "Exact";
    let any = |field: &str| {
        list(&constraints[field]).iter().any(|rule| request.matches_rule(rule, equivalent))
    };
    let included = list(&constraints["resourceRules"]).is_empty() || any("resourceRules");
    included
        && !any("excludeResourceRules")
        && request.matches_namespace(&constraints["namespaceSelector"])
        && request.matches_object(&constraints["objectSelector"])
}

fn evaluate_binding(
    policy: &Policy,
    binding: &Value,
    request: &Request<'_>,
    params: &dyn Fn(&ParamQuery<'_>) -> Vec<Arc<Value>>,
    verdict: &mut Verdict,
) {
    let mut refusals = Vec::new();
    let mut misconfigured = false;
    let reference = &binding["spec"]["paramRef"];
    let param_kind = &policy.value["spec"]["paramKind"];
    if param_kind.is_null() || reference.is_null() {
        refuse(policy, request, None, &mut refusals);
    } else {
        let found = params(&ParamQuery {
            api_version: param_kind["apiVersion"].as_str().unwrap_or_default(),
            kind: param_kind["kind"].as_str().unwrap_or_default(),
            namespace: reference["namespace"].as_str(),
            name: reference["name"].as_str(),
            selector: &reference["selector"],
        });
        if found.is_empty()
            && reference["parameterNotFoundAction"] != "Allow"
            && policy.fails_closed()
        {
            let why = "failed to configure binding: no params found for policy binding with `Deny` \
                       parameterNotFoundAction";
            refusals.push((why.to_owned(), None));
            misconfigured = true;
        }
        for param in &found {
            refuse(policy, request, Some(param), &mut refusals);
        }
    }
    let actions = list(&binding["spec"]["validationActions"]);
    let asks = |action: &str| actions.iter().any(|found| found == action);
    let (policy, binding) =
        (policy.name(), binding["metadata"]["name"].as_str().unwrap_or_default());
    for (why, reason) in refusals {
        if asks("Warn") && !misconfigured {
            verdict.warnings.push(format!(
                "Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{binding}': {why}"
            ));
        }
        // A binding that cannot be evaluated denies whatever its actions are.
        if (asks("Deny") || misconfigured) && verdict.denied.is_none() {
            let reason = reason.unwrap_or_else(|| "Invalid".to_owned());
            let code = match reason.as_str() {
                "Unauthorized" => 401,
                "Forbidden" => 403,
                "RequestEntityTooLarge" => 413,
                _ => 422,
            };
            let message = format!(
                "ValidatingAdmissionPolicy '{policy}' with binding '{binding}' denied request: {why}"
            );
            verdict.denied = Some(Denial { message, reason, code });
        }
    }
}

/// Adds why the policy refuses the request, with the reason that it gives.
fn refuse(
    policy: &Policy,
    request: &Request<'_>,
    param: Option<&Value>,
    refusals: &mut Vec<(String, Option<String>)>,
) {
    let mut scope = request.variables();
    let namespace = request.namespace_object.filter(|_| !request.namespace.is_empty());
    scope.add("namespaceObject", namespace.map_or(cel::Value::Null, engine::from_json));
    if let Some(param) = param {
        scope.add("params", engine::from_json(param));
    } else if !policy.value["spec"]["paramKind"].is_null() {
        scope.add("params", cel::Value::Null);
    }
    match conditions(&policy.match_conditions, &scope) {
        Conditions::AllTrue => {}
        Conditions::NotAll => return,
        Conditions::Failed(why) => {
            if policy.fails_closed() {
                refusals.push((why, None));
            }
            return;
        }
    }
    let failed = add_variables(policy, &mut scope);
    for validation in &policy.validations {
        match validation.expression.is_true(&scope) {
            Ok(true) => {}
            Ok(false) => refusals.push((message(validation, &scope), validation.reason.clone())),
            Err(why) if policy.fails_closed() => {
                let why = of_variable(&failed, why);
                let text =
                    format!("expression '{}' resulted in error: {why}", validation.source.trim());
                refusals.push((text, validation.reason.clone()));
            }
            Err(_) => {}
        }
    }
}

/// Binds `variables`, of which each may use those before it. One that fails is left out, and only matters to the
/// expressions that use it; the failures are returned.
fn add_variables(policy: &Policy, scope: &mut Variables) -> Vec<(String, String)> {
    let mut known: Vec<(String, cel::Value)> = Vec::new();
    let mut failed = Vec::new();
    for (name, expression) in &policy.variables {
        scope.add("variables", engine::map(known.iter().cloned()));
        match expression.evaluate(scope) {
            Ok(value) => known.push((name.clone(), value)),
            Err(why) => failed.push((name.clone(), of_variable(&failed, why))),
        }
    }
    scope.add("variables", engine::map(known.into_iter()));
    failed
}

/// The error behind a variable that is missing because it failed.
fn of_variable(failed: &[(String, String)], why: String) -> String {
    let missing = why.strip_prefix("no such key: ");
    match failed.iter().find(|(name, _)| missing == Some(name)) {
        Some((name, cause)) => format!("composited variable \"{name}\" fails to evaluate: {cause}"),
        None => why,
    }
}

fn message(validation: &Validation, scope: &Variables) -> String {
    const MAX_BYTES: usize = 5 * 1024;
    validation
        .message_expression
        .as_ref()
        .and_then(|expression| expression.text(scope).ok())
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty() && !text.contains('\n') && text.len() <= MAX_BYTES)
        .or_else(|| {
            validation
                .message
                .as_deref()
                .map(|text| text.trim().to_owned())
                .filter(|text| !text.is_empty())
        })
        .unwrap_or_else(|| format!("failed expression: {}", validation.source.trim()))
}
