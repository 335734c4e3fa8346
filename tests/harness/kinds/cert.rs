//! Cases of the kind `cert`: steps in `NAME.yaml`, what they give in `NAME.out`; and the same certificates in the hands of
//! `openssl`, where that program is installed.
//!
//! Certificates are random, so the output shows what is written in them without serials, key ids and fingerprints, of which
//! only the form is told. A step that fails shows its error and the case goes on.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use jiff::Timestamp;
use libtest_mimic::{Failed, Trial};
use meshscript::base::duration;
use meshscript::base::secret::Secret;
use meshscript::cert::issue::{self, AuthorityOptions, LeafOptions, Serial};
use meshscript::cert::key::PrivateKey;
use meshscript::cert::renewal::{Wanted, needs_renewal};
use meshscript::cert::rotation::{bundle, rotate};
use meshscript::cert::verify::verify;
use meshscript::cert::{CertError, Credential, Facts, files, kubernetes, pem};
use serde::Deserialize;

use crate::harness;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = harness::each("cert", Some("yaml"), run);
    if Command::new("openssl").arg("version").output().is_ok() {
        for key in ["P-256", "P-384", "RSA-2048", "RSA-3072", "RSA-4096", "Ed25519"] {
            trials.push(Trial::test(format!("cert/openssl_accepts_{key}"), move || accepted(key)));
        }
        trials.push(Trial::test("cert/openssl_made_authorities_and_keys_are_taken", taken));
        trials.push(Trial::test("cert/openssl_verifies_the_request", requested));
        trials.push(Trial::test("cert/openssl_verifies_through_a_cross_certificate", crossed));
    }
    trials.push(Trial::test("cert/files_are_private_whole_and_unchanged_twice", saved));
    trials.push(Trial::test("cert/a_thousand_serials_differ_and_are_positive", serials));
    trials
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// What the case shows.
    #[expect(dead_code, reason = "for the reader of the case")]
    about: String,
    at: Timestamp,
    #[serde(with = "serde_yaml::with::singleton_map_recursive")]
    steps: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Step {
    Ca(Make),
    Leaf(Make),
    /// Drops the root from the deployed certificate's trust and gives it this one's.
    Verify {
        chain: String,
        roots: Vec<String>,
        host: Option<String>,
        at: Option<Timestamp>,
    },
    Renewal {
        of: String,
        names: Option<Vec<String>>,
        key: Option<String>,
        issuer: Option<String>,
        window: Option<String>,
        at: Option<Timestamp>,
    },
    Rotate {
        of: String,
        save: String,
        path_length: Option<i64>,
    },
    Facts(String),
    Secret(String),
    /// Facts of PEM text in the case.
    Parse(String),
    Bundle {
        of: Vec<String>,
        at: Timestamp,
    },
    /// Puts the certificate of one and the key of the other together.
    Mix {
        certificate: String,
        key: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Make {
    save: String,
    common_name: Option<String>,
    organization: Option<String>,
    key: Option<String>,
    days: Option<i64>,
    at: Option<Timestamp>,
    path_length: Option<i64>,
    ca: Option<String>,
    #[serde(default)]
    names: Vec<String>,
    usages: Option<Vec<String>>,
    /// Goes over a signing request.
    #[serde(default)]
    request: bool,
}

type Made = BTreeMap<String, Credential>;

fn run(path: &Path) -> Result<(), Failed> {
    let case: Case = serde_yaml::from_str(&fs::read_to_string(path)?)?;
    let mut made = Made::new();
    let mut out = String::new();
    for step in &case.steps {
        match take(step, case.at, &mut made) {
            Ok(text) => out.push_str(&text),
            Err(error) => writeln!(out, "error: {error}")?,
        }
    }
    harness::expect(&path.with_extension("out"), &out)
}

fn take(step: &Step, at: Timestamp, made: &mut Made) -> Result<String, CertError> {
    let get = |name: &str| made.get(name).unwrap_or_else(|| panic!("no `{name}` in the case"));
    Ok(match step {
        Step::Ca(make) => {
            let parent = make.ca.as_deref().map(get);
            let authority = issue::authority(
                &authority_options(make)?,
                parent,
                &Serial::random()?,
                make.at.unwrap_or(at),
            )?;
            made.insert(make.save.clone(), authority);
            String::new()
        }
        Step::Leaf(make) => {
            let ca = get(make.ca.as_deref().expect("a leaf names its ca"));
            let options = leaf_options(make)?;
            let now = make.at.unwrap_or(at);
            let leaf = if make.request {
                let (request, key) = issue::request(&options)?;
                let plain = LeafOptions { days: options.days, ..LeafOptions::default() };
                let signed = issue::sign(&request, &plain, ca, &Serial::random()?, now)?;
                Credential { key: Some(key), ..signed }
            } else {
                issue::leaf(&options, ca, &Serial::random()?, now)?
            };
            made.insert(make.save.clone(), leaf);
            String::new()
        }
        Step::Verify { chain, roots, host, at: when } => {
            let roots: Vec<_> =
                roots.iter().flat_map(|name| get(name).roots.iter().cloned()).collect();
            verify(&get(chain).chain, &roots, host.as_deref(), when.unwrap_or(at))?;
            format!("{chain} is accepted for {}\n", host.as_deref().unwrap_or("any host"))
        }
        Step::Renewal { of, names, key, issuer, window, at: when } => {
            let wanted = Wanted {
                names: names.iter().flatten().map(|name| name.parse()).collect::<Result<_, _>>()?,
                key: key.as_deref().map(str::parse).transpose()?,
                issuer: issuer.as_deref().map(get),
                window: window.as_deref().and_then(|text| duration::parse(text).ok()),
            };
            let (reason, renew_at) = needs_renewal(get(of), &wanted, when.unwrap_or(at))?;
            match reason {
                Some(reason) => format!("{of} must be renewed: {reason}\n"),
                None => format!("{of} stays until {renew_at}\n"),
            }
        }
        Step::Rotate { of, save, path_length } => {
            let options = AuthorityOptions {
                path_length: path_length.unwrap_or(0),
                ..AuthorityOptions::default()
            };
            let rotation = rotate(get(of), &options, &[Serial::random()?, Serial::random()?], at)?;
            let text = format!(
                "bundle of {}, cross certificate: {}\n",
                rotation.authority.roots.len(),
                if rotation.cross.is_some() { "yes" } else { "no" }
            );
            made.insert(save.clone(), rotation.authority);
            text
        }
        Step::Facts(name) => {
            let credential = get(name);
            let mut text = format!("{name}:\n");
            for certificate in &credential.chain {
                text.push_str(&show(&Facts::of(certificate)?));
            }
            text
        }
        Step::Secret(name) => {
            let secret = kubernetes::tls_secret("wildcard-certs", Some("networking"), get(name))?;
            let read = kubernetes::from_secret(&secret)?;
            assert_eq!(read.chain, get(name).chain, "what was written is read");
            let keys: Vec<_> =
                secret["data"].as_object().into_iter().flat_map(|data| data.keys()).collect();
            format!(
                "{} {} {keys:?}, {} in tls.crt\n",
                secret["kind"],
                secret["type"],
                read.chain.len()
            )
        }
        Step::Parse(text) => {
            let mut shown = String::new();
            for certificate in pem::certificates(text, "the case")? {
                shown.push_str(&show(&Facts::of(&certificate)?));
            }
            shown
        }
        Step::Bundle { of, at } => {
            let all: Vec<_> = of.iter().flat_map(|name| get(name).roots.iter().cloned()).collect();
            format!("{} of {} stay in the bundle\n", bundle(all.clone(), *at)?.len(), all.len())
        }
        Step::Mix { certificate, key } => {
            Credential::from_pem(
                &get(certificate).chain_pem(),
                None,
                get(key).key.clone(),
                "the mix",
            )?;
            "they belong together\n".to_owned()
        }
    })
}

fn authority_options(make: &Make) -> Result<AuthorityOptions, CertError> {
    let default = AuthorityOptions::default();
    Ok(AuthorityOptions {
        common_name: make.common_name.clone().unwrap_or(default.common_name),
        organization: make.organization.clone(),
        key: make.key.as_deref().map_or(Ok(default.key), str::parse)?,
        days: make.days.unwrap_or(default.days),
        path_length: make.path_length.unwrap_or(default.path_length),
    })
}

fn leaf_options(make: &Make) -> Result<LeafOptions, CertError> {
    let default = LeafOptions::default();
    Ok(LeafOptions {
        names: make.names.iter().map(|name| name.parse()).collect::<Result<_, _>>()?,
        common_name: make.common_name.clone(),
        organization: make.organization.clone(),
        key: make.key.as_deref().map_or(Ok(default.key), str::parse)?,
        days: make.days.unwrap_or(default.days),
        usages: match &make.usages {
            Some(usages) => usages.iter().map(|usage| usage.parse()).collect::<Result<_, _>>()?,
            None => default.usages,
        },
    })
}

/// The facts with the form of what is random.
fn show(facts: &Facts) -> String {
    let mut value = serde_json::to_value(facts).expect("facts are JSON");
    value["serial"] = format!("{} hex digits", facts.serial.len()).into();
    value["fingerprints"] = "…".into();
    for field in ["subject_key_id", "authority_key_id"] {
        if let Some(id) = value[field].as_str() {
            value[field] = format!("{} hex digits", id.len()).into();
        }
    }
    let yaml = serde_yaml::to_string(&value).expect("facts are YAML");
    let mut lines = yaml.lines().map(|line| format!("    {line}\n"));
    let first = lines.next().unwrap_or_default().replacen("    ", "  - ", 1);
    lines.fold(first, |text, line| text + line.as_str())
}

fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().expect("a time")
}

fn example(key: &str) -> Result<(Credential, Credential), CertError> {
    let key = key.parse()?;
    let options = AuthorityOptions {
        common_name: "Example CA".to_owned(),
        organization: Some("Example, Inc.".to_owned()),
        key,
        ..AuthorityOptions::default()
    };
    let ca = issue::authority(&options, None, &Serial::random()?, now())?;
    let names = [
        "*.example.com",
        "example.com",
        "172.18.255.200",
        "spiffe://cluster.local/ns/sample/sa/shop",
    ];
    let names = names.iter().map(|name| name.parse()).collect::<Result<_, _>>()?;
    let leaf = issue::leaf(
        &LeafOptions { names, key, ..LeafOptions::default() },
        &ca,
        &Serial::random()?,
        now(),
    )?;
    Ok((ca, leaf))
}

/// Runs `openssl` in a folder; its output must hold each of `wanted`.
fn openssl(folder: &Path, arguments: &str, wanted: &[&str]) -> Result<String, Failed> {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + String::from_utf8_lossy(&output.stderr).as_ref();
    if !output.status.success() {
        return Err(format!("openssl {arguments}: {text}").into());
    }
    match wanted.iter().find(|wanted| !text.contains(**wanted)) {
        Some(missing) => Err(format!("openssl {arguments}: no `{missing}` in:\n{text}").into()),
        None => Ok(text),
    }
}

fn accepted(key: &str) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let (ca, leaf) = example(key)?;
    let at = now().as_second();
    files::save(&ca, &files::Files::of(folder.path(), "ca"))?;
    files::save(&leaf, &files::Files::of(folder.path(), "tls"))?;
    let strict = format!(
        "verify -x509_strict -purpose sslserver -verify_hostname shop.example.com -attime {at} -CAfile ca.crt tls.crt"
    );
    openssl(folder.path(), &strict, &["tls.crt: OK"])?;
    openssl(
        folder.path(),
        "x509 -in tls.crt -noout -text",
        &[
            "CA:FALSE",
            "TLS Web Server Authentication",
            "DNS:*.example.com, DNS:example.com, IP Address:172.18.255.200, URI:spiffe://cluster.local/ns/sample/sa/shop",
            "Digital Signature",
            "X509v3 Authority Key Identifier",
            "X509v3 Subject Key Identifier",
        ],
    )?;
    openssl(
        folder.path(),
        "x509 -in ca.crt -noout -text",
        &["CA:TRUE, pathlen:0", "Certificate Sign, CRL Sign", "O = \"Example, Inc.\""],
    )?;
    // The key is read and is the certificate's.
    let public = openssl(folder.path(), "pkey -in tls.key -pubout", &["BEGIN PUBLIC KEY"])?;
    let certified =
        openssl(folder.path(), "x509 -in tls.crt -noout -pubkey", &["BEGIN PUBLIC KEY"])?;
    if public != certified {
        return Err("the key is not the certificate's".into());
    }
    // What openssl says is what our facts say.
    let facts = leaf.facts()?;
    let serial = openssl(folder.path(), "x509 -in tls.crt -noout -serial", &["serial="])?;
    if serial.trim().to_lowercase() != format!("serial={}", facts.serial) {
        return Err(format!("{serial} is not {}", facts.serial).into());
    }
    let print = openssl(folder.path(), "x509 -in tls.crt -noout -fingerprint -sha256", &["="])?;
    let digits =
        print.trim().rsplit('=').next().unwrap_or_default().replace(':', "").to_lowercase();
    if digits != facts.fingerprints.sha256 {
        return Err("fingerprints differ".into());
    }
    Ok(())
}

