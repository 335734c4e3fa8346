//! Functions of the namespace `helm`. The rows stand here, what they run in `calls`.

use crate::engine::catalog::{Effect, Function, Kind, Param};

mod calls;

const NAME: Param = Param::required("name", Kind::String, "the name of the release");
const CHART: Param = Param::required(
    "chart",
    Kind::String,
    "a chart: a folder, a `.tgz`, `FOLDER/NAME` with the option `version`, `https://…/NAME.tgz`, `oci://HOST/PATH/NAME`, a name with \
     the option `repo`, or `builtin:NAME` in a rehearsal",
);
const REPO: Param = Param::optional(
    "repo",
    Kind::String,
    "none",
    "the address of the repository whose `index.yaml` names the chart, as `helm --repo`",
);
const USERNAME: Param =
    Param::optional("username", Kind::String, "none", "who asks the repository or registry");
const PASSWORD: Param = Param::optional(
    "password",
    Kind::Any,
    "none",
    "the password or token of `username`, best a secret; it goes to the host that is named and to no other",
);
const CA: Param = Param::optional(
    "ca",
    Kind::Any,
    "the machine's",
    "the only authorities trusted for the repository: PEM text or a certificate of `cert`",
);
const PLAIN_HTTP: Param = Param::optional(
    "plain_http",
    Kind::Bool,
    "false",
    "whether a registry of `oci://` is spoken to without TLS",
);
const VERIFY: Param = Param::optional(
    "verify",
    Kind::Bool,
    "false",
    "whether the chart must be signed by a key of `keyring`: its `.prov` lies beside it, as `helm --verify`",
);
const KEYRING: Param = Param::optional(
    "keyring",
    Kind::String,
    "GnuPG's `pubring.gpg`, else `pubring.kbx`",
    "a file of the public keys that are trusted: GnuPG's own, or what `gpg --export` writes, armored or not",
);
const NAMESPACE: Param =
    Param::optional("namespace", Kind::String, "the target's", "the namespace of the release");
const VALUES: Param =
    Param::optional("values", Kind::Map, "#{}", "values over the defaults of the chart");
const VALUES_FILES: Param = Param::optional(
    "values_files",
    Kind::Strings,
    "[]",
    "YAML files of values under those of `values`; a later one wins",
);
const SET: Param = Param::optional(
    "set",
    Kind::Strings,
    "[]",
    "values over all others as `helm --set` takes them, such as `\"pilot.env.A=b,list[0]=c\"`",
);
const SET_STRING: Param = Param::optional(
    "set_string",
    Kind::Strings,
    "[]",
    "as `set`, but every value is text, as `helm --set-string`",
);
const SET_JSON: Param = Param::optional(
    "set_json",
    Kind::Strings,
    "[]",
    "as `set` with JSON after the sign, or one JSON object, as `helm --set-json`",
);
const SET_FILE: Param = Param::optional(
    "set_file",
    Kind::Strings,
    "[]",
    "as `set` with the names of files whose content is the value, as `helm --set-file`",
);
const SET_LITERAL: Param = Param::optional(
    "set_literal",
    Kind::Strings,
    "[]",
    "as `set`, but all that follows the sign is the text, as `helm --set-literal`",
);
const DIGEST: Param = Param::optional(
    "digest",
    Kind::String,
    "unchecked",
    "the SHA-256 that the packed chart must have",
);
const VERSION: Param = Param::optional(
    "version",
    Kind::String,
    "the newest",
    "a version or a constraint such as `^1.30`, for a chart of a folder of `.tgz` files",
);
const TIMEOUT: Param =
    Param::optional("timeout", Kind::Duration, "\"5m\"", "how long hooks and waiting may take");
const WAIT: Param =
    Param::optional("wait", Kind::Bool, "false", "whether to wait until the objects are ready");
const ALL_NAMESPACES: Param =
    Param::optional("all_namespaces", Kind::Bool, "false", "whether to look in every namespace");
