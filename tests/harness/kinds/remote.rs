//! Charts over the network: a repository and a registry on a loopback port, asked by us and by the test bed's helm.
//!
//! Each row is a chart as `helm template` is told of it and as a script is; where helm is there, both must render the same,
//! or both fail. Without it, the version that a row must find is compared alone.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libtest_mimic::{Failed, Trial};
use meshscript::config::Environment;
use meshscript::engine::builtin;
use meshscript::report::ReportOptions;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::docs::{archive, packed};
use super::{provenance, script};
use crate::harness::helm::Helm;

const LOGIN: (&str, &str) = ("someone", "a-password-for-tests");
const TOKEN: &str = "token-of-the-registry";

/// Options of helm, options of ours, and the version that is found; `None` when both must fail.
type Row = (&'static str, &'static [&'static str], &'static str, Option<&'static str>);

/// `REPO` and `OCI` stand for the addresses.
const ROWS: &[Row] = &[
    ("web", &["--repo", "REPO"], "repo: `REPO`", Some("1.10.0")),
    (
        "web",
        &["--repo", "REPO", "--version", "1.2.0"],
        "repo: `REPO`, version: `1.2.0`",
        Some("1.2.0"),
    ),
    (
        "web",
        &["--repo", "REPO", "--version", "~1.2"],
        "repo: `REPO`, version: `~1.2`",
        Some("1.2.0"),
    ),
    (
        "web",
        &["--repo", "REPO", "--version", ">1.10.0-0"],
        "repo: `REPO`, version: `>1.10.0-0`",
        Some("2.0.0-rc.1"),
    ),
    ("web", &["--repo", "REPO", "--version", "^3"], "repo: `REPO`, version: `^3`", None),
    ("wed", &["--repo", "REPO"], "repo: `REPO`", None),
    ("web", &["--repo", "REPO/nothing"], "repo: `REPO/nothing`", None),
    ("web", &["--repo", "REPO/private"], "repo: `REPO/private`", None),
    (
        "web",
        &["--repo", "REPO/private", "--username", LOGIN.0, "--password", LOGIN.1],
        "repo: `REPO/private`, username: `someone`, password: `a-password-for-tests`",
        Some("1.10.0"),
    ),
    ("REPO/web-1.2.0.tgz", &[], "", Some("1.2.0")),
    ("OCI/team/web", &["--plain-http"], "plain_http: true", None),
    (
        "OCI/team/web",
        &["--plain-http", "--username", LOGIN.0, "--password", LOGIN.1],
        "plain_http: true, username: `someone`, password: `a-password-for-tests`",
        Some("1.10.0"),
    ),
    (
        "OCI/open/web",
        &["--plain-http", "--version", "1.2.0"],
        "plain_http: true, version: `1.2.0`",
        Some("1.2.0"),
    ),
    (
        "OCI/open/web",
        &["--plain-http", "--version", "~1.2"],
        "plain_http: true, version: `~1.2`",
        Some("1.2.0"),
    ),
    ("OCI/open/web:1.10.0", &["--plain-http"], "plain_http: true", Some("1.10.0")),
    (
        "OCI/open/web",
        &["--plain-http", "--version", "1.10.0+b"],
        "plain_http: true, version: `1.10.0+b`",
        Some("1.10.0+b"),
    ),
    (
        "OCI/open/web",
        &["--plain-http", "--version", "9.9.9"],
        "plain_http: true, version: `9.9.9`",
        None,
    ),
    (
        "OCI/open/image",
        &["--plain-http", "--version", "1.0.0"],
        "plain_http: true, version: `1.0.0`",
        None,
    ),
    ("OCI/open/web@DIGEST", &["--plain-http"], "plain_http: true", Some("1.2.0")),
    (
        "web",
        &["--repo", "REPO/signed", "--verify", "--keyring", "KEYS"],
        "repo: `REPO/signed`, verify: true, keyring: `KEYS`",
        Some("1.2.0"),
    ),
    (
        "REPO/signed/web-1.2.0.tgz",
        &["--verify", "--keyring", "KEYS"],
        "verify: true, keyring: `KEYS`",
        Some("1.2.0"),
    ),
    (
        "OCI/open/signed/web",
        &["--plain-http", "--verify", "--keyring", "KEYS"],
        "plain_http: true, verify: true, keyring: `KEYS`",
        Some("1.2.0"),
    ),
    (
        "OCI/open/web",
        &["--plain-http", "--verify", "--keyring", "KEYS"],
        "plain_http: true, verify: true, keyring: `KEYS`",
        None,
    ),
    (
        "web",
        &["--repo", "REPO", "--verify", "--keyring", "KEYS"],
        "repo: `REPO`, verify: true, keyring: `KEYS`",
        None,
    ),
    (
        "web",
        &["--repo", "REPO/forged", "--verify", "--keyring", "KEYS"],
        "repo: `REPO/forged`, verify: true, keyring: `KEYS`",
        None,
    ),
    (
        "web",
        &["--repo", "REPO/signed", "--verify", "--keyring", "nothing"],
        "repo: `REPO/signed`, verify: true, keyring: `nothing`",
        None,
    ),
];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("remote/as_helm_finds_them", as_helm),
        Trial::test("remote/wrong_answers_are_refused", wrong_answers),
        Trial::test("remote/an_archive_is_fetched_once", once),
        Trial::test("remote/credentials_stay_with_their_host", credentials),
        Trial::test("remote/credentials_are_in_no_error", in_no_error),
        Trial::test("remote/an_index_is_asked_for_and_kept", index),
        Trial::test("remote/downloads_go_through_the_proxy", proxied),
        Trial::test("remote/the_guide_takes_its_charts_from_there", guide),
    ]
}

