//! Functions of the namespace `cert`.
//!
//! A certificate is a map `#{certificate, chain, ca, key, facts}` of PEM texts with an opaque key. Wherever one is wanted, PEM
//! text or a Secret object as `k8s::get` returns it does as well.

use jiff::Timestamp;
use rhai::{Array, Dynamic, Map};
use serde_json::Value;

use crate::base::diagnostic::{Diagnostic, ErrorKind};
use crate::base::secret::Secret;
use crate::cert::files::{self, Files};
use crate::cert::issue::{self, AuthorityOptions, LeafOptions, Serial};
use crate::cert::key::PrivateKey;
use crate::cert::renewal::{Wanted, needs_renewal};
use crate::cert::{CertError, Credential, Facts, kubernetes, pem, rotation, verify};
use crate::engine::call::Call;
use crate::engine::catalog::{Effect, Function, Kind, Param};
use crate::engine::convert::to_dynamic;

const CERTIFICATE: &str =
    "a certificate of this namespace, PEM text, or a Secret with `tls.crt` and `tls.key`";
const RETURNS: &str = "`#{ certificate, chain, ca: string, key: secret, facts: map }`: PEM texts of the certificate alone, of \
                       it with its intermediates (`tls.crt`), and of what clients trust; `facts` as of `cert::parse`";
const KEY: Param = Param::optional(
    "key",
    Kind::String,
    "\"P-256\"",
    "`P-256`, `P-384`, `RSA-2048`, `RSA-3072`, `RSA-4096` or `Ed25519`",
);
const COMMON_NAME: Param = Param::optional(
    "common_name",
    Kind::String,
    "the first DNS name",
    "the common name of the subject",
);
const ORGANIZATION: Param =
    Param::optional("organization", Kind::String, "none", "the organization in the subject");
const LEAF_DAYS: Param =
    Param::optional("days", Kind::Int, "90", "how long it is valid, 1 to 398 days");
const USAGES: Param =
    Param::optional("usages", Kind::Strings, "\"server\"", "`server`, `client` or both");
const NAMES: Param = Param::optional(
    "names",
    Kind::Strings,
    "none",
    "DNS names, also with a wildcard, IP addresses, URIs such as SPIFFE IDs",
);
const FILE_NAME: Param =
    Param::optional("name", Kind::String, "\"tls\"", "the first part of the files' names");

