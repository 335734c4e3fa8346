//! Functions of the namespace `k8s`. The rows stand here, what they run in `calls`.

use crate::engine::catalog::{Effect, Function, Kind, Param};

mod calls;

const KIND: Param = Param::required(
    "kind",
    Kind::String,
    "the kind by any name that kubectl takes: `deploy`, `Deployment`, `deployments.apps`, `apps/v1/Deployment`",
);
const NAME: Param = Param::required("name", Kind::String, "the name of the object");
const MANIFEST: Param = Param::required(
    "manifest",
    Kind::Manifest,
    "an object, an array of objects, or YAML text of one or more documents",
);
const TARGET: Param = Param::required(
    "target",
    Kind::String,
    "a pod by its name, or `deploy/NAME`, `svc/NAME`, `gateway/NAME`, … for a pod behind it",
);
const NAMESPACE: Param = Param::optional(
    "namespace",
    Kind::String,
    "the target's",
    "the namespace; it counts for namespaced kinds only",
);
const ALL_NAMESPACES: Param =
    Param::optional("all_namespaces", Kind::Bool, "false", "whether to look in every namespace");
const SHOW_MANAGED_FIELDS: Param = Param::optional(
    "show_managed_fields",
    Kind::Bool,
    "false",
    "whether `metadata.managedFields` is kept, which tells who owns each field",
);
const SELECTOR: Param = Param::optional(
    "selector",
    Kind::String,
    "\"\"",
    "a label selector such as `app=web,tier!=cache`",
);
const CONTAINER: Param =
    Param::optional("container", Kind::String, "the pod's default", "the container of the pod");
const APPLY_OPTIONS: &[Param] = &[
    Param::optional(
        "namespace",
        Kind::String,
        "the target's",
        "the namespace of objects that name none",
    ),
    Param::optional("field_manager", Kind::String, "\"meshscript\"", "who owns the applied fields"),
    Param::optional(
        "validation",
        Kind::String,
        "\"strict\"",
        "what an unknown field does: `strict` fails, `warn` warns, `ignore` does nothing",
    ),
    Param::optional(
        "timeout",
        Kind::Duration,
        "\"60s\"",
        "how long CRDs may take to be established and admission webhooks to answer",
    ),
];
const APPLIED: &str = "`array` of `#{ kind: string, namespace: string, name: string, change: string }` in the order given; `change` is \
     `created`, `configured` or `unchanged`";

