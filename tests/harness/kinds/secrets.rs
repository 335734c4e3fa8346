//! No secret in any byte that the program writes: 1,000 random ones are seeded, everything written is searched.
//!
//! They are the data of Secrets on an API server, tokens and passwords of a kubeconfig, values of secret parameters, and the private keys that
//! a script makes. The API server is a stand-in of this test that echoes in its refusals what it was sent, as admission webhooks do;
//! scripts print, format, wrap and throw what they read in every way there is. Searched for are letters and digits only, so that
//! neither quoting nor folding hides a leak, and base64.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use libtest_mimic::{Failed, Trial};
use parking_lot::Mutex;
use serde_json::{Value, json};

pub(crate) fn trials() -> Vec<Trial> {
    let run =
        |name: &str, test: fn() -> Result<(), Failed>| Trial::test(format!("secrets/{name}"), test);
    vec![
        run("data_of_secrets_in_every_way_of_printing", printed),
        run("what_the_server_echoes_in_its_refusals", refused),
        run("credentials_of_a_kubeconfig", credentials),
        run("values_of_secret_parameters", parameters),
        run("keys_that_a_script_makes", keys),
        run("everything_that_a_rehearsal_writes", rehearsed),
        run("values_and_manifests_of_charts", charts),
        run("what_is_typed_and_shown_in_a_session", session),
        run("a_run_that_is_interrupted", interrupted),
    ]
}

/// Random texts of the shapes that secrets have. The generator is seeded: a failure comes back.
fn seeded(count: usize, seed: u64) -> Vec<String> {
    let mut state = seed;
    let mut random = move |below: usize| {
        // SplitMix64: small, and good enough for texts.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % below as u64).expect("below a usize")
    };
    const PLAIN: &[u8] = b"abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    const SPECIAL: &[char] = &[
        '"', '\'', '\\', '<', '>', '&', '%', '$', '{', '}', '#', ':', '`', 'ü', '€', '/', '=', '*',
    ];
    (0..count)
        .map(|number| {
            let mut letters = |count: usize| -> String {
                (0..count).map(|_| char::from(PLAIN[random(PLAIN.len())])).collect()
            };
            match number % 8 {
                // A password, a token, a passphrase, a text with signs, a file of lines, a key, a URL, a JSON document.
                0 => letters(16),
                1 => format!("{}.{}.{}", letters(20), letters(60), letters(40)),
                2 => (0..8).map(|_| letters(9)).collect::<Vec<_>>().join(" "),
                3 => {
                    let mut text = letters(12);
                    for _ in 0..6 {
                        let part = letters(4);
                        text.push(SPECIAL[(number / 8 + part.len() + text.len()) % SPECIAL.len()]);
                        text.push_str(&part);
                    }
                    text
                }
                4 => (0..3).map(|_| format!("{}\n", letters(24))).collect(),
                5 => format!(
                    "-----BEGIN PRIVATE KEY-----\n{}\n{}\n-----END PRIVATE KEY-----\n",
                    letters(64),
                    letters(40)
                ),
                6 => {
                    format!("postgres://user:{}@db.example.com/app?x={}", letters(18), letters(10))
                }
                _ => format!("{{\"auth\":\"{}\",\"nested\":[\"{}\"]}}", letters(24), letters(24)),
            }
        })
        .collect()
}

/// Letters and digits of a text, which quoting, escaping, wrapping and indenting leave alone.
fn bare(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).collect()
}

/// The parts of a secret whose appearance anywhere is a leak.
fn parts(secret: &str) -> Vec<String> {
    let mut parts: Vec<String> = secret
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|part| part.len() >= 16)
        .map(ToOwned::to_owned)
        .collect();
    if parts.is_empty() {
        parts.push(bare(secret));
    }
    // The beginning of the base64 form is enough to tell it from chance.
    parts.push(bare(&STANDARD.encode(secret)).chars().take(20).collect());
    parts
}

