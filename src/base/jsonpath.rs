//! JSONPath in kubectl's dialect: `{.status.phase}`, `{.items[*].metadata.name}`, `{..image}`, filters, slices, unions,
//! `{range …}…{end}` and text between the braces.

use serde_json::Value;

/// A text that is no JSONPath.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` is not a JSONPath: {reason}")]
pub struct JsonPathError {
    pub path: String,
    pub reason: String,
}

/// Ranges inside of ranges.
const MAX_DEPTH: usize = 32;

/// A parsed template.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath {
    source: String,
    parts: Vec<Part>,
}

/// What a template yields.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// A single path without wildcards: its value, or nothing.
    One(Option<Value>),
    /// A single path that can match several times.
    Many(Vec<Value>),
    /// A template with text, ranges or several paths, printed as kubectl prints it.
    Text(String),
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    Path(Path),
    Range(Path, Vec<Self>),
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Path {
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    /// `*` and `[*]`
    All,
    /// `..`
    Deep,
    Index(i64),
    /// `[from:to:step]`
    Slice(Option<i64>, Option<i64>, i64),
    /// `['a','b']` and `[0,2]`
    Union(Vec<Self>),
    Filter(Box<Filter>),
}

#[derive(Clone, Debug, PartialEq)]
struct Filter {
    left: Operand,
    /// `None`: the left side only has to be there.
    comparison: Option<(Comparison, Operand)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Path(Path),
    Value(Value),
}

impl JsonPath {
    /// Parses a template. A path may stand alone, without braces (`.status.phase` or `status.phase`).
    ///
    /// # Errors
    /// The reason why it is none.
    pub fn parse(source: &str) -> Result<Self, JsonPathError> {
        let invalid = |reason: String| JsonPathError { path: source.to_owned(), reason };
        let braced =
            if source.contains('{') { source.to_owned() } else { format!("{{{}}}", source.trim()) };
        if source.trim().is_empty() {
            return Err(invalid("it is empty".to_owned()));
        }
        let mut parser = Parser { text: braced.chars().collect(), at: 0 };
        let parts = parser.parts(0).map_err(invalid)?;
        Ok(Self { source: source.to_owned(), parts })
    }

    /// The template as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Applies it to a value.
    pub fn find(&self, value: &Value) -> Found {
        match self.parts.as_slice() {
            [Part::Path(path)] => {
                let mut matches = path.find(value, value);
                if path.is_single() {
                    Found::One(if matches.is_empty() {
                        None
                    } else {
                        Some(matches.remove(0).clone())
                    })
                } else {
                    Found::Many(matches.into_iter().cloned().collect())
                }
            }
            parts => {
                let mut text = String::new();
                print(parts, value, value, &mut text);
                Found::Text(text)
            }
        }
    }

    /// What it yields as text, matches separated by spaces.
    pub fn text(&self, value: &Value) -> String {
        let mut text = String::new();
        print(&self.parts, value, value, &mut text);
        text
    }
}

fn print(parts: &[Part], root: &Value, current: &Value, into: &mut String) {
    for part in parts {
        match part {
            Part::Text(text) => into.push_str(text),
            Part::Path(path) => {
                let texts: Vec<String> = path.find(root, current).into_iter().map(plain).collect();
                into.push_str(&texts.join(" "));
            }
            Part::Range(path, body) => {
                for item in path.find(root, current) {
                    print(body, root, item, into);
                }
            }
        }
    }
}

/// Strings without quotes, everything else as JSON.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

impl Path {
    fn is_single(&self) -> bool {
        self.steps.iter().all(|step| matches!(step, Step::Field(_) | Step::Index(_)))
    }

    fn find<'a>(&self, _root: &'a Value, current: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![current];
        for step in &self.steps {
            found = found.into_iter().flat_map(|value| step.apply(value)).collect();
        }
        found
    }
}