/// The rows.
pub static FUNCTIONS: &[Function] = &[
    Function {
        module: "k8s",
        name: "apply",
        doc: "Applies objects by server-side apply and tells what it changed.\n\nNamespaces go first, then CRDs until they are \
              established, then what others refer to, then the rest, webhooks last; 16 at once. An object that needs no write \
              gets none. Fields of other managers are never taken. While a webhook that must admit an object is not up yet, the \
              apply is tried again.",
        params: &[MANIFEST],
        options: APPLY_OPTIONS,
        returns: APPLIED,
        errors: "`Conflict` for a field of another manager, with field, owner, both values and the ways out; `Denied` from \
                 admission; `Invalid` for what the schema refuses; `NotFound` for an unknown kind or a namespace that does not \
                 exist. An object that is there already is no error.",
        effect: Effect::Write,
        example: "let done = k8s::apply(#{ apiVersion: \"v1\", kind: \"ConfigMap\", metadata: #{ name: \"a\" }, data: #{ key: \"value\" } });\ndone[0].change == \"created\"",
        run: calls::apply,
    },
    Function {
        module: "k8s",
        name: "apply_file",
        doc: "Applies the objects of a manifest file, or of every `.yaml`, `.yml` and `.json` file of a folder.\n\nIn a rehearsal, \
              `builtin:NAME` is a stand-in that comes with meshscript.",
        params: &[Param::required(
            "path",
            Kind::String,
            "the file or folder, relative to the workspace",
        )],
        options: APPLY_OPTIONS,
        returns: APPLIED,
        errors: "`NotFound` for a missing file, `Invalid` with the line for broken YAML, and those of `k8s::apply`.",
        effect: Effect::Write,
        example: "fs::write(\"a.yaml\", \"apiVersion: v1\\nkind: Namespace\\nmetadata: {name: a}\\n\");\nk8s::apply_file(\"a.yaml\")[0].name == \"a\"",
        run: calls::apply_file,
    },
    Function {
        module: "k8s",
        name: "apply_url",
        doc: "Downloads a manifest, compares its digest, and applies its objects.",
        params: &[
            Param::required("url", Kind::String, "an https address"),
            Param::required("sha256", Kind::String, "the digest of the file, in hexadecimal"),
        ],
        options: APPLY_OPTIONS,
        returns: APPLIED,
        errors: "`Unreachable` for the download, `Invalid` when the digest differs, and those of `k8s::apply`.",
        effect: Effect::Write,
        example: "let refused = attempt(|| k8s::apply_url(\"http://example.com/a.yaml\", \"00\"));\n!refused.ok",
        run: calls::apply_url,
    },
    Function {
        module: "k8s",
        name: "get",
        doc: "Reads an object.\n\nThe data of a Secret comes as opaque values, in base64 as in the API, that print as `***`.",
        params: &[KIND, NAME],
        options: &[NAMESPACE, SHOW_MANAGED_FIELDS],
        returns: "the object: `map`",
        errors: "`NotFound` when it does not exist, with the nearest name; `NotFound` for an unknown kind.",
        effect: Effect::Read,
        example: "k8s::get(\"namespace\", \"default\").status.phase == \"Active\"",
        run: calls::get,
    },
    Function {
        module: "k8s",
        name: "list",
        doc: "Lists the objects of a kind, in pages of 500.",
        params: &[KIND],
        options: &[
            NAMESPACE,
            ALL_NAMESPACES,
            SELECTOR,
            Param::optional(
                "fields",
                Kind::String,
                "\"\"",
                "a field selector such as `status.phase=Running`",
            ),
            SHOW_MANAGED_FIELDS,
        ],
        returns: "`array` of objects",
        errors: "`NotFound` for an unknown kind, `Invalid` for a malformed selector. That there are none is no error.",
        effect: Effect::Read,
        example: "k8s::list(\"ns\").some(|namespace| namespace.metadata.name == \"kube-system\")",
        run: calls::list,
    },
    Function {
        module: "k8s",
        name: "exists",
        doc: "Tells whether an object exists.",
        params: &[KIND, NAME],
        options: &[NAMESPACE],
        returns: "`bool`",
        errors: "`NotFound` for an unknown kind. That the object is not there is no error.",
        effect: Effect::Read,
        example: "k8s::exists(\"namespace\", \"default\") && !k8s::exists(\"namespace\", \"nope\")",
        run: calls::exists,
    },
    Function {
        module: "k8s",
        name: "create",
        doc: "Creates an object that must not exist yet.",
        params: &[MANIFEST],
        options: &[NAMESPACE],
        returns: "the object as stored: `map`; for several, `array`",
        errors: "`AlreadyExists`, and those of `k8s::apply` but conflicts.",
        effect: Effect::Write,
        example: "k8s::create(#{ apiVersion: \"v1\", kind: \"ConfigMap\", metadata: #{ generateName: \"a-\" } }).metadata.name.len() > 2",
        run: calls::create,
    },
    Function {
        module: "k8s",
        name: "patch",
        doc: "Patches an object.\n\nThe patched fields are ours afterwards, whoever owned them. A merge patch that changes nothing is \
              not sent.",
        params: &[
            KIND,
            NAME,
            Param::required(
                "patch",
                Kind::Any,
                "a map for a merge patch, an array of operations for a JSON patch",
            ),
        ],
        options: &[
            NAMESPACE,
            Param::optional(
                "type",
                Kind::String,
                "`json` for an array, else `merge`",
                "`merge`, `json` or `strategic`",
            ),
            Param::optional("subresource", Kind::String, "\"\"", "`status` or another subresource"),
            Param::optional(
                "field_manager",
                Kind::String,
                "\"meshscript\"",
                "who owns the patched fields",
            ),
        ],
        returns: "`#{ change: string, object: map }`; `change` is `configured` or `unchanged`",
        errors: "`NotFound`, `Invalid` for a patch that does not fit, `Denied` from admission.",
        effect: Effect::Write,
        example: "k8s::patch(\"namespace\", \"default\", #{ metadata: #{ labels: #{ team: \"mesh\" } } }).object.metadata.labels.team == \"mesh\"",
        run: calls::patch,
    },
    Function {
        module: "k8s",
        name: "delete",
        doc: "Deletes an object and waits until it is gone.",
        params: &[KIND, NAME],
        options: DELETE_OPTIONS,
        returns: "`bool`: whether there was one",
        errors: "`Timeout` with what holds the object (finalizers, what is left in a namespace). That it does not exist is no error.",
        effect: Effect::Write,
        example: "k8s::apply(#{ apiVersion: \"v1\", kind: \"ConfigMap\", metadata: #{ name: \"a\" } });\nk8s::delete(\"configmap\", \"a\") && !k8s::delete(\"configmap\", \"a\")",
        run: calls::delete,
    },
    Function {
        module: "k8s",
        name: "delete_objects",
        doc: "Deletes the objects of a manifest, last ones first, namespaces and CRDs at the end.",
        params: &[MANIFEST],
        options: DELETE_OPTIONS,
        returns: "`int`: how many there were",
        errors: "as `k8s::delete`. Objects, and kinds, that do not exist are no error.",
        effect: Effect::Write,
        example: "k8s::delete_objects(\"apiVersion: v1\\nkind: ConfigMap\\nmetadata: {name: nope}\") == 0",
        run: calls::delete_objects,
    },
    Function {
        module: "k8s",
        name: "label",
        doc: "Sets labels of an object; `()` removes one.",
        params: &[KIND, NAME, Param::required("labels", Kind::Map, "names and values")],
        options: &[NAMESPACE],
        returns: "`string`: `configured` or `unchanged`",
        errors: "`NotFound`, `Invalid` for what cannot be a label.",
        effect: Effect::Write,
        example: "k8s::label(\"namespace\", \"default\", #{ team: \"mesh\" }) == \"configured\" && k8s::label(\"namespace\", \"default\", #{ team: \"mesh\" }) == \"unchanged\"",
        run: calls::label,
    },
    Function {
        module: "k8s",
        name: "annotate",
        doc: "Sets annotations of an object; `()` removes one.",
        params: &[KIND, NAME, Param::required("annotations", Kind::Map, "names and values")],
        options: &[NAMESPACE],
        returns: "`string`: `configured` or `unchanged`",
        errors: "`NotFound`, `Invalid` for what cannot be an annotation.",
        effect: Effect::Write,
        example: "k8s::annotate(\"namespace\", \"default\", #{ \"example.com/owner\": \"mesh\" }) == \"configured\"",
        run: calls::annotate,
    },
    Function {
        module: "k8s",
        name: "wait",
        doc: "Waits until an object, or each of several, is as asked, by watch.\n\nWhile it waits it says why: condition, pod, event, last \
              log line. What cannot heal (an image that does not exist, a crash loop, an exceeded quota, a refusal) ends the \
              wait at once. Conditions count for the object's current generation; routes and policies need them from every parent.",
        params: &[KIND, Param::required("name", Kind::Strings, "the name, or an array of names")],
        options: &[
            NAMESPACE,
            Param::optional(
                "condition",
                Kind::String,
                "none",
                "a condition: `Programmed`, or `Ready=False`",
            ),
            Param::optional(
                "jsonpath",
                Kind::String,
                "none",
                "a path that must be there, or have the `value`",
            ),
            Param::optional("value", Kind::Any, "none", "the value of `jsonpath`"),
            Param::optional(
                "rollout",
                Kind::Bool,
                "false",
                "that the rollout of a Deployment, DaemonSet or StatefulSet is complete",
            ),
            Param::optional(
                "ready",
                Kind::Bool,
                "false",
                "that the object is current, as Helm waits for it",
            ),
            Param::optional("exists", Kind::Bool, "false", "that it exists"),
            Param::optional("deleted", Kind::Bool, "false", "that it is gone"),
            Param::optional("timeout", Kind::Duration, "\"5m\"", "how long to wait"),
        ],
        returns: "the object: `map`, `()` once it is gone; for several names an `array`",
        errors: "`Timeout` with the last reason; `Terminal` with the cause that will not heal; `Argument` unless exactly one thing is \
                 asked for.",
        effect: Effect::Read,
        example: "k8s::wait(\"namespace\", \"default\", #{ jsonpath: \"{.status.phase}\", value: \"Active\" }).metadata.name == \"default\"",
        run: calls::wait,
    },
    Function {
        module: "k8s",
        name: "diff",
        doc: "Tells what applying objects would change, field by field, as the server answers in a dry run.\n\nThe data of Secrets \
              is compared by hash.",
        params: &[MANIFEST],
        options: APPLY_OPTIONS,
        returns: "`array` of `#{ kind: string, namespace: string, name: string, change: string, fields: array }`; each field is \
                  `#{ path: string, before: any, after: any }`",
        errors: "those of `k8s::apply`. A kind that is not there yet is no error: its object would be created.",
        effect: Effect::Read,
        example: "k8s::diff(#{ apiVersion: \"v1\", kind: \"ConfigMap\", metadata: #{ name: \"a\" } })[0].change == \"created\"",
        run: calls::diff,
    },
    Function {
        module: "k8s",
        name: "logs",
        doc: "Reads the log of a container.",
        params: &[TARGET],
        options: &[
            NAMESPACE,
            CONTAINER,
            Param::optional("tail", Kind::Int, "all", "how many lines from the end"),
            Param::optional("since", Kind::Duration, "the beginning", "how far back"),
            Param::optional(
                "previous",
                Kind::Bool,
                "false",
                "whether to read the run before the last restart",
            ),
            Param::optional(
                "timestamps",
                Kind::Bool,
                "false",
                "whether each line begins with its time",
            ),
            Param::optional("follow", Kind::Duration, "none", "for how long to read on"),
            Param::optional("until", Kind::String, "\"\"", "ends following when this text comes"),
        ],
        returns: "`string`, at most the last 10 MiB",
        errors: "`NotFound` for the pod or what it stands behind, `Invalid` for a container that has no log yet.",
        effect: Effect::Read,
        example: "attempt(|| k8s::logs(\"deploy/nope\")).error.kind == \"NotFound\"",
        run: calls::logs,
    },
    Function {
        module: "k8s",
        name: "exec",
        doc: "Runs a command in a container and returns what it wrote.",
        params: &[
            TARGET,
            Param::required("command", Kind::Strings, "the program and its arguments"),
        ],
        options: &[
            NAMESPACE,
            CONTAINER,
            Param::optional("stdin", Kind::String, "none", "what the command reads"),
            Param::optional(
                "check",
                Kind::Bool,
                "true",
                "whether an exit code other than 0 is an error",
            ),
            Param::optional("timeout", Kind::Duration, "\"60s\"", "how long it may run"),
        ],
        returns: "`#{ stdout: string, stderr: string, code: int }`",
        errors: "`NotFound` for the pod, `Failed` with the standard error for an exit code other than 0, `Timeout`.",
        effect: Effect::Write,
        example: "attempt(|| k8s::exec(\"nope\", [\"true\"])).error.kind == \"NotFound\"",
        run: calls::exec,
    },
    Function {
        module: "k8s",
        name: "port_forward",
        doc: "Opens a way to a port of a pod over the API server, until the run ends.\n\nThe result is the option `via` of the functions \
              of `http`; it also listens on a port of this machine.",
        params: &[
            TARGET,
            Param::required("port", Kind::Int, "the port of the pod, or of the Service"),
        ],
        options: &[
            NAMESPACE,
            Param::optional("local_port", Kind::Int, "a free one", "the port on 127.0.0.1"),
        ],
        returns: "`#{ namespace: string, pod: string, port: int, local_port: int, address: string, dialer: any }`",
        errors: "`NotFound` for the target, `Argument` for a port that the Service does not have, `Failed` when the local port is taken.",
        effect: Effect::Read,
        example: "attempt(|| k8s::port_forward(\"svc/nope\", 80)).error.kind == \"NotFound\"",
        run: calls::port_forward,
    },
    Function {
        module: "k8s",
        name: "events",
        doc: "Lists events, oldest first.",
        params: &[],
        options: &[
            NAMESPACE,
            ALL_NAMESPACES,
            Param::optional(
                "kind",
                Kind::String,
                "all",
                "the kind of the object that they are about",
            ),
            Param::optional(
                "name",
                Kind::String,
                "all",
                "the name of the object that they are about",
            ),
            Param::optional("warnings", Kind::Bool, "false", "whether to leave out normal ones"),
        ],
        returns: "`array` of `#{ time: string, type: string, reason: string, kind: string, name: string, namespace: string, \
                  message: string, count: int, component: string }`",
        errors: "`NotFound` for an unknown kind. That there are none is no error.",
        effect: Effect::Read,
        example: "k8s::events(#{ namespace: \"default\", warnings: true }).is_empty()",
        run: calls::events,
    },
    Function {
        module: "k8s",
        name: "scale",
        doc: "Sets the number of replicas of a workload.",
        params: &[KIND, NAME, Param::required("replicas", Kind::Int, "how many pods")],
        options: &[NAMESPACE],
        returns: "`string`: `configured` or `unchanged`",
        errors: "`NotFound`, `Invalid` for a kind that does not scale.",
        effect: Effect::Write,
        example: "attempt(|| k8s::scale(\"namespace\", \"default\", 2)).error.kind == \"Invalid\"",
        run: calls::scale,
    },
    Function {
        module: "k8s",
        name: "restart",
        doc: "Restarts the pods of a Deployment, DaemonSet or StatefulSet, a few at a time, as `kubectl rollout restart` does.",
        params: &[KIND, NAME],
        options: &[NAMESPACE],
        returns: "`string`: `configured`",
        errors: "`NotFound`, `Invalid` for a kind without pods of its own.",
        effect: Effect::Write,
        example: "attempt(|| k8s::restart(\"deploy\", \"nope\")).error.kind == \"NotFound\"",
        run: calls::restart,
    },
    Function {
        module: "k8s",
        name: "can_i",
        doc: "Asks the server whether the caller may do something.",
        params: &[
            Param::required("verb", Kind::String, "`get`, `create`, …, or `*`"),
            Param::required(
                "kind",
                Kind::String,
                "a kind, `KIND/SUBRESOURCE`, or a path that begins with `/`",
            ),
        ],
        options: &[
            NAMESPACE,
            Param::optional("name", Kind::String, "all", "one object"),
            Param::optional("all_namespaces", Kind::Bool, "false", "whether in every namespace"),
        ],
        returns: "`bool`",
        errors: "those of a request. A kind that does not exist is no error.",
        effect: Effect::Read,
        example: "k8s::can_i(\"create\", \"deployments\")",
        run: calls::can_i,
    },
    Function {
        module: "k8s",
        name: "resources",
        doc: "Lists the kinds that the cluster serves.",
        params: &[],
        options: &[],
        returns: "`array` of `#{ group: string, version: string, kind: string, plural: string, short_names: array, \
                  namespaced: bool, verbs: array }`",
        errors: "those of a request.",
        effect: Effect::Read,
        example: "k8s::resources().some(|resource| resource.kind == \"Deployment\" && resource.group == \"apps\")",
        run: calls::resources,
    },
    Function {
        module: "k8s",
        name: "version",
        doc: "Tells the version of the API server.",
        params: &[],
        options: &[],
        returns: "`#{ git_version: string, major: int, minor: int, platform: string }`",
        errors: "those of a request.",
        effect: Effect::Read,
        example: "k8s::version().minor > 30",
        run: calls::version,
    },
    Function {
        module: "k8s",
        name: "context",
        doc: "Tells which cluster the run works on.",
        params: &[],
        options: &[],
        returns: "`#{ context: string, server: string, version: string, user: string, namespace: string, rehearsal: bool }`",
        errors: "those of opening the target.",
        effect: Effect::Read,
        example: "k8s::context().rehearsal",
        run: calls::context,
    },
    Function {
        module: "k8s",
        name: "jsonpath",
        doc: "Applies a JSONPath in kubectl's dialect to a value.",
        params: &[
            Param::required("value", Kind::Any, "an object, or any other data"),
            Param::required(
                "path",
                Kind::String,
                "such as `{.status.phase}` or `{.items[*].metadata.name}`",
            ),
        ],
        options: &[],
        returns: "the value, `()` if there is none; an `array` for a path that can match several times; a `string` for a template",
        errors: "`Argument` for what is no JSONPath.",
        effect: Effect::Pure,
        example: "k8s::jsonpath(#{ items: [#{ n: 1 }, #{ n: 2 }] }, \"{.items[*].n}\") == [1, 2]",
        run: calls::jsonpath,
    },
];

const DELETE_OPTIONS: &[Param] = &[
    NAMESPACE,
    Param::optional("wait", Kind::Bool, "true", "whether to wait until it is gone"),
    Param::optional("timeout", Kind::Duration, "\"5m\"", "how long to wait"),
    Param::optional(
        "propagation",
        Kind::String,
        "\"background\"",
        "what happens to owned objects: `background`, `foreground` or `orphan`",
    ),
    Param::optional("grace_period", Kind::Int, "the pods' own", "seconds that pods get to end"),
];