/// Fails when any of the secrets is in any of the texts.
fn search(secrets: &[String], texts: &[(String, String)]) -> Result<(), Failed> {
    let mut leaks = String::new();
    for (name, text) in texts {
        let text = bare(text);
        // Windows of 16 letters tell in one step whether a part can be there at all.
        let windows: BTreeSet<&str> =
            (0..text.len().saturating_sub(15)).map(|at| &text[at..at + 16]).collect();
        let found = secrets.iter().filter(|secret| {
            parts(secret)
                .iter()
                .any(|part| windows.contains(&part[..16]) && text.contains(part.as_str()))
        });
        let found: Vec<&String> = found.collect();
        if let Some(first) = found.first() {
            let _ = writeln!(leaks, "{name}: {} secrets, such as {first:?}", found.len());
        }
    }
    if leaks.is_empty() { Ok(()) } else { Err(leaks.into()) }
}

/// An API server with Secrets. It refuses what it is told to refuse, and repeats it.
struct Server {
    url: String,
    /// What it was sent: the proof that secrets did go over the wire.
    received: Arc<Mutex<String>>,
    _runtime: tokio::runtime::Runtime,
}

fn serve(secrets: &[String]) -> Server {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let items: Vec<Value> = secrets
        .iter()
        .enumerate()
        .map(|(number, secret)| {
            json!({
                "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
                "metadata": {"name": format!("seeded-{number}"), "namespace": "default", "resourceVersion": "1", "uid": format!("{number}")},
                "data": {"value": STANDARD.encode(secret)},
            })
        })
        .collect();
    let items = Arc::new(items);
    let received: Arc<Mutex<String>> = Arc::default();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a listener");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let log = Arc::clone(&received);
    runtime.spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        while let Ok((stream, _)) = listener.accept().await {
            let (items, log) = (Arc::clone(&items), Arc::clone(&log));
            let service =
                service_fn(move |request| answer(request, Arc::clone(&items), Arc::clone(&log)));
            tokio::spawn(async move {
                let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Server { url, received, _runtime: runtime }
}

async fn answer(
    request: http::Request<Incoming>,
    items: Arc<Vec<Value>>,
    log: Arc<Mutex<String>>,
) -> Result<http::Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = String::from_utf8_lossy(&body.collect().await?.to_bytes()).into_owned();
    for value in head.headers.values() {
        log.lock().push_str(value.to_str().unwrap_or_default());
    }
    log.lock().push_str(&body);
    let resource = |plural: &str, singular: &str, kind: &str| {
        json!({
            "resource": plural, "singularResource": singular, "scope": "Namespaced",
            "responseKind": {"group": "", "version": "v1", "kind": kind},
            "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
        })
    };
    let groups = |items: Value| json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items});
    let path = head.uri.path().to_owned();
    let (status, value) = match (head.method.as_str(), path.as_str()) {
        ("GET", "/version") => (
            200,
            json!({"major": "1", "minor": "36", "gitVersion": "v1.36.3", "gitCommit": "", "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "", "platform": ""}),
        ),
        ("GET", "/api") => (
            200,
            groups(
                json!([{"metadata": {"name": ""}, "versions": [{"version": "v1", "resources": [resource("secrets", "secret", "Secret"), resource("configmaps", "configmap", "ConfigMap")]}]}]),
            ),
        ),
        ("GET", "/apis") => (200, groups(json!([]))),
        ("GET", path) if path.ends_with("/secrets") => (
            200,
            json!({"kind": "SecretList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": *items}),
        ),
        ("GET", path) => {
            let name = path.rsplit('/').next().unwrap_or_default();
            match items.iter().find(|item| item["metadata"]["name"] == name) {
                Some(item) => (200, item.clone()),
                None => (404, status_of(404, "NotFound", &format!("secrets \"{name}\" not found"))),
            }
        }
        (_, path) if path.contains("refused") => (
            400,
            status_of(
                400,
                "BadRequest",
                &format!("admission webhook \"policy.example.com\" denied the request: {body}"),
            ),
        ),
        (_, path) if path.contains("invalid") => {
            let mut status = status_of(
                422,
                "Invalid",
                &format!("Secret is invalid: data: Invalid value: {body:?}"),
            );
            status["details"] = json!({"name": "invalid", "kind": "Secret", "causes": [{"reason": "FieldValueInvalid", "field": "data.value", "message": format!("Invalid value: {body}")}]});
            (422, status)
        }
        (_, path) if path.contains("conflict") => {
            let mut status = status_of(
                409,
                "Conflict",
                "Apply failed with 1 conflict: conflict with \"other\": .data.value",
            );
            status["details"] = json!({"name": "conflict", "kind": "secrets", "causes": [{"reason": "FieldManagerConflict", "field": ".data.value", "message": "conflict with \"other\" using v1"}]});
            (409, status)
        }
        _ => (
            200,
            serde_json::from_str(&body)
                .unwrap_or_else(|_| serde_yaml::from_str(&body).unwrap_or_default()),
        ),
    };
    let response =
        http::Response::builder().status(status).header("content-type", "application/json");
    Ok(response.body(Full::from(value.to_string())).expect("a response"))
}

fn status_of(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": code})
}

fn kubeconfig(folder: &Path, server: &str, user: &str) -> Result<(), Failed> {
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: seeded\ncontexts:\n- name: seeded\n  context: {{cluster: seeded, user: seeded}}\n\
         clusters:\n- name: seeded\n  cluster: {{server: \"{server}\"}}\nusers:\n- name: seeded\n  user: {user}\n"
    );
    Ok(fs::write(folder.join("kubeconfig"), text)?)
}

/// Runs the program in the three forms of output; returns everything that it wrote, files included.
fn outputs(folder: &Path, arguments: &[&str]) -> Result<Vec<(String, String)>, Failed> {
    let mut texts = Vec::new();
    for form in [&[][..], &["-o", "json"], &["-v"]] {
        if arguments[0] == "eval" && form.contains(&"-v") {
            continue;
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshscript"));
        command.args(arguments).args(form).current_dir(folder).env_clear().env("HOME", folder);
        command.env("CI", "true").env("RUST_LOG", "trace").env("RUST_BACKTRACE", "1");
        if arguments[0] == "run" {
            command.args(["--report", "junit=junit.xml"]);
        }
        let output = command.output()?;
        let name = format!("{arguments:?} {form:?}");
        texts
            .push((format!("{name} stdout"), String::from_utf8_lossy(&output.stdout).into_owned()));
        texts
            .push((format!("{name} stderr"), String::from_utf8_lossy(&output.stderr).into_owned()));
        let junit = folder.join("junit.xml");
        if junit.exists() {
            texts.push((format!("{name} junit"), fs::read_to_string(&junit)?));
            fs::remove_file(junit)?;
        }
    }
    Ok(texts)
}

/// Runs a script and searches its outputs, which must hold each of `wanted`: a run that says nothing proves nothing.
fn silent(
    folder: &Path,
    secrets: &[String],
    script: &str,
    more: &[&str],
    wanted: &[&str],
) -> Result<(), Failed> {
    fs::write(folder.join("case.rhai"), script)?;
    let mut arguments = vec!["run", "case.rhai", "--kubeconfig", "kubeconfig"];
    arguments.extend(more);
    let texts = outputs(folder, &arguments)?;
    let all: String = texts.iter().map(|(_, text)| text.as_str()).collect();
    if let Some(missing) = wanted.iter().find(|wanted| !all.contains(**wanted)) {
        return Err(format!("no `{missing}` in what was written:\n{all}").into());
    }
    search(secrets, &texts)
}

fn printed() -> Result<(), Failed> {
    let secrets = seeded(1_000, 1);
    let server = serve(&secrets);
    let folder = tempfile::tempdir()?;
    kubeconfig(folder.path(), &server.url, "{}")?;
    let script = r#"
        let all = k8s::list("secrets", #{ namespace: "default" });
        print(all);
        print(attempt(|| yaml::emit(all)));
        print(attempt(|| json::emit(all)));
        info(`${all}`);
        print(attempt(|| yaml::emit(#{ value: `${all[0].data.value}` })));
        table(all.map(|s| #{ name: s.metadata.name, value: s.data.value }));
        for s in all {
            let value = s.data.value;
            step(`step ${value}`, || print(value + " and more"));
            warn(`careful: ${value}`);
        }
        summary("last", all[0].data.value);
        check("leak.proved", "shows evidence", || #{ ok: true, evidence: all[1].data.value });
        check(all[2].data.value, all[3].data.value, || #{ ok: false, reason: all[4].data.value, remedy: all[5].data.value });
        print(attempt(|| fail(all[6].data.value, #{ hint: all[7].data.value, cause: all[8].data.value })));
        print(attempt(|| k8s::get("secret", all[9].data.value)));
        print(attempt(|| k8s::get(all[9].data.value, "x")));
        print(attempt(|| cert::parse(all[10])));
        print(attempt(|| http::get(`http://${all[16].data.value}/`)));
        print(attempt(|| yaml::parse(`a: [${all[11].data.value}`)));
        print(attempt(|| json::parse(`{"a": ${all[12].data.value}`)));
        print(attempt(|| fs::read(all[13].data.value)));
        print(attempt(|| k8s::apply(#{ apiVersion: "v1", kind: "Secret", metadata: #{ name: "x" }, data: all[14].data.value })));
        throw `${all}`;
    "#;
    silent(folder.path(), &secrets, script, &[], &["seeded-999", "***", "careful: ***"])?;
    let texts = outputs(
        folder.path(),
        &[
            "eval",
            "--kubeconfig",
            "kubeconfig",
            "k8s::list(\"secrets\", #{ namespace: \"default\" })",
        ],
    )?;
    search(&secrets, &texts)?;
    let proof = "[k8s::list(\"secrets\", #{ namespace: \"default\" }).len()]";
    let counted = outputs(folder.path(), &["eval", "--kubeconfig", "kubeconfig", proof])?;
    if !counted.iter().any(|(_, text)| text.contains("1000")) {
        return Err(format!("the script reads all of them: {counted:?}").into());
    }
    Ok(())
}

fn refused() -> Result<(), Failed> {
    let secrets = seeded(120, 2);
    let server = serve(&[]);
    let folder = tempfile::tempdir()?;
    kubeconfig(folder.path(), &server.url, "{}")?;
    let values = serde_json::to_string(&secrets)?;
    fs::write(folder.path().join("values.json"), values)?;
    let script = r#"
        let values = json::parse(fs::read("values.json"));
        for name in ["refused", "invalid", "conflict", "taken"] {
            for i in range(0, values.len()) {
                let plain = #{ apiVersion: "v1", kind: "Secret", metadata: #{ name: `${name}-${i}`, namespace: "default" }, stringData: #{ value: values[i] } };
                let result = attempt(|| k8s::apply(plain));
                print(result);
                if i % 50 == 0 { print(attempt(|| k8s::create(plain))); print(attempt(|| k8s::diff(plain))); }
            }
        }
        k8s::apply(#{ apiVersion: "v1", kind: "Secret", metadata: #{ name: "refused", namespace: "default" }, stringData: #{ value: values[3] } });
    "#;
    silent(folder.path(), &secrets, script, &[], &["policy.example.com", "Invalid value"])?;
    let received = bare(&server.received.lock());
    let gone = secrets.iter().filter(|secret| {
        !received.contains(&bare(&STANDARD.encode(secret))) && !received.contains(&bare(secret))
    });
    match gone.count() {
        0 => Ok(()),
        missing => Err(format!("{missing} secrets did not reach the server").into()),
    }
}

fn credentials() -> Result<(), Failed> {
    let secrets: Vec<String> = seeded(64, 3)
        .into_iter()
        .filter(|secret| !secret.contains(['\n', '"', '\\', '\'']))
        .collect();
    let server = serve(&[]);
    let folder = tempfile::tempdir()?;
    let script = "print(k8s::context()); print(k8s::version()); print(attempt(|| k8s::get(\"secret\", \"x\"))); k8s::get(\"secret\", \"y\");";
    for pair in secrets.chunks(2).take(3) {
        let user = format!(
            "{{token: \"{}\", username: seeded, password: \"{}\"}}",
            pair[0],
            pair[pair.len() - 1]
        );
        kubeconfig(folder.path(), &server.url, &format!("{{token: \"{}\"}}", pair[0]))?;
        silent(folder.path(), pair, script, &[], &["does not exist"])?;
        // Nobody there; and files that cannot be read as a kubeconfig.
        kubeconfig(folder.path(), "http://127.0.0.1:1", &user)?;
        silent(folder.path(), pair, script, &[], &["127.0.0.1:1"])?;
        kubeconfig(folder.path(), &server.url, &format!("{{token: [\"{}\"]}}", pair[0]))?;
        silent(folder.path(), pair, script, &[], &[])?;
        fs::write(
            folder.path().join("kubeconfig"),
            format!("users: [{{name: a, user: {{token: \"{}\"", pair[0]),
        )?;
        silent(folder.path(), pair, script, &[], &[])?;
        let key = STANDARD.encode(&pair[0]);
        kubeconfig(
            folder.path(),
            &server.url,
            &format!("{{client-key-data: \"{key}\", client-certificate-data: \"{key}\"}}"),
        )?;
        silent(folder.path(), pair, script, &[], &[])?;
    }
    Ok(())
}

fn parameters() -> Result<(), Failed> {
    let secrets: Vec<String> = seeded(24, 4);
    let folder = tempfile::tempdir()?;
    kubeconfig(folder.path(), "http://127.0.0.1:1", "{}")?;
    let declare = "let token = param(\"token\", \"\", \"a token\", #{ secret: true });\n";
    let uses = [
        "print(token); print(`token ${token}`); print([token]); print(#{ token: token }); info(token); warn(token);",
        "print(attempt(|| json::emit(token))); print(attempt(|| yaml::emit(#{ t: token }))); print(attempt(|| token + \"x\")); print(attempt(|| token.len()));",
        "step(`with ${token}`, || fail(`bad ${token}`));",
        "print(attempt(|| http::get(\"http://127.0.0.1:1/\", #{ headers: #{ authorization: token } }))); http::get(\"http://127.0.0.1:1/\", #{ headers: #{ authorization: token }, timeout: token });",
        "throw token;",
        "throw #{ message: token, hints: [token] };",
        "cert::parse(token);",
        "k8s::apply(token);",
        "nothing(token);",
        "debug(token); token.nothing",
        "check(\"a\", \"b\", || token);",
    ];
    for (secret, used) in secrets.iter().zip(uses.iter().cycle()) {
        let set = format!("token={secret}");
        let one = std::slice::from_ref(secret);
        silent(folder.path(), one, &format!("{declare}{used}"), &["--set", &set], &[])?;
    }
    // By a file of values, also one that is broken right behind the secret.
    for secret in secrets.iter().take(4) {
        let one = std::slice::from_ref(secret);
        let script = format!("{declare}fail(`no ${{token}}`);");
        fs::write(folder.path().join("values.yaml"), json!({ "token": secret }).to_string())?;
        silent(folder.path(), one, &script, &["--values", "values.yaml"], &[])?;
        let broken = json!({ "token": secret }).to_string().replace('}', "");
        fs::write(folder.path().join("values.yaml"), broken)?;
        silent(folder.path(), one, &script, &["--values", "values.yaml"], &[])?;
    }
    Ok(())
}

/// A piece of a private key that is not part of its public key, which stands in the certificate.
fn private_part(pem: &str) -> String {
    let body: Vec<&str> = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    match body.get(8) {
        // RSA: the modulus ends in the seventh line, the private exponent follows.
        Some(line) => (*line).to_owned(),
        // Elliptic curves: the scalar or seed reaches into the end of the first line.
        None => body[0].chars().skip(32).collect(),
    }
}

fn keys() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let server = serve(&[]);
    kubeconfig(folder.path(), &server.url, "{}")?;
    let script = r#"
        for kind in ["P-256", "P-384", "Ed25519", "RSA-2048"] {
            let ca = cert::ca(#{ key: kind });
            let leaf = cert::issue(ca, #{ names: "shop.example.com", key: kind });
            cert::save("keys", ca, #{ name: `ca-${kind}` });
            cert::save("keys", leaf, #{ name: `leaf-${kind}` });
            let secret = cert::tls_secret("shop", leaf);
            print(ca); print(leaf); print(secret); print(`${leaf.key}`); info(leaf.key); print([leaf.key, ca]);
            print(attempt(|| yaml::emit(secret))); print(attempt(|| json::emit(leaf)));
            print(attempt(|| fail(`${secret}`)));
            let text = fs::read(`keys/leaf-${kind}.key`);
            print(text); print(json::emit(#{ key: text })); warn(text);
            print(attempt(|| k8s::apply(secret)));
            print(attempt(|| cert::load("keys", #{ name: `leaf-${kind}` })));
            print(attempt(|| cert::from_secret(secret)));
            print(attempt(|| http::get("https://127.0.0.1:1/", #{ certificate: leaf, ca: ca })));
            print(cert::rotate(ca)); print(cert::csr(#{ names: "a.example.com" }));
        }
        throw cert::issue(cert::ca(), #{ names: "shop.example.com" });
    "#;
    fs::write(folder.path().join("case.rhai"), script)?;
    let texts = outputs(folder.path(), &["run", "case.rhai", "--kubeconfig", "kubeconfig"])?;
    // Each form of output makes its own keys; those of the last run are in the files, and no text may hold any key at all.
    let mut secrets = Vec::new();
    for entry in fs::read_dir(folder.path().join("keys"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "key") {
            secrets.push(private_part(&fs::read_to_string(path)?));
        }
    }
    if secrets.len() != 8 {
        return Err(format!("8 keys are saved, found {}: {texts:?}", secrets.len()).into());
    }
    search(&secrets, &texts)?;
    for (name, text) in &texts {
        let body = text
            .split("BEGIN PRIVATE KEY-----")
            .nth(1)
            .map(|rest| bare(&rest[..rest.len().min(40)]));
        if body.is_some_and(|body| body.starts_with("MI") || body.starts_with("MC")) {
            return Err(format!("{name}: a private key").into());
        }
    }
    Ok(())
}

/// Every file below a folder that the program wrote by itself: reports, history, caches, logs.
fn written(
    folder: &Path,
    except: &[&str],
    texts: &mut Vec<(String, String)>,
) -> Result<(), Failed> {
    for entry in fs::read_dir(folder)?.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            written(&path, except, texts)?;
        } else if !except.contains(&name.as_str()) {
            let bytes = fs::read(&path)?;
            texts.push((format!("file {name}"), String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    Ok(())
}

/// Runs on the sandbox, in the three forms of output, and searches the outputs and the files.
fn rehearse(
    folder: &Path,
    secrets: &[String],
    arguments: &[&str],
    wanted: &[&str],
) -> Result<(), Failed> {
    let mut texts = outputs(folder, arguments)?;
    let all: String = texts.iter().map(|(_, text)| text.as_str()).collect();
    if let Some(missing) = wanted.iter().find(|wanted| !all.contains(**wanted)) {
        return Err(format!("no `{missing}` in what was written:\n{all}").into());
    }
    written(folder, INPUTS, &mut texts)?;
    search(secrets, &texts)
}

/// Files that a test itself puts there.
const INPUTS: &[&str] = &["values.json", "case.rhai", "kubeconfig", "values.yaml", "secret.yaml"];

fn rehearsed() -> Result<(), Failed> {
    let secrets = seeded(1_000, 5);
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("values.json"), serde_json::to_string(&secrets)?)?;
    let script = r#"
        let values = json::parse(fs::read("values.json"));
        fn secret(name, value) {
            #{ apiVersion: "v1", kind: "Secret", metadata: #{ name: name, namespace: "default" }, stringData: #{ value: value } }
        }
        for i in range(0, values.len()) {
            k8s::apply(secret(`s-${i}`, values[i]));
        }
        let all = k8s::list("secrets", #{ namespace: "default" });
        print(`read ${all.len()}`);
        print(all); print(`${all}`); table(all.map(|s| #{ name: s.metadata.name, data: s.data }));
        print(values); info(values); warn(values[1]); summary("kept", values[2]);
        for i in range(0, 16) {
            let changed = secret(`s-${i}`, values[i + 1]);
            print(k8s::diff(changed));
            print(attempt(|| k8s::create(changed)));
            print(attempt(|| k8s::apply(changed, #{ field_manager: "other" })));
            print(attempt(|| k8s::patch("secret", `s-${i}`, #{ stringData: #{ value: values[i + 2] } }, #{ namespace: "default" })));
            print(attempt(|| k8s::get("secret", values[i], #{ namespace: "default" })));
            print(attempt(|| k8s::label("secret", `s-${i}`, #{ "a": values[i] }, #{ namespace: "default" })));
            print(attempt(|| k8s::annotate("secret", `s-${i}`, #{ "a": values[i] }, #{ namespace: "default" })));
            print(attempt(|| k8s::wait("secret", `s-${i}`, #{ namespace: "default", jsonpath: "{.data.value}", value: values[i], timeout: "1s" })));
            print(attempt(|| k8s::jsonpath(all[i], "{.data.value}")));
            print(k8s::get("secret", `s-${i}`, #{ namespace: "default" }));
            check(`c.${i}`, "shows what it saw", || #{ status: "failed", evidence: values[i], reason: values[i + 1], remedy: values[i + 2] });
            step(`with ${values[i]}`, || print(values[i]));
        }
        k8s::apply(#{ apiVersion: "v1", kind: "Pod", metadata: #{ name: "web", namespace: "default" },
            spec: #{ containers: [#{ name: "web", image: "kennethreitz/httpbin", env: [#{ name: "A", value: values[3] }] }] } });
        k8s::wait("pod", "web", #{ ready: true, namespace: "default" });
        print(attempt(|| k8s::exec("web", ["printenv"], #{ namespace: "default" })));
        print(attempt(|| k8s::logs("web", #{ namespace: "default" })));
        print(k8s::get("pod", "web", #{ namespace: "default" }));
        throw `the end: ${values[4]} ${all}`;
    "#;
    fs::write(folder.path().join("case.rhai"), script)?;
    rehearse(
        folder.path(),
        &secrets,
        &["run", "case.rhai", "--sandbox"],
        &["read 1000", "s-999", "***", "the end: "],
    )?;
    let eval = r#"let values = json::parse(fs::read("values.json"));
        k8s::apply(values.map(|value| #{ apiVersion: "v1", kind: "Secret", metadata: #{ name: crypto(value), namespace: "default" }, stringData: #{ value: value } }));
        fn crypto(value) { `s-${value.len()}` }
        [k8s::list("secrets", #{ namespace: "default" }), values]"#;
    rehearse(folder.path(), &secrets, &["eval", eval, "--sandbox"], &["***"])?;
    // An error whose source window and causes quote the secret.
    for secret in secrets.iter().filter(|secret| bare(secret).len() == secret.len()).take(8) {
        let script = format!(
            "let made = k8s::apply(#{{ apiVersion: \"v1\", kind: \"Secret\", metadata: #{{ name: \"x\" }}, stringData: #{{ value: \"{secret}\" }} }});\n\
             k8s::get(\"secret\", \"{secret}\");"
        );
        fs::write(folder.path().join("case.rhai"), script)?;
        let one = std::slice::from_ref(secret);
        rehearse(folder.path(), one, &["run", "case.rhai", "--sandbox"], &["***"])?;
    }
    Ok(())
}

fn charts() -> Result<(), Failed> {
    let secrets = seeded(48, 6);
    let folder = tempfile::tempdir()?;
    let chart = folder.path().join("chart");
    fs::create_dir_all(chart.join("templates"))?;
    fs::write(chart.join("Chart.yaml"), "apiVersion: v2\nname: keeper\nversion: 1.0.0\n")?;
    fs::write(chart.join("values.yaml"), "passwords: []\ntoken: none\n")?;
    fs::write(
        chart.join("templates/secret.yaml"),
        "{{- range $i, $p := .Values.passwords }}\n---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: kept-{{ $i }}\n\
         stringData:\n  value: {{ $p | quote }}\ndata:\n  token: {{ $.Values.token | b64enc }}\n{{- end }}\n",
    )?;
    fs::write(folder.path().join("values.json"), serde_json::to_string(&secrets)?)?;
    let token = &seeded(2, 7)[1];
    let script = r#"
        let token = param("token", "", "a token", #{ secret: true });
        let passwords = json::parse(fs::read("values.json"));
        let options = #{ namespace: "default", values: #{ passwords: passwords, token: token } };
        print(attempt(|| helm::install("keeper", "chart", options)));
        print(helm::status("keeper", #{ namespace: "default" }));
        print(helm::history("keeper", #{ namespace: "default" }));
        print(helm::values("keeper", #{ namespace: "default" }));
        print(helm::values("keeper", #{ namespace: "default", all: true }));
        print(helm::manifest("keeper", #{ namespace: "default" }));
        print(helm::template("keeper", "chart", options));
        print(helm::list(#{ namespace: "default" }));
        print(k8s::list("secrets", #{ namespace: "default" }));
        print(attempt(|| helm::upgrade("keeper", "chart", #{ namespace: "default", values: #{ passwords: [passwords[0], #{ a: passwords[1] }], token: token } })));
        print(attempt(|| helm::upgrade("keeper", "chart", #{ namespace: "default", values: #{ passwords: passwords, token: [token] } })));
        print(attempt(|| helm::rollback("keeper", #{ namespace: "default" })));
        print(attempt(|| helm::uninstall("keeper", #{ namespace: "default" })));
        throw `the end: ${passwords}`;
    "#;
    fs::write(folder.path().join("case.rhai"), script)?;
    let mut all = secrets;
    all.push(token.clone());
    let set = format!("token={token}");
    rehearse(
        folder.path(),
        &all,
        &["run", "case.rhai", "--sandbox", "--set", &set],
        &["kept-47", "***", "the end: "],
    )
}

/// Types lines into a session; what it shows and keeps.
fn session() -> Result<(), Failed> {
    use std::io::Write as _;
    let secrets: Vec<String> = seeded(160, 8)
        .into_iter()
        .filter(|secret| !secret.contains(['\n', '"', '\\', '$', '`']))
        .collect();
    let folder = tempfile::tempdir()?;
    let mut typed = String::new();
    for (number, secret) in secrets.iter().enumerate() {
        let _ = writeln!(
            typed,
            "k8s::apply(#{{ apiVersion: \"v1\", kind: \"Secret\", metadata: #{{ name: \"s-{number}\", namespace: \"default\" }}, stringData: #{{ value: \"{secret}\" }} }})"
        );
        if number % 10 == 0 {
            let _ = writeln!(
                typed,
                "let kept = \"{secret}\"\nkept\n:vars\nk8s::get(\"secret\", \"{secret}\")"
            );
            let _ = writeln!(
                typed,
                "k8s::get(\"secret\", \"s-{number}\")\nnothing(\"{secret}\")\nlast"
            );
        }
    }
    typed.push_str("k8s::list(\"secrets\")\n:save session.rhai\n:quit\n");
    let mut child = Command::new(env!("CARGO_BIN_EXE_meshscript"))
        .args(["repl", "--sandbox"])
        .current_dir(folder.path())
        .env_clear()
        .env("HOME", folder.path())
        .env("RUST_LOG", "trace")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().ok_or("a pipe")?;
    let writer = std::thread::spawn(move || stdin.write_all(typed.as_bytes()));
    let output = child.wait_with_output()?;
    writer.join().map_err(|_| "the writer")??;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut texts = vec![
        ("stdout".to_owned(), text(&output.stdout)),
        ("stderr".to_owned(), text(&output.stderr)),
    ];
    if !texts[0].1.contains("created") || !texts[0].1.contains("***") {
        return Err(format!("the session did nothing: {texts:?}").into());
    }
    written(folder.path(), INPUTS, &mut texts)?;
    let names: Vec<&str> = texts.iter().map(|(name, _)| name.as_str()).collect();
    for file in ["file session.rhai", "file history"] {
        if !names.contains(&file) {
            return Err(format!("no {file} among {names:?}").into());
        }
    }
    search(&secrets, &texts)
}

fn interrupted() -> Result<(), Failed> {
    let secrets = seeded(200, 9);
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("values.json"), serde_json::to_string(&secrets)?)?;
    let script = r#"
        let values = json::parse(fs::read("values.json"));
        let made = values.map(|value| #{ apiVersion: "v1", kind: "Secret", metadata: #{ generateName: "s-", namespace: "default" }, stringData: #{ value: value } });
        for one in made { k8s::create(one); }
        print("ready");
        let i = 0;
        loop {
            step(`turn ${values[i % 200]}`, || print(values[i % 200]));
            attempt(|| k8s::get("secret", values[i % 200], #{ namespace: "default" }));
            i += 1;
        }
    "#;
    fs::write(folder.path().join("case.rhai"), script)?;
    for form in [&[][..], &["-o", "json"], &["-v"]] {
        let out = fs::File::create(folder.path().join("out"))?;
        let err = fs::File::create(folder.path().join("err"))?;
        let mut child = Command::new(env!("CARGO_BIN_EXE_meshscript"))
            .args(["run", "case.rhai", "--sandbox", "--report", "junit=junit.xml"])
            .args(form)
            .current_dir(folder.path())
            .env_clear()
            .env("HOME", folder.path())
            .env("RUST_LOG", "trace")
            .stdout(out)
            .stderr(err)
            .spawn()?;
        let text = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap_or_default();
        for _ in 0..3_000 {
            if text("out").matches("turn ").count() > 3 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Command::new("kill").args(["-INT", &child.id().to_string()]).status()?;
        let status = child.wait()?;
        if status.code() != Some(130) {
            return Err(format!("ended with {status}: {}", text("err")).into());
        }
        let mut texts = Vec::new();
        written(folder.path(), INPUTS, &mut texts)?;
        search(&secrets, &texts)?;
    }
    Ok(())
}
