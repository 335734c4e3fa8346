//! What is fuzzed: each function takes any input and must return, without a panic, within the limits. The targets of libFuzzer and
//! the kind `fuzz` of the cases, which replays what was found, both call these.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use meshscript::base::yaml as yaml_text;
use meshscript::helm::chart::{Chart, File};
use meshscript::helm::render::{ReleaseFacts, RenderOptions, render};
use meshscript::helm::template::Environment;
use meshscript::helm::values::set::{Reading, set};
use serde_json::{Map, Value, json};

const CHART_YAML: &[u8] = b"apiVersion: v2\nname: t\nversion: 1.2.3\n";
const VALUES: &[u8] = b"name: web\ncount: 3\nratio: 0.5\non: true\nnothing: null\nlist: [a, 2, {b: c}]\nmap: {x: 1, y: {z: deep}}\n";
const READINGS: [Reading; 5] =
    [Reading::Json, Reading::Typed, Reading::Text, Reading::File, Reading::Literal];

/// A text as the only template of a chart: lexer, parser, evaluator and every function.
pub(crate) fn template(text: &str) {
    rendered(vec![
        File::new("Chart.yaml", CHART_YAML),
        File::new("values.yaml", VALUES),
        File::new("files/note.txt", &b"one\ntwo\n"[..]),
        File::new("templates/_helpers.tpl", &b"{{ define \"help\" }}{{ . }}{{ end }}"[..]),
        File::new("templates/a.yaml", text.as_bytes()),
    ]);
}

/// A whole chart: a text is cut into files at lines `-- PATH --`, as the cases of templates are.
pub(crate) fn chart(text: &str) {
    let mut files: Vec<(String, String)> = Vec::new();
    for line in text.split_inclusive('\n') {
        let path = line.trim_end().strip_prefix("-- ").and_then(|rest| rest.strip_suffix(" --"));
        match (path, files.last_mut()) {
            (Some(path), _) => files.push((path.to_owned(), String::new())),
            (None, Some((_, text))) => text.push_str(line),
            (None, None) => {}
        }
    }
    let mut files: Vec<File> =
        files.into_iter().map(|(path, text)| File::new(path, text.into_bytes())).collect();
    if files.iter().all(|file| file.name != "Chart.yaml") {
        files.push(File::new("Chart.yaml", CHART_YAML));
    }
    rendered(files);
}

fn rendered(files: Vec<File>) {
    let Ok(chart) = Chart::from_files(files) else { return };
    let release = ReleaseFacts {
        name: "r".to_owned(),
        namespace: "default".to_owned(),
        revision: 1,
        is_upgrade: false,
    };
    let given = Map::new();
    // With an instrumented build, too, this ends before libFuzzer's timeout.
    let options = RenderOptions { max_steps: 5_000_000, ..RenderOptions::default() };
    if let Ok(rendered) = render(&chart, &given, &release, &options, &Environment::default()) {
        rendered.template_output(true);
    }
}

/// Lines as flags that set values; the first character of each chooses the flag.
pub(crate) fn values(text: &str) {
    let mut values: Map<String, Value> = Map::new();
    values.insert("list".to_owned(), json!(["a", {"b": 1}]));
    values.insert("map".to_owned(), json!({"x": {"y": null}}));
    for line in text.lines() {
        let mut chars = line.chars();
        let choice = chars.next().map_or(0, |first| first as usize);
        let reading = READINGS[choice % READINGS.len()];
        if set(&mut values, reading, chars.as_str(), &|name| Ok(name.to_owned())).is_err() {
            return;
        }
    }
    yaml_text::emit(&Value::Object(values));
}

/// A text as YAML: what parses, is written and parsed again, is the same; but for line breaks of Unicode and byte order marks,
/// which go-yaml, and so our emitter, writes as spaces.
pub(crate) fn yaml(text: &str) {
    let documents = yaml_text::parse_documents(text);
    let Ok(value) = yaml_text::parse(text) else { return };
    drop(documents);
    yaml_text::emit_indented(&value);
    let written = yaml_text::emit(&value);
    if value.to_string().contains(['\u{85}', '\u{2028}', '\u{2029}', '\u{FEFF}'])
        || has_merge_key(&value)
    {
        return;
    }
    match yaml_text::parse(&written) {
        Ok(again) => assert_eq!(again, value, "written as:\n{written}"),
        Err(error) => panic!("what was written does not parse: {error:?}\n{written}"),
    }
}

/// Bytes as a packed chart: as they are, and, to get past the checksum, compressed as the tar of one.
pub(crate) fn archive(data: &[u8]) {
    drop(Chart::from_archive(data));
    let mut packed = GzEncoder::new(Vec::new(), Compression::none());
    if packed.write_all(data).is_ok()
        && let Ok(packed) = packed.finish()
    {
        drop(Chart::from_archive(&packed));
    }
}

/// Whether a key is `<<`, which go-yaml writes plain and then takes for a merge.
fn has_merge_key(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(has_merge_key),
        Value::Object(fields) => {
            fields.iter().any(|(name, value)| name == "<<" || has_merge_key(value))
        }
        _ => false,
    }
}
