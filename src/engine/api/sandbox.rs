//! Functions of the namespace `sandbox`: what a rehearsal makes go wrong, its clock, its state.
//!
//! They work on the sandbox of a rehearsal and on one that `meshscript sandbox` serves; a real cluster refuses them.

use rhai::Dynamic;
use serde_json::{Map, Value, json};

use crate::base::diagnostic::{Diagnostic, ErrorKind};
use crate::cert::files as private_files;
use crate::engine::call::Call;
use crate::engine::catalog::{Effect, Function, Kind, Param};
use crate::engine::convert::to_dynamic;
use crate::engine::files::io_error;
use crate::k8s::control;

type Answer = Result<Dynamic, Diagnostic>;

const ERRORS: &str =
    "`Argument` on a cluster that is no sandbox, and for an argument that makes no sense.";

/// What goes with the behaviour of an image or a pod.
const FAULT_OPTIONS: &[Param] = &[
    Param::optional(
        "message",
        Kind::String,
        "not found, in containerd's words",
        "what the registry answers, for `unpullable`",
    ),
    Param::optional("exit_code", Kind::Int, "1", "how the container ends, for `crash`"),
];

/// The rows.
pub static FUNCTIONS: &[Function] = &[
    Function {
        module: "sandbox",
        name: "set_image",
        doc: "Says how every image behaves whose reference contains a text.\n\nContainers that run already are met, too: \
              `crash` ends them, `unready` fails their readiness probe. Of several texts that match, the first in order \
              counts; what `sandbox::set_pod` says of the pod comes first.",
        params: &[
            Param::required("image", Kind::String, "a part of the image's reference"),
            Param::required(
                "behaviour",
                Kind::String,
                "`unpullable`, `crash`, `unready`, or `works` to end it",
            ),
        ],
        options: FAULT_OPTIONS,
        returns: "`()`",
        errors: ERRORS,
        effect: Effect::Write,
        example: "sandbox::set_image(\"go-httpbin\", \"unpullable\", #{ message: \"denied: requested access to the resource is denied\" });\n\
                  sandbox::faults().len() == 1",
        run: |call| plain(call, "set_image"),
    },
    Function {
        module: "sandbox",
        name: "set_pod",
        doc: "Says how the pods of a namespace behave whose names begin with a text.",
        params: &[
            Param::required("namespace", Kind::String, "the pods' namespace"),
            Param::required("name", Kind::String, "the beginning of their names"),
            Param::required(
                "behaviour",
                Kind::String,
                "`crash`, `unready`, `unpullable`, or `works` to end it",
            ),
        ],
        options: FAULT_OPTIONS,
        returns: "`()`",
        errors: ERRORS,
        effect: Effect::Write,
        example: "sandbox::set_pod(\"default\", \"web-\", \"crash\", #{ exit_code: 137 });\nsandbox::faults()[0].exit_code == 137",
        run: |call| plain(call, "set_pod"),
    },
    Function {
        module: "sandbox",
        name: "set_node",
        doc: "Lets a node vanish, or come back.\n\nA node that is lost posts no more: after 50 seconds it is NotReady and \
              tainted and its pods are not ready; as long as another node is ready they are evicted after their \
              `tolerationSeconds` (300 by default).",
        params: &[
            Param::required("name", Kind::String, "the node"),
            Param::required("behaviour", Kind::String, "`lost`, or `works` to let it come back"),
        ],
        options: &[],
        returns: "`()`",
        errors: "`Argument` on a cluster that is no sandbox; `NotFound` for a node that is not there.",
        effect: Effect::Write,
        example: "sandbox::set_node(\"sandbox-control-plane\", \"lost\");\nk8s::wait(\"node\", \"sandbox-control-plane\", #{ condition: \"Ready=Unknown\", timeout: \"2m\" });\n\
                  sandbox::set_node(\"sandbox-control-plane\", \"works\");\nk8s::wait(\"node\", \"sandbox-control-plane\", #{ condition: \"Ready\", timeout: \"1m\" });",
        run: |call| plain(call, "set_node"),
    },
    Function {
        module: "sandbox",
        name: "set_webhook",
        doc: "Says how an admission webhook answers.\n\n`denies` refuses all that it is asked about; `unreachable` lets the \
              call fail, and its `failurePolicy` decides.",
        params: &[
            Param::required(
                "name",
                Kind::String,
                "the webhook's name, such as `validation.istio.io`",
            ),
            Param::required(
                "behaviour",
                Kind::String,
                "`denies`, `unreachable`, or `works` to end it",
            ),
        ],
        options: &[Param::optional(
            "message",
            Kind::String,
            "a text that names the rehearsal",
            "why it denies, or why it cannot be reached",
        )],
        returns: "`()`",
        errors: ERRORS,
        effect: Effect::Write,
        example: "sandbox::set_webhook(\"validation.istio.io\", \"denies\", #{ message: \"not today\" });\nsandbox::faults()[0].fault == \"denies\"",
        run: |call| plain(call, "set_webhook"),
    },
    Function {
        module: "sandbox",
        name: "fail_requests",
        doc: "Lets requests of clients fail: refused with a status, cut off, or carried out with their answer lost.\n\nWithout \
              options the next request for any object is refused with 500. Controllers are not met.",
        params: &[],
        options: &[
            Param::optional(
                "verb",
                Kind::String,
                "any",
                "`get`, `list`, `watch`, `create`, `update`, `patch`, `delete` or `deletecollection`",
            ),
            Param::optional(
                "resource",
                Kind::String,
                "any",
                "a kind by any name, with a subresource after a slash: `deploy`, `pods/exec`",
            ),
            Param::optional("namespace", Kind::String, "any", "the objects' namespace"),
            Param::optional("name", Kind::String, "any", "one object's name"),
            Param::optional(
                "how",
                Kind::String,
                "\"refusal\"",
                "`refusal`, `cut` or `lost_answer`",
            ),
            Param::optional("code", Kind::Int, "500", "the HTTP status of a refusal, 400 to 599"),
            Param::optional(
                "message",
                Kind::String,
                "the server's usual words",
                "what a refusal says",
            ),
            Param::optional(
                "retry_after",
                Kind::Int,
                "none",
                "seconds that a refusal asks to wait (`Retry-After`)",
            ),
            Param::optional("times", Kind::Int, "1", "how many requests fail; 0 is all of them"),
        ],
        returns: "`()`",
        errors: ERRORS,
        effect: Effect::Write,
        example: "sandbox::fail_requests(#{ verb: \"list\", resource: \"configmaps\", code: 429, retry_after: 2, times: 2 });\n\
                  let began = time::now();\nk8s::list(\"configmaps\");\ntime::now() > began",
        run: |call| plain(call, "fail_requests"),
    },
    Function {
        module: "sandbox",
        name: "faults",
        doc: "Lists the faults that are set.",
        params: &[],
        options: &[],
        returns: "array of maps: `of` (`image`, `pod`, `node`, `webhook`, `requests`), `fault`, and what it names",
        errors: "`Argument` on a cluster that is no sandbox.",
        effect: Effect::Read,
        example: "sandbox::set_image(\"httpbin\", \"crash\");\nsandbox::faults()[0].of == \"image\"",
        run: |call| {
            let answer =
                call.block_on(control::call(call.host.cluster()?, "faults", &json!({})))?;
            Ok(to_dynamic(&answer["faults"]))
        },
    },
    Function {
        module: "sandbox",
        name: "heal",
        doc: "Ends all faults.",
        params: &[],
        options: &[],
        returns: "int: how many there were",
        errors: "`Argument` on a cluster that is no sandbox.",
        effect: Effect::Write,
        example: "sandbox::set_image(\"httpbin\", \"crash\");\nsandbox::heal() == 1 && sandbox::faults().is_empty()",
        run: |call| {
            let answer = call.block_on(control::call(call.host.cluster()?, "heal", &json!({})))?;
            Ok(answer["ended"].as_i64().unwrap_or(0).into())
        },
    },
    Function {
        module: "sandbox",
        name: "advance",
        doc: "Lets the sandbox's clock jump.\n\nWhat is due on the way happens in its order, once; what follows from it happens \
              afterwards. To let the world live through a span, `sleep`. On a served sandbox what waits already keeps to the \
              wall clock.",
        params: &[Param::required("by", Kind::Duration, "how far, such as `\"2160h\"`")],
        options: &[],
        returns: "string: the time after the jump, RFC 3339",
        errors: ERRORS,
        effect: Effect::Write,
        example: "let before = time::now();\nsandbox::advance(\"48h\");\ntime::now() > before",
        run: |call| {
            let arguments = json!({"by": call.string("by")});
            let answer =
                call.block_on(control::call(call.host.cluster()?, "advance", &arguments))?;
            Ok(to_dynamic(&answer["time"]))
        },
    },
    Function {
        module: "sandbox",
        name: "save",
        doc: "Writes the whole state of the sandbox into a file: objects, keys, the clock.\n\nThe file holds Secrets and the keys \
              of the cluster's authorities; only its owner may read it.",
        params: &[Param::required("path", Kind::String, "relative to the workspace")],
        options: &[],
        returns: "int: how many objects it holds",
        errors: "`Argument` on a cluster that is no sandbox; `Denied` outside of what is granted.",
        effect: Effect::Write,
        example: "sandbox::save(\"cluster.state\") > 0",
        run: save,
    },
    Function {
        module: "sandbox",
        name: "load",
        doc: "Puts the state of a file that `sandbox::save` wrote in place of the sandbox's.\n\nWatches end as after a restart of \
              the API server; pods that ran go on running. The clock stays where it is.",
        params: &[Param::required("path", Kind::String, "relative to the workspace")],
        options: &[],
        returns: "map: resources of the file that the sandbox does not serve, each with the number of objects left out",
        errors: "`NotFound`; `Invalid` for a file that is no saved state, which changes nothing.",
        effect: Effect::Write,
        example: "k8s::apply(#{ apiVersion: \"v1\", kind: \"ConfigMap\", metadata: #{ name: \"kept\" } });\nsandbox::save(\"cluster.state\");\n\
                  k8s::delete(\"configmap\", \"kept\");\nsandbox::load(\"cluster.state\");\nk8s::exists(\"configmap\", \"kept\")",
        run: load,
    },
];

