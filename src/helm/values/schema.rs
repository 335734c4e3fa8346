//! `values.schema.json` of a chart and its subcharts, with failures told as Helm's validator tells them.
//!
//! The validator gives a flat list of failures, each with the keywords that led to it; Helm's gives a tree: several
//! failures of one schema stand under `validation failed`, those of `allOf`, `anyOf` and `oneOf` under the keyword. The
//! tree is built again from the keywords. Go goes over properties in random order; here they stand by name.

use std::collections::BTreeMap;

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::paths::{Location, LocationSegment};
use jsonschema::{JsonType, ValidationError};
use serde_json::{Map, Value as Json};

use crate::helm::chart::Chart;

/// What does not fit, chart by chart; empty when everything does.
pub(crate) fn failures(chart: &Chart, values: &Map<String, Json>) -> String {
    let mut text = String::new();
    if let Some(schema) = &chart.schema {
        let found = check(schema, &Json::Object(plain(values)));
        if !found.is_empty() {
            text.push_str(&format!("{}:\n{found}", chart.name()));
        }
    }
    for subchart in &chart.dependencies {
        match values.get(subchart.name()) {
            Some(Json::Object(values)) => text.push_str(&failures(subchart, values)),
            None | Some(Json::Null) => {}
            Some(other) => text.push_str(&format!(
                "{}:\ninvalid type for values: expected object (map), got {}\n",
                subchart.name(),
                go_type(other)
            )),
        }
    }
    text
}

fn go_type(value: &Json) -> &'static str {
    match value {
        Json::Null => "<nil>",
        Json::Bool(_) => "bool",
        Json::Number(_) => "float64",
        Json::String(_) => "string",
        Json::Array(_) => "[]interface {}",
        Json::Object(_) => "map[string]interface {}",
    }
}

/// Whole numbers count as integers.
fn plain(values: &Map<String, Json>) -> Map<String, Json> {
    values.iter().map(|(key, value)| (key.clone(), plain_value(value))).collect()
}

fn plain_value(value: &Json) -> Json {
    match value {
        Json::Object(map) => Json::Object(plain(map)),
        Json::Array(items) => items.iter().map(plain_value).collect(),
        Json::Number(number) => super::whole(number),
        other => other.clone(),
    }
}

fn check(schema: &[u8], values: &Json) -> String {
    let mut schema: Json = match serde_json::from_slice(schema) {
        Ok(schema) => schema,
        Err(error) => return format!("values.schema.json is not JSON: {error}\n"),
    };
    // The old name of "the newest draft".
    if let Some(draft) = schema.get("$schema").and_then(Json::as_str)
        && draft.trim_end_matches('#') == "http://json-schema.org/schema"
    {
        schema["$schema"] = Json::from("https://json-schema.org/draft/2020-12/schema");
    }
    let validator = match jsonschema::validator_for(&schema) {
        Ok(validator) => validator,
        Err(error) => return format!("values.schema.json is no schema: {error}\n"),
    };
    let found: Vec<Failure<'_>> = validator
        .iter_errors(values)
        .map(|error| Failure {
            keywords: tokens(error.evaluation_path()),
            place: tokens(error.instance_path()),
            error: Reported::Owned(error),
            schema: &schema,
        })
        .collect();
    if found.is_empty() {
        return String::new();
    }
    let mut text = String::new();
    match schema_failure(&found.iter().collect::<Vec<_>>(), 0, 0) {
        // The outermost schema has a line of its own, which Helm takes away.
        Some(Node { group: true, below, .. }) => {
            for node in below {
                node.print(1, &mut text);
            }
        }
        Some(node) => node.print(1, &mut text),
        None => {}
    }
    text
}

/// A failure as the validator reports it.
struct Failure<'a> {
    keywords: Vec<String>,
    place: Vec<String>,
    error: Reported<'a>,
    /// The whole schema.
    schema: &'a Json,
}

enum Reported<'a> {
    Owned(ValidationError<'a>),
    Inner(&'a ValidationError<'static>),
}