/// The rows.
pub static FUNCTIONS: &[Function] = &[
    Function {
        module: "cert",
        name: "ca",
        doc: "Makes a certificate authority.\n\nIts key may sign certificates and revocation lists; with the default path \
              length 0 it signs leaves only.",
        params: &[],
        options: &[
            Param::optional(
                "common_name",
                Kind::String,
                "\"meshscript CA\"",
                "the common name of the subject",
            ),
            ORGANIZATION,
            KEY,
            Param::optional("days", Kind::Int, "3650", "how long it is valid, up to 36500 days"),
            Param::optional(
                "path_length",
                Kind::Int,
                "0",
                "how many authorities may stand between it and a leaf",
            ),
            Param::optional(
                "parent",
                Kind::Any,
                "none",
                "the authority that signs it; without one it is a root",
            ),
        ],
        returns: RETURNS,
        errors: "`Argument` for options that make no certificate, `Invalid` for a parent that may not sign it.",
        effect: Effect::Pure,
        example: "let ca = cert::ca(#{ common_name: \"Example CA\", organization: \"Example\" });\nca.facts.not_after",
        run: ca,
    },
    Function {
        module: "cert",
        name: "issue",
        doc: "Makes a key and a leaf certificate for it.\n\nIt is what browsers and Envoy take: key usages, extended key usage, \
              `CA:FALSE`, key identifiers, a random serial number, valid from five minutes ago.",
        params: &[Param::required("ca", Kind::Any, "the authority that signs, with its key")],
        options: &[NAMES, COMMON_NAME, ORGANIZATION, KEY, LEAF_DAYS, USAGES],
        returns: RETURNS,
        errors: "`Argument` for options that make no certificate, `Invalid` for an authority that may not sign it or ends before it.",
        effect: Effect::Pure,
        example: "let ca = cert::ca();\nlet leaf = cert::issue(ca, #{ names: [\"*.example.com\", \"example.com\"] });\nleaf.facts.names",
        run: issue_leaf,
    },
    Function {
        module: "cert",
        name: "csr",
        doc: "Makes a key and a signing request for it, for an authority elsewhere.",
        params: &[],
        options: &[NAMES, COMMON_NAME, ORGANIZATION, KEY, USAGES],
        returns: "`#{ csr: string, key: secret }`",
        errors: "`Argument` for options that make no certificate.",
        effect: Effect::Pure,
        example: "cert::csr(#{ names: \"shop.example.com\" }).csr",
        run: csr,
    },
    Function {
        module: "cert",
        name: "sign",
        doc: "Signs a signing request.\n\nNames, common name and public key are those of the request; validity, usages and \
              everything else are ours. A request for an authority is refused.",
        params: &[
            Param::required("ca", Kind::Any, "the authority that signs, with its key"),
            Param::required("csr", Kind::String, "the signing request in PEM"),
        ],
        options: &[NAMES, LEAF_DAYS, USAGES],
        returns: "as of `cert::issue`, without `key`",
        errors: "`Invalid` for a request that is malformed, not signed by its key, or for an authority.",
        effect: Effect::Pure,
        example: "let ca = cert::ca();\nlet request = cert::csr(#{ names: \"shop.example.com\" });\ncert::sign(ca, request.csr, #{ days: 30 }).facts.subject",
        run: sign,
    },
    Function {
        module: "cert",
        name: "parse",
        doc: "Reads what is written in a certificate.",
        params: &[Param::required("certificate", Kind::Any, CERTIFICATE)],
        options: &[],
        returns: "`#{ subject, issuer, common_name, serial, not_before, not_after, names: array, sans: #{ dns, ip, uri, email, other }, key, \
                  signature_algorithm, is_ca, path_length, key_usages, extended_key_usages, subject_key_id, authority_key_id, \
                  self_signed, fingerprints: #{ sha256, public_key_sha256 }, pem: string, chain: array }`: `chain` holds the same facts of the \
                  certificates that follow; numbers are in hex as Envoy writes them, times in RFC 3339",
        errors: "`Invalid` for text that is no certificate.",
        effect: Effect::Pure,
        example: "let ca = cert::ca();\ncert::parse(ca).key_usages",
        run: parse,
    },
    Function {
        module: "cert",
        name: "verify",
        doc: "Judges whether a client that trusts only the given authority accepts a certificate, now, as that of a host.",
        params: &[Param::required("certificate", Kind::Any, CERTIFICATE)],
        options: &[
            Param::optional(
                "ca",
                Kind::Any,
                "its own `ca`",
                "the trusted authority or several in one PEM text",
            ),
            Param::optional(
                "host",
                Kind::String,
                "any host",
                "the DNS name or IP address that the client asks for",
            ),
            Param::optional("at", Kind::String, "now", "the time to judge at, in RFC 3339"),
        ],
        returns: "`#{ valid: bool, reason: string }`: the reason says what is wrong and with what it was compared; empty when valid",
        errors: "`Invalid` for text that is no certificate; a certificate that is not accepted is not an error.",
        effect: Effect::Read,
        example: "let ca = cert::ca();\nlet leaf = cert::issue(ca, #{ names: \"shop.example.com\" });\ncert::verify(leaf, #{ ca: ca, host: \"other.example.com\" }).reason",
        run: verify_chain,
    },
    Function {
        module: "cert",
        name: "needs_renewal",
        doc: "Tells whether a certificate must be made anew: it ends soon, or it is not what is wanted any more.\n\nSoon is when less \
              than a third of its life is left, or less than `window`.",
        params: &[Param::required("certificate", Kind::Any, CERTIFICATE)],
        options: &[
            NAMES,
            Param::optional("key", Kind::String, "any", "the kind of key that it should have"),
            Param::optional("ca", Kind::Any, "any", "the authority that should have issued it"),
            Param::optional(
                "window",
                Kind::Duration,
                "a third of its life",
                "how long before its end it is due",
            ),
            Param::optional("at", Kind::String, "now", "the time to judge at, in RFC 3339"),
        ],
        returns: "`#{ needed: bool, reason: string, renew_at: string }`",
        errors: "`Invalid` for text that is no certificate.",
        effect: Effect::Read,
        example: "let ca = cert::ca();\nlet leaf = cert::issue(ca, #{ names: \"shop.example.com\" });\ncert::needs_renewal(leaf, #{ names: [\"shop.example.com\", \"www.example.com\"] }).reason",
        run: renewal,
    },
    Function {
        module: "cert",
        name: "save",
        doc: "Writes a certificate into files: `NAME.crt` with its intermediates, `NAME.key` and `NAME-ca.crt`.\n\nA key is readable for \
              its owner only. Each file is complete or as it was; files that are right already are not written.",
        params: &[
            Param::required("folder", Kind::String, "the folder; it is made when it is missing"),
            Param::required("certificate", Kind::Any, CERTIFICATE),
        ],
        options: &[FILE_NAME],
        returns: "`#{ certificate: string, key: string, ca: string, changed: bool }`: the paths",
        errors: "`Forbidden` outside of the workspace and what is granted, `Failed` when a file cannot be written.",
        effect: Effect::Write,
        example: "let ca = cert::ca();\ncert::save(\"certs\", ca, #{ name: \"ca\" }).changed",
        run: save,
    },
    Function {
        module: "cert",
        name: "load",
        doc: "Reads what `cert::save` wrote.",
        params: &[Param::required("folder", Kind::String, "the folder")],
        options: &[FILE_NAME],
        returns: "as of `cert::issue`; `()` when neither certificate nor key is there, so that `cert::load(…) ?? cert::ca()` makes one once",
        errors: "`Invalid` for a certificate whose key is missing from beside it or belongs to another one; `Forbidden` outside of what may be read.",
        effect: Effect::Read,
        example: "let ca = cert::load(\"certs\", #{ name: \"ca\" }) ?? cert::ca();\nca.facts.is_ca",
        run: load,
    },
    Function {
        module: "cert",
        name: "tls_secret",
        doc: "Makes the manifest of a Secret of the type `kubernetes.io/tls` with a certificate.\n\n`tls.crt` holds the certificate and its \
              intermediates, `ca.crt` what clients trust; the key in it is a secret value, which `k8s::apply` sends and nothing prints.",
        params: &[
            Param::required("name", Kind::String, "the Secret's name"),
            Param::required("certificate", Kind::Any, CERTIFICATE),
        ],
        options: &[
            Param::optional("namespace", Kind::String, "the current one", "the Secret's namespace"),
            Param::optional("labels", Kind::Map, "#{}", "labels of the Secret"),
            Param::optional("annotations", Kind::Map, "#{}", "annotations of the Secret"),
        ],
        returns: "map: the manifest",
        errors: "`Invalid` for a certificate without its key, or with the key of another one.",
        effect: Effect::Pure,
        example: "let ca = cert::ca();\nlet leaf = cert::issue(ca, #{ names: \"*.example.com\" });\nk8s::apply(cert::tls_secret(\"wildcard-certs\", leaf, #{ namespace: \"default\" }));",
        run: tls_secret,
    },
    Function {
        module: "cert",
        name: "from_secret",
        doc: "Reads the certificate of a Secret: `tls.crt`, `tls.key` and `ca.crt`.",
        params: &[Param::required("secret", Kind::Map, "the Secret as `k8s::get` returns it")],
        options: &[],
        returns: "as of `cert::issue`",
        errors: "`Invalid` for a Secret without a readable certificate, or whose key belongs to another one.",
        effect: Effect::Pure,
        example: "let leaf = cert::issue(cert::ca(), #{ names: \"shop.example.com\" });\ncert::from_secret(cert::tls_secret(\"shop\", leaf)).facts.names",
        run: from_secret,
    },
    Function {
        module: "cert",
        name: "rotate",
        doc: "Makes the successor of an authority, to be trusted together with it for a while.\n\nGive clients `bundle` first; then \
              issue leaves from `ca`, whose `ca` text is the bundle; when no leaf of the old authority is left, \
              `cert::bundle` of the new one alone ends the overlap.",
        params: &[Param::required("ca", Kind::Any, "the present authority")],
        options: &[
            Param::optional(
                "common_name",
                Kind::String,
                "that of the present one",
                "the common name of the subject",
            ),
            Param::optional(
                "organization",
                Kind::String,
                "none",
                "the organization in the subject",
            ),
            KEY,
            Param::optional("days", Kind::Int, "3650", "how long it is valid, up to 36500 days"),
            Param::optional(
                "path_length",
                Kind::Int,
                "0",
                "how many authorities may stand between it and a leaf",
            ),
        ],
        returns: "`#{ ca: map, bundle: string, cross: string }`: the new authority, both in PEM, and the new key certified by the old \
                  authority, `()` when that one may sign leaves only",
        errors: "`Invalid` for text that is no authority.",
        effect: Effect::Pure,
        example: "let old = cert::ca();\nlet rotation = cert::rotate(old);\nlet leaf = cert::issue(rotation.ca, #{ names: \"shop.example.com\" });\ncert::verify(leaf, #{ ca: rotation.bundle }).valid",
        run: rotate,
    },
    Function {
        module: "cert",
        name: "bundle",
        doc: "Puts authorities into one text to trust: each one once, without expired ones.",
        params: &[Param::required(
            "authorities",
            Kind::Array,
            "certificates of this namespace or PEM texts",
        )],
        options: &[],
        returns: "string: PEM",
        errors: "`Invalid` for text that is no certificate.",
        effect: Effect::Read,
        example: "let ca = cert::ca();\ncert::bundle([ca, ca]) == ca.ca",
        run: bundle,
    },
];

