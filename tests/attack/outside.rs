//! Attacks of somebody who may not do anything: without credentials, with wrong ones, with some of an account without rights.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::ClientConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;

use super::http1::{self, Parts};
use super::http2;
use super::random::{Random, damage};
use super::served::{Door, WELL};
use super::tls;
use super::wire::{self, Identity};

const PATIENCE: Duration = Duration::from_millis(80);

const PATHS: &[&str] = &[
    "/",
    "/api",
    "/apis",
    "/api/v1",
    "/api/v1/secrets",
    "/api/v1/namespaces/kube-system/secrets?watch=true",
    "/api/v1/namespaces",
    "/api/v1/namespaces/default/configmaps",
    "/api/v1/namespaces/default/configmaps/attack",
    "/api/v1/namespaces/attack-well/configmaps/well",
    "/api/v1/namespaces/attack-well/pods/well/exec?command=id&stdin=true&stdout=true",
    "/api/v1/namespaces/attack-well/pods/well/portforward?ports=8080",
    "/api/v1/namespaces/attack-well/pods/well/log",
    "/api/v1/namespaces/attack-well/pods/well/proxy/get",
    "/api/v1/nodes",
    "/apis/apps/v1/namespaces/default/deployments",
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/cluster-admin",
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
    "/apis/authentication.k8s.io/v1/tokenreviews",
    "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
    "/apis/certificates.k8s.io/v1/certificatesigningrequests",
    "/api/v1/namespaces/default/serviceaccounts/default/token",
    "/openapi/v3",
    "/openapi/v3/apis/apps/v1",
    "/metrics",
    "/logs/",
    "/meshscript/v1/save",
    "/meshscript/v1/load",
    "/meshscript/v1/faults",
    "/meshscript/v1/advance",
    "/meshscript/v1/heal",
];