fn taken() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let path = folder.path();
    // The guide's authority: an RSA key and no key usages.
    openssl(
        path,
        "req -x509 -sha256 -nodes -days 365 -newkey rsa:2048 -subj /O=example/CN=example -keyout guide.key -out guide.crt",
        &[],
    )?;
    openssl(path, "ecparam -name prime256v1 -genkey -out sec1.key", &[])?;
    openssl(
        path,
        "req -x509 -nodes -days 365 -key sec1.key -subj /C=DE/O=example/OU=one/CN=sec1 -out sec1.crt",
        &[],
    )?;
    openssl(path, "genrsa -traditional -out pkcs1.key 2048", &[])?;
    openssl(path, "req -x509 -nodes -days 365 -key pkcs1.key -subj /CN=pkcs1 -out pkcs1.crt", &[])?;
    openssl(path, "genpkey -algorithm ed25519 -out ed.key", &[])?;
    openssl(path, "req -x509 -nodes -days 365 -key ed.key -subj /CN=ed -out ed.crt", &[])?;
    for name in ["guide", "sec1", "pkcs1", "ed"] {
        let files = files::Files::of(path, name);
        let ca = files::load(&files)?.ok_or("the authority is there")?;
        let begin = ca.facts()?.not_before;
        let options =
            LeafOptions { names: vec!["shop.example.com".parse()?], ..LeafOptions::default() };
        let leaf = issue::leaf(&options, &ca, &Serial::random()?, begin)?;
        files::save(&leaf, &files::Files::of(path, "leaf"))?;
        openssl(
            path,
            &format!(
                "verify -partial_chain -purpose sslserver -attime {} -CAfile {name}.crt leaf.crt",
                begin.as_second() + 60
            ),
            &["OK"],
        )?;
        verify(&leaf.chain, &ca.roots, Some("shop.example.com"), begin)?;
        fs::remove_file(path.join("leaf.crt"))?;
    }
    openssl(path, "pkey -in sec1.key -aes256 -passout pass:secret -out locked.key", &[])?;
    let locked = PrivateKey::from_pem(&Secret::new(fs::read_to_string(path.join("locked.key"))?));
    match locked {
        Err(CertError::EncryptedKey) => Ok(()),
        other => Err(format!("an encrypted key is told: {other:?}").into()),
    }
}