impl<'a> Failure<'a> {
    /// What stands in the schema under a keyword that failed.
    fn rule(&self, keyword: &str) -> Option<&'a Json> {
        let path = match &self.error {
            Reported::Owned(error) => error.schema_path().as_str(),
            Reported::Inner(error) => error.schema_path().as_str(),
        };
        let end = path.rfind(keyword)? + keyword.len();
        self.schema.pointer(&path[..end])
    }

    fn kind(&self) -> &ValidationErrorKind {
        match &self.error {
            Reported::Owned(error) => error.kind(),
            Reported::Inner(error) => error.kind(),
        }
    }

    fn instance(&self) -> &Json {
        match &self.error {
            Reported::Owned(error) => error.instance().as_ref(),
            Reported::Inner(error) => error.instance().as_ref(),
        }
    }
}

/// A line of the report with those below it.
struct Node {
    /// Where in the order of keywords it stands.
    rank: usize,
    place: Vec<String>,
    text: String,
    /// Several failures of one schema.
    group: bool,
    below: Vec<Self>,
}

impl Node {
    fn leaf(rank: usize, place: &[String], text: String) -> Self {
        Self { rank, place: place.to_vec(), text, group: false, below: Vec::new() }
    }

    fn move_below(&mut self, place: &[String]) {
        self.place.splice(0..0, place.iter().cloned());
        for node in &mut self.below {
            node.move_below(place);
        }
    }

    fn print(&self, indent: usize, out: &mut String) {
        let place: String = self
            .place
            .iter()
            .map(|token| format!("/{}", token.replace('~', "~0").replace('/', "~1")))
            .collect();
        out.push_str(&"  ".repeat(indent - 1));
        out.push_str(&format!("- at {}: {}\n", quote(&place), self.text));
        for node in &self.below {
            node.print(indent + 1, out);
        }
    }
}

/// The keywords in the order in which Helm's validator looks at them.
const ORDER: &[&str] = &[
    "type",
    "const",
    "enum",
    "format",
    "$ref",
    "minProperties",
    "maxProperties",
    "required",
    "dependencies",
    "properties",
    "patternProperties",
    "additionalProperties",
    "propertyNames",
    "dependentSchemas",
    "dependentRequired",
    "minItems",
    "maxItems",
    "uniqueItems",
    "prefixItems",
    "items",
    "additionalItems",
    "contains",
    "minLength",
    "maxLength",
    "pattern",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "$dynamicRef",
    "not",
    "allOf",
    "anyOf",
    "oneOf",
    "then",
    "else",
    "unevaluatedProperties",
    "unevaluatedItems",
];

/// A keyword that leads on: how many tokens of the path it takes, and whether it goes one step into the value.
fn step(keyword: &str) -> Option<(usize, bool)> {
    Some(match keyword {
        "properties" | "patternProperties" | "prefixItems" => (2, true),
        "additionalProperties"
        | "additionalItems"
        | "unevaluatedProperties"
        | "unevaluatedItems" => (1, true),
        "$ref" | "$dynamicRef" | "$recursiveRef" | "then" | "else" => (1, false),
        "allOf" | "dependentSchemas" | "dependencies" => (2, false),
        _ => return None,
    })
}

/// Where a schema goes on below another: the keyword's rank, the path of keywords, the step into the value if it takes one.
type Branch = (usize, Vec<String>, Option<String>);