fn ca(call: &Call<'_>) -> Result<Dynamic, Diagnostic> {
    let parent = call.value("parent").map(|value| credential(call, value, "parent")).transpose()?;
    let options = authority_options(call, None)?;
    let made = issue::authority(&options, parent.as_ref(), &Serial::random()?, now(call)?)?;
    to_map(call, &made)
}

fn issue_leaf(call: &Call<'_>) -> Result<Dynamic, Diagnostic> {
    let ca = argument(call, "ca")?;
    let made = issue::leaf(&leaf_options(call)?, &ca, &Serial::random()?, now(call)?)?;
    to_map(call, &made)
}

fn csr(call: &Call<'_>) -> Result<Dynamic, Diagnostic> {
    let (request, key) = issue::request(&leaf_options(call)?)?;
    let mut map = Map::new();
    map.insert("csr".into(), request.into());
    map.insert("key".into(), opaque(call, key.pem()));
    Ok(map.into())
}

fn sign(call: &Call<'_>) -> Result<Dynamic, Diagnostic> {
    let ca = argument(call, "ca")?;
    let options = leaf_options(call)?;
    let request = call.string("csr");
    let made = issue::sign(&request, &options, &ca, &Serial::random()?, now(call)?)?;
    to_map(call, &made)
}

fn parse(call: &Call<'_>) -> Result<Dynamic, Diagnostic> {
    let credential = argument(call, "certificate")?;
    let mut all =
        credential.chain.iter().map(Facts::of).collect::<Result<Vec<_>, _>>()?.into_iter();
    let mut map = all.next().map(|facts| facts_map(&facts)).unwrap_or_default();
    map.insert("pem".into(), credential.certificate_pem().into());
    let rest: Array = all.map(|facts| facts_map(&facts).into()).collect();
    map.insert("chain".into(), rest.into());
    Ok(map.into())
}