fn as_helm() -> Result<(), Failed> {
    let server = Server::start()?;
    let helm = Helm::find();
    let home = tempfile::tempdir()?;
    let mut wrong = Vec::new();
    for (chart, flags, options, version) in ROWS {
        let chart = server.filled(chart);
        let ours = server.render(&chart, &server.filled(options), None);
        let label = format!("{chart} {options}");
        match (&ours, version) {
            (Ok(text), Some(version)) if text.contains(&format!("version: \"{version}\"")) => {}
            (Err(_), None) => {}
            (ours, version) => wrong.push(format!("{label}: {version:?}, but {ours:?}")),
        }
        let Some(helm) = helm else { continue };
        let is_verified = flags.contains(&"--verify");
        let keys = keys().display().to_string();
        let flags: Vec<String> =
            flags.iter().map(|flag| server.filled(flag).replace("KEYS", &keys)).collect();
        let arguments =
            ["template", "r", chart.as_str()].map(str::to_owned).into_iter().chain(flags);
        // Helm keeps a `.prov` by the archive's digest.
        let own = tempfile::tempdir()?;
        let home = if is_verified { own.path() } else { home.path() };
        let theirs = helm.run(home, arguments)?;
        match (&ours, &theirs) {
            (Ok(ours), Ok(theirs)) if ours == theirs => {}
            (Err(_), Err(_)) => {}
            (ours, theirs) => wrong.push(format!("{label}: helm {theirs:?}, ours {ours:?}")),
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

/// What a broken or hostile server says ends in an error that names it.
fn wrong_answers() -> Result<(), Failed> {
    let server = Server::start()?;
    for (chart, options, said) in [
        ("bad", "repo: `REPO`", "has the digest sha256:"),
        ("web", "repo: `REPO/html`", "is no index of a chart repository: it has no `apiVersion`"),
        ("wed", "repo: `REPO`", "did you mean `web`?"),
        ("web", "repo: `REPO`, version: `^3`", "there are: 2.0.0-rc.1, 1.10.0, 1.2.0"),
        ("web", "repo: `REPO`, digest: `sha256:00`", "not sha256:00"),
        ("web", "repo: `REPO/private`", "answered 401 Unauthorized"),
        (
            "OCI/open/image",
            "plain_http: true, version: `1.0.0`",
            "its config is `application/vnd.oci.image.config.v1+json`",
        ),
        ("OCI/open/lies", "plain_http: true, version: `1.0.0`", "has the digest sha256:"),
        (
            "web",
            "repo: `REPO`, verify: true, keyring: `KEYS`",
            "failed to fetch provenance \"http://127.0.0.1:",
        ),
        (
            "OCI/open/web",
            "plain_http: true, verify: true, keyring: `KEYS`",
            "manifest does not contain a layer with mediatype application/vnd.cncf.helm.chart.provenance.v1.prov",
        ),
        (
            "web",
            "repo: `REPO/forged`, verify: true, keyring: `KEYS`",
            "chart `web-1.2.0.tgz` cannot be verified: openpgp: invalid signature: RSA verification failure",
        ),
        ("web", "repo: `REPO`, keyring: `KEYS`", "option `keyring` needs `verify: true`"),
        ("web", "repo: `REPO`, verify: true, keyring: `nothing`", "failed to load keyring `"),
        ("builtin:base", "verify: true, keyring: `KEYS`", "is signed by nobody"),
        ("OCI/open/loop", "plain_http: true", "no version that is no pre-release of chart `loop`"),
        ("oci://", "", "names no chart of a registry"),
        ("REPO/broken.tgz", "", "broken.tgz"),
    ] {
        let chart = server.filled(chart);
        match server.render(&chart, &server.filled(options), None) {
            Err(error) if error.contains(said) => {}
            found => return Err(format!("{chart} {options}: {said:?} is not in {found:?}").into()),
        }
    }
    Ok(())
}

/// The cache keeps an archive by its digest, also when many ask at once, and does not trust what is in it.
fn once() -> Result<(), Failed> {
    let server = Server::start()?;
    let cache = tempfile::tempdir()?;
    let options = server.filled("repo: `REPO`");
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| server.render("web", &options, Some(cache.path()))))
            .collect();
        runs.into_iter().try_for_each(|run| match run.join() {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Failed::from(error)),
            Err(_) => Err("a thread ended".into()),
        })
    })?;
    let fetched = server.archives.load(Ordering::Relaxed);
    server.render("web", &options, Some(cache.path()))?;
    if server.archives.load(Ordering::Relaxed) != fetched {
        return Err("the archive was fetched again".into());
    }
    let kept: Vec<_> =
        std::fs::read_dir(cache.path().join("meshscript/charts"))?.flatten().collect();
    let [file] = &kept[..] else { return Err(format!("the cache holds {kept:?}").into()) };
    std::fs::write(file.path(), b"something else")?;
    server.render("web", &options, Some(cache.path()))?;
    if server.archives.load(Ordering::Relaxed) != fetched + 1 {
        return Err("a changed file of the cache was used".into());
    }
    Ok(())
}