/// What one schema says of one value: nothing, one failure, or a group. `at` is where the schema's own keywords begin in
/// the path of keywords, `depth` the depth of its value.
fn schema_failure(failures: &[&Failure<'_>], at: usize, depth: usize) -> Option<Node> {
    // These end the look at a value.
    for keyword in ["type", "const", "enum", "format"] {
        if let Some(failure) = failures.iter().find(|failure| is_leaf(failure, at, keyword)) {
            return Some(leaf(failure, at));
        }
    }
    let mut nodes: Vec<Node> = Vec::new();
    let mut missing: Vec<&Failure<'_>> = Vec::new();
    let mut inner: BTreeMap<Branch, Vec<&Failure<'_>>> = BTreeMap::new();
    for failure in failures {
        let keywords = failure.keywords.get(at..).unwrap_or_default();
        let keyword = keywords.first().map_or("", String::as_str);
        let indexed = keyword == "items"
            && keywords.get(1).is_some_and(|token| token.parse::<usize>().is_ok());
        let way = if indexed {
            Some((2, true))
        } else if keyword == "items" {
            Some((1, true))
        } else {
            step(keyword)
        };
        match way {
            Some((n, into)) if keywords.len() > n => {
                let below = if into { failure.place.get(depth).cloned() } else { None };
                let key = (rank(keyword), keywords[..n].to_vec(), below);
                inner.entry(key).or_default().push(failure);
            }
            _ if is_leaf(failure, at, "required") => missing.push(failure),
            _ => nodes.extend(leaves(failure, at)),
        }
    }
    if let Some(first) = missing.first() {
        let mut names: Vec<String> = Vec::new();
        for failure in &missing {
            if let ValidationErrorKind::Required { property } = failure.kind() {
                names.push(quote(property.as_str().unwrap_or_default()));
            }
        }
        let what = if names.len() == 1 { "property" } else { "properties" };
        let text = format!("missing {what} {}", names.join(", "));
        nodes.push(Node::leaf(rank("required"), &first.place, text));
    }
    let mut all_of: Option<Node> = None;
    for ((rank, keywords, into), failures) in inner {
        let depth = depth + usize::from(into.is_some());
        let Some(mut node) = schema_failure(&failures, at + keywords.len(), depth) else {
            continue;
        };
        node.rank = rank;
        match keywords[0].as_str() {
            "allOf" => {
                let place = failures[0].place.get(..depth).unwrap_or_default();
                all_of
                    .get_or_insert_with(|| Node::leaf(rank, place, "'allOf' failed".to_owned()))
                    .below
                    .push(node);
            }
            // A reference to a schema that fails in several ways has a line of its own.
            "$ref" | "$dynamicRef" | "$recursiveRef" => {
                node.group = false;
                nodes.push(node);
            }
            _ => nodes.push(node),
        }
    }
    nodes.extend(all_of);
    nodes.sort_by(|a, b| a.rank.cmp(&b.rank).then_with(|| a.place.cmp(&b.place)));
    if nodes.len() < 2 {
        return nodes.pop();
    }
    let place = failures.first()?.place.get(..depth).unwrap_or_default().to_vec();
    let text = "validation failed".to_owned();
    Some(Node { rank: 0, place, text, group: true, below: nodes })
}

fn is_leaf(failure: &Failure<'_>, at: usize, keyword: &str) -> bool {
    failure.keywords.len() == at + 1 && failure.keywords[at] == keyword
}

fn rank(keyword: &str) -> usize {
    ORDER.iter().position(|known| *known == keyword).unwrap_or(ORDER.len())
}

/// A failure of one keyword; properties that nothing evaluates fail one by one.
fn leaves(failure: &Failure<'_>, at: usize) -> Vec<Node> {
    let rank = rank(failure.keywords.get(at).map_or("", String::as_str));
    match failure.kind() {
        ValidationErrorKind::UnevaluatedProperties { unexpected } => unexpected
            .iter()
            .map(|name| {
                let mut place = failure.place.clone();
                place.push(name.clone());
                Node::leaf(rank, &place, "false schema".to_owned())
            })
            .collect(),
        _ => vec![leaf(failure, at)],
    }
}

fn leaf(failure: &Failure<'_>, at: usize) -> Node {
    let rank = rank(failure.keywords.get(at).map_or("", String::as_str));
    let mut node = Node::leaf(rank, &failure.place, reason(failure, at));
    match failure.kind() {
        ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => {
            for branch in context {
                let found: Vec<Failure<'_>> = branch
                    .iter()
                    .map(|error| Failure {
                        keywords: tokens(error.evaluation_path()),
                        place: tokens(error.instance_path()),
                        error: Reported::Inner(error),
                        schema: failure.schema,
                    })
                    .collect();
                let at = failure.keywords.len() + 1;
                let depth = failure.place.len();
                node.below.extend(schema_failure(&found.iter().collect::<Vec<_>>(), at, depth));
            }
        }
        ValidationErrorKind::PropertyNames { error } => {
            let inner = Failure {
                keywords: Vec::new(),
                place: Vec::new(),
                error: Reported::Inner(error),
                schema: failure.schema,
            };
            node.below.push(Node::leaf(0, &[], reason(&inner, 0)));
        }
        ValidationErrorKind::Contains => node.below = misfits(failure),
        _ => {}
    }
    node
}

/// Why each item of a list is not the one that `contains` asks for, which the validator does not tell.
fn misfits(failure: &Failure<'_>) -> Vec<Node> {
    let items = failure.instance().as_array().map_or(&[][..], Vec::as_slice);
    let Some(rule) = failure.rule("contains") else { return Vec::new() };
    let Ok(validator) = jsonschema::validator_for(rule) else { return Vec::new() };
    let why = |(n, item)| {
        let found: Vec<Failure<'_>> = validator
            .iter_errors(item)
            .map(|error| Failure {
                keywords: tokens(error.evaluation_path()),
                place: tokens(error.instance_path()),
                error: Reported::Owned(error),
                schema: rule,
            })
            .collect();
        let mut node = schema_failure(&found.iter().collect::<Vec<_>>(), 0, 0)?;
        let n: usize = n;
        node.move_below(&[failure.place.clone(), vec![n.to_string()]].concat());
        Some(node)
    };
    items.iter().enumerate().filter_map(why).collect()
}

/// Why, in the words of Helm's validator.
fn reason(failure: &Failure<'_>, at: usize) -> String {
    use ValidationErrorKind as Kind;
    let value = failure.instance();
    let length = || value.as_array().map_or(0, Vec::len);
    let characters = || value.as_str().map_or(0, |text| text.chars().count());
    let entries = || value.as_object().map_or(0, Map::len);
    let bound =
        |name: &str, limit: &Json| format!("{name}: got {}, want {}", number(value), number(limit));
    match failure.kind() {
        Kind::AdditionalProperties { unexpected } => {
            let mut names: Vec<String> = unexpected.iter().map(|name| quote(name)).collect();
            names.sort();
            format!("additional properties {} not allowed", names.join(", "))
        }
        Kind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            let property = quote(name);
            match failure.keywords.get(at..) {
                Some([keyword, ..]) if keyword == "dependentRequired" => {
                    let demanding = demanding(failure, name).unwrap_or_default();
                    format!("properties {property} required, if {} exists", quote(demanding))
                }
                Some([keyword, name, ..]) if keyword == "dependencies" => {
                    format!("properties {property} required, if {} exists", quote(name))
                }
                _ => format!("missing property {property}"),
            }
        }
        Kind::Type { kind } => format!("got {}, want {}", type_of(value), wanted(kind)),
        Kind::Enum { options } => match options.as_array() {
            Some(options) if options.iter().all(|option| !is_compound(option)) => {
                let shown: Vec<String> = options.iter().map(display).collect();
                match &shown[..] {
                    [one] => format!("value must be {one}"),
                    many => format!("value must be one of {}", many.join(", ")),
                }
            }
            _ => "'enum' failed".to_owned(),
        },
        Kind::Constant { expected_value } if is_compound(expected_value) => {
            "'const' failed".to_owned()
        }
        Kind::Constant { expected_value } => format!("value must be {}", display(expected_value)),
        Kind::Pattern { pattern } => {
            let text = value.as_str().unwrap_or_default();
            format!("{} does not match pattern {}", quote(text), quote(pattern))
        }
        Kind::Minimum { limit } => bound("minimum", limit),
        Kind::Maximum { limit } => bound("maximum", limit),
        Kind::ExclusiveMinimum { limit } => bound("exclusiveMinimum", limit),
        Kind::ExclusiveMaximum { limit } => bound("exclusiveMaximum", limit),
        Kind::MultipleOf { multiple_of } => bound("multipleOf", &Json::from(*multiple_of)),
        Kind::MinLength { limit } => format!("minLength: got {}, want {limit}", characters()),
        Kind::MaxLength { limit } => format!("maxLength: got {}, want {limit}", characters()),
        Kind::MinItems { limit } => format!("minItems: got {}, want {limit}", length()),
        Kind::MaxItems { limit } => format!("maxItems: got {}, want {limit}", length()),
        Kind::MinProperties { limit } => format!("minProperties: got {}, want {limit}", entries()),
        Kind::MaxProperties { limit } => format!("maxProperties: got {}, want {limit}", entries()),
        Kind::AdditionalItems { limit } => {
            format!("last {} additionalItem(s) not allowed", length().saturating_sub(*limit))
        }
        Kind::UniqueItems => {
            let items = value.as_array().map_or(&[][..], Vec::as_slice);
            let twins = items.iter().enumerate().find_map(|(second, item)| {
                Some((items[..second].iter().position(|first| first == item)?, second))
            });
            let (first, second) = twins.unwrap_or_default();
            format!("items at {first} and {second} are equal")
        }
        Kind::Contains => "no items match contains schema".to_owned(),
        Kind::FalseSchema => "false schema".to_owned(),
        Kind::Not { .. } => "'not' failed".to_owned(),
        Kind::AnyOf { .. } => "'anyOf' failed".to_owned(),
        Kind::OneOfNotValid { .. } => "'oneOf' failed, none matched".to_owned(),
        Kind::OneOfMultipleValid { context } => {
            let mut valid = (0..context.len()).filter(|n| context[*n].is_empty());
            let (first, second) = (valid.next().unwrap_or(0), valid.next().unwrap_or(0));
            format!("'oneOf' failed, subschemas {first}, {second} matched")
        }
        Kind::PropertyNames { error } => {
            let name = error.instance().as_str().unwrap_or_default().to_owned();
            format!("invalid propertyName {}", quote(&name))
        }
        Kind::Format { format } => format!("{} is not valid {format}", display(value)),
        _ => match &failure.error {
            Reported::Owned(error) => error.to_string(),
            Reported::Inner(error) => error.to_string(),
        },
    }
}

