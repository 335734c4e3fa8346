//! CEL rules of CRDs (`x-kubernetes-validations`) and expressions of admission policies.

use std::sync::Arc;

use serde_json::Value;

use super::crd::CustomVersion;
use super::status::Cause;
use super::ApiServer;

/// Causes of rules that a custom object breaks.
pub(crate) fn check(
    server: &ApiServer,
    custom: &CustomVersion,
    rules: &Arc<kube_cel::CompiledSchema>,
    live: Option<&Value>,
    object: &Value,
) -> Vec<Cause> {
    let context = kube_cel::RootContext {
        api_version: format!("{}/{}", custom.group, custom.version),
        api_group: custom.group.clone(),
        kind: custom.names.kind.clone(),
    };
    let checked = VALIDATOR.with(|validator| {
        validator.validate_compiled_with_context(rules, object, live, Some(&context))
    });
    let errors = match checked {
        Ok(()) => return Vec::new(),
        Err(errors) => errors.into_vec(),
    };
    errors
        .into_iter()
        .filter_map(|error| match error.kind {
            kube_cel::ErrorKind::ValidationFailure => Some(cause(&error)),
            kube_cel::ErrorKind::UnsupportedReference => {
                // Not the object's fault: the rule is left out and listed.
                server.note_not_modelled(&format!("the CEL rule `{}`", error.rule));
                None
            }
            _ => Some(cause(&error)),
        })
        .collect()
}

thread_local! {
    static VALIDATOR: kube_cel::Validator = kube_cel::Validator::new();
}

fn cause(error: &kube_cel::ValidationError) -> Cause {
    let field = error.field_path.as_str();
    match error.reason.as_deref() {
        Some("FieldValueForbidden") => Cause::forbidden(field, &error.message),
        Some("FieldValueRequired") => Cause::required(field, &error.message),
        Some("FieldValueDuplicate") => Cause {
            reason: "FieldValueDuplicate",
            message: format!("Duplicate value: {}", error.message),
            field: field.to_owned(),
        },
        _ => Cause::invalid_shown(field, &error.message, ""),
    }
}
