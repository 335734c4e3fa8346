//! Charts of OCI registries: the distribution protocol as far as a pull needs it.
//!
//! A registry that asks for a token names who gives it; the answer is asked for with the credentials, if there are any.
//! `+` of a version is `_` in a tag, as Helm has it.

use http::StatusCode;
use http::header::{LINK, WWW_AUTHENTICATE};
use serde_json::Value as Json;

use super::remote::{Archive, Credentials, Remote, RemoteError, packed, parse, shown, succeeded};
use super::semver::Version;
use super::source::choose;
use crate::http::Response;
use crate::http::request::Url;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.cncf.helm.config.v1+json";
const CONTENT: &[&str] =
    &["application/vnd.cncf.helm.chart.content.v1.tar+gzip", "application/tar+gzip"];
const PROVENANCE: &[&str] = &["application/vnd.cncf.helm.chart.provenance.v1.prov"];

/// Pages of tags that are read at most.
const PAGES: usize = 200;

pub const SCHEME: &str = "oci://";

#[derive(Clone, Debug, PartialEq, Eq)]
struct Reference {
    host: String,
    path: String,
    tag: Option<String>,
    digest: Option<String>,
}

impl Reference {
    /// `oci://HOST[:PORT]/PATH[:TAG][@sha256:DIGEST]`
    fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(SCHEME)?;
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.to_owned())),
            None => (rest, None),
        };
        let (host, path) = rest.split_once('/')?;
        let (path, tag) = match path.rsplit_once(':') {
            Some((path, tag)) => (path, Some(tag.to_owned())),
            None => (path, None),
        };
        let word = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte))
        };
        let hex = |digest: &String| {
            digest.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && word(hex))
        };
        let is_valid = !host.is_empty()
            && path.split('/').all(word)
            && tag.as_deref().is_none_or(word)
            && digest.as_ref().is_none_or(hex);
        is_valid.then(|| Self { host: host.to_owned(), path: path.to_owned(), tag, digest })
    }

    /// The last part of the path.
    fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// Fetches the chart that `oci://…` names: by digest, by tag or version, else the newest that satisfies the constraint.
///
/// # Errors
/// `Reference`, `Http`, `Status`, `Manifest` for what is no chart, `NoVersion`, and `Digest` for content that is not what the
/// manifest says.
pub async fn pull(remote: &Remote, text: &str, version: &str) -> Result<Archive, RemoteError> {
    let reference = Reference::parse(text).ok_or_else(|| RemoteError::Reference(shown(text)))?;
    let mut session = Session::new(remote, &reference)?;
    let wanted = reference.tag.clone().unwrap_or_else(|| version.to_owned());
    let name = match &reference.digest {
        Some(digest) => digest.clone(),
        // A whole version is a tag; anything else picks one.
        None if is_exact(&wanted) || reference.tag.is_some() => wanted.replace('+', "_"),
        None => session.newest(&wanted).await?,
    };
    let address = session.address(&format!("manifests/{name}"))?;
    let response = session.get(&address, MANIFEST).await?;
    let wrong = |reason: String| RemoteError::Manifest { url: address.to_string(), reason };
    if let Some(digest) = &reference.digest {
        packed(response.body.to_vec(), &address.to_string(), "").check(digest)?;
    }
    let manifest: Json =
        serde_json::from_slice(&response.body).map_err(|error| wrong(error.to_string()))?;
    let config = manifest["config"]["mediaType"].as_str().unwrap_or_default();
    if config != CONFIG {
        return Err(wrong(format!("its config is `{config}`, not `{CONFIG}`")));
    }
    let from = format!("{SCHEME}{}/{}:{name}", reference.host, reference.path);
    let digest = layer(&manifest, CONTENT).map_err(wrong)?;
    // A version's `+` is `_` in its tag alone.
    let file = format!("{}-{}.tgz", reference.name(), name.replace('_', "+"));
    let blob = session.address(&format!("blobs/{digest}"))?;
    let fetched = async { Ok(session.get(&blob, "*/*").await?.body.to_vec()) };
    let mut archive = remote.archive(digest, (&from, &file), fetched).await?;
    if remote.provenance {
        let missing = |reason| RemoteError::NoProvenance { url: from.clone(), reason };
        let digest = layer(&manifest, PROVENANCE).map_err(missing)?;
        let blob = session.address(&format!("blobs/{digest}"))?;
        let found = session.get(&blob, "*/*").await?.body.to_vec();
        packed(found.clone(), &blob.to_string(), &file).check(digest)?;
        archive.provenance = Some(found);
    }
    Ok(archive)
}

