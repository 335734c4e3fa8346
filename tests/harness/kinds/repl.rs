//! The interactive session in a real terminal: what is typed, and what is to be seen on the screen then.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Child;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use parking_lot::Mutex;

const TAB: &str = "\t";
const ENTER: &str = "\r";
const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const CTRL_R: &str = "\x12";
const UP: &str = "\x1b[A";

/// The longest that anything on the screen may take while other tests run.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn trials() -> Vec<Trial> {
    let run =
        |name: &str, test: fn() -> Result<(), Failed>| Trial::test(format!("repl/{name}"), test);
    vec![
        run("values_and_variables_stay_from_line_to_line", values),
        run("input_goes_on_until_it_is_complete", lines),
        run("tab_completes_functions_options_keys_and_modules", completion),
        run("help_and_doc_explain", help),
        run("ctrl_c_ends_the_call_and_keeps_the_session", interruption),
        run("history_outlives_the_session", history),
        run("an_error_keeps_the_session", errors),
        run("a_wait_shows_why_and_leaves_the_screen_clean", waits),
    ]
}

/// A terminal in which a session runs.
struct Terminal {
    pty: Arc<pty_process::blocking::Pty>,
    child: Child,
    /// What came so far, without escape sequences, and up to where it was looked at.
    screen: Arc<Mutex<String>>,
    looked: usize,
}