/// The property whose presence demands another by `dependentRequired`; the validator tells only the other.
fn demanding<'a>(failure: &Failure<'a>, missing: &str) -> Option<&'a str> {
    let present = failure.instance().as_object()?;
    let rules = failure.rule("dependentRequired")?.as_object()?;
    let demands = |names: &Json| {
        names
            .as_array()
            .is_some_and(|names| names.iter().any(|name| name.as_str() == Some(missing)))
    };
    let found = rules.iter().find(|(name, names)| present.contains_key(*name) && demands(names));
    found.map(|(name, _)| name.as_str())
}

fn wanted(kind: &TypeKind) -> String {
    const TYPES: [(JsonType, &str); 7] = [
        (JsonType::Null, "null"),
        (JsonType::Boolean, "boolean"),
        (JsonType::Number, "number"),
        (JsonType::Integer, "integer"),
        (JsonType::String, "string"),
        (JsonType::Array, "array"),
        (JsonType::Object, "object"),
    ];
    let names: Vec<&str> = TYPES
        .iter()
        .filter(|(known, _)| match kind {
            TypeKind::Single(one) => one == known,
            TypeKind::Multiple(set) => set.contains(*known),
        })
        .map(|(_, name)| *name)
        .collect();
    names.join(" or ")
}

fn type_of(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Number(_) => "number",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    }
}