/// The digest of the first layer of one of these kinds, else what is wrong.
fn layer<'m>(manifest: &'m Json, kinds: &[&str]) -> Result<&'m str, String> {
    let layers = manifest["layers"].as_array().into_iter().flatten();
    let mut of_kind = layers
        .filter(|layer| layer["mediaType"].as_str().is_some_and(|kind| kinds.contains(&kind)));
    let layer = of_kind.next().ok_or_else(|| {
        format!("manifest does not contain a layer with mediatype {}", kinds.join(" or "))
    })?;
    let digest = layer["digest"].as_str().unwrap_or_default();
    if digest.starts_with("sha256:") {
        Ok(digest)
    } else {
        Err(format!("the digest `{digest}` of its layer is no SHA-256"))
    }
}

fn is_exact(version: &str) -> bool {
    let bare = version.strip_prefix('v').unwrap_or(version);
    bare.split(['-', '+']).next().unwrap_or(bare).split('.').count() == 3
        && Version::parse(version).is_ok()
}

/// Requests to one repository of a registry.
struct Session<'r> {
    remote: &'r Remote,
    reference: &'r Reference,
    home: Url,
    /// The header that the registry wants, once it said so.
    authorization: Option<String>,
}

impl<'r> Session<'r> {
    fn new(remote: &'r Remote, reference: &'r Reference) -> Result<Self, RemoteError> {
        let scheme = if remote.plain_http { "http" } else { "https" };
        let home = parse(&format!("{scheme}://{}/v2/", reference.host))?;
        Ok(Self { remote, reference, home, authorization: None })
    }

    fn address(&self, tail: &str) -> Result<Url, RemoteError> {
        parse(&format!("{}{}/{tail}", self.home, self.reference.path))
    }

    /// Asks, and once more with what the registry then wants.
    async fn get(&mut self, url: &Url, accept: &str) -> Result<Response, RemoteError> {
        let mut response = self.once(url, accept).await?;
        if response.status == StatusCode::UNAUTHORIZED && self.authorization.is_none() {
            let challenge = response.headers.get(WWW_AUTHENTICATE);
            let challenge = challenge.and_then(|value| value.to_str().ok()).unwrap_or_default();
            if let Some(authorization) = self.authorize(challenge).await? {
                self.authorization = Some(authorization);
                response = self.once(url, accept).await?;
            }
        }
        succeeded(&response, url)?;
        Ok(response)
    }

    async fn once(&self, url: &Url, accept: &str) -> Result<Response, RemoteError> {
        let mut headers = vec![("accept", accept)];
        if let Some(authorization) = &self.authorization {
            headers.push(("authorization", authorization));
        }
        self.remote.ask(url, &headers).await
    }