fn requested() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let (ca, _) = example("P-256")?;
    let names = vec!["shop.example.com".parse()?, "10.0.0.1".parse()?];
    let (request, _) = issue::request(&LeafOptions { names, ..LeafOptions::default() })?;
    fs::write(folder.path().join("ours.csr"), request)?;
    openssl(
        folder.path(),
        "req -in ours.csr -noout -verify -text",
        &["verify OK", "DNS:shop.example.com, IP Address:10.0.0.1"],
    )?;
    // And the other way round.
    openssl(
        folder.path(),
        "req -new -nodes -newkey rsa:2048 -keyout theirs.key -subj /CN=theirs -addext subjectAltName=DNS:theirs.example.com -out theirs.csr",
        &[],
    )?;
    let theirs = fs::read_to_string(folder.path().join("theirs.csr"))?;
    let signed = issue::sign(&theirs, &LeafOptions::default(), &ca, &Serial::random()?, now())?;
    verify(&signed.chain, &ca.roots, Some("theirs.example.com"), now())?;
    let key =
        PrivateKey::from_pem(&Secret::new(fs::read_to_string(folder.path().join("theirs.key"))?))?;
    if !key.belongs_to_certificate(signed.certificate())? {
        return Err("the certificate holds the key of the request".into());
    }
    openssl(
        folder.path(),
        "req -new -nodes -newkey rsa:2048 -keyout ca.key -subj /CN=ca -addext basicConstraints=CA:TRUE -out ca.csr",
        &[],
    )?;
    let greedy = fs::read_to_string(folder.path().join("ca.csr"))?;
    match issue::sign(&greedy, &LeafOptions::default(), &ca, &Serial::random()?, now()) {
        Err(CertError::BadRequest { reason }) if reason.contains("authority") => Ok(()),
        other => Err(format!("a request for an authority is refused: {other:?}").into()),
    }
}

