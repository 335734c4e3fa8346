//! A small shell for `exec` and for containers that run a command: enough words to say something and to end.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::sandbox::controllers::object;

/// What a command printed and how it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    pub stdout: String,
    pub stderr: String,
    pub code: i32,
    /// The time that it slept.
    pub slept: Duration,
}

/// The environment of a container: its plain variables and the pod's fields.
pub fn environment(pod: &Value, container: &Value) -> BTreeMap<String, String> {
    let mut found = BTreeMap::from([
        ("HOSTNAME".to_owned(), object::name(pod).to_owned()),
        (
            "PATH".to_owned(),
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        ),
    ]);
    for variable in object::items(container, "env") {
        let name = variable["name"].as_str().unwrap_or_default().to_owned();
        let field = variable["valueFrom"]["fieldRef"]["fieldPath"].as_str();
        let value = match field {
            Some(path) => path
                .split('.')
                .fold(pod, |value, key| &value[key])
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            None => variable["value"].as_str().unwrap_or_default().to_owned(),
        };
        found.insert(name, value);
    }
    found
}

/// Runs a command that surely ends; `None` for one that serves or is unknown.
pub fn run_to_end(command: &[String], environment: &BTreeMap<String, String>) -> Option<Run> {
    let ends = match command.first().map(|word| base(word)) {
        Some("sh" | "bash" | "ash") => {
            let script = command.get(2)?;
            !script.contains("while")
                && script.split([';', '&', '\n']).all(|part| {
                    part.split_whitespace().next().is_none_or(|word| is_known(base(word)))
                })
        }
        Some("sleep") => command.get(1).and_then(|text| seconds(text)).is_some_and(|s| s < 3_600),
        Some(word) => is_known(word),
        None => false,
    };
    ends.then(|| run(command, environment))
}

fn base(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

fn is_known(word: &str) -> bool {
    const WORDS: &[&str] = &[
        "echo", "printf", "true", "false", "exit", "cat", "env", "printenv", "hostname", "pwd",
        "date", "id", "whoami", "uname", "ls", "sleep",
    ];
    WORDS.contains(&word)
}

fn seconds(text: &str) -> Option<u64> {
    text.trim_end_matches('s').parse().ok()
}

/// Runs a command.
pub fn run(command: &[String], environment: &BTreeMap<String, String>) -> Run {
    let mut run = Run::default();
    match command.first().map(|word| base(word)) {
        Some("sh" | "bash" | "ash") if command.get(1).is_some_and(|flag| flag.ends_with('c')) => {
            script(command.get(2).map_or("", String::as_str), environment, &mut run);
        }
        Some("sh" | "bash" | "ash") | None => {}
        Some(_) => simple(command, environment, &mut run),
    }
    run
}

/// Commands joined by `;`, newline, `&&` and `||`.
pub fn script(text: &str, environment: &BTreeMap<String, String>, run: &mut Run) {
    for line in text.split([';', '\n']) {
        let mut rest = line;
        let mut wanted = true;
        loop {
            let and = rest.find("&&");
            let or = rest.find("||");
            let (end, next_wants) = match (and, or) {
                (Some(and), Some(or)) if and < or => (and, true),
                (Some(and), None) => (and, true),
                (_, Some(or)) => (or, false),
                (None, None) => (rest.len(), true),
            };
            let words = words(&rest[..end], environment);
            if wanted && !words.is_empty() {
                if base(&words[0]) == "exit" {
                    run.code = words.get(1).and_then(|text| text.parse().ok()).unwrap_or(run.code);
                    return;
                }
                run.code = 0;
                simple(&words, environment, run);
            }
            if end == rest.len() {
                break;
            }
            rest = &rest[end + 2..];
            wanted = (run.code == 0) == next_wants;
        }
    }
}

/// Words of a command line with quotes and variables.
fn words(text: &str, environment: &BTreeMap<String, String>) -> Vec<String> {
    let mut found = Vec::new();
    let mut word = String::new();
    let mut started = false;
    let mut quote = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, '\'' | '"') => {
                quote = Some(c);
                started = true;
            }
            (Some(open), c) if c == open => quote = None,
            (None | Some('"'), '$') => {
                let braces = chars.next_if_eq(&'{').is_some();
                let mut name = String::new();
                while let Some(next) = chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    name.push(next);
                }
                if braces {
                    chars.next_if_eq(&'}');
                }
                word.push_str(environment.get(&name).map_or("", String::as_str));
                started = true;
            }
            (None, c) if c.is_whitespace() => {
                if std::mem::take(&mut started) {
                    found.push(std::mem::take(&mut word));
                }
            }
            (_, c) => {
                word.push(c);
                started = true;
            }
        }
    }
    if started {
        found.push(word);
    }
    found
}

fn simple(command: &[String], environment: &BTreeMap<String, String>, run: &mut Run) {
    let arguments = &command[1..];
    match base(&command[0]) {
        "echo" => {
            let (newline, arguments) = match arguments.split_first() {
                Some((flag, rest)) if flag == "-n" => ("", rest),
                _ => ("\n", arguments),
            };
            run.stdout.push_str(&arguments.join(" "));
            run.stdout.push_str(newline);
        }
        "printf" => {
            let text = arguments.join(" ").replace("\\n", "\n").replace("\\t", "\t");
            run.stdout.push_str(&text);
        }
        "true" => {}
        "false" => run.code = 1,
        "exit" => run.code = arguments.first().and_then(|text| text.parse().ok()).unwrap_or(0),
        "env" | "printenv" if arguments.is_empty() => {
            for (name, value) in environment {
                run.stdout.push_str(&format!("{name}={value}\n"));
            }
        }
        "printenv" => match environment.get(&arguments[0]) {
            Some(value) => run.stdout.push_str(&format!("{value}\n")),
            None => run.code = 1,
        },
        "hostname" => {
            let name = environment.get("HOSTNAME").map_or("", String::as_str);
            run.stdout.push_str(&format!("{name}\n"));
        }
        "pwd" => run.stdout.push_str("/\n"),
        "whoami" => run.stdout.push_str("root\n"),
        "id" => run.stdout.push_str("uid=0(root) gid=0(root) groups=0(root)\n"),
        "uname" => run.stdout.push_str("Linux\n"),
        "ls" => run.stdout.push_str("bin\ndev\netc\nproc\nsys\ntmp\nusr\nvar\n"),
        "date" => {}
        "sleep" => {
            let span = arguments.first().and_then(|text| seconds(text)).unwrap_or(0);
            run.slept += Duration::from_secs(span);
        }
        "cat" => {
            for path in arguments {
                run.stderr.push_str(&format!("cat: {path}: No such file or directory\n"));
                run.code = 1;
            }
        }
        other => {
            run.stderr.push_str(&format!("sh: {other}: not found\n"));
            run.code = 127;
        }
    }
}
