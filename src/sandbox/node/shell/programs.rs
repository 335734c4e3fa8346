//! The programs that an image with a shell has, as far as people look into pods with them.

use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;

use super::archive;
use super::evaluate::{MAX_BYTES, Shell};
use super::io::Streams;
use super::{Around, absolute};
use crate::sandbox::node::files::Entry;

const PROGRAMS: &[&str] = &[
    "[", "ash", "basename", "bash", "cat", "cp", "date", "dirname", "echo", "env", "false", "grep",
    "head", "hostname", "id", "ls", "mkdir", "mv", "printenv", "printf", "ps", "pwd", "rm", "seq",
    "sh", "sleep", "sort", "stat", "tail", "tar", "tee", "test", "touch", "true", "uname", "wc",
    "whoami",
];

/// What a shell does without a program.
const BUILTINS: &[&str] = &[
    ":", "break", "cd", "continue", "exec", "exit", "export", "read", "set", "shift", "trap",
    "umask", "unset", "wait",
];

/// The name of a program without its folder.
pub(super) fn base(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

/// Whether an image with a shell has a program.
pub(super) fn is_program(word: &str) -> bool {
    PROGRAMS.binary_search(&base(word)).is_ok()
}

/// Whether a shell knows what to do with a word.
pub(super) fn is_known(word: &str) -> bool {
    is_program(word) || BUILTINS.contains(&word)
}

/// Runs a program to its end; `by_shell`: a shell looked for it, and says so when it is not there.
pub(super) fn run<'a>(
    words: &'a [String],
    around: &'a Around,
    streams: &'a Streams,
    by_shell: bool,
) -> BoxFuture<'a, i32> {
    Box::pin(async move {
        if !is_program(&words[0]) {
            let prefix = if by_shell { "sh: " } else { "" };
            streams.stderr.write(format!("{prefix}{}: not found\n", words[0])).await;
            return 127;
        }
        let tool = Tool { name: base(&words[0]), arguments: &words[1..], around, streams };
        tool.run().await
    })
}

struct Tool<'a> {
    name: &'a str,
    arguments: &'a [String],
    around: &'a Around,
    streams: &'a Streams,
}