fn crossed() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let options = AuthorityOptions {
        common_name: "Old CA".to_owned(),
        path_length: 1,
        ..AuthorityOptions::default()
    };
    let old = issue::authority(&options, None, &Serial::random()?, now())?;
    let new = AuthorityOptions { common_name: "New CA".to_owned(), ..AuthorityOptions::default() };
    let rotation = rotate(&old, &new, &[Serial::random()?, Serial::random()?], now())?;
    let names = vec!["shop.example.com".parse()?];
    let leaf = issue::leaf(
        &LeafOptions { names, ..LeafOptions::default() },
        &rotation.authority,
        &Serial::random()?,
        now(),
    )?;
    let cross = rotation.cross.ok_or("an authority of path length 1 may sign another")?;
    fs::write(folder.path().join("old.crt"), old.certificate_pem())?;
    fs::write(folder.path().join("cross.crt"), pem::join([&cross]))?;
    fs::write(folder.path().join("leaf.crt"), leaf.certificate_pem())?;
    let at = now().as_second();
    openssl(
        folder.path(),
        &format!(
            "verify -x509_strict -purpose sslserver -attime {at} -CAfile old.crt -untrusted cross.crt leaf.crt"
        ),
        &["leaf.crt: OK"],
    )?;
    let chain = [leaf.certificate().clone(), cross];
    verify(&chain, &old.roots, Some("shop.example.com"), now())?;
    verify(&leaf.chain, &leaf.roots, Some("shop.example.com"), now())?;
    Ok(())
}