/// An index that points at another host gets no password for it.
fn credentials() -> Result<(), Failed> {
    let other = Server::start()?;
    let server = Server::start_pointing_at(Some(other.port))?;
    let options = server
        .filled("repo: `REPO/elsewhere`, username: `someone`, password: `a-password-for-tests`");
    server.render("web", &options, None)?;
    let told = other.authorizations.lock().map_err(|error| error.to_string())?;
    if told[..] != [String::new()] {
        return Err(format!("the other host was told {told:?}").into());
    }
    Ok(())
}

fn keys() -> std::path::PathBuf {
    provenance::folder().join("trusted.gpg")
}

/// Neither a password nor a signed address is told.
fn in_no_error() -> Result<(), Failed> {
    let server = Server::start()?;
    let port = server.port;
    for (chart, options) in [
        ("web", format!("repo: `http://someone:{SECRET}@127.0.0.1:{port}/charts`")),
        ("web", format!("repo: `http://127.0.0.1:1/charts?token={SECRET}`")),
        ("web", format!("repo: `http://127.0.0.1:{port}/nothing?token={SECRET}`")),
        ("web", format!("repo: `http://127.0.0.1:{port}/charts/round?token={SECRET}`")),
        (&format!("http://u:{SECRET}@127.0.0.1:{port}/web.tgz"), String::new()),
        (&format!("http://127.0.0.1:{port}/charts/broken.tgz?token={SECRET}"), String::new()),
        (&format!("oci://u:{SECRET}@127.0.0.1:{port}/web"), "plain_http: true".to_owned()),
        (
            "web",
            format!(
                "repo: `http://127.0.0.1:{port}/charts/private`, username: `u`, password: `{SECRET}`"
            ),
        ),
    ] {
        // The lines of the script are its own.
        let told =
            |error: &str| error.lines().any(|line| !line.contains(" | ") && line.contains(SECRET));
        match server.render(chart, &options, None) {
            Err(error) if !told(&error) => {}
            found => return Err(format!("{chart} {options}: {found:?}").into()),
        }
    }
    let proxy = format!("http://me:{SECRET}@127.0.0.1:1");
    match server.render_with("web", "repo: `http://charts.example/`", [("HTTP_PROXY", proxy)]) {
        Err(error) if !error.contains(SECRET) && error.contains("127.0.0.1:1") => Ok(()),
        found => Err(format!("by a proxy: {found:?}").into()),
    }
}