impl Step {
    fn apply<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match self {
            Self::Field(name) => match value {
                Value::Array(items) => items.iter().filter_map(|item| item.get(name)).collect(),
                value => value.get(name).into_iter().collect(),
            },
            Self::All => children(value),
            Self::Deep => {
                let mut all = Vec::new();
                descend(value, &mut all);
                all
            }
            Self::Index(index) => {
                let Some(items) = value.as_array() else { return Vec::new() };
                place(*index, items.len()).and_then(|at| items.get(at)).into_iter().collect()
            }
            Self::Slice(from, to, step) => {
                let Some(items) = value.as_array() else { return Vec::new() };
                let len = i64::try_from(items.len()).unwrap_or(i64::MAX);
                let bound = |at: i64| if at < 0 { at + len } else { at }.clamp(0, len);
                let (from, to) = (bound(from.unwrap_or(0)), bound(to.unwrap_or(len)));
                let (from, to) =
                    (usize::try_from(from).unwrap_or(0), usize::try_from(to).unwrap_or(0));
                let step = usize::try_from(*step).unwrap_or(1).max(1);
                items.iter().take(to).skip(from).step_by(step).collect()
            }
            Self::Union(steps) => steps.iter().flat_map(|step| step.apply(value)).collect(),
            Self::Filter(filter) => {
                children(value).into_iter().filter(|item| filter.holds(item)).collect()
            }
        }
    }
}

fn place(index: i64, len: usize) -> Option<usize> {
    let len = i64::try_from(len).ok()?;
    usize::try_from(if index < 0 { index + len } else { index }).ok()
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(fields) => fields.values().collect(),
        _ => Vec::new(),
    }
}

fn descend<'a>(value: &'a Value, into: &mut Vec<&'a Value>) {
    if value.is_object() {
        into.push(value);
    }
    for child in children(value) {
        descend(child, into);
    }
}

impl Filter {
    fn holds(&self, item: &Value) -> bool {
        let left = self.left.value(item);
        let Some((comparison, right)) = &self.comparison else { return left.is_some() };
        let (left, right) = (left.unwrap_or(Value::Null), right.value(item).unwrap_or(Value::Null));
        let ordered = || match (&left, &right) {
            (Value::Number(left), Value::Number(right)) => {
                left.as_f64().partial_cmp(&right.as_f64())
            }
            (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
            _ => None,
        };
        match comparison {
            Comparison::Equal => left == right,
            Comparison::NotEqual => left != right,
            Comparison::Less => ordered().is_some_and(std::cmp::Ordering::is_lt),
            Comparison::LessOrEqual => ordered().is_some_and(std::cmp::Ordering::is_le),
            Comparison::Greater => ordered().is_some_and(std::cmp::Ordering::is_gt),
            Comparison::GreaterOrEqual => ordered().is_some_and(std::cmp::Ordering::is_ge),
        }
    }
}

impl Operand {
    fn value(&self, item: &Value) -> Option<Value> {
        match self {
            Self::Path(path) => path.find(item, item).first().map(|&found| found.clone()),
            Self::Value(value) => Some(value.clone()),
        }
    }
}

struct Parser {
    text: Vec<char>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    fn take(&mut self, expected: &str) -> bool {
        let chars: Vec<char> = expected.chars().collect();
        let found = self.text[self.at..].starts_with(&chars);
        if found {
            self.at += chars.len();
        }
        found
    }

