//! Paths and URLs.

use super::{Fault, Function, Type, Value, done, map, text};
use crate::helm::template::value::Entries;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("base", &[Type::Str], |_, a| done(base(text(a, 0)))),
    Function::new("osBase", &[Type::Str], |_, a| done(base(text(a, 0)))),
    Function::new("dir", &[Type::Str], |_, a| done(dir(text(a, 0)))),
    Function::new("osDir", &[Type::Str], |_, a| done(dir(text(a, 0)))),
    Function::new("clean", &[Type::Str], |_, a| done(clean(text(a, 0)))),
    Function::new("osClean", &[Type::Str], |_, a| done(clean(text(a, 0)))),
    Function::new("ext", &[Type::Str], |_, a| done(ext(text(a, 0)))),
    Function::new("osExt", &[Type::Str], |_, a| done(ext(text(a, 0)))),
    Function::new("isAbs", &[Type::Str], |_, a| Ok(Value::Bool(text(a, 0).starts_with('/')))),
    Function::new("osIsAbs", &[Type::Str], |_, a| Ok(Value::Bool(text(a, 0).starts_with('/')))),
    Function::new("urlParse", &[Type::Str], |_, a| url_parse(text(a, 0))),
    Function::new("urlJoin", &[Type::Map], |_, a| url_join(a)),
];

/// The last element of a path.
pub(crate) fn base(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    match (path.is_empty(), trimmed.is_empty()) {
        (true, _) => ".",
        (false, true) => "/",
        _ => trimmed.rsplit('/').next().unwrap_or(trimmed),
    }
}

fn dir(path: &str) -> String {
    clean(&path[..path.rfind('/').map_or(0, |at| at + 1)])
}

fn ext(path: &str) -> &str {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.rfind('.').map_or("", |at| &file[at..])
}

/// Go's `path.Clean`.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(&last) if last != ".." => {
                    parts.pop();
                }
                _ if rooted => {}
                _ => parts.push(".."),
            },
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

fn url_parse(url: &str) -> Result<Value, Fault> {
    let (rest, fragment) = url.split_once('#').unwrap_or((url, ""));
    let colon = rest.find(':');
    let (scheme, rest) = match colon {
        Some(at)
            if at > 0
                && rest.as_bytes()[0].is_ascii_alphabetic()
                && rest[..at].bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) =>
        {
            (rest[..at].to_lowercase(), &rest[at + 1..])
        }
        Some(0) => {
            let url = crate::helm::template::text::quote(url);
            return Err(Fault::new(format!(
                "unable to parse url: parse {url}: missing protocol scheme"
            )));
        }
        _ => (String::new(), rest),
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (mut host, mut userinfo, mut path, mut opaque) = ("", "", rest, "");
    if let Some(authority) = rest.strip_prefix("//") {
        let at = authority.find('/').unwrap_or(authority.len());
        path = &authority[at..];
        (userinfo, host) = match authority[..at].rsplit_once('@') {
            Some((userinfo, host)) => (userinfo, host),
            None => ("", &authority[..at]),
        };
    } else if !scheme.is_empty() && !rest.starts_with('/') {
        (opaque, path) = (rest, "");
    }
    let refused = |why: String| {
        let url = crate::helm::template::text::quote(url);
        Err(Fault::new(format!("unable to parse url: parse {url}: {why}")))
    };
    for text in [path, fragment, host] {
        if let Some(escape) = bad_escape(text) {
            return refused(format!("invalid URL escape {escape:?}"));
        }
    }
    if let Some(c) = host.chars().find(|c| " \"<>\\^`{|}".contains(*c)) {
        let c = crate::helm::template::text::quote(&c.to_string());
        return refused(format!("invalid character {c} in host name"));
    }
    let after_literal = host.rsplit(']').next().unwrap_or(host);
    if let Some((_, port)) = after_literal.rsplit_once(':')
        && !port.bytes().all(|byte| byte.is_ascii_digit())
    {
        return refused(format!("invalid port \":{port}\" after host"));
    }
    let hostname = match host.strip_prefix('[') {
        Some(literal) => literal.split(']').next().unwrap_or(literal),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let entries: Entries = [
        ("scheme", scheme.as_str()),
        ("host", host),
        ("hostname", hostname),
        ("path", &unescape(path)),
        ("query", query),
        ("opaque", opaque),
        ("fragment", &unescape(fragment)),
        ("userinfo", userinfo),
    ]
    .into_iter()
    .map(|(key, value)| (key.into(), Value::str(value)))
    .collect();
    Ok(Value::map(entries))
}

/// The first `%` that two hexadecimal digits do not follow, with what follows.
fn bad_escape(text: &str) -> Option<&str> {
    text.match_indices('%').find_map(|(at, _)| {
        let is_hex = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
        let bytes = &text.as_bytes()[at..];
        if is_hex(bytes.get(1)) && is_hex(bytes.get(2)) {
            return None;
        }
        let end = text[at..].char_indices().nth(3).map_or(text.len(), |(n, _)| at + n);
        Some(&text[at..end])
    })
}

fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[at], digits) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    crate::helm::template::text::from_bytes(&out)
}

fn escape_path(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@!'()*".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn url_join(a: &[Value]) -> Result<Value, Fault> {
    let part = |name: &str| match map(a, 0).and_then(|map| map.get(name)) {
        None => Ok(String::new()),
        Some(Value::Str(text)) => Ok(text.to_string()),
        Some(other) => Err(Fault::new(format!(
            "unable to parse {name} key, must be of type string, but {} found",
            other.kind_name()
        ))),
    };
    let (scheme, host, path) = (part("scheme")?, part("host")?, part("path")?);
    let (query, opaque) = (part("query")?, part("opaque")?);
    let (fragment, userinfo) = (part("fragment")?, part("userinfo")?);
    let mut out = String::new();
    if !scheme.is_empty() {
        out.push_str(&format!("{scheme}:"));
    }
    if opaque.is_empty() {
        if !scheme.is_empty() || !host.is_empty() || !userinfo.is_empty() {
            if !host.is_empty() || !path.is_empty() || !userinfo.is_empty() {
                out.push_str("//");
            }
            if !userinfo.is_empty() {
                out.push_str(&format!("{userinfo}@"));
            }
            out.push_str(&host);
        }
        if !path.is_empty() && !path.starts_with('/') && !host.is_empty() {
            out.push('/');
        }
        out.push_str(&escape_path(&path));
    } else {
        out.push_str(&opaque);
    }
    if !query.is_empty() {
        out.push_str(&format!("?{query}"));
    }
    if !fragment.is_empty() {
        out.push_str(&format!("#{}", escape_path(&fragment)));
    }
    done(out)
}