    /// What a challenge asks for; `None` where that is not to be had.
    async fn authorize(&self, challenge: &str) -> Result<Option<String>, RemoteError> {
        let basic = self.remote.credentials.as_ref().map(Credentials::basic);
        let (scheme, rest) = challenge.split_once(' ').unwrap_or((challenge, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Ok(basic);
        }
        let parameters = parameters(rest);
        let value = |name: &str| {
            parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
        };
        let Some(realm) = value("realm").filter(|_| scheme.eq_ignore_ascii_case("bearer")) else {
            return Ok(None);
        };
        let scope = format!("repository:{}:pull", self.reference.path);
        let mark = if realm.contains('?') { '&' } else { '?' };
        let mut text = format!("{realm}{mark}scope={}", value("scope").unwrap_or(&scope));
        if let Some(service) = value("service") {
            text.push_str(&format!("&service={service}"));
        }
        let url = parse(&text.replace(' ', "%20"))?;
        // A password that was sent over TLS does not go to the next one without.
        let basic = basic.filter(|_| url.is_secure() || !self.home.is_secure());
        let headers: Vec<(&str, &str)> =
            basic.iter().map(|basic| ("authorization", basic.as_str())).collect();
        let response = self.remote.ask(&url, &headers).await?;
        succeeded(&response, &url)?;
        let answer: Json = serde_json::from_slice(&response.body).unwrap_or_default();
        let token = answer["token"].as_str().or(answer["access_token"].as_str());
        Ok(token.map(|token| format!("Bearer {token}")))
    }

    /// The tag of the newest version that satisfies a constraint.
    async fn newest(&mut self, wanted: &str) -> Result<String, RemoteError> {
        let mut tags: Vec<(Version, String)> = Vec::new();
        let mut next = Some(self.address("tags/list")?);
        for _ in 0..PAGES {
            let Some(url) = next.take() else { break };
            let response = self.get(&url, "application/json").await?;
            let page: Json = serde_json::from_slice(&response.body).unwrap_or_default();
            let found = page["tags"].as_array().into_iter().flatten().filter_map(Json::as_str);
            tags.extend(found.filter_map(|tag| {
                Some((Version::parse(&tag.replace('_', "+")).ok()?, tag.to_owned()))
            }));
            let link = response.headers.get(LINK).and_then(|value| value.to_str().ok());
            let link = link.filter(|link| link.contains("rel=\"next\""));
            let place = link.and_then(|link| link.split_once('<')?.1.split_once('>'));
            if let Some((place, _)) = place {
                let failed = |source| RemoteError::Http { url: place.to_owned(), source };
                next = Some(url.join(place).map_err(failed)?);
            }
        }
        if let Some((_, tag)) = choose(&mut tags, wanted) {
            return Ok(tag.clone());
        }
        let found: Vec<String> =
            tags.iter().map(|(version, _)| version.to_string()).take(20).collect();
        Err(RemoteError::NoVersion {
            name: self.reference.name().to_owned(),
            wanted: if wanted.is_empty() {
                "that is no pre-release".to_owned()
            } else {
                wanted.to_owned()
            },
            url: format!("{SCHEME}{}/{}", self.reference.host, self.reference.path),
            found: found.join(", "),
        })
    }
}

/// `realm="…",service="…"` as pairs.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut rest = text.trim();
    while let Some((name, tail)) = rest.split_once('=') {
        let (value, after) = match tail.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => tail.split_once(',').unwrap_or((tail, "")),
        };
        let name = name.trim_matches([',', ' ']).to_ascii_lowercase();
        pairs.push((name, value.to_owned()));
        rest = after;
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read() {
        let found = Reference::parse("oci://localhost:5000/team/charts/web:1.2.0");
        let found = found.map(|found| (found.host, found.path, found.tag, found.digest));
        let expected = ("localhost:5000", "team/charts/web", "1.2.0");
        let (host, path, tag) = expected;
        assert_eq!(found, Some((host.to_owned(), path.to_owned(), Some(tag.to_owned()), None)));
        for wrong in [
            "oci://",
            "oci://host",
            "oci://host/",
            "oci://host/a b",
            "oci://host/../x:",
            "oci://host/a@sha256:12",
            "https://host/a",
        ] {
            assert_eq!(Reference::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn challenges_are_read() {
        let found = parameters(r#"realm="https://a/token",service="a, b",scope=x"#);
        let expected = [("realm", "https://a/token"), ("service", "a, b"), ("scope", "x")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(found, expected);
    }

    #[test]
    fn whole_versions_are_tags() {
        assert!(is_exact("1.2.3") && is_exact("v1.2.3-rc.1+x"));
        assert!(!is_exact("") && !is_exact("1.2") && !is_exact("^1.2.3") && !is_exact("*"));
    }
}