/// An index is fetched once and asked for again, also by many at once; what the cache holds is not trusted.
fn index() -> Result<(), Failed> {
    let server = Server::start()?;
    let cache = tempfile::tempdir()?;
    let options = server.filled("repo: `REPO/dated`");
    let render = || server.render("web", &options, Some(cache.path()));
    let expected = render()?;
    let sent = || server.indexes.load(Ordering::Relaxed);
    if sent() != 1 {
        return Err(format!("the first run fetched {} indexes", sent()).into());
    }
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..8).map(|_| scope.spawn(render)).collect();
        runs.into_iter().try_for_each(|run| match run.join() {
            Ok(Ok(text)) if text == expected => Ok(()),
            Ok(other) => Err(Failed::from(format!("{other:?}"))),
            Err(_) => Err("a thread ended".into()),
        })
    })?;
    if sent() != 1 {
        return Err(format!("an index that did not change was fetched {} times", sent()).into());
    }
    let kept: Vec<_> =
        std::fs::read_dir(cache.path().join("meshscript/indexes"))?.flatten().collect();
    let [file] = &kept[..] else { return Err(format!("the cache holds {kept:?}").into()) };
    let text = std::fs::read_to_string(file.path())?;
    std::fs::write(file.path(), text.replace("1.2.0", "6.6.6"))?;
    if render()? != expected || sent() != 2 {
        return Err("a changed file of the cache was used".into());
    }
    Ok(())
}

/// `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` decide as they do for helm. The proxy is our server: it answers for any host.
fn proxied() -> Result<(), Failed> {
    let server = Server::start()?;
    let proxy = format!("http://me:p%40ss@127.0.0.1:{}", server.port);
    let helm = Helm::find();
    // The variable that holds the proxy, the repository, a variable more, and whether the chart is found.
    let rows = [
        ("HTTP_PROXY", "http://charts.example/charts", ("TZ", "UTC"), true),
        ("http_proxy", "http://charts.example/charts", ("TZ", "UTC"), true),
        ("HTTP_PROXY", "http://charts.example/charts", ("NO_PROXY", "other.example"), true),
        ("HTTP_PROXY", "http://charts.invalid/charts", ("NO_PROXY", "invalid"), false),
        ("HTTP_PROXY", "http://charts.invalid/charts", ("no_proxy", "*"), false),
        ("HTTPS_PROXY", "http://charts.invalid/charts", ("TZ", "UTC"), false),
        ("HTTP_PROXY", "https://charts.invalid/charts", ("TZ", "UTC"), false),
        // The tunnel is asked for, and refused.
        ("HTTPS_PROXY", "https://charts.example/charts", ("TZ", "UTC"), false),
        ("HTTP_PROXY", "http://charts.example/charts", ("REQUEST_METHOD", "GET"), false),
    ];
    for (variable, repository, other, is_found) in rows {
        let variables = || [(variable, proxy.clone()), (other.0, other.1.to_owned())];
        let before = server.proxied.lock().map_err(|error| error.to_string())?.len();
        let options = format!("repo: `{repository}`");
        let ours = server.render_with("web", &options, variables());
        let after = server.proxied.lock().map_err(|error| error.to_string())?.clone();
        let label = format!("{variable} {repository} {other:?}");
        if ours.is_ok() != is_found {
            return Err(format!("{label}: {ours:?}").into());
        }
        // The proxy was told who asks, and what.
        let told = &after[before..];
        let through = is_found || (repository.starts_with("https") && variable == "HTTPS_PROXY");
        if told.is_empty() == through || told.iter().any(|told| told != "Basic bWU6cEBzcw==") {
            return Err(format!("{label}: the proxy was told {told:?}").into());
        }
        if let Some(helm) = helm {
            let home = tempfile::tempdir()?;
            let arguments = ["template", "r", "web", "--repo", repository];
            let theirs = helm.run_with(home.path(), arguments, variables())?;
            if theirs.is_ok() != ours.is_ok() {
                return Err(format!("{label}: helm {theirs:?}, ours {ours:?}").into());
            }
        }
    }
    Ok(())
}