    fn spaces(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    /// Text and braces, up to the end or (inside a range) up to `{end}`.
    fn parts(&mut self, depth: usize) -> Result<Vec<Part>, String> {
        if depth > MAX_DEPTH {
            return Err("its ranges are nested too deeply".to_owned());
        }
        let in_range = depth > 0;
        let mut parts = Vec::new();
        let mut text = String::new();
        while let Some(c) = self.peek() {
            if c != '{' {
                text.push(c);
                self.at += 1;
                continue;
            }
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            self.at += 1;
            self.spaces();
            if self.take("end") {
                self.close()?;
                if in_range {
                    return Ok(parts);
                }
                return Err("`{end}` without `{range}`".to_owned());
            }
            if self.take("range ") {
                self.spaces();
                let path = self.path(&['}'])?;
                self.close()?;
                parts.push(Part::Range(path, self.parts(depth + 1)?));
                continue;
            }
            match self.peek() {
                Some(quote @ ('"' | '\'')) => {
                    parts.push(Part::Text(self.quoted(quote)?));
                }
                _ => parts.push(Part::Path(self.path(&['}'])?)),
            }
            self.close()?;
        }
        if in_range {
            return Err("`{range}` has no `{end}`".to_owned());
        }
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Ok(parts)
    }

    fn close(&mut self) -> Result<(), String> {
        self.spaces();
        if self.take("}") { Ok(()) } else { Err(self.unexpected("`}`")) }
    }

    fn unexpected(&self, wanted: &str) -> String {
        match self.peek() {
            Some(c) => format!("expected {wanted}, found `{c}` at character {}", self.at + 1),
            None => format!("expected {wanted}, found its end"),
        }
    }

    /// A path up to one of the given characters.
    fn path(&mut self, until: &[char]) -> Result<Path, String> {
        let mut path = Path::default();
        if matches!(self.peek(), Some('$' | '@')) {
            self.at += 1;
        } else if self.peek().is_some_and(|c| c.is_alphanumeric() || c == '_') {
            path.steps.push(Step::Field(self.name(until)));
        }
        loop {
            match self.peek() {
                None => break,
                Some(c) if until.contains(&c) || c.is_whitespace() => break,
                Some('.') => {
                    self.at += 1;
                    if self.peek() == Some('.') {
                        self.at += 1;
                        path.steps.push(Step::Deep);
                    }
                    match self.peek() {
                        Some('*') => {
                            self.at += 1;
                            path.steps.push(Step::All);
                        }
                        Some('[') => {}
                        Some(c) if until.contains(&c) => {}
                        None => {}
                        Some(_) => {
                            let name = self.name(until);
                            if name.is_empty() {
                                return Err(self.unexpected("a field"));
                            }
                            path.steps.push(Step::Field(name));
                        }
                    }
                }
                Some('[') => {
                    self.at += 1;
                    path.steps.push(self.bracket()?);
                }
                Some(_) => return Err(self.unexpected("`.` or `[`")),
            }
        }
        Ok(path)
    }

    /// A field name; a backslash takes the next character as it is (`.metadata.annotations.a\.b/c`).
    fn name(&mut self, until: &[char]) -> String {
        let mut name = String::new();
        while let Some(c) = self.peek() {
            if c == '\\' && self.at + 1 < self.text.len() {
                name.push(self.text[self.at + 1]);
                self.at += 2;
                continue;
            }
            let ends = matches!(c, '.' | '[' | ']' | '=' | '!' | '<' | '>' | ')' | ',')
                || c.is_whitespace()
                || until.contains(&c);
            if ends {
                break;
            }
            name.push(c);
            self.at += 1;
        }
        name
    }

    fn bracket(&mut self) -> Result<Step, String> {
        self.spaces();
        if self.take("?(") {
            let filter = self.filter()?;
            self.spaces();
            return if self.take(")") && {
                self.spaces();
                self.take("]")
            } {
                Ok(Step::Filter(Box::new(filter)))
            } else {
                Err(self.unexpected("`)]`"))
            };
        }
        let mut steps = Vec::new();
        loop {
            self.spaces();
            steps.push(match self.peek() {
                Some('*') => {
                    self.at += 1;
                    Step::All
                }
                Some(quote @ ('"' | '\'')) => Step::Field(self.quoted(quote)?),
                _ => self.slice()?,
            });
            self.spaces();
            if self.take("]") {
                break;
            }
            if !self.take(",") {
                return Err(self.unexpected("`]`"));
            }
        }
        Ok(if steps.len() == 1 { steps.remove(0) } else { Step::Union(steps) })
    }

    fn slice(&mut self) -> Result<Step, String> {
        let first = self.int()?;
        if !self.take(":") {
            return first.map(Step::Index).ok_or_else(|| self.unexpected("an index"));
        }
        let to = self.int()?;
        let step = if self.take(":") { self.int()?.unwrap_or(1) } else { 1 };
        Ok(Step::Slice(first, to, step))
    }

    fn int(&mut self) -> Result<Option<i64>, String> {
        let begin = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_digit() || (c == '-' && self.at == begin)) {
            self.at += 1;
        }
        let digits: String = self.text[begin..self.at].iter().collect();
        if digits.is_empty() {
            return Ok(None);
        }
        digits.parse().map(Some).map_err(|_| format!("`{digits}` is not an index"))
    }

    fn quoted(&mut self, quote: char) -> Result<String, String> {
        self.at += 1;
        let mut text = String::new();
        while let Some(c) = self.peek() {
            self.at += 1;
            match c {
                '\\' => {
                    let escaped = self.peek().ok_or("a quote is not closed")?;
                    self.at += 1;
                    text.push(match escaped {
                        'n' => '\n',
                        't' => '\t',
                        'r' => '\r',
                        other => other,
                    });
                }
                c if c == quote => return Ok(text),
                c => text.push(c),
            }
        }
        Err("a quote is not closed".to_owned())
    }

