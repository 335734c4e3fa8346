//! The formats of names, with the API server's complaints.

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

fn lower(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

fn is_label(text: &str) -> bool {
    !text.is_empty()
        && text.chars().all(|c| lower(c) || c == '-')
        && text.starts_with(lower)
        && text.ends_with(lower)
}

fn too_long(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

/// RFC 1123 label.
pub(crate) fn label(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if text.len() > 63 {
        found.push(too_long(63));
    }
    if !is_label(text) {
        found.push(LABEL.to_owned());
    }
    found
}

/// RFC 1035 label.
pub(crate) fn label_1035(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if text.len() > 63 {
        found.push(too_long(63));
    }
    if !is_label(text) || !text.starts_with(|c: char| c.is_ascii_lowercase()) {
        found.push(LABEL_1035.to_owned());
    }
    found
}

/// RFC 1123 subdomain.
pub(crate) fn subdomain(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if text.len() > 253 {
        found.push(too_long(253));
    }
    if text.is_empty() || !text.split('.').all(is_label) {
        found.push(SUBDOMAIN.to_owned());
    }
    found
}

/// A name that becomes one segment of a URL path.
pub(crate) fn path_segment(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if text == "." || text == ".." {
        found.push(format!("may not be '{text}'"));
    }
    for c in ["/", "%"] {
        if text.contains(c) {
            found.push(format!("may not contain '{c}'"));
        }
    }
    found
}

fn is_qualified_name(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let edge = |c: char| c.is_ascii_alphanumeric();
    !text.is_empty() && text.chars().all(inner) && text.starts_with(edge) && text.ends_with(edge)
}

/// A label's key: a name with an optional prefix that is a subdomain.
pub(crate) fn qualified(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let parts: Vec<&str> = text.split('/').collect();
    let name = match parts.as_slice() {
        [name] => *name,
        [prefix, name] => {
            if prefix.is_empty() {
                found.push("prefix part must be non-empty".to_owned());
            } else {
                found.extend(subdomain(prefix).into_iter().map(|why| format!("prefix part {why}")));
            }
            name
        }
        _ => {
            let rest = QUALIFIED.strip_prefix("name part ").unwrap_or(QUALIFIED);
            found.push(format!(
                "a valid label key {rest} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            ));
            return found;
        }
    };
    if name.is_empty() {
        found.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        found.push(format!("name part {}", too_long(63)));
    }
    if !is_qualified_name(name) {
        found.push(QUALIFIED.to_owned());
    }
    found
}

/// A label's value.
pub(crate) fn label_value(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if text.len() > 63 {
        found.push(too_long(63));
    }
    if !text.is_empty() && !is_qualified_name(text) {
        found.push(LABEL_VALUE.to_owned());
    }
    found
}

/// A key of a ConfigMap or a Secret.
pub(crate) fn config_key(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if text.len() > 253 {
        found.push(too_long(253));
    }
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.is_empty() || !text.chars().all(inner) {
        found.push(CONFIG_KEY.to_owned());
    } else if text == "." || text == ".." {
        found.push(format!("must not be '{text}'"));
    }
    found
}

/// An IANA service name, as container ports have it.
pub(crate) fn port_name(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if text.len() > 15 {
        found.push("must be no more than 15 characters".to_owned());
    }
    if !text.chars().all(|c| lower(c) || c == '-') {
        found.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !text.chars().any(|c| c.is_ascii_lowercase()) {
        found.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        found.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        found.push("must not begin or end with a hyphen".to_owned());
    }
    found
}
