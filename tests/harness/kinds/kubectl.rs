//! Cases of the kind `kubectl`: what kubectl and helm print against `meshscript sandbox` is what they print against a real API
//! server.
//!
//! A case is a file of commands of kubectl, one `$ …` a line (`$ helm …` runs helm), run in a namespace of its own (`$NS`) in `files/`, first against the test bed's API
//! server, then against a sandbox that was started for the case. Exit code, standard output and standard error are compared
//! without what differs by nature: ages, moments, addresses, random suffixes, versions of objects, widths of columns. A line
//! `~ …` runs on both and is not compared; it waits for controllers. Nothing is recorded: without the test bed a case is
//! one line that says so.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use libtest_mimic::{Failed, Trial};

use super::serve::Sandbox;

pub(crate) fn trials() -> Vec<Trial> {
    let Some(kubeconfig) = std::env::var_os("MESHBED_KUBECONFIG").map(PathBuf::from) else {
        return crate::harness::helm::missing("kubectl", "the test bed");
    };
    let folder = crate::harness::folder("kubectl");
    let mut names: BTreeSet<String> = BTreeSet::new();
    for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
        if let Some(name) = entry.file_name().to_string_lossy().strip_suffix(".txt") {
            names.insert(name.to_owned());
        }
    }
    names
        .into_iter()
        .map(|name| {
            let (kubeconfig, folder) = (kubeconfig.clone(), folder.clone());
            Trial::test(format!("kubectl/{name}"), move || run(&folder, &name, &kubeconfig))
        })
        .collect()
}

fn run(folder: &Path, name: &str, real: &Path) -> Result<(), Failed> {
    let text = fs::read_to_string(folder.join(format!("{name}.txt")))?;
    // The one of an earlier run may still be on its way out.
    let namespace = format!("kubectl-{}-{}", name.replace('_', "-"), std::process::id());
    let sandbox = Sandbox::start(&["--speed", "50"])?;
    let worlds = [real, sandbox.kubeconfig.as_path()];
    for world in worlds {
        kubectl(world, folder, &["create".to_owned(), "namespace".to_owned(), namespace.clone()])?;
        // The account that every pod needs comes a moment later.
        let wait = format!("wait serviceaccount/default --for=create --timeout=30s -n {namespace}");
        kubectl(world, folder, &words(&wait))?;
    }
    let (mut compared, mut wrong) = (0, Vec::new());
    for line in text.lines() {
        let (is_compared, command) = match (line.strip_prefix("$ "), line.strip_prefix("~ ")) {
            (Some(command), _) => (true, command),
            (None, Some(command)) => (false, command),
            (None, None) => continue,
        };
        let mut arguments = words(&command.replace("$NS", &namespace));
        arguments.push(format!("--namespace={namespace}"));
        let [theirs, ours] =
            worlds.map(|world| kubectl(world, folder, &arguments).map(|text| normal(&text)));
        let (theirs, ours) = (theirs?, ours?);
        if is_compared {
            compared += 1;
            if theirs != ours {
                wrong.push(format!("$ {command}\n{}", crate::harness::difference(&theirs, &ours)));
            }
        }
    }
    let gone = ["delete".to_owned(), "namespace".to_owned(), namespace, "--wait=false".to_owned()];
    kubectl(real, folder, &gone)?;
    if compared == 0 {
        return Err("no command in the case".into());
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(format!("{} of {compared} commands differ\n{}", wrong.len(), wrong.join("\n")).into())
}

/// Exit code and output of one command.
fn kubectl(kubeconfig: &Path, folder: &Path, arguments: &[String]) -> Result<String, Failed> {
    let (program, arguments) = match arguments.split_first() {
        Some((first, rest)) if first == "helm" => ("helm", rest),
        _ => ("kubectl", arguments),
    };
    let output = Command::new(program)
        .args(arguments)
        .env("KUBECONFIG", kubeconfig)
        .env("NO_PROXY", "127.0.0.1")
        // The editor of `kubectl edit`.
        .env("KUBE_EDITOR", "sed -i s/blue/green/")
        .env("KUBECACHEDIR", kubeconfig.with_extension("cache"))
        .current_dir(folder.join("files"))
        .stdin(Stdio::null())
        .output()?;
    Ok(format!(
        "exit {}\n{}{}",
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    ))
}

/// Splits a command line at spaces outside of quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in line.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '\'' => quote = Some(c),
            None if c == ' ' => words.push(String::new()),
            _ => words.last_mut().expect("never empty").push(c),
        }
    }
    words.into_iter().filter(|word| !word.is_empty()).collect()
}

/// Output without what differs from server to server and from run to run.
fn normal(text: &str) -> String {
    let masks = [
        (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
        (r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} [\d:]+ [+-]\d{4}", "TIME"),
        (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UID"),
        (r"resourceVersion: ?\x22\d+\x22", "resourceVersion: RV"),
        (r"\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\b", "IP"),
        (r"/(LIVE|MERGED)-\d+/", "/$1/"),
        (r"\b[0-9a-f]{8,10}-[a-z0-9]{5}\b", "HASH-SUFFIX"),
        // The hash of a pod template is one of its Go struct's memory.
        (r"-[bcdfghjklmnpqrstvwxz2456789]{8,10}\b", "-HASH"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:[\d.]+ \+0000", "TIME"),
        (r"https?://[^ ]*:\d+", "SERVER"),
        (r"[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d [\d:]+ \d{4}", "TIME"),
        (r"\d{4}-\d\d-\d\d [\d:.]+ \+0000 UTC", "TIME"),
        (r"<invalid>", "AGE"),
        (r"\b\d+[smh](\d+s)?\b", "AGE"),
        (r"[ \t]+", " "),
    ];
    // client-go says so now and then when a program ends its own watch.
    let cancelled = r#"(?m)^E\d{4} [\d:.]+ +\d+ request\.go:\d+\] "Unexpected error when reading response body" err="context canceled"\n?"#;
    let cancelled = regex::Regex::new(cancelled).expect("a pattern");
    let mut text = cancelled.replace_all(text, "").into_owned();
    for (pattern, mask) in masks {
        let pattern = regex::Regex::new(pattern).expect("a pattern");
        text = pattern.replace_all(&text, mask).into_owned();
    }
    // CRDs that other cases put onto the real server meanwhile.
    let others =
        ["clients.example.com/", "ssa.example.com/", "gateway.networking.k8s.io/", "case-"];
    let mut lines: Vec<&str> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !others.iter().any(|other| line.starts_with(other)))
        .collect();
    // What is wrong with a custom resource is told in the order of Go's maps: another one on every run.
    for group in lines.chunk_by_mut(|a, b| a.starts_with("* ") && b.starts_with("* ")) {
        if group[0].starts_with("* ") {
            group.sort_unstable();
        }
    }
    lines.join("\n")
}