/// The guide's scripts install from a registry and from a repository, and find nothing to do the second time.
fn guide() -> Result<(), Failed> {
    let mut files = BTreeMap::new();
    let mut index = "apiVersion: v1\nentries:\n".to_owned();
    for (name, version) in [
        ("base", "1.30.3"),
        ("istiod", "1.30.3"),
        ("cni", "1.30.3"),
        ("ztunnel", "1.30.3"),
        ("metallb", "0.16.1"),
    ] {
        let chart = builtin::chart(name).ok_or(name)?;
        let chart: Vec<(String, Vec<u8>)> =
            chart.into_iter().map(|(path, data)| (format!("{name}/{path}"), data)).collect();
        let archive = archive(&chart)?;
        let sum = sha256(&archive);
        index.push_str(&format!(
            "  {name}:\n  - {{name: {name}, version: {version}, urls: [{name}-{version}.tgz], digest: {sum}}}\n"
        ));
        files.insert(format!("/charts/guide/{name}-{version}.tgz"), archive.clone());
        publish(&mut files, &format!("guide/{name}"), version, &[(CONTENT, &archive)]);
    }
    files.insert("/charts/guide/index.yaml".to_owned(), index.into_bytes());
    let server = Server::start_with(None, files)?;
    let cache = tempfile::tempdir()?;
    for (charts, options) in
        [("OCI/guide/", json!({"plain_http": true})), ("REPO/guide", json!({}))]
    {
        let charts = server.filled(charts);
        let workspace = tempfile::tempdir()?;
        let scripts = workspace.path().join("scripts");
        std::fs::create_dir(&scripts)?;
        script::copy(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts"), &scripts)?;
        let mut settings = script::settings(workspace.path());
        let variables = [("XDG_CACHE_HOME".to_owned(), cache.path().display().to_string())];
        settings.environment = Environment::empty(workspace.path().to_owned()).with(variables);
        settings.set.push(("charts".to_owned(), charts.clone()));
        settings.set.push(("metallb".to_owned(), "yes".to_owned()));
        settings.set.push(("pool".to_owned(), "172.18.255.200-172.18.255.250".to_owned()));
        settings.values.insert("chart_options".to_owned(), options);
        let (session, captured) = script::session(settings, ReportOptions::default());
        let guide = ["scripts/prereqs.rhai".to_owned(), "scripts/istio.rhai".to_owned()];
        for _ in 0..2 {
            let ran = session.run(&guide).map_err(|error| {
                session.host.reporter.error(&error, &|name| session.text_of(name));
                format!("{charts}: {}", captured.lock().all)
            });
            drop(ran?);
        }
        let found = session
            .eval(
                "let all = \"\"; for r in helm::list(#{ all_namespaces: true }) { all += `${r.name} ${r.chart} ${r.revision}\n`; } all",
            )
            .map_err(|error| error.message.clone())?
            .into_string()?;
        let releases = [
            "istio-base base-",
            "istiod istiod-",
            "istio-cni cni-",
            "ztunnel ztunnel-",
            "metallb metallb-",
        ];
        for release in releases {
            if !found.lines().any(|line| line.starts_with(release) && line.ends_with(" 1")) {
                return Err(format!("{charts}: {release} is not in {found}").into());
            }
        }
    }
    // The registry's archives are the repository's: none was fetched again.
    match server.archives.load(Ordering::Relaxed) {
        0 => Ok(()),
        n => Err(format!("{n} archives were fetched again").into()),
    }
}

const CONTENT: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
const PROVENANCE: &str = "application/vnd.cncf.helm.chart.provenance.v1.prov";

/// Puts a chart into the registry under a tag and its digest, which is returned.
fn publish(
    files: &mut BTreeMap<String, Vec<u8>>,
    place: &str,
    tag: &str,
    layers: &[(&str, &[u8])],
) -> String {
    let digest = |data: &[u8]| format!("sha256:{}", sha256(data));
    let told: Vec<_> = layers
        .iter()
        .map(|(kind, data)| json!({"mediaType": kind, "digest": digest(data), "size": data.len()}))
        .collect();
    let manifest = json!({
        "schemaVersion": 2,
        "config": {"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": digest(b"{}"), "size": 2},
        "layers": told,
    });
    let manifest = manifest.to_string().into_bytes();
    let sum = digest(&manifest);
    let place = format!("/v2/{place}");
    for (_, data) in layers {
        files.insert(format!("{place}/blobs/{}", digest(data)), data.to_vec());
    }
    files.insert(format!("{place}/blobs/{}", digest(b"{}")), b"{}".to_vec());
    files.insert(format!("{place}/tags/list"), json!({"tags": [tag]}).to_string().into_bytes());
    files.insert(format!("{place}/manifests/{tag}"), manifest.clone());
    files.insert(format!("{place}/manifests/{sum}"), manifest);
    sum
}

const SECRET: &str = "a-secret-that-nobody-tells";

/// A repository below `/charts` and a registry below `/v2`.
struct Server {
    port: u16,
    /// Archives that were sent.
    archives: Arc<AtomicUsize>,
    /// Indexes with a date that were sent.
    indexes: Arc<AtomicUsize>,
    /// The header `proxy-authorization` of each request as to a proxy.
    proxied: Arc<Mutex<Vec<String>>>,
    /// The header `authorization` of each request for an archive.
    authorizations: Arc<Mutex<Vec<String>>>,
    digest: String,
}

struct Pages {
    files: BTreeMap<String, Vec<u8>>,
    archives: Arc<AtomicUsize>,
    indexes: Arc<AtomicUsize>,
    proxied: Arc<Mutex<Vec<String>>>,
    authorizations: Arc<Mutex<Vec<String>>>,
    port: u16,
}

fn sha256(data: &[u8]) -> String {
    hex::encode(Sha256::digest(data))
}

impl Server {
    fn start() -> Result<Self, Failed> {
        Self::start_pointing_at(None)
    }

    fn start_pointing_at(other: Option<u16>) -> Result<Self, Failed> {
        Self::start_with(other, BTreeMap::new())
    }

    fn start_with(
        other: Option<u16>,
        mut files: BTreeMap<String, Vec<u8>>,
    ) -> Result<Self, Failed> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let (mut entries, mut tags) = (String::new(), Vec::new());
        let mut digest = String::new();
        for version in ["1.2.0", "1.10.0", "2.0.0-rc.1", "1.10.0+b"] {
            let archive = packed(version)?;
            let sum = sha256(&archive);
            if !version.contains('+') {
                entries.push_str(&format!(
                    "  - {{name: web, version: {version}, urls: [web-{version}.tgz], digest: {sum}}}\n"
                ));
            }
            let tag = version.replace('+', "_");
            for place in ["team/web", "open/web"] {
                let sum = publish(&mut files, place, &tag, &[(CONTENT, &archive)]);
                if version == "1.2.0" {
                    digest = sum;
                }
            }
            tags.push(tag);
            publish(&mut files, "open/lies", "1.0.0", &[(CONTENT, b"another")]);
            files.insert(
                format!("/v2/open/lies/blobs/sha256:{}", sha256(b"another")),
                archive.clone(),
            );
            files.insert(format!("/charts/web-{version}.tgz"), archive.clone());
            files.insert(format!("/charts/private/web-{version}.tgz"), archive);
        }
        let bad = format!(
            "  bad:\n  - {{name: bad, version: 1.0.0, urls: [web-1.2.0.tgz], digest: {}}}\n",
            sha256(b"other")
        );
        let index = format!("apiVersion: v1\nentries:\n  web:\n{entries}{bad}");
        files.insert("/charts/index.yaml".to_owned(), index.clone().into_bytes());
        files.insert("/charts/private/index.yaml".to_owned(), index.clone().into_bytes());
        files.insert("/charts/html/index.yaml".to_owned(), b"<html></html>".to_vec());
        files.insert("/charts/broken.tgz".to_owned(), b"no archive".to_vec());
        let there = format!("urls: [\"http://localhost:{}/charts/web-", other.unwrap_or(port));
        let elsewhere = index.replace("urls: [web-", &there).replace(".tgz]", ".tgz\"]");
        files.insert("/charts/elsewhere/index.yaml".to_owned(), elsewhere.into_bytes());
        for place in ["team/web", "open/web"] {
            let list = json!({"name": place, "tags": tags}).to_string();
            files.insert(format!("/v2/{place}/tags/list"), list.into_bytes());
        }
        files.insert("/v2/open/loop/tags/list".to_owned(), b"{\"tags\": [\"1.0.0-a\"]}".to_vec());
        let image = json!({"schemaVersion": 2, "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "sha256:00", "size": 2}, "layers": []});
        files.insert("/v2/open/image/manifests/1.0.0".to_owned(), image.to_string().into_bytes());
        files.insert("/v2/".to_owned(), b"{}".to_vec());
        let signed = std::fs::read(provenance::folder().join("web-1.2.0.tgz"))?;
        let entry = format!(
            "{{name: web, version: 1.2.0, urls: [web-1.2.0.tgz], digest: {}}}",
            sha256(&signed)
        );
        for (place, provenance) in [("signed", "rsa.prov"), ("forged", "tampered.prov")] {
            let index = format!("apiVersion: v1\nentries:\n  web:\n  - {entry}\n");
            let beside = std::fs::read(provenance::folder().join(provenance))?;
            files.insert(format!("/charts/{place}/index.yaml"), index.into_bytes());
            files.insert(format!("/charts/{place}/web-1.2.0.tgz"), signed.clone());
            files.insert(format!("/charts/{place}/web-1.2.0.tgz.prov"), beside.clone());
            let layers = [(PROVENANCE, &beside[..]), (CONTENT, &signed[..])];
            publish(&mut files, &format!("open/{place}/web"), "1.2.0", &layers);
        }
        files.insert(
            "/charts/dated/index.yaml".to_owned(),
            index.replace("[web-", "[../web-").into_bytes(),
        );
        let (archives, authorizations) = (Arc::default(), Arc::default());
        let (indexes, proxied) = (Arc::default(), Arc::default());
        let pages = Arc::new(Pages {
            files,
            archives: Arc::clone(&archives),
            indexes: Arc::clone(&indexes),
            proxied: Arc::clone(&proxied),
            authorizations: Arc::clone(&authorizations),
            port,
        });
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let pages = Arc::clone(&pages);
                std::thread::spawn(move || pages.serve(stream));
            }
        });
        Ok(Self { port, archives, indexes, proxied, authorizations, digest })
    }

    fn filled(&self, text: &str) -> String {
        text.replace("REPO", &format!("http://127.0.0.1:{}/charts", self.port))
            .replace("OCI", &format!("oci://127.0.0.1:{}", self.port))
            .replace("DIGEST", &self.digest)
    }

    /// What `helm::template` returns for a chart.
    fn render(
        &self,
        chart: &str,
        options: &str,
        cache: Option<&std::path::Path>,
    ) -> Result<String, String> {
        let cache = cache.map(|cache| ("XDG_CACHE_HOME", cache.display().to_string()));
        self.render_with(chart, options, cache)
    }

    /// The same with variables of the environment. The trusted keys lie in the workspace.
    fn render_with(
        &self,
        chart: &str,
        options: &str,
        variables: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Result<String, String> {
        let workspace = tempfile::tempdir().map_err(|error| error.to_string())?;
        std::fs::copy(keys(), workspace.path().join("keys.gpg"))
            .map_err(|error| error.to_string())?;
        let options = options.replace("KEYS", "keys.gpg");
        let mut settings = script::settings(workspace.path());
        let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value));
        settings.environment = Environment::empty(workspace.path().to_owned()).with(variables);
        let (session, captured) = script::session(settings, ReportOptions::default());
        match session.eval(&format!("helm::template(`r`, `{chart}`, #{{ {options} }})")) {
            Ok(text) => text.into_string().map_err(str::to_owned),
            Err(error) => {
                session.host.reporter.error(&error, &|name| session.text_of(name));
                Err(captured.lock().all.clone())
            }
        }
    }
}

