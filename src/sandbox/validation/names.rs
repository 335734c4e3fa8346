//! The syntax of names, labels and keys, with the API server's explanations.

use std::sync::LazyLock;

use regex::Regex;

const DNS1123_LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const DNS1123_SUBDOMAIN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const DNS1035_LABEL: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const QUALIFIED_NAME: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const LABEL_VALUE: &str = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";
const CONFIG_KEY: &str = "[-._a-zA-Z0-9]+";
const ENV_NAME: &str = "[ -<>-~]*";

fn whole(pattern: &str) -> Regex {
    Regex::new(&format!("^{pattern}$")).expect("the patterns of names are constants that compile")
}

static LABEL: LazyLock<Regex> = LazyLock::new(|| whole(DNS1123_LABEL));
static SUBDOMAIN: LazyLock<Regex> = LazyLock::new(|| whole(DNS1123_SUBDOMAIN));
static LABEL_1035: LazyLock<Regex> = LazyLock::new(|| whole(DNS1035_LABEL));
static QUALIFIED: LazyLock<Regex> = LazyLock::new(|| whole(QUALIFIED_NAME));
static VALUE: LazyLock<Regex> = LazyLock::new(|| whole(LABEL_VALUE));
static KEY: LazyLock<Regex> = LazyLock::new(|| whole(CONFIG_KEY));
static WILDCARD: LazyLock<Regex> = LazyLock::new(|| whole(&format!(r"\*\.{DNS1123_SUBDOMAIN}")));
static ENV: LazyLock<Regex> = LazyLock::new(|| whole(ENV_NAME));

/// What a kind of object may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// Most kinds.
    Dns1123Subdomain,
    /// Namespaces, Services and StatefulSets.
    Dns1123Label,
    /// Roles and their bindings: what can be a segment of a path.
    PathSegment,
}

impl NameRule {
    /// The rule of a kind of a group.
    pub fn of_kind(group: &str, kind: &str) -> Self {
        match (group, kind) {
            // Since 1.36 a Service may begin with a digit, too.
            ("", "Namespace" | "Service") | ("apps", "StatefulSet") => Self::Dns1123Label,
            ("rbac.authorization.k8s.io", _) => Self::PathSegment,
            (_, _) => Self::Dns1123Subdomain,
        }
    }

    /// Why a name breaks the rule; a prefix (`generateName`) may end with a dash.
    pub fn check(self, name: &str, is_prefix: bool) -> Vec<String> {
        let masked;
        let name =
            if is_prefix && self != Self::PathSegment && name.len() > 1 && name.ends_with('-') {
                masked = format!("{}a", &name[..name.len() - 1]);
                masked.as_str()
            } else {
                name
            };
        match self {
            Self::Dns1123Subdomain => dns1123_subdomain(name),
            Self::Dns1123Label => dns1123_label(name),
            Self::PathSegment => path_segment(name, is_prefix),
        }
    }
}

pub fn is_dns1123_label(text: &str) -> bool {
    LABEL.is_match(text)
}

pub fn is_dns1123_subdomain(text: &str) -> bool {
    SUBDOMAIN.is_match(text)
}

fn too_long(max: usize) -> String {
    format!("must be no more than {max} characters")
}