const METHODS: &[&str] =
    &["GET", "GET", "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];

const MEDIA: &[&str] = &[
    "application/json",
    "application/yaml",
    "application/apply-patch+yaml",
    "application/merge-patch+json",
    "application/json-patch+json",
    "application/vnd.kubernetes.protobuf",
    "application/cbor",
];

/// What an outsider has.
pub(crate) struct Outsider {
    door: Door,
    nobody: [Arc<ClientConfig>; 3],
    /// Certificates that prove nothing: of an authority of their own, of the sandbox's without its key.
    wrong: Vec<Arc<ClientConfig>>,
    /// Tokens that are not valid.
    tokens: Vec<String>,
    /// The token of an account that has no rights.
    weak: String,
}

impl Outsider {
    /// Prepares credentials that must not work. The tokens are made of a real one of an account that is gone.
    pub(crate) fn new(door: &Door) -> Result<Self, String> {
        let place = &door.place;
        let own = |name: &str, group: &str| -> Result<Identity, rcgen::Error> {
            let mut params = CertificateParams::new(Vec::new())?;
            params.distinguished_name.push(DnType::CommonName, name);
            params.distinguished_name.push(DnType::OrganizationName, group);
            let key = KeyPair::generate()?;
            let certificate = params.self_signed(&key)?;
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
            Ok(Identity { chain: vec![certificate.der().clone()], key })
        };
        let forged =
            own("kubernetes-admin", "system:masters").map_err(|error| error.to_string())?;
        let stolen = Identity { chain: door.admin.chain.clone(), key: forged.key.clone_key() };
        let mut long = Identity { chain: forged.chain.clone(), key: forged.key.clone_key() };
        long.chain.extend(door.admin.chain.iter().cloned());
        let wrong = [&forged, &stolen, &long].map(|who| place.config(Some(who), &[])).to_vec();
        let nobody = [&[][..], &[&b"http/1.1"[..]], &[&b"h2"[..], b"http/1.1"]];
        let nobody = nobody.map(|protocols| place.config(None, protocols));
        let weak = account(door, "weak")?;
        Ok(Self { door: door.clone(), nobody, wrong, tokens: tokens(door)?, weak })
    }

    /// One attack. What was sent, and, if it let the outsider in, how one sees that.
    pub(crate) fn attack(&self, random: &mut Random) -> (Vec<u8>, Option<String>) {
        match random.below(10) {
            0 | 1 => match tls::attack(random, &self.door.place) {
                Ok(answer) => (Vec::new(), http1::grants(&answer)),
                Err(_) => (Vec::new(), None),
            },
            2..=4 => self.over_http1(random),
            5..=7 => self.over_http2(random),
            8 => self.by_certificate(random),
            _ if random.chance(25) => self.without_rights(random),
            _ => self.by_token(random),
        }
    }

    fn parts(&self, random: &mut Random) -> Parts {
        let mut headers = Vec::new();
        let mut add = |name: &str, value: &str| headers.push((name.to_owned(), value.to_owned()));
        add("content-type", random.pick(MEDIA));
        match random.below(12) {
            0 => add("authorization", "Basic YWRtaW46YWRtaW4="),
            1 => add("authorization", "Bearer"),
            2 => add("authorization", &format!("Bearer {}", self.token(random))),
            3 => add("authorization", &format!("bearer {}", self.token(random))),
            4 => {
                add("impersonate-user", "kubernetes-admin");
                add("impersonate-group", "system:masters");
            }
            5 => add("impersonate-group", "system:masters"),
            6 => {
                add("x-remote-user", "kubernetes-admin");
                add("x-remote-group", "system:masters");
            }
            7 => add("impersonate-extra-scopes", "all"),
            8 => {
                add("upgrade", "websocket");
                add("connection", "Upgrade");
                add("sec-websocket-version", "13");
                add("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
                let token = URL_SAFE_NO_PAD.encode(self.token(random));
                let offered =
                    format!("base64url.bearer.authorization.k8s.io.{token}, v5.channel.k8s.io");
                add("sec-websocket-protocol", &offered);
            }
            9 => {
                add("upgrade", "SPDY/3.1");
                add("connection", "Upgrade");
            }
            _ => {}
        }
        let method = random.pick(METHODS).to_owned();
        let object =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "attack"}});
        let body = if method == "GET" { Vec::new() } else { object.to_string().into_bytes() };
        Parts { method, path: random.pick(PATHS).to_owned(), headers, body }
    }

    fn token(&self, random: &mut Random) -> &str {
        &self.tokens[random.below(self.tokens.len())]
    }

    fn over_http1(&self, random: &mut Random) -> (Vec<u8>, Option<String>) {
        let parts = self.parts(random);
        let sent = http1::bytes(random, &parts);
        let config = &self.nobody[random.below(2)];
        let Ok(mut stream) = self.door.place.tls(config, PATIENCE) else { return (sent, None) };
        let cut = random.below(sent.len() + 1);
        let answer = wire::talk(&mut stream, &[&sent[..cut], &sent[cut..]]);
        let granted = http1::grants(&answer);
        (sent, granted)
    }

    fn over_http2(&self, random: &mut Random) -> (Vec<u8>, Option<String>) {
        let parts = self.parts(random);
        let sent = http2::bytes(random, &parts);
        // Also where HTTP/2 was not agreed on.
        let config =
            if random.chance(85) { &self.nobody[2] } else { &self.nobody[random.below(3)] };
        let Ok(mut stream) = self.door.place.tls(config, PATIENCE) else { return (sent, None) };
        let answer = wire::talk(&mut stream, &[&sent]);
        let granted = http2::grants(&answer).or_else(|| http1::grants(&answer));
        (sent, granted)
    }

    /// Sends a request over a connection of its own, and what was granted to it.
    fn sent_by(&self, config: &Arc<ClientConfig>, sent: Vec<u8>) -> (Vec<u8>, Option<String>) {
        let Ok(mut stream) = self.door.place.tls(config, PATIENCE * 4) else { return (sent, None) };
        let answer = wire::talk(&mut stream, &[&sent]);
        let granted = http1::grants(&answer);
        (sent, granted)
    }

    fn by_certificate(&self, random: &mut Random) -> (Vec<u8>, Option<String>) {
        let config = &self.wrong[random.below(self.wrong.len())];
        let sent = b"GET /api/v1/secrets HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_vec();
        self.sent_by(config, sent)
    }

    /// Discovery is open to every account; nothing else is.
    fn without_rights(&self, random: &mut Random) -> (Vec<u8>, Option<String>) {
        let mut parts = self.parts(random);
        parts.headers.retain(|(name, _)| name != "authorization");
        while !["/namespaces", "secrets", "nodes", "meshscript"]
            .iter()
            .any(|part| parts.path.contains(part))
        {
            random.pick(PATHS).clone_into(&mut parts.path);
        }
        let mut sent =
            format!("{} {} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n", parts.method, parts.path);
        parts.headers.push(("authorization".to_owned(), format!("Bearer {}", self.weak)));
        parts.headers.push(("content-length".to_owned(), parts.body.len().to_string()));
        for (name, value) in parts.headers {
            sent.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut sent = format!("{sent}\r\n").into_bytes();
        sent.extend_from_slice(&parts.body);
        self.sent_by(&self.nobody[0], sent)
    }

    fn by_token(&self, random: &mut Random) -> (Vec<u8>, Option<String>) {
        let mut token = self.token(random).as_bytes().to_vec();
        if random.chance(60) {
            damage(random, &mut token, &[b".", b"..", b"=", b"eyJhbGciOiJub25lIn0", b"e30", b"AA"]);
        }
        token.retain(|byte| !matches!(byte, b'\r' | b'\n' | 0));
        let mut parts = self.parts(random);
        parts.headers.retain(|(name, _)| name != "authorization");
        let mut sent =
            format!("{} {} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n", parts.method, parts.path)
                .into_bytes();
        for (name, value) in parts.headers {
            sent.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        sent.extend_from_slice(b"authorization: Bearer ");
        sent.extend_from_slice(&token);
        sent.extend_from_slice(
            format!("\r\ncontent-length: {}\r\n\r\n", parts.body.len()).as_bytes(),
        );
        sent.extend_from_slice(&parts.body);
        self.sent_by(&self.nobody[0], sent)
    }
}

/// A new account's token.
fn account(door: &Door, name: &str) -> Result<String, String> {
    let accounts = format!("/api/v1/namespaces/{WELL}/serviceaccounts");
    door.ask("POST", &accounts, Some(&json!({"metadata": {"name": name}})))?;
    let asked = json!({"spec": {"expirationSeconds": 864_000}});
    let answer = door.ask("POST", &format!("{accounts}/{name}/token"), Some(&asked))?;
    let token = answer.json()["status"]["token"].as_str().map(str::to_owned);
    token.ok_or_else(|| format!("no token: {}", String::from_utf8_lossy(&answer.body)))
}

/// A token that was good until its account went, and what one can make of it.
fn tokens(door: &Door) -> Result<Vec<String>, String> {
    let token = account(door, "gone")?;
    door.ask("DELETE", &format!("/api/v1/namespaces/{WELL}/serviceaccounts/gone"), None)?;
    let parts: Vec<&str> = token.split('.').collect();
    let [head, claims, signature] = parts.as_slice() else {
        return Err("a token has three parts".to_owned());
    };
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let none = encode(r#"{"alg":"none","typ":"JWT"}"#);
    let masters = URL_SAFE_NO_PAD
        .decode(claims)
        .map(|text| String::from_utf8_lossy(&text).replace("gone", "default"))
        .map_err(|error| error.to_string())?;
    let masters = encode(&masters);
    Ok(vec![
        format!("{head}.{masters}.{signature}"),
        format!("{none}.{claims}."),
        format!("{none}.{masters}."),
        format!("{head}.{claims}."),
        format!("{head}.{claims}"),
        format!("{head}..{signature}"),
        format!(".{claims}.{signature}"),
        format!("{head}.{claims}.{signature}."),
        format!("{claims}.{claims}.{signature}"),
        "made-up".to_owned(),
        "..".to_owned(),
        ".".to_owned(),
        "a".repeat(70_000),
        token,
    ])
}

/// Connections that are opened and then left alone, in each state that a connection can be left in.
pub(crate) fn holders(door: &Door, count: usize) -> Vec<Box<dyn std::any::Any + Send>> {
    let mut held: Vec<Box<dyn std::any::Any + Send>> = Vec::new();
    let plain = door.place.config(None, &[]);
    let both = door.place.config(None, &[b"h2", b"http/1.1"]);
    let opened = |at: usize| -> io::Result<Box<dyn std::any::Any + Send>> {
        let config = if at.is_multiple_of(2) { &plain } else { &both };
        let said: &[u8] = match at % 7 {
            0 | 1 => return Ok(Box::new(door.place.bare(PATIENCE)?)),
            2 => b"",
            3 => b"P",
            4 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
            5 => b"POST /api/v1/namespaces HTTP/1.1\r\nhost: x\r\n",
            _ => b"POST /api/v1/namespaces HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{",
        };
        let mut stream = door.place.tls(config, PATIENCE)?;
        io::Write::write_all(&mut stream, said)?;
        Ok(Box::new(stream))
    };
    held.extend((0..count).filter_map(|at| opened(at).ok()));
    held
}
