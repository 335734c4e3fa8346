//! Runs the commands of a script.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::future::BoxFuture;

use super::io::{Input, Output, Streams};
use super::parse::{After, Command, List, Piece, Pipeline, Redirect, Stage, Word};
use super::{Around, parse, programs, sum};

/// Commands that run without a pause; then a program that never rests does.
const BUSY: u32 = 2_000;
/// Bytes that a pipe or `$(…)` holds.
pub(super) const MAX_BYTES: usize = 64 << 20;

/// How a command ended beside its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    On,
    Exit,
    Break,
    Continue,
}

/// One shell while it runs.
#[derive(Clone)]
pub(super) struct Shell {
    pub(super) around: Around,
    pub(super) variables: BTreeMap<String, String>,
    /// `$1`, `$2`, …
    pub(super) arguments: Vec<String>,
    pub(super) folder: String,
    pub(super) code: i32,
    /// `set -e`
    pub(super) strict: bool,
    n_commands: u32,
    refused: bool,
}

impl Shell {
    pub(super) fn new(around: Around, arguments: Vec<String>) -> Self {
        let variables = around.environment.clone();
        Self {
            folder: around.folder.clone(),
            around,
            variables,
            arguments,
            code: 0,
            strict: false,
            n_commands: 0,
            refused: false,
        }
    }

    /// Runs a text; one that cannot be read is told on standard error.
    pub(super) async fn text(&mut self, text: &str, streams: &Streams) -> Flow {
        self.refused = false;
        match parse::script(text) {
            Ok(list) => self.list(&list, streams, false).await,
            Err(why) => {
                streams.stderr.write(format!("sh: {why}\n")).await;
                self.code = 2;
                self.refused = true;
                Flow::Exit
            }
        }
    }

    /// Whether the last text could not be read.
    pub(super) fn refused(&self) -> bool {
        self.refused
    }