    fn filter(&mut self) -> Result<Filter, String> {
        let left = self.operand()?;
        self.spaces();
        const COMPARISONS: &[(&str, Comparison)] = &[
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
            ("=", Comparison::Equal),
        ];
        for (sign, comparison) in COMPARISONS {
            if self.take(sign) {
                return Ok(Filter { left, comparison: Some((*comparison, self.operand()?)) });
            }
        }
        Ok(Filter { left, comparison: None })
    }

    fn operand(&mut self) -> Result<Operand, String> {
        self.spaces();
        match self.peek() {
            Some('@' | '$' | '.') => {
                let path = self.path(&[')', '=', '!', '<', '>'])?;
                Ok(Operand::Path(path))
            }
            Some(quote @ ('"' | '\'')) => Ok(Operand::Value(Value::String(self.quoted(quote)?))),
            _ => {
                let begin = self.at;
                while self.peek().is_some_and(|c| !c.is_whitespace() && !"=!<>)".contains(c)) {
                    self.at += 1;
                }
                let word: String = self.text[begin..self.at].iter().collect();
                serde_json::from_str(&word).map(Operand::Value).map_err(|_| {
                    format!("`{word}` is neither a path, a text in quotes nor a number")
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn templates_print_what_kubectl_prints() {
        let object = json!({
            "kind": "List",
            "items": [
                {"metadata": {"name": "a", "labels": {"app.io/name": "x"}}, "n": 1, "status": {"conditions": [{"type": "Ready", "status": "True"}]}},
                {"metadata": {"name": "b"}, "n": 2},
                {"metadata": {"name": "c"}, "n": 3},
            ],
        });
        let cases = [
            ("{.kind}", "List"),
            (".kind", "List"),
            ("kind", "List"),
            ("{$.kind}", "List"),
            ("{.items[*].metadata.name}", "a b c"),
            ("{.items[0].metadata.name}", "a"),
            ("{.items[-1].n}", "3"),
            ("{.items[1:].n}", "2 3"),
            ("{.items[:-1].n}", "1 2"),
            ("{.items[::2].n}", "1 3"),
            ("{.items[0,2].n}", "1 3"),
            ("{.items[0]['n','nope']}", "1"),
            ("{..name}", "a b c"),
            ("{.items[?(@.n>1)].metadata.name}", "b c"),
            ("{.items[?(@.metadata.name==\"b\")].n}", "2"),
            ("{.items[?(@.status)].n}", "1"),
            ("{.items[0].status.conditions[?(@.type=='Ready')].status}", "True"),
            ("{.items[0].metadata.labels.app\\.io/name}", "x"),
            ("{.items[0].metadata.labels['app.io/name']}", "x"),
            ("{range .items[*]}{.metadata.name}{\"=\"}{.n}{\"\\n\"}{end}", "a=1\nb=2\nc=3\n"),
            (
                "name: {.items[0].metadata}",
                "name: {\"labels\":{\"app.io/name\":\"x\"},\"name\":\"a\"}",
            ),
            ("{.nope.more}", ""),
        ];
        for (source, expected) in cases {
            let path = JsonPath::parse(source).expect(source);
            assert_eq!(path.text(&object), expected, "{source}");
        }
    }

    #[test]
    fn values_keep_their_types() {
        let object = json!({"a": {"b": [1, {"c": true}]}});
        let find = |source: &str| JsonPath::parse(source).expect(source).find(&object);
        assert_eq!(find("{.a.b[1].c}"), Found::One(Some(json!(true))));
        assert_eq!(find("{.a.x}"), Found::One(None));
        assert_eq!(find("{.a.b[*]}"), Found::Many(vec![json!(1), json!({"c": true})]));
        assert_eq!(find("b is {.a.b[0]}"), Found::Text("b is 1".to_owned()));
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for source in [
            "",
            "{",
            "{.a",
            "{.a[}",
            "{.a[?(@.b==c)]}",
            "{end}",
            "{range .a}x",
            "{.a[x]}",
            "{.a b}",
            "{'a}",
        ] {
            assert!(JsonPath::parse(source).is_err(), "{source}");
        }
    }
}