const REVISION: Param =
    Param::optional("revision", Kind::Int, "the newest", "the number of the revision");
const SKIP_SCHEMA: Param = Param::optional(
    "skip_schema_validation",
    Kind::Bool,
    "false",
    "whether values may break the chart's schema",
);
const WAIT_FOR_JOBS: Param = Param::optional(
    "wait_for_jobs",
    Kind::Bool,
    "false",
    "whether to wait until Jobs are complete, too; implies `wait`",
);
const NO_HOOKS: Param =
    Param::optional("no_hooks", Kind::Bool, "false", "whether hooks do not run");
const CLEANUP_ON_FAILURE: Param = Param::optional(
    "cleanup_on_failure",
    Kind::Bool,
    "false",
    "whether a change that fails deletes the objects that it created",
);
const HISTORY_MAX: Param =
    Param::optional("history_max", Kind::Int, "10", "how many revisions are kept; 0 keeps all");
const DESCRIPTION: Param = Param::optional(
    "description",
    Kind::String,
    "Helm's own",
    "what the history says of the revision",
);
const INSTALL_OPTIONS: &[Param] = &[
    NAMESPACE,
    VALUES,
    VALUES_FILES,
    SET,
    SET_STRING,
    SET_JSON,
    SET_FILE,
    SET_LITERAL,
    VERSION,
    DIGEST,
    REPO,
    USERNAME,
    PASSWORD,
    CA,
    PLAIN_HTTP,
    VERIFY,
    KEYRING,
    WAIT,
    TIMEOUT,
    Param::optional(
        "create_namespace",
        Kind::Bool,
        "false",
        "whether to create the namespace when it is not there",
    ),
    Param::optional(
        "crds",
        Kind::String,
        "\"install\"",
        "what becomes of `crds/`: `install` on the first install, `upgrade` on every change, `skip`",
    ),
    Param::optional(
        "skip_unchanged",
        Kind::Bool,
        "true",
        "whether to leave a release alone that is as wanted",
    ),
    Param::optional(
        "take_ownership",
        Kind::Bool,
        "false",
        "whether to take over objects that belong to no release",
    ),
    WAIT_FOR_JOBS,
    Param::optional(
        "rollback_on_failure",
        Kind::Bool,
        "false",
        "whether an install that fails is uninstalled and an upgrade that fails rolled back; implies `wait`",
    ),
    CLEANUP_ON_FAILURE,
    NO_HOOKS,
    DESCRIPTION,
    Param::optional(
        "labels",
        Kind::Map,
        "#{}",
        "labels of the release's Secret, carried on by later revisions; an empty text removes one",
    ),
    HISTORY_MAX,
    Param::optional(
        "reset_values",
        Kind::Bool,
        "true, but for `helm::upgrade` without values",
        "whether the values of the last revision are forgotten",
    ),
    Param::optional(
        "reuse_values",
        Kind::Bool,
        "false",
        "whether values go over those of the last revision and its chart's defaults",
    ),
    Param::optional(
        "reset_then_reuse_values",
        Kind::Bool,
        "false",
        "whether values go over those of the last revision and the new chart's defaults",
    ),
    SKIP_SCHEMA,
    Param::optional(
        "post_render",
        Kind::Closure,
        "none",
        "a closure that gets the array of all rendered objects, hooks too, and returns what is stored and applied instead",
    ),
];
const RELEASE: &str = "`#{ name: string, namespace: string, revision: int, status: string, chart: string, app_version: string, \
     updated: string, description: string, change: string, notes: string }`";
const LISTED: &str = "`array` of `#{ name: string, namespace: string, revision: int, status: string, chart: string, app_version: string, \
     updated: string, description: string }`";
const INSTALL_ERRORS: &str = "`NotFound` for a chart that is not there; `Invalid` for a chart, values or template that is wrong, before \
     anything is written; `Conflict` for an object of another release and for a field of another manager; `Locked` while \
     another run works on the release; `Timeout` and `Terminal` with the reason from waiting.";
