//! The global functions and the small namespaces: steps, checks, parameters, output, data, files, time.

use rhai::{Array, Dynamic, Map};

use crate::base::diagnostic::{Diagnostic, ErrorKind};
use crate::base::yaml;
use crate::engine::call::Call;
use crate::engine::catalog::{Effect, Function, Kind, Param};
use crate::engine::convert::{to_dynamic, to_json};
use crate::engine::files::io_error;
use crate::engine::{flow, params, prompt, text};

/// The rows.
pub static FUNCTIONS: &[Function] = &[
    Function {
        module: "",
        name: "param",
        doc: "Declares a parameter of the script and returns its value.\n\nThe value comes from the calling script, else \
              from `--set`, else from `--values` or `meshscript.toml`, else it is the default, whose type it takes.",
        params: &[
            Param::required("name", Kind::String, "the name that `--set` uses"),
            Param::required(
                "default",
                Kind::Any,
                "the value when none is given; its type is the parameter's type",
            ),
            Param::optional("doc", Kind::String, "\"\"", "what the parameter is for"),
        ],
        options: &[
            Param::optional("choices", Kind::Strings, "none", "the values that it may take"),
            Param::optional("required", Kind::Bool, "false", "whether it must be given"),
            Param::optional(
                "secret",
                Kind::Bool,
                "false",
                "whether it becomes a secret, which no output shows",
            ),
        ],
        returns: "the value, of the default's type",
        errors: "`Usage` when the value has another type, is none of the choices, or is required and missing.",
        effect: Effect::Pure,
        example: "let replicas = param(\"replicas\", 2, \"replicas of the application\");\nreplicas + 1",
        run: params::param,
    },
    Function {
        module: "",
        name: "step",
        doc: "Runs a closure as a named step of the report and returns its value.\n\nSteps nest; `--only`, `--skip` and \
              `--from` choose by name or path (`istio/istiod`). A step that is left out returns `()`.",
        params: &[
            Param::required("name", Kind::String, "the name in the report"),
            Param::required("action", Kind::Closure, "what the step does"),
        ],
        options: &[],
        returns: "what the closure returns",
        errors: "the closure's.",
        effect: Effect::Pure,
        example: "let n = step(\"count\", || 1 + 1);\nn",
        run: flow::step,
    },
    Function {
        module: "",
        name: "run_script",
        doc: "Runs another script of the workspace, or a built-in one, as a group of steps.",
        params: &[
            Param::required(
                "path",
                Kind::String,
                "the script, relative to this one, the workspace or `scripts/`",
            ),
            Param::optional("params", Kind::Map, "#{}", "values for its parameters, above `--set`"),
        ],
        options: &[],
        returns: "the value of the script's last expression",
        errors: "`NotFound` for a script that is not there, `Argument` for a parameter that it does not declare, and the script's own.",
        effect: Effect::Pure,
        example: "fs::write(\"hello.rhai\", \"`hello ${param(\\\"who\\\", \\\"world\\\")}`\");\nrun_script(\"hello.rhai\", #{ who: \"mesh\" })",
        run: flow::run_script,
    },
    Function {
        module: "",
        name: "parallel",
        doc: "Calls closures side by side and returns their values in order.\n\nEach branch gets its own copy of the captured \
              variables: return values instead of assigning. After an error no further branch begins.",
        params: &[Param::required("actions", Kind::Array, "closures without parameters")],
        options: &[Param::optional("limit", Kind::Int, "`--parallel`", "branches at once")],
        returns: "array of the closures' values",
        errors: "that of the first branch that failed; those of others are among its causes.",
        effect: Effect::Pure,
        example: "parallel([|| 1 + 1, || 2 + 2])",
        run: flow::parallel,
    },
    Function {
        module: "",
        name: "parallel_map",
        doc: "Calls a closure for each item, several at a time, and returns the values in order.",
        params: &[
            Param::required("items", Kind::Array, "what to work on"),
            Param::required("action", Kind::Closure, "a closure of one item"),
        ],
        options: &[Param::optional("limit", Kind::Int, "`--parallel`", "branches at once")],
        returns: "array of the closure's values",
        errors: "that of the first item that failed.",
        effect: Effect::Pure,
        example: "parallel_map([1, 2, 3], |n| n * n)",
        run: flow::parallel_map,
    },
    Function {
        module: "",
        name: "retry",
        doc: "Calls a closure until it succeeds, waiting on the target's clock in between.\n\nErrors that trying again cannot heal \
              (`Script`, `Argument`, `Terminal`, `NotModelled`) end it at once.",
        params: &[Param::required("action", Kind::Closure, "what to try")],
        options: &[
            Param::optional("attempts", Kind::Int, "5", "how often to try"),
            Param::optional("delay", Kind::Duration, "\"1s\"", "time between two attempts"),
            Param::optional("backoff", Kind::Float, "1.0", "factor by which the delay grows"),
            Param::optional("message", Kind::String, "none", "what is waited for, for the report"),
        ],
        returns: "what the closure returns",
        errors: "the closure's last one.",
        effect: Effect::Pure,
        example: "retry(#{ attempts: 3, delay: \"2s\" }, || 42)",
        run: flow::retry,
    },
    Function {
        module: "",
        name: "attempt",
        doc: "Calls a closure and returns its value or its error as data.",
        params: &[Param::required("action", Kind::Closure, "what may fail")],
        options: &[],
        returns: "`#{ ok: bool, value: any, error: #{ kind: string, message: string, causes: array, hints: array } }`",
        errors: "only an interruption of the run.",
        effect: Effect::Pure,
        example: "attempt(|| fail(\"no\")).error.message",
        run: flow::attempt,
    },
    Function {
        module: "",
        name: "check",
        doc: "Proves a claim and adds the result to the report.\n\nThe closure returns `#{ status: \"proved\" | \"failed\" | \"warning\" | \
              \"skipped\" | \"unproven\", evidence, reason, remedy }`, or `#{ ok: bool, … }`, a bool, or evidence as a string; an error that it \
              throws makes the check failed. A failed check does not end the script; the run ends with exit code 3.",
        params: &[
            Param::required("id", Kind::String, "a stable name such as `gateway.programmed`"),
            Param::required("title", Kind::String, "a true statement when it is proved"),
            Param::required("action", Kind::Closure, "looks at the mesh and returns the result"),
        ],
        options: &[],
        returns: "`#{ id, title, status, ok, evidence, reason, remedy }`",
        errors: "`Argument` when the closure returns something else.",
        effect: Effect::Pure,
        example: "check(\"sum\", \"one and one are two\", || #{ ok: 1 + 1 == 2, evidence: \"1 + 1 = 2\" }).status",
        run: flow::check,
    },
    Function {
        module: "",
        name: "fail",
        doc: "Ends the script with an error that can be caught.",
        params: &[Param::required(
            "message",
            Kind::String,
            "what is wrong, lower case, without a period",
        )],
        options: &[
            Param::optional("hint", Kind::Strings, "none", "what the reader can do"),
            Param::optional("cause", Kind::Strings, "none", "why"),
            Param::optional("kind", Kind::String, "\"Failed\"", "the error's kind"),
        ],
        returns: "nothing",
        errors: "always, of the given kind.",
        effect: Effect::Pure,
        example: "attempt(|| fail(\"the host is taken\", #{ hint: \"choose another one\" })).error.hints",
        run: fail,
    },
    Function {
        module: "",
        name: "info",
        doc: "Prints a line about what the script does.",
        params: &[Param::required("text", Kind::Any, "the line")],
        options: &[],
        returns: "`()`",
        errors: "none.",
        effect: Effect::Pure,
        example: "info(\"using the pool of MetalLB\")",
        run: |call| {
            call.host.progress.info(&text::plain(call.value("text")));
            Ok(Dynamic::UNIT)
        },
    },
    Function {
        module: "",
        name: "warn",
        doc: "Prints a warning, the same text once in a run.",
        params: &[Param::required("text", Kind::Any, "the warning")],
        options: &[],
        returns: "`()`",
        errors: "none.",
        effect: Effect::Pure,
        example: "warn(\"the certificate ends in 20 days\")",
        run: |call| {
            call.host.progress.warn(&text::plain(call.value("text")));
            Ok(Dynamic::UNIT)
        },
    },
    Function {
        module: "",
        name: "summary",
        doc: "Adds a line to the summary at the end of the run; the last value of a label stays.",
        params: &[
            Param::required("label", Kind::String, "one or two words such as `Address`"),
            Param::required("value", Kind::Any, "what to show"),
        ],
        options: &[],
        returns: "`()`",
        errors: "none.",
        effect: Effect::Pure,
        example: "summary(\"Address\", \"172.18.255.200\")",
        run: |call| {
            call.host.reporter.fact(&call.string("label"), &text::plain(call.value("value")));
            Ok(Dynamic::UNIT)
        },
    },
    Function {
        module: "",
        name: "table",
        doc: "Prints rows as a table.",
        params: &[Param::required("rows", Kind::Array, "maps, one for each row")],
        options: &[Param::optional(
            "columns",
            Kind::Strings,
            "every key",
            "the keys to show, in order",
        )],
        returns: "`()`",
        errors: "`Argument` for a row that is no map.",
        effect: Effect::Pure,
        example: "table([#{ name: \"istiod\", ready: \"1/1\" }])",
        run: |call| {
            let rows = call.value("rows").and_then(|rows| rows.clone().try_cast::<Array>());
            let table = text::table(&rows.unwrap_or_default(), &call.strings("columns"))?;
            if !table.is_empty() {
                call.host.reporter.print(&table);
            }
            Ok(Dynamic::UNIT)
        },
    },
    Function {
        module: "",
        name: "confirm",
        doc: "Asks the user a question that is answered by yes or no.\n\n`--yes` answers yes; a rehearsal, which changes no cluster, answers yes as well.",
        params: &[Param::required(
            "question",
            Kind::String,
            "the question, without a question mark",
        )],
        options: &[],
        returns: "bool",
        errors: "`Usage` when nobody can be asked: without a terminal, or in continuous integration.",
        effect: Effect::Read,
        example: "confirm(\"remove the tenant shop\")",
        run: prompt::confirm,
    },
    Function {
        module: "",
        name: "sleep",
        doc: "Waits on the target's clock; in a rehearsal that takes no real time.",
        params: &[Param::required(
            "span",
            Kind::Any,
            "a time span such as `\"5s\"`, or seconds as a number",
        )],
        options: &[],
        returns: "`()`",
        errors: "`Argument` for a text that is no time span.",
        effect: Effect::Read,
        example: "sleep(\"5s\")",
        run: |call| {
            flow::pause(call, text::span(call.value("span"))?)?;
            Ok(Dynamic::UNIT)
        },
    },
    Function {
        module: "",
        name: "entries",
        doc: "Gives the entries of a map as an array, since `for` cannot walk a map.",
        params: &[Param::required("map", Kind::Map, "the map")],
        options: &[],
        returns: "array of `#{ key: string, value: any }`, ordered by key",
        errors: "none.",
        effect: Effect::Pure,
        example: "entries(#{ a: 1, b: 2 })[1].key",
        run: |call| {
            let map = call.value("map").and_then(|map| map.clone().try_cast::<Map>());
            let entries = map.unwrap_or_default().into_iter().map(|(key, value)| {
                Map::from([("key".into(), key.as_str().into()), ("value".into(), value)]).into()
            });
            Ok(entries.collect::<Array>().into())
        },
    },
    Function {
        module: "yaml",
        name: "parse",
        doc: "Parses one YAML document.\n\nA text that is indented as a whole is moved to the left first.",
        params: &[Param::required("text", Kind::String, "the document")],
        options: &[],
        returns: "the value; `()` for an empty document",
        errors: "`Invalid` with the line.",
        effect: Effect::Pure,
        example: "yaml::parse(\"replicas: 2\").replicas",
        run: |call| {
            let value = yaml::parse(&text::dedent(&call.string("text"))).map_err(invalid_yaml)?;
            Ok(to_dynamic(&value))
        },
    },
    Function {
        module: "yaml",
        name: "documents",
        doc: "Parses a stream of YAML documents; empty ones are left out.",
        params: &[Param::required("text", Kind::String, "the stream")],
        options: &[],
        returns: "array of the values",
        errors: "`Invalid` with the line.",
        effect: Effect::Pure,
        example: "yaml::documents(\"a: 1\\n---\\na: 2\").len()",
        run: |call| {
            let documents =
                yaml::parse_documents(&text::dedent(&call.string("text"))).map_err(invalid_yaml)?;
            Ok(documents
                .iter()
                .map(|document| to_dynamic(&document.value))
                .collect::<Array>()
                .into())
        },
    },
    Function {
        module: "yaml",
        name: "emit",
        doc: "Writes a value as YAML, keys sorted, as kubectl and Helm do.",
        params: &[Param::required("value", Kind::Any, "the value")],
        options: &[],
        returns: "string that ends with a newline",
        errors: "`Argument` with the path of what YAML has no form for.",
        effect: Effect::Pure,
        example: "yaml::emit(#{ replicas: 2 })",
        run: |call| Ok(yaml::emit(&call.json("value")?).into()),
    },
    Function {
        module: "json",
        name: "parse",
        doc: "Parses a JSON text.",
        params: &[Param::required("text", Kind::String, "the text")],
        options: &[],
        returns: "the value",
        errors: "`Invalid` with the place.",
        effect: Effect::Pure,
        example: "json::parse(`{\"replicas\": 2}`).replicas",
        run: |call| {
            let value = serde_json::from_str(&call.string("text")).map_err(|error| {
                Diagnostic::new(ErrorKind::Invalid, "the text is not JSON").cause(error.to_string())
            })?;
            Ok(to_dynamic(&value))
        },
    },
    Function {
        module: "json",
        name: "emit",
        doc: "Writes a value as JSON.",
        params: &[Param::required("value", Kind::Any, "the value")],
        options: &[Param::optional(
            "pretty",
            Kind::Bool,
            "false",
            "whether to write it over several lines",
        )],
        returns: "string",
        errors: "`Argument` with the path of what JSON has no form for.",
        effect: Effect::Pure,
        example: "json::emit(#{ replicas: 2 })",
        run: |call| {
            let value = match call.value("value") {
                Some(value) => to_json(value, "value")?,
                None => serde_json::Value::Null,
            };
            let text = if call.flag("pretty") { format!("{value:#}") } else { value.to_string() };
            Ok(text.into())
        },
    },
    Function {
        module: "fs",
        name: "read",
        doc: "Reads a text file of the workspace, or of what `--allow-read` grants.",
        params: &[Param::required("path", Kind::String, "relative to the workspace")],
        options: &[],
        returns: "string",
        errors: "`NotFound`; `Denied` outside of what is granted; `Invalid` when it is not UTF-8.",
        effect: Effect::Read,
        example: "fs::write(\"note.txt\", \"hello\");\nfs::read(\"note.txt\")",
        run: |call| {
            let path = call.string("path");
            let real = call.host.files.readable(&path)?;
            let bytes = std::fs::read(real).map_err(|error| io_error("read", &path, &error))?;
            let text = String::from_utf8(bytes).map_err(|_| {
                Diagnostic::new(ErrorKind::Invalid, format!("`{path}` is not UTF-8 text"))
            })?;
            Ok(text.into())
        },
    },
    Function {
        module: "fs",
        name: "write",
        doc: "Writes a text file of the workspace, or of what `--allow-write` grants, in one go: a reader sees the old or the new one.",
        params: &[
            Param::required(
                "path",
                Kind::String,
                "relative to the workspace; its folder is made if it is missing",
            ),
            Param::required("text", Kind::String, "what it then holds"),
        ],
        options: &[],
        returns: "bool: whether the file changed",
        errors: "`Denied` outside of what is granted.",
        effect: Effect::Write,
        example: "fs::write(\"note.txt\", \"hello\")",
        run: |call| {
            let path = call.string("path");
            let real = call.host.files.writable(&path)?;
            let text = call.string("text");
            if std::fs::read(&real).is_ok_and(|old| old == text.as_bytes()) {
                return Ok(false.into());
            }
            crate::engine::files::write(&real, text.as_bytes())
                .map_err(|error| io_error("write", &path, &error))?;
            Ok(true.into())
        },
    },
    Function {
        module: "fs",
        name: "exists",
        doc: "Says whether a file or folder is there.",
        params: &[Param::required("path", Kind::String, "relative to the workspace")],
        options: &[],
        returns: "bool",
        errors: "`Denied` outside of what is granted.",
        effect: Effect::Read,
        example: "fs::exists(\"charts\")",
        run: |call| Ok(call.host.files.readable(&call.string("path"))?.exists().into()),
    },
    Function {
        module: "fs",
        name: "list",
        doc: "Lists the names in a folder, sorted; those of folders end with `/`.",
        params: &[Param::required("path", Kind::String, "relative to the workspace")],
        options: &[],
        returns: "array of strings",
        errors: "`NotFound`; `Denied` outside of what is granted.",
        effect: Effect::Read,
        example: "fs::list(\".\")",
        run: |call| {
            let path = call.string("path");
            let folder = call.host.files.readable(&path)?;
            let entries =
                std::fs::read_dir(folder).map_err(|error| io_error("list", &path, &error))?;
            let mut names: Vec<String> = entries
                .flatten()
                .map(|entry| {
                    let slash = if entry.path().is_dir() { "/" } else { "" };
                    format!("{}{slash}", entry.file_name().to_string_lossy())
                })
                .collect();
            names.sort();
            Ok(names.into_iter().map(Dynamic::from).collect::<Array>().into())
        },
    },
    Function {
        module: "time",
        name: "now",
        doc: "Gives the time of day of the target's world.",
        params: &[],
        options: &[],
        returns: "string in RFC 3339, UTC, to the second: `2026-11-23T20:00:00Z`",
        errors: "none.",
        effect: Effect::Read,
        example: "time::now().len() == 20",
        run: |call| {
            let now = call.host.now();
            Ok(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into())
        },
    },
    Function {
        module: "env",
        name: "get",
        doc: "Reads an environment variable that `--allow-env` grants.",
        params: &[Param::required("name", Kind::String, "the variable")],
        options: &[Param::optional(
            "secret",
            Kind::Bool,
            "false",
            "whether it becomes a secret, which no output shows",
        )],
        returns: "string, or `()` when it is not set",
        errors: "`Denied` for a name that is not granted.",
        effect: Effect::Read,
        example: "attempt(|| env::get(\"HOME\")).error.kind",
        run: |call| {
            let name = call.string("name");
            if !call.host.settings.allow_env.contains(&name) {
                return Err(Diagnostic::new(
                    ErrorKind::Denied,
                    format!("the script may not read the environment variable `{name}`"),
                )
                .hint(format!("grant it with `--allow-env {name}`")));
            }
            let Some(value) = call.host.settings.environment.var(&name) else {
                return Ok(Dynamic::UNIT);
            };
            if call.flag("secret") {
                call.host.redactor.learn(value);
                return Ok(Dynamic::from(crate::base::secret::Secret::new(value)));
            }
            Ok(value.to_owned().into())
        },
    },
];

fn fail(call: &Call<'_>) -> Result<Dynamic, Diagnostic> {
    let kind = match call.opt_string("kind") {
        Some(name) => ErrorKind::from_name(&name).ok_or_else(|| {
            let names: Vec<&str> = ErrorKind::ALL.iter().map(|kind| kind.name()).collect();
            Diagnostic::new(ErrorKind::Argument, format!("there is no kind of error `{name}`"))
                .hint(format!("it is one of {}", names.join(", ")))
        })?,
        None => ErrorKind::Failed,
    };
    let mut diagnostic = Diagnostic::new(kind, call.string("message"));
    diagnostic.hints = call.strings("hint");
    diagnostic.causes = call.strings("cause");
    Err(diagnostic)
}

fn invalid_yaml(error: yaml::YamlError) -> Diagnostic {
    Diagnostic::new(ErrorKind::Invalid, "the text is not YAML").cause(error.to_string())
}