fn verify_chain(call: &Call<'_>) -> Result<Dynamic, Diagnostic> {
    let certificate = argument(call, "certificate")?;
    let roots = match call.value("ca") {
        Some(value) => trusted(call, value, "ca")?,
        None => certificate.roots.clone(),
    };
    let host = call.opt_string("host");
    let reason = match verify::verify(&certificate.chain, &roots, host.as_deref(), at(call)?) {
        Ok(()) => String::new(),
        Err(CertError::NotTrusted(reason)) => reason.to_string(),
        Err(other) => return Err(other.into()),
    };
    let mut map = Map::new();
    map.insert("valid".into(), reason.is_empty().into());
    map.insert("reason".into(), reason.into());
    Ok(map.into())
}

fn renewal(call: &Call<'_>) -> Result<Dynamic, Diagnostic> {
    let certificate = argument(call, "certificate")?;
    let issuer = call.value("ca").map(|value| credential(call, value, "ca")).transpose()?;
    let wanted = Wanted {
        names: names(call)?,
        key: call.opt_string("key").map(|text| text.parse()).transpose()?,
        issuer: issuer.as_ref(),
        window: call.duration("window"),
    };
    let (reason, renew_at) = needs_renewal(&certificate, &wanted, at(call)?)?;
    let mut map = Map::new();
    map.insert("needed".into(), reason.is_some().into());
    map.insert("reason".into(), reason.map(|reason| reason.to_string()).unwrap_or_default().into());
    map.insert("renew_at".into(), renew_at.to_string().into());
    Ok(map.into())
}