/// A function whose arguments go to the sandbox as they are.
fn plain(call: &Call<'_>, function: &str) -> Answer {
    let mut arguments = Map::new();
    for param in call.function.params.iter().chain(call.function.options) {
        if call.value(param.name).is_some() {
            arguments.insert(param.name.to_owned(), call.json(param.name)?);
        }
    }
    if function == "fail_requests" {
        arguments.entry("how").or_insert_with(|| "refusal".into());
        arguments.entry("verb").or_insert_with(|| "".into());
        arguments.entry("code").or_insert_with(|| 500.into());
        match arguments.get("times").and_then(Value::as_i64) {
            Some(0) => drop(arguments.remove("times")),
            Some(times) if times < 0 => {
                let message = "option `times` is negative";
                return Err(Diagnostic::new(ErrorKind::Argument, message));
            }
            Some(_) => {}
            None => drop(arguments.insert("times".to_owned(), 1.into())),
        }
    }
    call.block_on(control::call(call.host.cluster()?, function, &arguments.into()))?;
    Ok(Dynamic::UNIT)
}

fn save(call: &Call<'_>) -> Answer {
    let path = call.string("path");
    let real = call.host.files.writable(&path)?;
    let state = call.block_on(control::call(call.host.cluster()?, "save", &json!({})))?;
    let count = state["objects"].as_array().map_or(0, Vec::len);
    private_files::write_private(&real, &state.to_string())?;
    Ok(i64::try_from(count).unwrap_or(i64::MAX).into())
}

fn load(call: &Call<'_>) -> Answer {
    let path = call.string("path");
    let real = call.host.files.readable(&path)?;
    let text = std::fs::read_to_string(real).map_err(|error| io_error("read", &path, &error))?;
    let state: Value = serde_json::from_str(&text).map_err(|error| {
        Diagnostic::new(ErrorKind::Invalid, format!("`{path}` is no saved state of a sandbox"))
            .cause(error.to_string())
            .hint("write one with `sandbox::save`")
    })?;
    let answer = call.block_on(control::call(call.host.cluster()?, "load", &state))?;
    Ok(to_dynamic(&answer["notServed"]))
}
