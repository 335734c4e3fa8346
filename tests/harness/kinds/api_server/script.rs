//! Request scripts: from text to steps, and the variables in them.

use std::collections::BTreeMap;

/// One step of a script.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// The line that the step begins with, as the recording shows it.
    pub(super) head: String,
    pub(super) action: Action,
}

#[derive(Clone, Debug)]
pub(super) enum Action {
    Send { request: Request, until: Option<u16>, keep: Option<(String, String)> },
    Watch { name: String, request: Request },
    Events { name: String, wanted: Wanted },
}

#[derive(Clone, Debug, Default)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

/// How many events of a watch a step waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Count(usize),
    UntilEnd,
}

/// The steps of a script; what stands before the first is its head comment.
pub(super) fn parse(text: &str) -> Vec<Step> {
    format!("\n{text}").split("\n### ").skip(1).map(step).collect()
}

fn step(part: &str) -> Step {
    let (head, rest) = part.split_once('\n').unwrap_or((part, ""));
    let words: Vec<&str> = head.split_whitespace().collect();
    let word = |at: usize| words.get(at).copied().unwrap_or_default();
    let after = |name: &str| {
        let at = words.iter().position(|found| *found == name)?;
        words.get(at + 1).map(|found| (*found).to_owned())
    };
    let mut request =
        Request { method: word(0).to_owned(), path: word(1).to_owned(), ..Request::default() };
    let mut keep = None;
    let mut body = rest;
    while !body.is_empty() {
        let (line, after) = body.split_once('\n').unwrap_or((body, ""));
        let is_name = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '-')
        };
        match line.split_once(": ").filter(|(name, _)| is_name(name)) {
            Some(("keep", value)) => {
                keep = value
                    .split_once(' ')
                    .map(|(name, pointer)| (name.to_owned(), pointer.to_owned()));
            }
            Some((name, value)) => request.headers.push((name.to_owned(), value.to_owned())),
            None => break,
        }
        body = after;
    }
    request.body = body.trim().to_owned();
    let action = match word(0) {
        "WATCH" => {
            request.method = "GET".to_owned();
            let and = if request.path.contains('?') { '&' } else { '?' };
            if !request.path.contains("/watch/") && !request.path.contains("watch=") {
                request.path = format!("{}{and}watch=true", request.path);
            }
            Action::Watch { name: after("as").unwrap_or_default(), request }
        }
        "EVENTS" => {
            let wanted = word(2).parse().map_or(Wanted::UntilEnd, Wanted::Count);
            Action::Events { name: word(1).to_owned(), wanted }
        }
        _ => {
            Action::Send { request, until: after("until").and_then(|code| code.parse().ok()), keep }
        }
    };
    Step { head: head.to_owned(), action }
}

/// What the names in a script stand for.
#[derive(Debug, Default)]
pub(super) struct Variables(BTreeMap<String, String>);

impl Variables {
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), value.to_owned());
    }

    /// A request with its variables replaced.
    pub(super) fn fill(&self, request: &Request) -> Request {
        Request {
            method: request.method.clone(),
            path: self.text(&request.path),
            headers: request
                .headers
                .iter()
                .map(|(name, value)| (name.clone(), self.text(value)))
                .collect(),
            body: self.text(&request.body),
        }
    }

    fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        // Longer names first: `$T2` is not `$T` and a 2.
        let mut names: Vec<&String> = self.0.keys().collect();
        names.sort_by_key(|name| std::cmp::Reverse(name.len()));
        for name in names {
            text = text.replace(&format!("${name}"), &self.0[name]);
        }
        if let Some(size) = number_after(&text, "$BIG") {
            let data = "#".repeat(size);
            text = format!(
                r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"big"}},"data":{{"a":"{data}"}}}}"#
            );
        }
        while let Some(size) = number_after(&text, "$LONG") {
            text = text.replace(&format!("$LONG{size}"), &"l".repeat(size));
        }
        text
    }
}

fn number_after(text: &str, mark: &str) -> Option<usize> {
    let (_, rest) = text.split_once(mark)?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}