fn saved() -> Result<(), Failed> {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir()?;
    let (_, leaf) = example("P-256")?;
    let made = folder.path().join("a/b");
    let files = files::Files::of(&made, "tls");
    let mode = |path: &Path| fs::metadata(path).map(|found| found.permissions().mode() & 0o777);
    if !files::save(&leaf, &files)? || files::save(&leaf, &files)? {
        return Err("the first time writes, the second does not".into());
    }
    assert_eq!(mode(&files.key)?, 0o600, "keys");
    assert_eq!(mode(&files.certificate)?, 0o644, "certificates");
    assert_eq!(mode(&made)?, 0o700, "folders");
    assert_eq!(fs::read_dir(&made)?.count(), 3, "nothing is left beside the three files");
    let loaded = files::load(&files)?.ok_or("the certificate is there")?;
    assert_eq!(
        (loaded.chain, loaded.roots),
        (leaf.chain.clone(), leaf.roots.clone()),
        "what was saved is loaded"
    );
    // A link in the place of the key is replaced, not followed.
    let outside = folder.path().join("outside");
    fs::write(&outside, "kept")?;
    fs::remove_file(&files.key)?;
    std::os::unix::fs::symlink(&outside, &files.key)?;
    files::save(&leaf, &files)?;
    assert_eq!(fs::read_to_string(&outside)?, "kept", "the target of the link");
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o644))?;
    assert!(files::save(&leaf, &files)?, "a key that others can read is written anew");
    assert_eq!(mode(&files.key)?, 0o600, "keys");
    fs::remove_file(&files.certificate)?;
    match files::load(&files) {
        Err(CertError::HalfMissing { .. }) => {}
        other => return Err(format!("half a certificate is told: {other:?}").into()),
    }
    fs::remove_file(&files.key)?;
    assert!(files::load(&files)?.is_none(), "nothing is not an error");
    let shown = format!("{leaf:?}");
    assert!(!shown.contains("PRIVATE") && shown.contains("***"), "keys do not print");
    Ok(())
}

fn serials() -> Result<(), Failed> {
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..1_000 {
        let serial = Serial::random()?.to_string();
        assert_eq!(serial.len(), 40, "20 octets");
        assert!(serial.as_bytes()[0] < b'8', "positive");
        seen.insert(serial);
    }
    assert_eq!(seen.len(), 1_000, "they differ");
    Ok(())
}