fn save(call: &Call<'_>) -> Result<Dynamic, Diagnostic> {
    let certificate = argument(call, "certificate")?;
    let folder = call.host.files.writable(&call.string("folder"))?;
    let files = Files::of(&folder, &file_name(call)?);
    let changed = files::save(&certificate, &files)?;
    let mut map = Map::new();
    for (name, path) in
        [("certificate", &files.certificate), ("key", &files.key), ("ca", &files.ca)]
    {
        map.insert(name.into(), path.display().to_string().into());
    }
    map.insert("changed".into(), changed.into());
    Ok(map.into())
}

fn load(call: &Call<'_>) -> Result<Dynamic, Diagnostic> {
    let folder = call.host.files.readable(&call.string("folder"))?;
    match files::load(&Files::of(&folder, &file_name(call)?))? {
        Some(found) => to_map(call, &found),
        None => Ok(Dynamic::UNIT),
    }
}

fn tls_secret(call: &Call<'_>) -> Result<Dynamic, Diagnostic> {
    let certificate = argument(call, "certificate")?;
    let namespace = call.opt_string("namespace");
    let mut manifest =
        kubernetes::tls_secret(&call.string("name"), namespace.as_deref(), &certificate)?;
    for field in ["labels", "annotations"] {
        let given = call.json(field)?;
        if given.as_object().is_some_and(|entries| !entries.is_empty()) {
            manifest["metadata"][field] = given;
        }
    }
    let key = Secret::new(manifest["data"]["tls.key"].as_str().unwrap_or_default());
    let manifest = to_dynamic(&manifest);
    let Some(mut manifest) = manifest.try_cast::<Map>() else { return Ok(Dynamic::UNIT) };
    if let Some(mut data) = manifest.get_mut("data").and_then(|data| data.write_lock::<Map>()) {
        data.insert("tls.key".into(), opaque(call, &key));
    }
    Ok(manifest.into())
}