impl Terminal {
    fn open(home: &Path) -> Result<Self, Failed> {
        let (pty, pts) = pty_process::blocking::open()?;
        pty.resize(pty_process::Size::new(40, 160))?;
        let child = pty_process::blocking::Command::new(env!("CARGO_BIN_EXE_meshscript"))
            .args(["repl", "--sandbox"])
            .env_clear()
            .env("HOME", home)
            .env("TERM", "xterm-256color")
            .env("LANG", "C.UTF-8")
            .current_dir(home)
            .spawn(pts)?;
        let pty = Arc::new(pty);
        let screen: Arc<Mutex<String>> = Arc::default();
        let (source, sink) = (Arc::clone(&pty), Arc::clone(&screen));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            let mut raw = Vec::new();
            while let Ok(length @ 1..) = (&*source).read(&mut buffer) {
                raw.extend_from_slice(&buffer[..length]);
                *sink.lock() = plain(&String::from_utf8_lossy(&raw));
            }
        });
        let mut terminal = Self { pty, child, screen, looked: 0 };
        terminal.sees("sandbox> ")?;
        Ok(terminal)
    }

    fn types(&mut self, text: &str) -> Result<(), Failed> {
        self.looked = self.screen.lock().len();
        (&*self.pty).write_all(text.as_bytes())?;
        Ok(())
    }

    /// Waits until a text stands behind what was looked at before.
    fn sees(&mut self, wanted: &str) -> Result<(), Failed> {
        let began = Instant::now();
        loop {
            {
                let screen = self.screen.lock();
                let rest = screen.get(self.looked..).unwrap_or_default();
                if let Some(at) = rest.find(wanted) {
                    self.looked += at + wanted.len();
                    return Ok(());
                }
                if began.elapsed() > PATIENCE {
                    return Err(format!("no `{wanted}` in:\n{rest}\n--- of\n{screen}").into());
                }
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Types a line and waits for what it shows and the next prompt.
    fn asks(&mut self, line: &str, answer: &str) -> Result<(), Failed> {
        self.types(line)?;
        self.types(ENTER)?;
        self.sees(answer)?;
        self.sees("sandbox> ")
    }

    /// Waits for the end of the session.
    fn ends(mut self, code: i32) -> Result<String, Failed> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                if status.code() == Some(code) {
                    return Ok(self.screen.lock().clone());
                }
                return Err(format!("ended with {status}:\n{}", self.screen.lock()).into());
            }
            if began.elapsed() > PATIENCE {
                return Err("the session does not end".into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn leaves(mut self) -> Result<String, Failed> {
        self.types(CTRL_D)?;
        self.ends(0)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A test that failed leaves no session behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A terminal's output without escape sequences and carriage returns.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\x1b' if letters.peek() == Some(&'[') => {
                letters.next();
                for letter in letters.by_ref() {
                    if ('@'..='~').contains(&letter) {
                        break;
                    }
                }
            }
            '\r' | '\x07' | '\x1b' => {}
            letter => plain.push(letter),
        }
    }
    plain
}

fn values() -> Result<(), Failed> {
    let home = tempfile::tempdir()?;
    let mut terminal = Terminal::open(home.path())?;
    terminal.asks("let name = \"shop\"", "shop")?;
    terminal.asks("fn hello(x) { `hello ${x}` }", "")?;
    terminal.asks("hello(name)", "hello shop")?;
    terminal.asks("import \"std/istio\" as istio;", "")?;
    terminal.asks("#{ a: [1, 2], b: \"x\" }", "a:")?;
    terminal.asks(".a.len()", "2")?;
    terminal.asks(
        "k8s::apply(#{ apiVersion: \"v1\", kind: \"Namespace\", metadata: #{ name: name } })",
        "created",
    )?;
    terminal.asks("k8s::list(\"ns\")", "shop")?;
    terminal.asks(":vars", "name: string = shop")?;
    terminal.asks(":type name", "string")?;
    terminal.asks(":ctx", "sandbox")?;
    terminal.asks(":reset", "")?;
    terminal.asks(":vars", "")?;
    terminal.asks("name", "there is no variable `name`")?;
    terminal.types("exit")?;
    terminal.types(ENTER)?;
    terminal.ends(0).map(drop)
}

fn lines() -> Result<(), Failed> {
    let home = tempfile::tempdir()?;
    let mut terminal = Terminal::open(home.path())?;
    terminal.types("let twice = |x| {")?;
    terminal.types(ENTER)?;
    terminal.types("x * 2")?;
    terminal.types(ENTER)?;
    terminal.types("};")?;
    terminal.types(ENTER)?;
    terminal.sees("sandbox> ")?;
    terminal.asks("twice.call(21)", "42")?;
    // A mistake in the middle is told at once, not waited for.
    terminal.asks("let x = (1 + ];", "error:")?;
    terminal.types("k8s::apply(#{")?;
    terminal.types(ENTER)?;
    // Ctrl-C gives the line up.
    terminal.types(CTRL_C)?;
    terminal.sees("sandbox> ")?;
    // An empty line submits what is not complete.
    terminal.types("[1, ")?;
    terminal.types(ENTER)?;
    terminal.types(ENTER)?;
    terminal.sees("error:")?;
    terminal.sees("sandbox> ")?;
    terminal.asks("1 + 1", "2")?;
    terminal.leaves().map(drop)
}

fn completion() -> Result<(), Failed> {
    let home = tempfile::tempdir()?;
    let mut terminal = Terminal::open(home.path())?;
    // One candidate is taken, several are listed.
    terminal.types("k8s::rest")?;
    terminal.types(TAB)?;
    terminal.sees("k8s::restart(")?;
    terminal.types(CTRL_C)?;
    terminal.sees("sandbox> ")?;
    terminal.types("k8s::l")?;
    terminal.types(TAB)?;
    terminal.types(TAB)?;
    terminal.sees("k8s::label(")?;
    terminal.sees("k8s::logs(")?;
    terminal.types(CTRL_C)?;
    terminal.sees("sandbox> ")?;
    terminal.types("k8s::wait(\"deploy\", \"web\", #{ rol")?;
    terminal.types(TAB)?;
    terminal.sees("rollout: ")?;
    terminal.types(CTRL_C)?;
    terminal.sees("sandbox> ")?;
    terminal.types("import \"std/ist")?;
    terminal.types(TAB)?;
    terminal.sees("std/istio")?;
    terminal.types(CTRL_C)?;
    terminal.sees("sandbox> ")?;
    terminal.asks("let object = #{ metadata: #{ name: \"x\" } };", "")?;
    terminal.types("object.meta")?;
    terminal.types(TAB)?;
    terminal.sees("metadata")?;
    terminal.types(CTRL_C)?;
    terminal.sees("sandbox> ")?;
    terminal.types("obj")?;
    terminal.types(TAB)?;
    terminal.sees("object")?;
    terminal.types(CTRL_C)?;
    terminal.sees("sandbox> ")?;
    terminal.asks("let list = [1, 2];", "")?;
    terminal.types("list.redu")?;
    terminal.types(TAB)?;
    terminal.types(TAB)?;
    terminal.sees("reduce_rev(")?;
    terminal.types(CTRL_C)?;
    terminal.sees("sandbox> ")?;
    terminal.types(":doc k8s::res")?;
    terminal.types(TAB)?;
    terminal.types(TAB)?;
    terminal.sees("k8s::resources")?;
    terminal.types(CTRL_C)?;
    terminal.sees("sandbox> ")?;
    terminal.leaves().map(drop)
}

fn help() -> Result<(), Failed> {
    let home = tempfile::tempdir()?;
    let mut terminal = Terminal::open(home.path())?;
    terminal.asks(":help", ":doc NAME")?;
    terminal.asks(":doc k8s::scale", "k8s::scale(")?;
    terminal.asks(":doc scale", "did you mean `k8s::scale`?")?;
    terminal.asks(":doc std/istio", "istio::")?;
    terminal.asks(":find rollout", "k8s::")?;
    terminal.asks(":hlep", "did you mean :help?")?;
    terminal.types(":quit")?;
    terminal.types(ENTER)?;
    terminal.ends(0).map(drop)
}

fn interruption() -> Result<(), Failed> {
    let home = tempfile::tempdir()?;
    let mut terminal = Terminal::open(home.path())?;
    terminal.asks("let kept = 7;", "")?;
    for endless in ["loop { let a = 1; }", "loop { try { sleep(\"1s\"); } catch {} }"] {
        // The line that was typed does not say the word that it prints.
        terminal.types(&format!("print(\"be\" + \"gun\"); {endless}"))?;
        terminal.types(ENTER)?;
        terminal.sees("begun")?;
        let began = Instant::now();
        terminal.types(CTRL_C)?;
        terminal.sees("interrupted; the session goes on")?;
        let took = began.elapsed();
        if took > Duration::from_secs(2) {
            return Err(format!("it took {took:?}").into());
        }
        terminal.sees("sandbox> ")?;
    }
    terminal.asks("kept * 6", "42")?;
    terminal.asks("k8s::exists(\"ns\", \"default\")", "true")?;
    terminal.leaves().map(drop)
}

fn history() -> Result<(), Failed> {
    let home = tempfile::tempdir()?;
    let mut terminal = Terminal::open(home.path())?;
    terminal.asks("let first = 11 * 11;", "")?;
    terminal.asks("[1,\n2].len()", "2")?;
    terminal.leaves()?;
    let mut terminal = Terminal::open(home.path())?;
    terminal.types(UP)?;
    terminal.sees("2].len()")?;
    // Within what was typed over several lines the cursor goes up first.
    terminal.types(UP)?;
    terminal.types(UP)?;
    terminal.sees("let first = 11 * 11;")?;
    terminal.types(ENTER)?;
    terminal.sees("sandbox> ")?;
    terminal.asks("first", "121")?;
    terminal.types(CTRL_R)?;
    terminal.types("first =")?;
    terminal.sees("11 * 11")?;
    terminal.types(CTRL_C)?;
    terminal.sees("sandbox> ")?;
    terminal.leaves().map(drop)
}

fn errors() -> Result<(), Failed> {
    let home = tempfile::tempdir()?;
    std::fs::write(home.path().join("broken.rhai"), "let before = 1;\nfail(\"in the file\");\n")?;
    let mut terminal = Terminal::open(home.path())?;
    terminal.asks("let x = 5; k8s::get(\"deploy\", \"nope\")", "does not exist")?;
    terminal.asks("x", "5")?;
    terminal.asks("let number = 6;", "")?;
    terminal.asks("nubmer", "did you mean `number`?")?;
    terminal.asks("k8s::git(\"a\", \"b\")", "did you mean `k8s::get(")?;
    terminal.asks(":load broken.rhai", "in the file")?;
    terminal.asks("before", "1")?;
    terminal.asks(":load nope.rhai", "there is no script `nope.rhai`")?;
    terminal.asks(":save kept.rhai", "kept.rhai written")?;
    terminal.leaves()?;
    if home.path().join("kept.rhai").is_file() { Ok(()) } else { Err("no file".into()) }
}

fn waits() -> Result<(), Failed> {
    let home = tempfile::tempdir()?;
    let mut terminal = Terminal::open(home.path())?;
    terminal.asks(
        "k8s::wait(\"configmap\", \"never\", #{ exists: true, timeout: \"20s\" })",
        "does not exist after 20s",
    )?;
    terminal.asks("1 + 2", "3")?;
    terminal.leaves().map(drop)
}