const INSTALL_EXAMPLE: &str = "let done = helm::install(\"istio-base\", \"builtin:base\", #{\n    namespace: \"istio-system\",\n    create_namespace: true,\n    crds: \"install\",\n    wait: true,\n    wait_for_jobs: true,\n    timeout: \"2m\",\n    rollback_on_failure: true,\n    description: \"the mesh of team a\",\n    labels: #{ team: \"a\" },\n    history_max: 5,\n});\ndone.status == \"deployed\" && done.description == \"the mesh of team a\"";

/// The rows.
pub static FUNCTIONS: &[Function] = &[
    Function {
        module: "helm",
        name: "template",
        doc: "Renders a chart as `helm template` does, without a cluster.\n\nHooks come last; with `include_crds` the objects of \
              `crds/` come first.",
        params: &[NAME, CHART],
        options: &[
            NAMESPACE,
            VALUES,
            VALUES_FILES,
            SET,
            SET_STRING,
            SET_JSON,
            SET_FILE,
            SET_LITERAL,
            VERSION,
            DIGEST,
            REPO,
            USERNAME,
            PASSWORD,
            CA,
            PLAIN_HTTP,
            VERIFY,
            KEYRING,
            Param::optional("include_crds", Kind::Bool, "false", "whether to print `crds/` too"),
            Param::optional(
                "kube_version",
                Kind::String,
                "\"v1.37.0\"",
                "the Kubernetes version that templates are told",
            ),
            Param::optional(
                "api_versions",
                Kind::Strings,
                "[]",
                "more API versions that templates are told, such as `monitoring.coreos.com/v1`",
            ),
            Param::optional(
                "is_upgrade",
                Kind::Bool,
                "false",
                "whether templates are told of an upgrade",
            ),
            SKIP_SCHEMA,
        ],
        returns: "`string`: YAML documents",
        errors: "`NotFound` for a chart that is not there; `Invalid` for a chart that is damaged or has another digest, for values that break its \
                 schema, with the place in the template for what it refuses, and when all templates together take more than 500 million \
                 steps (an action, a call, a turn of a loop; Istio's largest chart takes 2.4 million).",
        effect: Effect::Read,
        example: "fs::write(\"prod.yaml\", \"pilot: { cni: { enabled: true } }\");\nfs::write(\"motd.txt\", \"hello\");\nlet text = helm::template(\"istiod\", \"builtin:istiod\", #{\n    namespace: \"istio-system\",\n    values: #{ pilot: #{ env: #{ A: \"1\" } } },\n    values_files: [\"prod.yaml\"],\n    set: [\"pilot.replicaCount=2\"],\n    set_string: [\"pilot.env.PORT=8080\"],\n    set_json: [`pilot.env={\"B\": \"2\"}`],\n    set_file: [\"pilot.env.MOTD=motd.txt\"],\n    set_literal: [\"pilot.env.LIST={a,b}\"],\n    kube_version: \"v1.33.0\",\n    api_versions: [\"monitoring.coreos.com/v1\"],\n    is_upgrade: true,\n    include_crds: true,\n    skip_schema_validation: true,\n});\ntext.contains(\"kind: Deployment\")",
        run: calls::template,
    },
    Function {
        module: "helm",
        name: "install",
        doc: "Installs a release, or upgrades it to the chart and values.\n\nA release that is as wanted is left alone: nothing is \
              written. What somebody changed in its objects is set right. Objects are applied by server-side apply as field \
              manager `helm`; the release is stored as Helm stores it. A revision that a killed run left pending is taken over.",
        params: &[NAME, CHART],
        options: INSTALL_OPTIONS,
        returns: RELEASE,
        errors: INSTALL_ERRORS,
        effect: Effect::Write,
        example: INSTALL_EXAMPLE,
        run: calls::install,
    },
    Function {
        module: "helm",
        name: "upgrade",
        doc: "Upgrades a release to the chart and values; one that does not exist is an error.\n\nWithout any values those of the last \
              revision hold on, as with `helm upgrade`.",
        params: &[NAME, CHART],
        options: INSTALL_OPTIONS,
        returns: RELEASE,
        errors: INSTALL_ERRORS,
        effect: Effect::Write,
        example: "let at = #{ namespace: \"istio-system\", create_namespace: true };\nhelm::install(\"istio-base\", \"builtin:base\", at + #{ values: #{ a: 1 } });\n// The same again, as a new revision; what fails deletes what it created.\nhelm::upgrade(\"istio-base\", \"builtin:base\", at + #{ skip_unchanged: false, cleanup_on_failure: true, no_hooks: true });\n// The last values hold on, with another over them; then all are forgotten.\nhelm::upgrade(\"istio-base\", \"builtin:base\", at + #{ reuse_values: true, set: [\"b=2\"] });\nhelm::upgrade(\"istio-base\", \"builtin:base\", at + #{ reset_then_reuse_values: true, set: [\"c=3\"], take_ownership: true });\nif helm::values(\"istio-base\", #{ namespace: \"istio-system\" }) != #{ a: 1, b: 2, c: 3 } { fail(\"the values are gone\"); }\nhelm::upgrade(\"istio-base\", \"builtin:base\", at + #{ reset_values: true, skip_schema_validation: true });\n// A closure changes the objects before they are stored.\nhelm::upgrade(\"istio-base\", \"builtin:base\", at + #{ post_render: |objects| {\n    for (object, i) in objects { objects[i].metadata.labels = (object.metadata.labels ?? #{}) + #{ team: \"a\" }; }\n    objects\n} });\nhelm::manifest(\"istio-base\", #{ namespace: \"istio-system\" }).contains(\"team: a\")",
        run: calls::upgrade,
    },
    Function {
        module: "helm",
        name: "rollback",
        doc: "Goes back to a revision of a release, as a new revision.",
        params: &[NAME],
        options: &[
            NAMESPACE,
            Param::optional("revision", Kind::Int, "the one before", "the revision to go back to"),
            WAIT,
            WAIT_FOR_JOBS,
            TIMEOUT,
            CLEANUP_ON_FAILURE,
            NO_HOOKS,
            HISTORY_MAX,
        ],
        returns: RELEASE,
        errors: "`NotFound` for a release or revision that does not exist; those of `helm::install`.",
        effect: Effect::Write,
        example: "let at = #{ namespace: \"istio-system\", create_namespace: true };\nhelm::install(\"istio-base\", \"builtin:base\", at);\nhelm::upgrade(\"istio-base\", \"builtin:base\", at + #{ skip_unchanged: false });\nlet back = helm::rollback(\"istio-base\", #{\n    namespace: \"istio-system\",\n    revision: 1,\n    wait: true,\n    wait_for_jobs: true,\n    timeout: \"1m\",\n    cleanup_on_failure: true,\n    no_hooks: true,\n    history_max: 0,\n});\nback.revision == 3 && back.description == \"Rollback to 1\"",
        run: calls::rollback,
    },
    Function {
        module: "helm",
        name: "uninstall",
        doc: "Removes a release and its objects and tells whether there was one.\n\nObjects with the policy `keep` and objects of \
              other releases stay.",
        params: &[NAME],
        options: &[
            NAMESPACE,
            WAIT,
            TIMEOUT,
            Param::optional(
                "keep_history",
                Kind::Bool,
                "false",
                "whether the record stays, as `uninstalled`",
            ),
            NO_HOOKS,
            DESCRIPTION,
        ],
        returns: "`bool`",
        errors: "`Timeout` with what holds an object. A release that does not exist is no error.",
        effect: Effect::Write,
        example: "helm::install(\"istio-base\", \"builtin:base\", #{ namespace: \"istio-system\", create_namespace: true });\nlet gone = helm::uninstall(\"istio-base\", #{\n    namespace: \"istio-system\",\n    keep_history: true,\n    wait: true,\n    timeout: \"1m\",\n    no_hooks: true,\n    description: \"moved to another cluster\",\n});\ngone && helm::status(\"istio-base\", #{ namespace: \"istio-system\" }).status == \"uninstalled\"",
        run: calls::uninstall,
    },
    Function {
        module: "helm",
        name: "test",
        doc: "Runs the tests of a release: its hooks of the event `test`, by weight and name.\n\nHow they ended is stored with \
              the release, where `helm status` shows it.",
        params: &[NAME],
        options: &[
            NAMESPACE,
            TIMEOUT,
            Param::optional(
                "filter",
                Kind::Strings,
                "[]",
                "names of the tests to run, or `!NAME` for those to leave out",
            ),
            Param::optional("logs", Kind::Bool, "false", "whether the result holds their logs"),
        ],
        returns: "`array` of `#{ name: string, phase: string, log: string }`; empty for a release without tests",
        errors: "`NotFound` for a release that does not exist; `Terminal` and `Timeout` for a test that fails, with its log.",
        effect: Effect::Write,
        example: "helm::install(\"istio-base\", \"builtin:base\", #{ namespace: \"istio-system\", create_namespace: true });\nlet runs = helm::test(\"istio-base\", #{ namespace: \"istio-system\", filter: [\"!slow\"], logs: true, timeout: \"1m\" });\nruns.is_empty()",
        run: calls::test,
    },
    Function {
        module: "helm",
        name: "diff",
        doc: "Tells what installing or upgrading would change, without a write.\n\nObjects are compared with the cluster by the \
              server's own dry run, so that defaults and fields of others are no differences; `manifest` is the last revision's \
              text against the next one's, and `hooks` tells the same of each hook. The data of Secrets is shown as hashes. `lost` tells what CRDs of the chart would take \
              away: versions, and fields that the server would prune from objects.",
        params: &[NAME, CHART],
        options: INSTALL_OPTIONS,
        returns: "`#{ objects: array, manifest: string, hooks: array, lost: array of string }`; an object is `#{ apiVersion, kind, namespace, name, change: \"created\", \
                  \"configured\" or \"deleted\", fields: array of #{ path, live, next } }`, a hook `#{ name, kind, path, events, change, manifest }`",
        errors: "those of `helm::install`",
        effect: Effect::Read,
        example: "let at = #{ namespace: \"istio-system\", create_namespace: true };\nhelm::install(\"istio-base\", \"builtin:base\", at);\nlet same = helm::diff(\"istio-base\", \"builtin:base\", at);\nlet other = helm::diff(\"nothing\", \"builtin:istiod\", #{ namespace: \"other\", take_ownership: true });\nsame.lost.is_empty() && same.hooks.is_empty() && other.objects.len() > 0",
        run: calls::diff,
    },
    Function {
        module: "helm",
        name: "list",
        doc: "Lists releases, each with its newest revision.",
        params: &[],
        options: &[NAMESPACE, ALL_NAMESPACES],
        returns: LISTED,
        errors: "`Forbidden` when Secrets may not be listed.",
        effect: Effect::Read,
        example: "helm::install(\"istio-base\", \"builtin:base\", #{ namespace: \"istio-system\", create_namespace: true });\nhelm::list(#{ namespace: \"default\" }).is_empty() && helm::list(#{ all_namespaces: true }).len() == 1",
        run: calls::list,
    },
    Function {
        module: "helm",
        name: "status",
        doc: "Tells the state of a release; `()` when it does not exist.",
        params: &[NAME],
        options: &[NAMESPACE, REVISION],
        returns: "as one entry of `helm::list` with `notes`, or `()`",
        errors: "`Forbidden` when Secrets may not be read.",
        effect: Effect::Read,
        example: "helm::install(\"istio-base\", \"builtin:base\", #{ namespace: \"istio-system\", create_namespace: true });\nhelm::status(\"nothing\") == () && helm::status(\"istio-base\", #{ namespace: \"istio-system\", revision: 1 }).status == \"deployed\"",
        run: calls::status,
    },
    Function {
        module: "helm",
        name: "history",
        doc: "Lists the revisions of a release, oldest first.",
        params: &[NAME],
        options: &[NAMESPACE],
        returns: LISTED,
        errors: "`Forbidden` when Secrets may not be read.",
        effect: Effect::Read,
        example: "helm::install(\"istio-base\", \"builtin:base\", #{ namespace: \"istio-system\", create_namespace: true });\nhelm::history(\"istio-base\", #{ namespace: \"istio-system\" })[0].description == \"Install complete\"",
        run: calls::history,
    },
    Function {
        module: "helm",
        name: "values",
        doc: "Returns the values of a release: those given, or with `all` also the chart's defaults.",
        params: &[NAME],
        options: &[
            NAMESPACE,
            REVISION,
            Param::optional("all", Kind::Bool, "false", "whether defaults are included"),
        ],
        returns: "`map`",
        errors: "`NotFound` for a release that does not exist.",
        effect: Effect::Read,
        example: "helm::install(\"istio-base\", \"builtin:base\", #{ namespace: \"istio-system\", create_namespace: true, set: [\"a=1\"] });\nlet at = #{ namespace: \"istio-system\", revision: 1 };\nhelm::values(\"istio-base\", at) == #{ a: 1 } && helm::values(\"istio-base\", at + #{ all: true }).len() > 1",
        run: calls::values,
    },
    Function {
        module: "helm",
        name: "manifest",
        doc: "Returns the manifest of a release as it is stored.",
        params: &[NAME],
        options: &[NAMESPACE, REVISION],
        returns: "`string`: YAML documents",
        errors: "`NotFound` for a release that does not exist.",
        effect: Effect::Read,
        example: "helm::install(\"istio-base\", \"builtin:base\", #{ namespace: \"istio-system\", create_namespace: true });\nhelm::manifest(\"istio-base\", #{ namespace: \"istio-system\", revision: 1 }).contains(\"kind:\")",
        run: calls::manifest,
    },
    Function {
        module: "helm",
        name: "notes",
        doc: "Returns the notes of a release: what its `NOTES.txt` says.",
        params: &[NAME],
        options: &[NAMESPACE, REVISION],
        returns: "`string`",
        errors: "`NotFound` for a release that does not exist.",
        effect: Effect::Read,
        example: "helm::install(\"istio-base\", \"builtin:base\", #{ namespace: \"istio-system\", create_namespace: true });\nhelm::notes(\"istio-base\", #{ namespace: \"istio-system\", revision: 1 }).type_of() == \"string\"",
        run: calls::notes,
    },
    Function {
        module: "helm",
        name: "hooks",
        doc: "Returns the hooks of a release, tests too, and how each ended.",
        params: &[NAME],
        options: &[NAMESPACE, REVISION],
        returns: "`array` of `#{ name: string, kind: string, path: string, events: array, weight: int, phase: string, manifest: string }`; `phase` is \
                  `Succeeded`, `Failed`, `Running`, or empty for one that has not run",
        errors: "`NotFound` for a release that does not exist.",
        effect: Effect::Read,
        example: "helm::install(\"istio-base\", \"builtin:base\", #{ namespace: \"istio-system\", create_namespace: true });\nhelm::hooks(\"istio-base\", #{ namespace: \"istio-system\", revision: 1 }).is_empty()",
        run: calls::hooks,
    },
    Function {
        module: "helm",
        name: "repo",
        doc: "Lists what a chart repository offers, by name, the newest version first.\n\nIts `index.yaml` is fetched from the network, in a \
              rehearsal too.",
        params: &[Param::required(
            "url",
            Kind::String,
            "the address of the repository, without `index.yaml`",
        )],
        options: &[USERNAME, PASSWORD, CA],
        returns: "`array` of `#{ name: string, version: string, app_version: string, description: string, deprecated: bool, digest: string, urls: array }`",
        errors: "`Unreachable` when nothing answers; `NotFound` when there is no index; `Denied` without the right to read it; `Invalid` for an answer \
                 that is no index.",
        effect: Effect::Read,
        example: "// Nothing listens on this port.\nlet none = attempt(|| helm::repo(\"https://127.0.0.1:1/charts\", #{ username: \"me\", password: \"a secret\", ca: cert::ca().certificate }));\nnone.error.kind == \"Unreachable\"",
        run: calls::repo,
    },
    Function {
        module: "helm",
        name: "explain",
        doc: "Tells where the value at a path comes from: which layer gave it, and what all others say.\n\nLayers are defaults of \
              subcharts and of the chart, its profile files, files of values, `values`, and settings. The value is what templates see in \
              the end: charts such as Istio's lay profiles while they render.",
        params: &[
            CHART,
            Param::required(
                "path",
                Kind::String,
                "keys with dots between them, as for `set`: `pilot.env.A`, `list[0]`",
            ),
        ],
        options: &[
            VALUES,
            VALUES_FILES,
            SET,
            SET_STRING,
            SET_JSON,
            SET_FILE,
            SET_LITERAL,
            VERSION,
            DIGEST,
            REPO,
            USERNAME,
            PASSWORD,
            CA,
            PLAIN_HTTP,
            VERIFY,
            KEYRING,
        ],
        returns: "`#{ path: string, value: any, from: string, layers: array of #{ layer: string, value: any } }`, the lowest layer first; \
                  `value` is `()` where nothing is",
        errors: "`NotFound` for a chart that is not there; `Invalid` for one that is damaged; `Argument` for a path that is none.",
        effect: Effect::Read,
        example: "helm::explain(\"builtin:istiod\", \"pilot.env.A\", #{ values: #{ pilot: #{ env: #{ A: \"1\" } } }, set: [\"pilot.env.A=2\"] }).from == \"`set` of `pilot.env.A`\"",
        run: calls::explain,
    },
    Function {
        module: "helm",
        name: "chart",
        doc: "Tells what a chart says of itself.",
        params: &[CHART],
        options: &[VERSION, DIGEST, REPO, USERNAME, PASSWORD, CA, PLAIN_HTTP, VERIFY, KEYRING],
        returns: "`#{ name: string, version: string, app_version: string, description: string, type: string, values: map, files: array, signed: map }`; \
                  `signed` is `#{ by: array of string, fingerprint: string, digest: string }` with `verify`, else `()`",
        errors: "`NotFound` for a chart that is not there; `Invalid` for one that is damaged, and with `verify` for one that is not signed, \
                 is another than was signed, or is signed by a key that is unknown, expired or revoked.",
        effect: Effect::Read,
        example: "// A folder of packed charts: a version or a constraint picks one, the digest says which bytes are meant.\nlet refused = attempt(|| helm::chart(\"charts/web\", #{ version: \"^1.2\", digest: \"sha256:0000\" }));\nif refused.error.kind != \"Invalid\" { fail(\"another chart was taken\"); }\n// Signed by somebody whose key is trusted.\nlet signed = helm::chart(\"signed/web-1.2.0.tgz\", #{ verify: true, keyring: \"signed/trusted.asc\" }).signed;\nif signed.by != [\"Chart Signer <signer@example.com>\"] { fail(`signed by ${signed.by}`); }\n// From a repository, and from a registry; nothing listens on this port.\nlet repository = attempt(|| helm::chart(\"web\", #{ repo: \"http://127.0.0.1:1/charts\", version: \"^1.2\" }));\nlet registry = attempt(|| helm::chart(\"oci://127.0.0.1:1/charts/web\", #{ version: \"1.2.0\", plain_http: true }));\n[repository, registry].all(|tried| tried.error.kind == \"Unreachable\")",
        run: calls::chart,
    },
];
