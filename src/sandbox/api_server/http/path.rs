//! Which thing a request path names, and the query's parameters.

use std::collections::BTreeMap;

/// A parsed request path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    Root,
    Version,
    Health,
    /// `/api` (core) or `/apis`.
    Groups {
        core: bool,
    },
    Group(String),
    Resources {
        group: String,
        version: String,
    },
    OpenApiV2,
    OpenApiIndex,
    OpenApi {
        group: String,
        version: String,
    },
    Object(ObjectPath),
    /// A function of the sandbox itself.
    Control(String),
    Unknown,
}

/// A collection, an object or a subresource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ObjectPath {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) plural: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) subresource: String,
    /// What follows `proxy`.
    pub(crate) rest: String,
    /// The path is `…/watch/…`: its collection, or its object, is watched.
    pub(crate) watched: bool,
}

pub(crate) fn parse(path: &str) -> Path {
    let decoded: Vec<String> =
        path.trim_matches('/').split('/').map(|part| decode(part, false)).collect();
    let parts: Vec<&str> = decoded.iter().map(String::as_str).collect();
    match parts.as_slice() {
        [""] => Path::Root,
        ["version"] => Path::Version,
        ["meshscript", "v1", function] => Path::Control((*function).to_owned()),
        ["readyz" | "livez" | "healthz"] | ["readyz" | "livez" | "healthz", "ping"] => Path::Health,
        ["api"] => Path::Groups { core: true },
        ["apis"] => Path::Groups { core: false },
        ["openapi", "v2"] => Path::OpenApiV2,
        ["openapi", "v3"] => Path::OpenApiIndex,
        ["openapi", "v3", "api", version] => {
            Path::OpenApi { group: String::new(), version: (*version).to_owned() }
        }
        ["openapi", "v3", "apis", group, version] => {
            Path::OpenApi { group: (*group).to_owned(), version: (*version).to_owned() }
        }
        ["apis", group] => Path::Group((*group).to_owned()),
        ["api", version] => {
            Path::Resources { group: String::new(), version: (*version).to_owned() }
        }
        ["apis", group, version] => {
            Path::Resources { group: (*group).to_owned(), version: (*version).to_owned() }
        }
        // The old form of a watch.
        ["api", version, "watch", rest @ ..] => watched(object("", version, rest)),
        ["apis", group, version, "watch", rest @ ..] => watched(object(group, version, rest)),
        ["api", version, rest @ ..] => object("", version, rest),
        ["apis", group, version, rest @ ..] => object(group, version, rest),
        _ => Path::Unknown,
    }
}

fn watched(path: Path) -> Path {
    match path {
        Path::Object(at) => Path::Object(ObjectPath { watched: true, ..at }),
        other => other,
    }
}

fn object(group: &str, version: &str, rest: &[&str]) -> Path {
    let mut found = ObjectPath {
        group: group.to_owned(),
        version: version.to_owned(),
        ..ObjectPath::default()
    };
    let rest = match rest {
        // `namespaces/x/status` and `namespaces/x/finalize` are the namespace's own.
        ["namespaces", namespace, plural, rest @ ..]
            if !(rest.is_empty() && matches!(*plural, "status" | "finalize")) =>
        {
            found.namespace = (*namespace).to_owned();
            found.plural = (*plural).to_owned();
            rest
        }
        [plural, rest @ ..] => {
            found.plural = (*plural).to_owned();
            rest
        }
        [] => return Path::Unknown,
    };
    match rest {
        [] => {}
        [name] => found.name = (*name).to_owned(),
        [name, subresource] => {
            found.name = (*name).to_owned();
            found.subresource = (*subresource).to_owned();
        }
        [name, "proxy", rest @ ..] => {
            found.name = (*name).to_owned();
            "proxy".clone_into(&mut found.subresource);
            found.rest = rest.join("/");
        }
        _ => return Path::Unknown,
    }
    Path::Object(found)
}

/// The parameters of a query; the last value counts but for those that may come several times.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    values: BTreeMap<String, Vec<String>>,
}

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            values.entry(decode(name, true)).or_default().push(decode(value, true));
        }
        Self { values }
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        self.values.get(name).and_then(|values| values.first()).map_or("", String::as_str)
    }

    pub(crate) fn all(&self, name: &str) -> &[String] {
        self.values.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.has(name) && !matches!(self.text(name).to_ascii_lowercase().as_str(), "false" | "0")
    }

    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.text(name).parse().ok()
    }
}

fn decode(text: &str, plus_is_space: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes().iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' if plus_is_space => bytes.push(b' '),
            b'%' => {
                let hex = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
                match (hex(rest.next()), hex(rest.next())) {
                    (Some(high), Some(low)) => {
                        bytes.push(u8::try_from(high * 16 + low).unwrap_or(b'%'));
                    }
                    _ => bytes.push(b'%'),
                }
            }
            other => bytes.push(*other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