/// As `too_long`, of the keys and values of labels, which the API server measures in bytes.
fn too_many_bytes(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

fn syntax(rule: &str, pattern: &str, examples: &[&str]) -> String {
    let examples: Vec<String> = examples.iter().map(|example| format!("'{example}'")).collect();
    format!("{rule} (e.g. {}, regex used for validation is '{pattern}')", examples.join(",  or "))
}

/// `example.com`
pub fn dns1123_subdomain(text: &str) -> Vec<String> {
    subdomain(text, too_long)
}

fn subdomain(text: &str, too_long: fn(usize) -> String) -> Vec<String> {
    let mut why = Vec::new();
    if text.len() > 253 {
        why.push(too_long(253));
    }
    if !SUBDOMAIN.is_match(text) {
        why.push(syntax(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
             and must start and end with an alphanumeric character",
            DNS1123_SUBDOMAIN,
            &["example.com"],
        ));
    }
    why
}

/// `my-name`
pub fn dns1123_label(text: &str) -> Vec<String> {
    let mut why = Vec::new();
    if text.len() > 63 {
        why.push(too_long(63));
    }
    if SUBDOMAIN.is_match(text) && text.contains('.') {
        why.push("must not contain dots".to_owned());
    } else if !LABEL.is_match(text) {
        why.push(syntax(
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', \
             and must start and end with an alphanumeric character",
            DNS1123_LABEL,
            &["my-name", "123-abc"],
        ));
    }
    why
}

/// `abc-123`
pub fn dns1035_label(text: &str) -> Vec<String> {
    let mut why = Vec::new();
    if text.len() > 63 {
        why.push(too_long(63));
    }
    if !LABEL_1035.is_match(text) {
        why.push(syntax(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', \
             start with an alphabetic character, and end with an alphanumeric character",
            DNS1035_LABEL,
            &["my-name", "abc-123"],
        ));
    }
    why
}

/// `*.example.com`
pub fn wildcard_subdomain(text: &str) -> Vec<String> {
    let mut why = Vec::new();
    if text.len() > 253 {
        why.push(too_long(253));
    }
    if !WILDCARD.is_match(text) {
        why.push(syntax(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must \
             consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
            &format!(r"\*\.{DNS1123_SUBDOMAIN}"),
            &["*.example.com"],
        ));
    }
    why
}

fn path_segment(text: &str, is_prefix: bool) -> Vec<String> {
    if !is_prefix && [".", ".."].contains(&text) {
        return vec![format!("may not be '{text}'")];
    }
    ["/", "%"]
        .into_iter()
        .filter(|part| text.contains(part))
        .map(|part| format!("may not contain '{part}'"))
        .collect()
}

/// The key of a label: `name` or `example.com/name`.
pub fn qualified_name(text: &str) -> Vec<String> {
    const RULE: &str = "must consist of alphanumeric characters, '-', '_' or '.', \
                        and must start and end with an alphanumeric character";
    const EXAMPLES: [&str; 3] = ["MyName", "my.name", "123-abc"];
    let mut why = Vec::new();
    let parts: Vec<&str> = text.split('/').collect();
    let name = match parts.as_slice() {
        [name] => *name,
        [prefix, name] => {
            if prefix.is_empty() {
                why.push("prefix part must be non-empty".to_owned());
            } else {
                let found = subdomain(prefix, too_many_bytes).into_iter();
                why.extend(found.map(|text| format!("prefix part {text}")));
            }
            *name
        }
        _ => {
            let rule = syntax(&format!("a valid label key {RULE}"), QUALIFIED_NAME, &EXAMPLES);
            why.push(format!(
                "{rule} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            ));
            return why;
        }
    };
    if name.is_empty() {
        why.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        why.push(format!("name part {}", too_many_bytes(63)));
    }
    if !QUALIFIED.is_match(name) {
        why.push(syntax(&format!("name part {RULE}"), QUALIFIED_NAME, &EXAMPLES));
    }
    why
}

/// The value of a label.
pub fn label_value(text: &str) -> Vec<String> {
    let mut why = Vec::new();
    if text.len() > 63 {
        why.push(too_many_bytes(63));
    }
    if !VALUE.is_match(text) {
        why.push(syntax(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', \
             and must start and end with an alphanumeric character",
            LABEL_VALUE,
            &["MyValue", "my_value", "12345"],
        ));
    }
    why
}

/// A key of a ConfigMap or Secret.
pub fn config_map_key(text: &str) -> Vec<String> {
    let mut why = Vec::new();
    if text.len() > 253 {
        why.push(too_long(253));
    }
    if !KEY.is_match(text) {
        why.push(syntax(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            CONFIG_KEY,
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    if text == "." {
        why.push("must not be '.'".to_owned());
    } else if text.starts_with("..") {
        why.push("must not start with '..'".to_owned());
    }
    why
}

/// The name of an environment variable.
pub fn env_var_name(text: &str) -> Vec<String> {
    if ENV.is_match(text) && !text.is_empty() {
        return Vec::new();
    }
    vec![
        "a valid environment variable name must consist only of printable ASCII characters other than '='".to_owned(),
    ]
}

/// The name of a port: `http`, `grpc-web`.
pub fn port_name(text: &str) -> Vec<String> {
    let mut why = Vec::new();
    if text.len() > 15 {
        why.push("must be no more than 15 characters".to_owned());
    }
    if !text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    {
        why.push(
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned(),
        );
    }
    if !text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        why.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        why.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        why.push("must not begin or end with a hyphen".to_owned());
    }
    why
}