impl Pages {
    /// Answers the requests of a connection.
    fn serve(&self, stream: TcpStream) {
        let Ok(mut out) = stream.try_clone() else { return };
        let mut input = BufReader::new(stream);
        loop {
            let mut line = String::new();
            if input.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let mut words = line.split(' ').map(str::to_owned);
            let (method, path) =
                (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            // As a proxy we are told the whole address; its host is ours.
            let mut is_proxied = method == "CONNECT";
            let path = match path
                .strip_prefix("http://")
                .and_then(|rest| rest.find('/').map(|at| rest[at..].to_owned()))
            {
                Some(path) => {
                    is_proxied = true;
                    path
                }
                None => path,
            };
            let (mut authorization, mut proxy_authorization) = (String::new(), String::new());
            let mut known = String::new();
            loop {
                let mut header = String::new();
                if input.read_line(&mut header).unwrap_or(0) == 0 || header.trim().is_empty() {
                    break;
                }
                let Some((name, value)) = header.split_once(':') else { continue };
                let told = match name.to_ascii_lowercase().as_str() {
                    "authorization" => &mut authorization,
                    "proxy-authorization" => &mut proxy_authorization,
                    "if-none-match" => &mut known,
                    _ => continue,
                };
                value.trim().clone_into(told);
            }
            if is_proxied && let Ok(mut told) = self.proxied.lock() {
                told.push(proxy_authorization);
            }
            if method == "CONNECT" {
                let _ = out.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
                return;
            }
            if !path.contains("nothing") && path.ends_with(".tgz") {
                self.archives.fetch_add(1, Ordering::Relaxed);
                if let Ok(mut told) = self.authorizations.lock() {
                    told.push(authorization.clone());
                }
            }
            let (status, headers, body) = self.answer(&path, &authorization, &known);
            let head =
                format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
            let body = if method == "HEAD" { Vec::new() } else { body };
            if out.write_all(head.as_bytes()).and_then(|()| out.write_all(&body)).is_err() {
                return;
            }
        }
    }

    fn answer(
        &self,
        path: &str,
        authorization: &str,
        known: &str,
    ) -> (&'static str, String, Vec<u8>) {
        let (plain, _) = path.split_once('?').unwrap_or((path, ""));
        let basic = format!("Basic {}", STANDARD.encode(format!("{}:{}", LOGIN.0, LOGIN.1)));
        let denied = |challenge: String| {
            ("401 Unauthorized", format!("www-authenticate: {challenge}\r\n"), b"{}".to_vec())
        };
        if plain.starts_with("/charts/private/") && authorization != basic {
            return denied("Basic realm=\"charts\"".to_owned());
        }
        if plain == "/charts/round" || plain.starts_with("/charts/round/") {
            return ("302 Found", format!("location: {path}\r\n"), Vec::new());
        }
        if plain == "/charts/dated/index.yaml" {
            const TAG: &str = "\"one\"";
            let headers = format!("etag: {TAG}\r\n");
            if known == TAG {
                return ("304 Not Modified", headers, Vec::new());
            }
            self.indexes.fetch_add(1, Ordering::Relaxed);
            return ("200 OK", headers, self.files.get(plain).cloned().unwrap_or_default());
        }
        if plain == "/token" {
            if authorization != basic {
                return denied("Basic realm=\"tokens\"".to_owned());
            }
            return ("200 OK", String::new(), json!({"token": TOKEN}).to_string().into_bytes());
        }
        if plain.starts_with("/v2/team/") && authorization != format!("Bearer {TOKEN}") {
            return denied(format!(
                "Bearer realm=\"http://127.0.0.1:{}/token\",service=\"registry\",scope=\"repository:team/web:pull\"",
                self.port
            ));
        }
        let kind = if plain.contains("/manifests/") {
            "content-type: application/vnd.oci.image.manifest.v1+json\r\n"
        } else {
            ""
        };
        match self.files.get(plain) {
            Some(body) => {
                let sum = if plain.contains("/manifests/") {
                    format!("docker-content-digest: sha256:{}\r\n", sha256(body))
                } else {
                    String::new()
                };
                ("200 OK", format!("{kind}{sum}"), body.clone())
            }
            None => ("404 Not Found", String::new(), b"{}".to_vec()),
        }
    }
}
