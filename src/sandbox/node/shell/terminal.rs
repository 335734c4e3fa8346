//! The line discipline of a terminal: what is typed is shown and handed on line by line, and lines end as terminals want it.

use bytes::Bytes;
use tokio::sync::mpsc;

use super::io::{Input, Output, Streams};

const LINES: usize = 64;
/// The exit code of a program that a person interrupted.
const INTERRUPTED: i32 = 130;

/// A terminal between a person and a program.
pub struct Terminal {
    typed: mpsc::Receiver<Bytes>,
    screen: Output,
    lines: mpsc::Sender<Bytes>,
    printed: mpsc::Receiver<Bytes>,
}

impl Terminal {
    /// A terminal, and the streams of the program on it: both outputs are the screen.
    pub fn new(typed: mpsc::Receiver<Bytes>, screen: Output) -> (Self, Streams) {
        let (lines, stdin) = mpsc::channel(LINES);
        let (stdout, printed) = mpsc::channel(LINES);
        let stdout = Output::Client(stdout);
        let streams =
            Streams { stdin: Input::client(stdin), stdout: stdout.clone(), stderr: stdout };
        (Self { typed, screen, lines, printed }, streams)
    }

    /// Runs a program on the terminal; its exit code once the screen shows all of it.
    pub async fn carry(self, program: impl Future<Output = i32>) -> i32 {
        let (code, interrupted) = futures::future::join(program, self.run()).await;
        if interrupted { INTERRUPTED } else { code }
    }

    /// Works until the program has closed its side. `true`: the person interrupted it (Ctrl-C).
    async fn run(mut self) -> bool {
        let mut line = String::new();
        let mut open = true;
        loop {
            tokio::select! {
                // What is printed comes before what is typed after it.
                biased;
                bytes = self.printed.recv() => match bytes {
                    Some(bytes) => self.show(&String::from_utf8_lossy(&bytes)).await,
                    None => return false,
                },
                bytes = self.typed.recv(), if open => {
                    let Some(bytes) = bytes else {
                        // The other end is gone, and with it the terminal.
                        open = false;
                        self.lines = mpsc::channel(1).0;
                        continue;
                    };
                    for c in String::from_utf8_lossy(&bytes).chars() {
                        if !self.key(c, &mut line).await {
                            return true;
                        }
                    }
                }
            }
        }
    }

    async fn show(&self, text: &str) {
        let text = text.replace("\r\n", "\n").replace('\n', "\r\n");
        self.screen.write(text).await;
    }

    /// One key; `false` for the one that interrupts.
    async fn key(&mut self, c: char, line: &mut String) -> bool {
        match c {
            '\r' | '\n' => {
                self.show("\n").await;
                line.push('\n');
                let _ = self.lines.send(std::mem::take(line).into()).await;
            }
            '\u{3}' => {
                self.show("^C\n").await;
                return false;
            }
            '\u{4}' if line.is_empty() => self.lines = mpsc::channel(1).0,
            '\u{8}' | '\u{7f}' => {
                if line.pop().is_some() {
                    self.screen.write("\u{8} \u{8}").await;
                }
            }
            c if c.is_control() => {}
            c => {
                line.push(c);
                self.screen.write(c.to_string()).await;
            }
        }
        true
    }
}