fn from_secret(call: &Call<'_>) -> Result<Dynamic, Diagnostic> {
    to_map(call, &argument(call, "secret")?)
}

fn rotate(call: &Call<'_>) -> Result<Dynamic, Diagnostic> {
    let old = argument(call, "ca")?;
    let options = authority_options(call, old.facts()?.common_name)?;
    let serials = [Serial::random()?, Serial::random()?];
    let made = rotation::rotate(&old, &options, &serials, now(call)?)?;
    let cross = made.cross.as_ref().map(|cross| pem::join([cross]));
    let mut map = Map::new();
    map.insert("ca".into(), to_map(call, &made.authority)?);
    map.insert("bundle".into(), made.authority.roots_pem().into());
    map.insert("cross".into(), cross.map_or(Dynamic::UNIT, Into::into));
    Ok(map.into())
}

fn bundle(call: &Call<'_>) -> Result<Dynamic, Diagnostic> {
    let items = call.value("authorities").and_then(|value| value.clone().into_array().ok());
    let mut all = Vec::new();
    for (index, item) in items.unwrap_or_default().iter().enumerate() {
        all.extend(trusted(call, item, &format!("authorities[{index}]"))?);
    }
    Ok(pem::join(&rotation::bundle(all, now(call)?)?).into())
}

/// The certificate in a parameter.
fn argument(call: &Call<'_>, name: &str) -> Result<Credential, Diagnostic> {
    credential(call, call.value(name).unwrap_or(&Dynamic::UNIT), name)
}

/// The certificate in a value of any of the forms taken. Keys that come with it become known as secrets.
pub(super) fn credential(
    call: &Call<'_>,
    value: &Dynamic,
    what: &str,
) -> Result<Credential, Diagnostic> {
    let redactor = &call.host.redactor;
    let learn = |secret: &Secret| redactor.learn(secret.reveal());
    let value = crate::engine::convert::to_json_revealing(value, what, &learn)?;
    let found = read(&value, what)?;
    if let Some(key) = &found.key {
        redactor.learn(key.pem().reveal());
    }
    Ok(found)
}

fn read(value: &Value, what: &str) -> Result<Credential, Diagnostic> {
    let what_text = format!("`{what}`");
    let text = |name: &str| value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(text) = value.as_str() {
        let text = plain(text);
        let key = text
            .contains("PRIVATE KEY-----")
            .then(|| PrivateKey::from_pem(&Secret::new(text.as_str())))
            .transpose()?;
        return Ok(Credential::from_pem(&text, None, key, &what_text)?);
    }
    if value.get("data").or(value.get("stringData")).is_some() {
        return Ok(kubernetes::from_secret(value)?);
    }
    let Some(chain) = text("chain").or(text("certificate")).or(text("pem")) else {
        return Err(Diagnostic::new(
            ErrorKind::Argument,
            format!("`{what}` is not a certificate: expected {CERTIFICATE}"),
        ));
    };
    let key = text("key").filter(|key| key.contains("PRIVATE KEY"));
    let key = key.map(|key| PrivateKey::from_pem(&Secret::new(key))).transpose()?;
    Ok(Credential::from_pem(chain, text("ca"), key, &what_text)?)
}

/// The authorities to trust in a value: the roots of a certificate, or every certificate of a PEM text.
pub(super) fn trusted(
    call: &Call<'_>,
    value: &Dynamic,
    what: &str,
) -> Result<Vec<rustls_pki_types::CertificateDer<'static>>, Diagnostic> {
    if let Ok(text) = value.clone().into_string() {
        return Ok(pem::certificates(&plain(&text), &format!("`{what}`"))?);
    }
    let credential = credential(call, value, what)?;
    Ok(if credential.roots.is_empty() { credential.chain } else { credential.roots })
}