impl Tool<'_> {
    async fn say(&self, text: impl Into<Bytes>) -> i32 {
        self.streams.stdout.write(text).await;
        0
    }

    /// Tells a failure as the program's own.
    async fn fail(&self, text: &str) -> i32 {
        self.streams.stderr.write(format!("{}: {text}\n", self.name)).await;
        1
    }

    /// The arguments that are no flags.
    fn operands(&self) -> Vec<&str> {
        let plain = |word: &&String| !word.starts_with('-') || word.as_str() == "-";
        self.arguments.iter().filter(plain).map(String::as_str).collect()
    }

    fn flag(&self, letter: char) -> bool {
        let short = |word: &&String| word.starts_with('-') && !word.starts_with("--");
        self.arguments.iter().filter(short).any(|word| word.contains(letter))
    }

    fn path(&self, path: &str) -> String {
        absolute(&self.around.folder, path)
    }

    /// The text of the files that are named, or of standard input; each failure is told.
    async fn texts(&self, names: &[&str]) -> (Vec<(String, Bytes)>, i32) {
        if names.is_empty() {
            let bytes = self.streams.stdin.all(MAX_BYTES).await;
            return (vec![("-".to_owned(), bytes)], 0);
        }
        let (mut found, mut code) = (Vec::new(), 0);
        for name in names {
            match *name {
                "-" | "/dev/stdin" => {
                    found.push(("-".to_owned(), self.streams.stdin.all(MAX_BYTES).await));
                }
                "/dev/null" => found.push(("/dev/null".to_owned(), Bytes::new())),
                name => match self.around.files.read(&self.path(name)) {
                    Ok(bytes) => found.push((name.to_owned(), bytes)),
                    Err(why) => code = self.fail(&format!("{name}: {why}")).await,
                },
            }
        }
        (found, code)
    }

    async fn run(&self) -> i32 {
        let operands = self.operands();
        let first = operands.first().copied().unwrap_or_default();
        match self.name {
            "sh" | "bash" | "ash" => self.shell().await,
            "true" => 0,
            "false" => 1,
            "echo" => self.echo().await,
            "printf" => self.printf().await,
            "cat" => self.cat(&operands).await,
            "env" | "printenv" => self.environment(first).await,
            "hostname" => {
                let name = self.around.environment.get("HOSTNAME").cloned().unwrap_or_default();
                self.say(format!("{name}\n")).await
            }
            "pwd" => self.say(format!("{}\n", self.around.folder)).await,
            "whoami" => self.say("root\n").await,
            "id" if self.flag('u') => self.say("0\n").await,
            "id" => self.say("uid=0(root) gid=0(root) groups=0(root)\n").await,
            "uname" if self.flag('m') => self.say("x86_64\n").await,
            "uname" if self.flag('r') => self.say("6.12.0\n").await,
            "uname" => self.say("Linux\n").await,
            "date" => {
                let text =
                    self.around.time.date(operands.iter().find_map(|word| word.strip_prefix('+')));
                self.say(format!("{text}\n")).await
            }
            "ps" => self.say("PID   USER     TIME  COMMAND\n    1 root      0:00 sh\n").await,
            "sleep" => self.sleep(&operands).await,
            "seq" => self.sequence(&operands).await,
            "basename" => self.say(format!("{}\n", base(first.trim_end_matches('/')))).await,
            "dirname" => {
                let above = first.rsplit_once('/').map_or(".", |(above, _)| above);
                self.say(format!("{}\n", if above.is_empty() { "/" } else { above })).await
            }
            "ls" => self.list(&operands).await,
            "stat" | "touch" | "mkdir" | "rm" => self.each(&operands).await,
            "cp" | "mv" => self.copy(&operands).await,
            "tee" => self.tee(&operands).await,
            "head" | "tail" => self.part().await,
            "wc" | "sort" => self.count(&operands).await,
            "grep" => self.grep(&operands).await,
            "test" | "[" => i32::from(!self.holds()),
            "tar" => archive::tar(self.arguments, self.around, self.streams).await,
            _ => 127,
        }
    }

    /// `sh -c TEXT ARGUMENTS…`, `sh FILE`, or commands from standard input, line by line.
    async fn shell(&self) -> i32 {
        let flags = self.arguments.iter().take_while(|word| word.starts_with('-')).count();
        let command = self.arguments[..flags].iter().any(|flag| flag.contains('c'));
        let strict = self.arguments[..flags].iter().any(|flag| flag.contains('e'));
        let mut rest = self.arguments[flags..].iter().cloned();
        let start = |arguments: Vec<String>| {
            let mut shell = Shell::new(self.around.clone(), arguments);
            shell.strict = strict;
            shell
        };
        if command {
            let text = rest.next().unwrap_or_default();
            let mut shell = start(rest.skip(1).collect());
            shell.text(&text, self.streams).await;
            return shell.code;
        }
        if let Some(file) = rest.next() {
            let text = match self.around.files.read(&self.path(&file)) {
                Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                Err(_) => {
                    self.fail(&format!("can't open '{file}': No such file or directory")).await;
                    return 2;
                }
            };
            let mut shell = start(rest.collect());
            shell.text(&text, self.streams).await;
            return shell.code;
        }
        let mut shell = start(Vec::new());
        let mut text = String::new();
        loop {
            if self.around.terminal {
                let sign = if text.is_empty() { "# " } else { "> " };
                let place =
                    if text.is_empty() { format!("{} ", shell.folder) } else { String::new() };
                self.say(format!("{place}{sign}")).await;
            }
            let line = self.streams.stdin.line().await;
            let ended = line.is_none();
            text.push_str(&String::from_utf8_lossy(&line.unwrap_or_default()));
            // A command may go on in the next line.
            if !ended
                && super::parse::script(&text).is_err_and(|why| super::parse::is_unfinished(&why))
            {
                continue;
            }
            let flow = shell.text(&std::mem::take(&mut text), self.streams).await;
            // A person may try again.
            let refused = self.around.terminal && shell.refused();
            if ended || (flow == super::evaluate::Flow::Exit && !refused) {
                break;
            }
        }
        shell.code
    }

    async fn echo(&self) -> i32 {
        let flags =
            self.arguments.iter().take_while(|word| matches!(word.as_str(), "-n" | "-e" | "-ne"));
        let flags: Vec<&String> = flags.collect();
        let mut text = self.arguments[flags.len()..].join(" ");
        if flags.iter().any(|flag| flag.contains('e')) {
            text = unescaped(&text);
        }
        if !flags.iter().any(|flag| flag.contains('n')) {
            text.push('\n');
        }
        self.say(text).await
    }

    async fn printf(&self) -> i32 {
        let Some((format, values)) = self.arguments.split_first() else {
            return self.fail("usage: printf FORMAT [ARG]...").await;
        };
        let format = unescaped(format);
        let mut values = values.iter();
        let mut text = String::new();
        // The format is used again while values are left.
        loop {
            let mut took = false;
            let mut rest = format.as_str();
            while let Some(at) = rest.find('%') {
                text.push_str(&rest[..at]);
                let kind =
                    rest[at + 1..].find(|c: char| !c.is_ascii_digit() && c != '-' && c != '.');
                let Some(end) = kind.map(|length| at + 1 + length) else { break };
                let letter = rest[end..].chars().next().unwrap_or('%');
                if letter == '%' {
                    text.push('%');
                } else {
                    let value = values.next();
                    took |= value.is_some();
                    text.push_str(
                        value.map_or(if letter == 'd' { "0" } else { "" }, String::as_str),
                    );
                }
                rest = &rest[end + letter.len_utf8()..];
            }
            text.push_str(rest);
            if !took || values.len() == 0 {
                break;
            }
        }
        self.say(text).await
    }

    async fn cat(&self, operands: &[&str]) -> i32 {
        if operands.is_empty() || operands == ["-"] {
            while let Some(bytes) = self.streams.stdin.some().await {
                self.streams.stdout.write(bytes).await;
            }
            return 0;
        }
        let (texts, code) = self.texts(operands).await;
        for (_, bytes) in texts {
            self.streams.stdout.write(bytes).await;
        }
        code
    }

    async fn environment(&self, name: &str) -> i32 {
        if name.is_empty() {
            let lines =
                self.around.environment.iter().map(|(name, value)| format!("{name}={value}\n"));
            return self.say(lines.collect::<String>()).await;
        }
        match self.around.environment.get(name) {
            Some(value) => self.say(format!("{value}\n")).await,
            None => 1,
        }
    }

    async fn sleep(&self, operands: &[&str]) -> i32 {
        let mut span = Duration::ZERO;
        for word in operands {
            match span_of(word) {
                Some(part) => span = span.saturating_add(part),
                None => return self.fail(&format!("invalid number '{word}'")).await,
            }
        }
        self.around.time.sleep(span).await;
        0
    }

    async fn sequence(&self, operands: &[&str]) -> i32 {
        let numbers: Option<Vec<i64>> = operands.iter().map(|word| word.parse().ok()).collect();
        let (from, step, to) = match numbers.as_deref() {
            Some([to]) => (1, 1, *to),
            Some([from, to]) => (*from, 1, *to),
            Some([from, step, to]) if *step != 0 => (*from, *step, *to),
            _ => return self.fail("invalid number").await,
        };
        let mut text = String::new();
        let mut at = from;
        while (step > 0 && at <= to) || (step < 0 && at >= to) {
            text.push_str(&format!("{at}\n"));
            if text.len() > MAX_BYTES {
                return self.fail("too many").await;
            }
            let Some(next) = at.checked_add(step) else { break };
            at = next;
        }
        self.say(text).await
    }

    async fn list(&self, operands: &[&str]) -> i32 {
        let here = ["."];
        let operands = if operands.is_empty() { &here[..] } else { operands };
        let mut code = 0;
        for (at, name) in operands.iter().enumerate() {
            let path = self.path(name);
            let names = match self.around.files.entry(&path) {
                Some(Entry::Directory { .. }) if !self.flag('d') => {
                    if operands.len() > 1 {
                        let gap = if at > 0 { "\n" } else { "" };
                        self.say(format!("{gap}{name}:\n")).await;
                    }
                    let names = self.around.files.names(&path).unwrap_or_default();
                    let shown = |name: &String| self.flag('a') || !name.starts_with('.');
                    names
                        .into_iter()
                        .filter(shown)
                        .map(|name| (format!("{path}/{name}"), name))
                        .collect()
                }
                Some(_) => vec![(path, (*name).to_owned())],
                None => {
                    code = self.fail(&format!("{name}: No such file or directory")).await;
                    continue;
                }
            };
            for (path, name) in names {
                let line = if self.flag('l') { self.long(&path, &name) } else { name };
                self.say(format!("{line}\n")).await;
            }
        }
        code
    }

    fn long(&self, path: &str, name: &str) -> String {
        let (letter, mode, length, seconds) = match self.around.files.entry(path) {
            Some(Entry::File { mode, bytes, seconds }) => ('-', mode, bytes.len(), seconds),
            Some(Entry::Directory { mode }) => ('d', mode, 4096, self.around.time.seconds()),
            None => ('-', 0, 0, 0),
        };
        let rights: String = (0..9)
            .map(|at| if mode >> (8 - at) & 1 == 1 { ['r', 'w', 'x'][at % 3] } else { '-' })
            .collect();
        let time =
            jiff::Timestamp::from_second(i64::try_from(seconds).unwrap_or(0)).unwrap_or_default();
        let time = time.strftime("%b %e %H:%M");
        format!("{letter}{rights}    1 root     root      {length:>8} {time} {name}")
    }

    /// Does the same to each operand.
    async fn each(&self, operands: &[&str]) -> i32 {
        let mut code = 0;
        for name in operands {
            let path = self.path(name);
            let files = &self.around.files;
            let done = match self.name {
                "stat" => match files.entry(&path) {
                    Some(Entry::File { bytes, .. }) => {
                        let text = format!("  File: {name}\n  Size: {}\n", bytes.len());
                        self.say(text).await;
                        Ok(())
                    }
                    Some(Entry::Directory { .. }) => {
                        self.say(format!("  File: {name}\n  Size: 4096\n")).await;
                        Ok(())
                    }
                    None => Err("No such file or directory"),
                },
                "touch" => match files.read(&path) {
                    Ok(bytes) => self.around.write(&path, bytes),
                    Err("Is a directory") => Ok(()),
                    Err(_) => self.around.write(&path, Bytes::new()),
                },
                "mkdir" => files.make_directory(&path, self.flag('p')),
                _ => match files.remove(&path, self.flag('r') || self.flag('R')) {
                    Err("No such file or directory") if self.flag('f') => Ok(()),
                    other => other,
                },
            };
            if let Err(why) = done {
                code = match self.name {
                    "mkdir" => self.fail(&format!("can't create directory '{name}': {why}")).await,
                    "rm" => self.fail(&format!("can't remove '{name}': {why}")).await,
                    "stat" => self.fail(&format!("can't stat '{name}': {why}")).await,
                    _ => self.fail(&format!("{name}: {why}")).await,
                };
            }
        }
        code
    }

    async fn copy(&self, operands: &[&str]) -> i32 {
        let Some((to, from)) = operands.split_last().filter(|(_, from)| !from.is_empty()) else {
            return self.fail("missing file operand").await;
        };
        let files = &self.around.files;
        let into = matches!(files.entry(&self.path(to)), Some(Entry::Directory { .. }));
        let whole = self.name == "mv" || self.flag('r') || self.flag('R') || self.flag('a');
        let mut code = 0;
        for name in from {
            let source = self.path(name);
            let target =
                if into { format!("{}/{}", self.path(to), base(&source)) } else { self.path(to) };
            let found = files.walk(&source);
            let refused = match found.first() {
                None => Some("No such file or directory"),
                Some((_, Entry::Directory { .. })) if !whole => Some("omitting directory"),
                Some(_) => None,
            };
            let mut done = refused.map_or(Ok(()), Err);
            for (path, entry) in found {
                let place = format!("{target}{}", path.strip_prefix(&source).unwrap_or_default());
                done = done.and_then(|()| match entry {
                    Entry::Directory { .. } => files.make_directory(&place, true),
                    Entry::File { mode, bytes, seconds } => {
                        files.write(&place, mode, bytes, seconds)
                    }
                });
            }
            if done.is_ok() && self.name == "mv" {
                done = files.remove(&source, true);
            }
            if let Err(why) = done {
                code = self.fail(&format!("can't stat '{name}': {why}")).await;
            }
        }
        code
    }

    async fn tee(&self, operands: &[&str]) -> i32 {
        let bytes = self.streams.stdin.all(MAX_BYTES).await;
        self.streams.stdout.write(bytes.clone()).await;
        let mut code = 0;
        for name in operands {
            if let Err(why) = self.around.write(&self.path(name), bytes.clone()) {
                code = self.fail(&format!("{name}: {why}")).await;
            }
        }
        code
    }

    /// `head`, `tail`: lines with `-n N` or `-N`, bytes with `-c N`, from a place on with `+N`.
    async fn part(&self) -> i32 {
        let (mut count, mut bytes, mut from) = (10, false, false);
        let mut names = Vec::new();
        let mut follow = false;
        let mut words = self.arguments.iter();
        while let Some(word) = words.next() {
            let number = match word.as_str() {
                "-n" | "-c" => {
                    bytes = word == "-c";
                    words.next().map(String::as_str)
                }
                "-f" | "-F" => {
                    follow = true;
                    continue;
                }
                word if word.starts_with("-n") || word.starts_with("-c") => {
                    bytes = word.starts_with("-c");
                    Some(&word[2..])
                }
                word if word.starts_with('-') && word.len() > 1 => Some(&word[1..]),
                word => {
                    names.push(word);
                    continue;
                }
            };
            let number = number.unwrap_or_default();
            from = number.starts_with('+');
            match number.trim_start_matches('+').parse() {
                Ok(number) => count = number,
                Err(_) => return self.fail(&format!("invalid number '{number}'")).await,
            }
        }
        let (texts, code) = self.texts(&names).await;
        for (_, text) in texts {
            // Where each part begins, and the end of the last one.
            let lines = || text.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::len);
            let n_parts = if bytes { text.len() } else { lines().count() };
            let place = |part: usize| if bytes { part } else { lines().take(part).sum() };
            let range = match (self.name, from) {
                ("head", _) => 0..place(n_parts.min(count)),
                (_, true) => place(count.saturating_sub(1).min(n_parts))..text.len(),
                (_, false) => place(n_parts.saturating_sub(count))..text.len(),
            };
            self.say(text.slice(range)).await;
        }
        if follow {
            // Nothing is added to a file here without a command that was asked for.
            self.around.time.sleep(Duration::MAX).await;
        }
        code
    }

    async fn count(&self, operands: &[&str]) -> i32 {
        let (texts, code) = self.texts(operands).await;
        for (name, bytes) in texts {
            let text = String::from_utf8_lossy(&bytes);
            if self.name == "sort" {
                let mut lines: Vec<&str> = text.lines().collect();
                lines.sort_unstable();
                if self.flag('r') {
                    lines.reverse();
                }
                if self.flag('u') {
                    lines.dedup();
                }
                self.say(lines.iter().map(|line| format!("{line}\n")).collect::<String>()).await;
                continue;
            }
            let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
            let all = !self.flag('l') && !self.flag('w') && !self.flag('c');
            let numbers =
                [('l', lines), ('w', text.split_whitespace().count()), ('c', bytes.len())];
            let mut shown: Vec<String> = numbers
                .iter()
                .filter(|(letter, _)| all || self.flag(*letter))
                .map(|(_, number)| number.to_string())
                .collect();
            if name != "-" {
                shown.push(name);
            }
            self.say(format!("{}\n", shown.join(" "))).await;
        }
        code
    }

    async fn grep(&self, operands: &[&str]) -> i32 {
        let Some((pattern, names)) = operands.split_first() else {
            return self.fail("no pattern").await;
        };
        let pattern = if self.flag('F') { regex::escape(pattern) } else { (*pattern).to_owned() };
        let pattern = regex::RegexBuilder::new(&pattern).case_insensitive(self.flag('i')).build();
        let Ok(pattern) = pattern else { return self.fail("bad regex").await };
        let (texts, _) = self.texts(names).await;
        let mut n_lines = 0;
        for (_, bytes) in texts {
            for line in String::from_utf8_lossy(&bytes).lines() {
                if pattern.is_match(line) == self.flag('v') {
                    continue;
                }
                n_lines += 1;
                if !self.flag('q') && !self.flag('c') {
                    self.say(format!("{line}\n")).await;
                }
            }
        }
        if self.flag('c') {
            self.say(format!("{n_lines}\n")).await;
        }
        i32::from(n_lines == 0)
    }

    /// `test`, `[ … ]`
    fn holds(&self) -> bool {
        let mut words: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        if self.name == "[" && words.last() == Some(&"]") {
            words.pop();
        }
        let (wanted, words) = match words.split_first() {
            Some((&"!", rest)) => (false, rest),
            _ => (true, &words[..]),
        };
        let number = |word: &str| word.parse::<i64>().unwrap_or(0);
        let entry = |path: &str| self.around.files.entry(&self.path(path));
        let found = match words {
            [] => false,
            [word] => !word.is_empty(),
            ["-z", word] => word.is_empty(),
            ["-n", word] => !word.is_empty(),
            ["-e", path] => entry(path).is_some(),
            ["-f" | "-r", path] => matches!(entry(path), Some(Entry::File { .. })),
            ["-d", path] => matches!(entry(path), Some(Entry::Directory { .. })),
            ["-s", path] => {
                matches!(entry(path), Some(Entry::File { bytes, .. }) if !bytes.is_empty())
            }
            [left, "=" | "==", right] => left == right,
            [left, "!=", right] => left != right,
            [left, "-eq", right] => number(left) == number(right),
            [left, "-ne", right] => number(left) != number(right),
            [left, "-lt", right] => number(left) < number(right),
            [left, "-le", right] => number(left) <= number(right),
            [left, "-gt", right] => number(left) > number(right),
            [left, "-ge", right] => number(left) >= number(right),
            _ => false,
        };
        found == wanted
    }
}

/// `5`, `0.5`, `5s`, `2m`, `1h`, `infinity`
fn span_of(text: &str) -> Option<Duration> {
    if matches!(text, "infinity" | "inf") {
        return Some(Duration::MAX);
    }
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h', 'd']) {
        Some(number) => (number, &text[number.len()..]),
        None => (text, "s"),
    };
    let factor = match unit {
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => 1.0,
    };
    let seconds: f64 = number.parse().ok()?;
    Duration::try_from_secs_f64(seconds * factor).ok()
}

/// `\n`, `\t`, `\\` as `printf` and `echo -e` write them.
fn unescaped(text: &str) -> String {
    let mut found = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some('n') => found.push('\n'),
                Some('t') => found.push('\t'),
                Some('r') => found.push('\r'),
                Some('\\') | None => found.push('\\'),
                Some(other) => found.extend(['\\', other]),
            },
            (c, false) => found.push(c),
        }
    }
    found
}
