//! Every code block of README.md is run: commands on the built program in a copy of the workspace, scripts on a fresh sandbox; so is
//! every script of examples/.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// A fenced block: its language and text, and the line at which it begins.
struct Block {
    line: usize,
    language: String,
    text: String,
}

fn blocks(text: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut open = false;
    for (number, line) in text.lines().enumerate() {
        if let Some(language) = line.strip_prefix("```") {
            open = !open;
            if open {
                let language = language.trim().to_owned();
                found.push(Block { line: number + 1, language, text: String::new() });
            }
        } else if open && let Some(block) = found.last_mut() {
            block.text.push_str(line);
            block.text.push('\n');
        }
    }
    assert!(!open, "README.md ends inside of a code block");
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Splits a command line at spaces outside of quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in line.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '\'' || c == '"' => quote = Some(c),
            None if c == ' ' => words.push(String::new()),
            _ => words.last_mut().expect("never empty").push(c),
        }
    }
    words.into_iter().filter(|word| !word.is_empty()).collect()
}

/// What stands in a block below a command: its output.
fn outputs(text: &str) -> Vec<(&str, String)> {
    let mut found: Vec<(&str, String)> = Vec::new();
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            found.push((command, String::new()));
        } else if let Some((_, output)) = found.last_mut() {
            output.push_str(line);
            output.push('\n');
        }
    }
    found
}

/// Output without what differs from run to run: spans, moments, and how many reads a run needed.
fn masked(text: &str) -> String {
    let pattern = r"\d+(\.\d+)?s\b|\d{4}-\d\d-\d\dT[\d:]+Z|\d+ read\b";
    regex::Regex::new(pattern).expect("a pattern").replace_all(text, "…").into_owned()
}

/// Runs meshscript in `folder` without any kubeconfig: whether it ended with 0, standard output, all output.
fn meshscript(folder: &Path, arguments: &[String]) -> (bool, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_meshscript"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("KUBECONFIG")
        .env("HOME", folder)
        .env("CI", "true")
        .stdin(Stdio::null())
        .output()
        .expect("the built program runs");
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    let all = format!("{shown}{}", String::from_utf8_lossy(&output.stderr));
    (output.status.success(), shown, all)
}

/// A workspace with the project's scripts, as a reader has it after a clone.
fn workspace() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for part in ["scripts", "stdlib", "examples"] {
        let to = folder.path().join(part);
        fs::create_dir(&to).expect("a new folder");
        for entry in fs::read_dir(root().join(part)).expect("a folder of the project").flatten() {
            if entry.path().is_file() {
                fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
            }
        }
    }
    folder
}

#[test]
fn every_code_block_runs() {
    let text = fs::read_to_string(root().join("README.md")).expect("README.md");
    let folder = workspace();
    let mut ran = 0;
    for block in blocks(&text) {
        let at = format!("README.md:{}", block.line);
        match block.language.as_str() {
            "console" => ran += run_commands(folder.path(), &block, &at),
            "rhai" => {
                let file = folder.path().join("block.rhai");
                fs::write(&file, &block.text).expect("a script");
                let arguments = ["run", "block.rhai", "--sandbox"].map(str::to_owned);
                let (ok, _, output) = meshscript(folder.path(), &arguments);
                assert!(ok, "{at}:\n{output}");
                ran += 1;
            }
            other => panic!("{at}: a block in `{other}` is not run: write console or rhai"),
        }
    }
    assert!(ran >= 5, "only {ran} commands were found in README.md");
}

#[test]
fn every_example_runs() {
    let folder = workspace();
    let mut ran = 0;
    for entry in fs::read_dir(root().join("examples")).expect("a folder of the project").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.ends_with(".rhai") {
            continue;
        }
        let arguments = ["run".to_owned(), format!("examples/{name}"), "--sandbox".to_owned()];
        let (ok, _, output) = meshscript(folder.path(), &arguments);
        assert!(ok, "examples/{name}:\n{output}");
        ran += 1;
    }
    assert!(ran > 0, "examples/ holds no script");
}

/// Whether a command that serves until it is ended says that it is ready.
fn serves(folder: &Path, arguments: &[String]) -> bool {
    let mut process = Command::new(env!("CARGO_BIN_EXE_meshscript"))
        .args(arguments)
        .current_dir(folder)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the built program runs");
    let mut ready = String::new();
    let output = process.stdout.take().expect("standard output");
    let read = BufReader::new(output).read_line(&mut ready);
    process.kill().expect("it runs");
    process.wait().expect("it ends");
    read.is_ok() && ready.starts_with("sandbox ready")
}

fn run_commands(folder: &Path, block: &Block, at: &str) -> usize {
    let mut ran = 0;
    for (line, expected) in outputs(&block.text) {
        let mut words = words(line.split(" #").next().unwrap_or_default());
        let arguments = match words.first().map(String::as_str) {
            Some("meshscript") => words.split_off(1),
            Some("cargo") if words[1] == "run" => {
                let after =
                    words.iter().position(|word| word == "--").expect("`--` before the arguments");
                words.split_off(after + 1)
            }
            // The gate runs this very command: it is not run inside of itself.
            Some("cargo") if words[1] == "test" => {
                let gate = fs::read_to_string(root().join(".ci/run")).expect(".ci/run");
                assert!(gate.contains("cargo test"), "{at}: .ci/run does not run `{line}`");
                ran += 1;
                continue;
            }
            _ => panic!("{at}: `{line}` is no command of meshscript or cargo"),
        };
        if arguments.first().is_some_and(|word| word == "sandbox") {
            assert!(serves(folder, &arguments), "{at}: `{line}` is not ready");
            ran += 1;
            continue;
        }
        // A reader's own cluster is not there in a test: those lines must at least be understood.
        if arguments.iter().any(|word| word == "--context") {
            let (_, _, output) = meshscript(folder, &arguments);
            assert!(!output.contains("unexpected argument"), "{at}: `{line}`:\n{output}");
        } else {
            let (ok, shown, output) = meshscript(folder, &arguments);
            assert!(ok, "{at}: `{line}`:\n{output}");
            if !expected.is_empty() {
                assert_eq!(masked(&shown), masked(&expected), "{at}: `{line}` prints otherwise");
            }
        }
        ran += 1;
    }
    assert!(ran > 0, "{at}: a console block without a `$ ` line");
    ran
}