/// PEM text, also when it comes in base64 as the data of a Secret.
fn plain(text: &str) -> String {
    use base64::Engine as _;
    if text.contains("-----BEGIN") {
        return text.to_owned();
    }
    base64::engine::general_purpose::STANDARD
        .decode(text.trim())
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .filter(|decoded| decoded.contains("-----BEGIN"))
        .unwrap_or_else(|| text.to_owned())
}

fn to_map(call: &Call<'_>, credential: &Credential) -> Result<Dynamic, Diagnostic> {
    let mut map = Map::new();
    map.insert("certificate".into(), credential.certificate_pem().into());
    map.insert("chain".into(), credential.chain_pem().into());
    map.insert("ca".into(), credential.roots_pem().into());
    map.insert("facts".into(), facts_map(&credential.facts()?).into());
    if let Some(key) = &credential.key {
        map.insert("key".into(), opaque(call, key.pem()));
    }
    Ok(map.into())
}

/// The facts of a certificate as scripts see them.
pub(super) fn facts_map(facts: &Facts) -> Map {
    let value = serde_json::to_value(facts).unwrap_or_default();
    to_dynamic(&value).try_cast::<Map>().unwrap_or_default()
}

/// A secret value that the run's outputs know of.
fn opaque(call: &Call<'_>, secret: &Secret) -> Dynamic {
    call.host.redactor.learn(secret.reveal());
    Dynamic::from(secret.clone())
}

fn authority_options(
    call: &Call<'_>,
    common_name: Option<String>,
) -> Result<AuthorityOptions, Diagnostic> {
    let default = AuthorityOptions::default();
    Ok(AuthorityOptions {
        common_name: call.opt_string("common_name").or(common_name).unwrap_or(default.common_name),
        organization: call.opt_string("organization"),
        key: call.opt_string("key").map_or(Ok(default.key), |text| text.parse())?,
        days: call.int("days").unwrap_or(default.days),
        path_length: call.int("path_length").unwrap_or(default.path_length),
    })
}

fn leaf_options(call: &Call<'_>) -> Result<LeafOptions, Diagnostic> {
    let default = LeafOptions::default();
    // `sign` and `csr` take some of these only.
    let takes = |name: &str| call.function.options.iter().any(|option| option.name == name);
    let text = |name: &str| takes(name).then(|| call.opt_string(name)).flatten();
    let usages = call.strings("usages");
    Ok(LeafOptions {
        names: names(call)?,
        common_name: text("common_name"),
        organization: text("organization"),
        key: text("key").map_or(Ok(default.key), |text| text.parse())?,
        days: if takes("days") { call.int("days").unwrap_or(default.days) } else { default.days },
        usages: if usages.is_empty() {
            default.usages
        } else {
            usages.iter().map(|usage| usage.parse()).collect::<Result<_, _>>()?
        },
    })
}

fn names(call: &Call<'_>) -> Result<Vec<crate::cert::name::Name>, Diagnostic> {
    Ok(call.strings("names").iter().map(|name| name.parse()).collect::<Result<_, _>>()?)
}

fn file_name(call: &Call<'_>) -> Result<String, Diagnostic> {
    let name = call.opt_string("name").unwrap_or_else(|| "tls".to_owned());
    if name.is_empty() || name.contains(['/', '\\']) {
        return Err(Diagnostic::new(
            ErrorKind::Argument,
            format!("`{name}` cannot be the name of files: write a name without folder"),
        ));
    }
    Ok(name)
}

fn now(call: &Call<'_>) -> Result<Timestamp, Diagnostic> {
    Ok(call.host.now())
}

fn at(call: &Call<'_>) -> Result<Timestamp, Diagnostic> {
    match call.opt_string("at") {
        None => now(call),
        Some(text) => text.parse().map_err(|error: jiff::Error| {
            Diagnostic::new(ErrorKind::Argument, format!("`at` is not a time: `{text}`"))
                .cause(error.to_string())
                .hint("write it as `2026-11-23T12:00:00Z`")
        }),
    }
}