    /// `tested`: the exit codes are looked at, so that `set -e` ends nothing.
    pub(super) fn list<'a>(
        &'a mut self,
        list: &'a List,
        streams: &'a Streams,
        tested: bool,
    ) -> BoxFuture<'a, Flow> {
        Box::pin(async move {
            for (at, pipeline) in list.iter().enumerate() {
                let wanted = match pipeline.after {
                    After::Anything => true,
                    After::Success => self.code == 0,
                    After::Failure => self.code != 0,
                };
                if !wanted {
                    continue;
                }
                let flow = self.pipeline(pipeline, streams).await;
                if flow != Flow::On {
                    return flow;
                }
                let judged = list.get(at + 1).is_some_and(|next| next.after != After::Anything);
                if self.strict && self.code != 0 && !judged && !tested && !pipeline.negated {
                    return Flow::Exit;
                }
            }
            Flow::On
        })
    }

    async fn pipeline(&mut self, pipeline: &Pipeline, streams: &Streams) -> Flow {
        let mut flow = Flow::On;
        let mut stdin = streams.stdin.clone();
        let last = pipeline.stages.len() - 1;
        for (at, stage) in pipeline.stages.iter().enumerate() {
            if at == last {
                let streams = Streams { stdin: stdin.clone(), ..streams.clone() };
                if last == 0 {
                    flow = self.stage(stage, &streams).await;
                } else {
                    let mut part = self.clone();
                    part.stage(stage, &streams).await;
                    self.code = part.code;
                }
                continue;
            }
            let (stdout, buffer) = Output::buffer();
            let streams = Streams { stdin: stdin.clone(), stdout, ..streams.clone() };
            self.clone().stage(stage, &streams).await;
            stdin = Input::bytes(&buffer.lock().split());
        }
        if pipeline.negated {
            self.code = i32::from(self.code == 0);
        }
        flow
    }

    async fn stage(&mut self, (command, redirects): &Stage, streams: &Streams) -> Flow {
        self.n_commands += 1;
        if self.n_commands.is_multiple_of(BUSY) {
            self.around.time.rest().await;
        }
        let mut streams = streams.clone();
        let mut files = Vec::new();
        for redirect in redirects {
            if let Err(why) = self.redirect(redirect, &mut streams, &mut files).await {
                streams.stderr.write(format!("sh: {why}\n")).await;
                self.code = 1;
                return Flow::On;
            }
        }
        let flow = self.command(command, &streams).await;
        for (path, buffer) in files {
            let bytes: Bytes = buffer.lock().split().freeze();
            if let Err(why) = self.around.write(&path, bytes) {
                streams.stderr.write(format!("sh: {path}: {why}\n")).await;
                self.code = 1;
            }
        }
        flow
    }

    async fn redirect(
        &mut self,
        redirect: &Redirect,
        streams: &mut Streams,
        files: &mut Vec<(String, std::sync::Arc<parking_lot::Mutex<bytes::BytesMut>>)>,
    ) -> Result<(), String> {
        match redirect {
            Redirect::Input(path) => {
                let path = self.path(&self.clone().one(path, streams).await);
                let bytes = self.around.files.read(&path);
                let bytes = bytes.map_err(|why| format!("can't open {path}: {why}"))?;
                streams.stdin = Input::bytes(&bytes);
            }
            Redirect::Same { stream, other } => {
                let output =
                    if *other == 1 { streams.stdout.clone() } else { streams.stderr.clone() };
                *(if *stream == 2 { &mut streams.stderr } else { &mut streams.stdout }) = output;
            }
            Redirect::Output { stream, append, path } => {
                let path = self.path(&self.clone().one(path, streams).await);
                let output = match path.as_str() {
                    "/dev/null" => Output::Nowhere,
                    "/dev/stdout" | "/proc/1/fd/1" => streams.stdout.clone(),
                    "/dev/stderr" | "/proc/1/fd/2" => streams.stderr.clone(),
                    _ => {
                        let old = if *append { self.around.files.read(&path).ok() } else { None };
                        let begun = old.unwrap_or_default();
                        // A place that cannot be written to is refused before the command runs.
                        let tried = self.around.write(&path, begun.clone());
                        tried.map_err(|why| format!("can't create {path}: {why}"))?;
                        let (output, buffer) = Output::buffer();
                        buffer.lock().extend_from_slice(&begun);
                        files.push((path, buffer));
                        output
                    }
                };
                *(if *stream == 2 { &mut streams.stderr } else { &mut streams.stdout }) = output;
            }
        }
        Ok(())
    }

    async fn command(&mut self, command: &Command, streams: &Streams) -> Flow {
        match command {
            Command::Simple { assignments, words } => {
                let words = self.words(words, streams).await;
                let mut values = Vec::new();
                for (name, word) in assignments {
                    values.push((name.clone(), self.one(word, streams).await));
                }
                if words.is_empty() {
                    self.code = 0;
                    self.variables.extend(values);
                    return Flow::On;
                }
                self.simple(&words, values, streams).await
            }
            Command::For { name, words, body } => {
                self.code = 0;
                for word in self.words(words, streams).await {
                    self.variables.insert(name.clone(), word);
                    match self.list(body, streams, false).await {
                        Flow::On | Flow::Continue => {}
                        Flow::Break => break,
                        Flow::Exit => return Flow::Exit,
                    }
                }
                Flow::On
            }
            Command::While { wanted, condition, body } => {
                let mut code = 0;
                loop {
                    self.n_commands += 1;
                    if self.n_commands.is_multiple_of(BUSY) {
                        self.around.time.rest().await;
                    }
                    if self.list(condition, streams, true).await == Flow::Exit {
                        return Flow::Exit;
                    }
                    if (self.code == 0) != *wanted {
                        break;
                    }
                    let flow = self.list(body, streams, false).await;
                    code = self.code;
                    match flow {
                        Flow::On | Flow::Continue => {}
                        Flow::Break => break,
                        Flow::Exit => return Flow::Exit,
                    }
                }
                self.code = code;
                Flow::On
            }
            Command::If { branches, otherwise } => {
                for (condition, body) in branches {
                    let flow = self.list(condition, streams, true).await;
                    if flow != Flow::On {
                        return flow;
                    }
                    if self.code == 0 {
                        return self.list(body, streams, false).await;
                    }
                }
                self.code = 0;
                self.list(otherwise, streams, false).await
            }
            Command::Group { body, subshell: false } => self.list(body, streams, false).await,
            Command::Group { body, subshell: true } => {
                let mut inner = self.clone();
                inner.list(body, streams, false).await;
                self.code = inner.code;
                Flow::On
            }
        }
    }

    /// What a shell does itself; everything else is a program.
    async fn simple(
        &mut self,
        words: &[String],
        values: Vec<(String, String)>,
        streams: &Streams,
    ) -> Flow {
        let first = |default: i32| {
            words.get(1).map_or(Some(default), |text| text.parse().ok()).unwrap_or(2)
        };
        match words[0].as_str() {
            "exit" => {
                self.code = first(self.code);
                return Flow::Exit;
            }
            "break" => return Flow::Break,
            "continue" => return Flow::Continue,
            "exec" if words.len() > 1 => {
                Box::pin(self.simple(&words[1..], values, streams)).await;
                return Flow::Exit;
            }
            ":" | "trap" | "umask" | "wait" => self.code = 0,
            "set" => {
                let flags = words.iter().skip(1).filter(|word| word.starts_with('-'));
                self.strict |= flags.clone().any(|flag| flag.contains('e'));
                self.strict &= !words.iter().any(|word| word == "+e");
                self.code = 0;
            }
            "export" => {
                for word in &words[1..] {
                    if let Some((name, value)) = word.split_once('=') {
                        self.variables.insert(name.to_owned(), value.to_owned());
                    }
                }
                self.code = 0;
            }
            "unset" => {
                for word in &words[1..] {
                    self.variables.remove(word);
                }
                self.code = 0;
            }
            "shift" => {
                if !self.arguments.is_empty() {
                    self.arguments.remove(0);
                }
                self.code = 0;
            }
            "cd" => {
                let path = self.path(words.get(1).map_or("/root", String::as_str));
                match self.around.files.entry(&path) {
                    Some(crate::sandbox::node::files::Entry::Directory { .. }) => {
                        self.folder = path;
                        self.code = 0;
                    }
                    _ => {
                        let text =
                            format!("sh: cd: can't cd to {path}: No such file or directory\n");
                        streams.stderr.write(text).await;
                        self.code = 2;
                    }
                }
            }
            "read" => {
                let line = streams.stdin.line().await;
                let text =
                    String::from_utf8_lossy(line.as_deref().unwrap_or_default()).into_owned();
                let mut text = text.trim_end_matches('\n');
                let names: Vec<&String> =
                    words[1..].iter().filter(|word| !word.starts_with('-')).collect();
                for (at, name) in names.iter().enumerate() {
                    let (value, rest) = match text.split_once(char::is_whitespace) {
                        Some((value, rest)) if at + 1 < names.len() => (value, rest.trim_start()),
                        _ => (text, ""),
                    };
                    self.variables.insert((*name).clone(), value.to_owned());
                    text = rest;
                }
                self.code = i32::from(line.is_none());
            }
            _ => {
                let mut around = self.around.clone();
                around.environment = self.variables.clone();
                around.environment.extend(values);
                around.folder = self.folder.clone();
                self.code = programs::run(words, &around, streams, true).await;
            }
        }
        Flow::On
    }

    /// A path from the shell's folder.
    fn path(&self, path: &str) -> String {
        super::absolute(&self.folder, path)
    }

    async fn words(&mut self, words: &[Word], streams: &Streams) -> Vec<String> {
        let mut found = Vec::new();
        for word in words {
            found.extend(self.expand(word, streams).await);
        }
        found
    }

    async fn one(&mut self, word: &Word, streams: &Streams) -> String {
        self.expand(word, streams).await.join(" ")
    }

    /// The fields of a word: what is not quoted is split at white space.
    async fn expand(&mut self, word: &Word, streams: &Streams) -> Vec<String> {
        let mut fields: Vec<String> = Vec::new();
        let mut open: Option<String> = None;
        for (piece, quoted) in word {
            let text = match piece {
                Piece::Text(text) => {
                    open.get_or_insert_default().push_str(text);
                    continue;
                }
                Piece::Variable { name, otherwise } => {
                    if name == "@" && *quoted && self.arguments.is_empty() {
                        continue;
                    }
                    let value = self.value(name);
                    if value.is_empty() { otherwise.clone() } else { value }
                }
                Piece::Sum(text) => {
                    let value = sum::value(text, &|name: &str| self.value(name));
                    match value {
                        Ok(value) => value.to_string(),
                        Err(why) => {
                            streams.stderr.write(format!("sh: arithmetic {why}\n")).await;
                            String::new()
                        }
                    }
                }
                Piece::Output(list) => {
                    let (stdout, buffer) = Output::buffer();
                    let inner_streams = Streams { stdout, ..streams.clone() };
                    let mut inner = self.clone();
                    inner.list(list, &inner_streams, false).await;
                    self.code = inner.code;
                    let bytes = buffer.lock().split();
                    String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned()
                }
            };
            if *quoted {
                open.get_or_insert_default().push_str(&text);
                continue;
            }
            if text.starts_with(char::is_whitespace) {
                fields.extend(open.take());
            }
            let mut parts = text.split_whitespace().peekable();
            while let Some(part) = parts.next() {
                open.get_or_insert_default().push_str(part);
                if parts.peek().is_some() || text.ends_with(char::is_whitespace) {
                    fields.extend(open.take());
                }
            }
        }
        fields.extend(open);
        fields
    }

    fn value(&self, name: &str) -> String {
        match name {
            "?" => self.code.to_string(),
            "$" => "1".to_owned(),
            "#" => self.arguments.len().to_string(),
            "@" | "*" => self.arguments.join(" "),
            "0" => "sh".to_owned(),
            _ => match name.parse::<usize>() {
                Ok(at) => self.arguments.get(at - 1).cloned().unwrap_or_default(),
                Err(_) => self.variables.get(name).cloned().unwrap_or_default(),
            },
        }
    }
}