fn is_compound(value: &Json) -> bool {
    value.is_array() || value.is_object()
}

fn display(value: &Json) -> String {
    match value {
        Json::String(text) => quote(text),
        Json::Array(_) | Json::Object(_) => "value".to_owned(),
        Json::Null => "<nil>".to_owned(),
        other => other.to_string(),
    }
}

/// A number in English: thousands are grouped.
fn number(value: &Json) -> String {
    let text = match value.as_f64() {
        Some(float) => float.to_string(),
        None => value.to_string(),
    };
    let (sign, digits) = text.strip_prefix('-').map_or(("", &*text), |digits| ("-", digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mut grouped = String::new();
    for (n, digit) in whole.chars().enumerate() {
        if n > 0 && (whole.len() - n).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{grouped}{point}{fraction}")
}

fn quote(text: &str) -> String {
    let quoted = crate::helm::template::quote(text).replace("\\\"", "\"").replace('\'', "\\'");
    let inner = quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    format!("'{}'", inner.unwrap_or(&quoted))
}

fn tokens(location: &Location) -> Vec<String> {
    location
        .iter()
        .map(|segment| match segment {
            LocationSegment::Property(name) => name.to_string(),
            LocationSegment::Index(n) => n.to_string(),
        })
        .collect()
}
