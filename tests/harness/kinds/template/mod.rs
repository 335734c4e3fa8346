//! Cases of the kind `template`: a small chart in one file, `NAME.chart`, and in `NAME.out` what helm makes of it.
//!
//! A case is sections of files, each under a line `-- PATH --`; `Chart.yaml` may be left out. The section `lines` holds one
//! template per line (`⏎` stands for a line break): each is rendered on its own, as the chart's notes, so that any
//! text and every error can be seen. Without it the whole chart is rendered as `helm template` does. The section `args` holds
//! flags of helm, one per line; the section `sets` flags of values, each line a case of its own whose values are shown;
//! the section `steps` how many steps a rendering may take, which helm does not know: such a case is not recorded. The
//! section `matrix` holds templates that are tried with every one of the `values`: [`matrix`] tells more.
//!
//! `RECORD=1` asks the test bed's helm and writes the answers down; they name the version that gave them. Our answers are
//! compared with the recorded ones, errors word for word with file, line and column.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use libtest_mimic::{Failed, Trial};
use meshscript::base::yaml;
use meshscript::helm::chart::{Chart, File};
use meshscript::helm::render::{ReleaseFacts, RenderOptions, render};
use meshscript::helm::template::Environment;
use meshscript::helm::values;
use meshscript::helm::values::set::{Reading, set};
use serde_json::{Map, Value};

use crate::harness::helm::{self, Helm};

mod matrix;

const CHART_YAML: &str = "apiVersion: v2\nname: t\nversion: 1.2.3\nappVersion: \"4.5\"\n";

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = crate::harness::each("template", Some("chart"), run);
    trials.push(Trial::test("template/every_function_of_helm_is_there", every_function));
    trials.push(Trial::test("template/every_function_of_helm_has_a_case", every_case));
    trials
}

/// The names in `functions.txt`: one per line, `#` begins a remark.
fn functions() -> Result<Vec<String>, Failed> {
    let text = fs::read_to_string(crate::harness::folder("template").join("functions.txt"))?;
    Ok(text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect())
}

/// The list is helm's own; where helm is recorded from, each name is tried.
fn every_function() -> Result<(), Failed> {
    let wanted = functions()?;
    if let Some(helm) = recorder() {
        let uses: String = wanted
            .iter()
            .map(|name| format!("{{{{ if false }}}}{{{{ {name} }}}}{{{{ end }}}}"))
            .collect();
        let case = Case {
            files: vec![("Chart.yaml".to_owned(), CHART_YAML.to_owned())],
            args: Vec::new(),
            lines: None,
            sets: None,
            steps: None,
            matrix: None,
        };
        case.theirs(helm, Some(&uses))??;
    }
    let ours = meshscript::helm::template::function_names();
    if wanted == ours {
        return Ok(());
    }
    Err(crate::harness::difference(&wanted.join("\n"), &ours.join("\n")).into())
}

/// Every function that the engine has is called in a case that was recorded from helm.
fn every_case() -> Result<(), Failed> {
    let mut called = BTreeSet::new();
    for entry in fs::read_dir(crate::harness::folder("template"))? {
        let path = entry?.path();
        let recorded = fs::read_to_string(path.with_extension("out"));
        if path.extension().is_some_and(|extension| extension == "chart")
            && recorded.is_ok_and(|text| text.starts_with("# version.BuildInfo"))
        {
            called.extend(words_of_actions(&fs::read_to_string(path)?));
        }
    }
    let ours = meshscript::helm::template::function_names();
    let missing: Vec<&str> = ours.into_iter().filter(|name| !called.contains(*name)).collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("no case: {missing:?}").into()) }
}

/// The names in actions that are no fields, no variables and not inside of texts.
fn words_of_actions(text: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for action in text.split("{{").skip(1).filter_map(|rest| rest.split("}}").next()) {
        let (mut word, mut before, mut quote) = (String::new(), ' ', None);
        for c in action.chars().chain([' ']) {
            if let Some(mark) = quote {
                if c == mark && before != '\\' {
                    quote = None;
                }
            } else if c.is_ascii_alphanumeric() || c == '_' {
                word.push(c);
            } else {
                words.insert(std::mem::take(&mut word));
                word.extend("$.".contains(c).then_some(c));
                quote = Some(c).filter(|c| "\"`'".contains(*c));
            }
            before = c;
        }
    }
    words
}

/// A case: the files of a chart, flags, templates.
struct Case {
    files: Vec<(String, String)>,
    args: Vec<String>,
    lines: Option<Vec<String>>,
    sets: Option<Vec<String>>,
    steps: Option<u64>,
    matrix: Option<matrix::Matrix>,
}

impl Case {
    fn read(path: &Path) -> Result<Self, Failed> {
        let text = fs::read_to_string(path)?;
        let mut files: Vec<(String, String)> = Vec::new();
        for line in text.split_inclusive('\n') {
            let name =
                line.trim_end().strip_prefix("-- ").and_then(|rest| rest.strip_suffix(" --"));
            match (name, files.last_mut()) {
                (Some(name), _) => files.push((name.to_owned(), String::new())),
                (None, Some((_, content))) => content.push_str(line),
                (None, None) => {}
            }
        }
        let mut take = |wanted: &str| {
            let at = files.iter().position(|(name, _)| name == wanted)?;
            let lines = files.remove(at).1;
            Some(lines.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
        };
        let (args, lines, sets) = (take("args").unwrap_or_default(), take("lines"), take("sets"));
        let matrix = take("matrix").zip(take("values"));
        let matrix = matrix.map(|(templates, values)| matrix::Matrix::new(templates, &values));
        let steps = take("steps").map(|lines| lines.concat().parse()).transpose()?;
        if !files.iter().any(|(name, _)| name == "Chart.yaml") {
            files.push(("Chart.yaml".to_owned(), CHART_YAML.to_owned()));
        }
        Ok(Self { files, args, lines, sets, steps, matrix })
    }

    fn chart(&self, notes: Option<&str>) -> Result<Chart, String> {
        let files = self.files.iter().map(|(name, text)| File::new(name.as_str(), text.as_bytes()));
        let notes = notes.map(|text| File::new("templates/NOTES.txt", text.as_bytes()));
        Chart::from_files(files.chain(notes).collect()).map_err(|error| error.to_string())
    }

    /// What stands after a flag, once for each time that it is given.
    fn given(&self, flag: &str) -> Vec<&str> {
        let value =
            |arg: &'_ String| arg.strip_prefix(flag).is_some_and(|rest| rest.starts_with('='));
        self.args.iter().filter(|arg| value(arg)).map(|arg| &arg[flag.len() + 1..]).collect()
    }

    fn ours(&self, notes: Option<&str>) -> Result<String, String> {
        let chart = self.chart(notes)?;
        let mut given = Map::new();
        for text in self.given("--values") {
            let text = self.files.iter().find(|(name, _)| name == text).map_or("", |file| &file.1);
            if let Value::Object(mut map) = yaml::parse(text).map_err(|error| error.to_string())? {
                values::to_floats_in(&mut map);
                values::merge_into(&mut given, map);
            }
        }
        let read = |name: &str| match self.files.iter().find(|(known, _)| known == name) {
            Some((_, text)) => Ok(text.clone()),
            None => Err(format!("open {name}: no such file or directory")),
        };
        for reading in
            [Reading::Json, Reading::Typed, Reading::Text, Reading::File, Reading::Literal]
        {
            for text in self.given(reading.flag()) {
                set(&mut given, reading, text, &read).map_err(|error| error.to_string())?;
            }
        }
        let mut options = RenderOptions::default();
        options.max_steps = self.steps.unwrap_or(options.max_steps);
        for version in self.given("--kube-version") {
            options.capabilities.kube_version = version.to_owned();
        }
        for version in self.given("--api-versions") {
            options.capabilities.api_versions.push(version.to_owned());
        }
        let release = ReleaseFacts {
            name: "r".to_owned(),
            namespace: "ns".to_owned(),
            revision: 1,
            is_upgrade: self.args.iter().any(|arg| arg == "--is-upgrade"),
        };
        let random = |bytes: &mut [u8]| {
            for (n, byte) in bytes.iter_mut().enumerate() {
                *byte = u8::try_from(n % 251).unwrap_or(0);
            }
        };
        let now = jiff::Timestamp::from_second(1_790_000_000).ok();
        let environment = Environment { now, random: Some(&random), ..Environment::default() };
        let rendered = render(&chart, &given, &release, &options, &environment)
            .map_err(|error| error.to_string())?;
        Ok(match notes {
            Some(_) => rendered.notes.trim().to_owned(),
            None => rendered.template_output(true),
        })
    }

    fn theirs(&self, helm: &Helm, notes: Option<&str>) -> Result<Result<String, String>, Failed> {
        let folder = tempfile::tempdir()?;
        let chart = folder.path().join("t");
        let notes = notes.map(|text| ("templates/NOTES.txt".to_owned(), text.to_owned()));
        for (name, text) in self.files.iter().chain(&notes) {
            let path = chart.join(name);
            fs::create_dir_all(path.parent().unwrap_or(&chart))?;
            fs::write(path, text)?;
        }
        let mut args: Vec<String> = match notes {
            Some(_) => vec!["install".to_owned(), "--dry-run=client".to_owned()],
            None => vec!["template".to_owned(), "--include-crds".to_owned()],
        };
        args.extend(["r".to_owned(), ".".to_owned(), "--namespace=ns".to_owned()]);
        args.extend(self.args.iter().cloned());
        Ok(match helm.run_in(&chart, folder.path(), &args)? {
            Ok(out) if notes.is_some() => {
                Ok(out.split_once("\nNOTES:\n").map_or("", |(_, text)| text).trim().to_owned())
            }
            Ok(out) => Ok(out),
            Err(error) => {
                let error = helm::error_text(&error);
                Err(error.strip_prefix("INSTALLATION FAILED: ").unwrap_or(&error).to_owned())
            }
        })
    }
}

fn run(path: &Path) -> Result<(), Failed> {
    let case = Case::read(path)?;
    let golden = path.with_extension("out");
    if case.steps.is_some() {
        let ours = told(&case, |case, notes| Ok(case.ours(notes)))?;
        return crate::harness::expect(&golden, &ours);
    }
    if let Some(matrix) = &case.matrix {
        let ours = |template: &str| case.ours(Some(template));
        return matrix
            .run(&golden, recorder(), ours, |helm, template| case.theirs(helm, Some(template)));
    }
    if let Some(helm) = recorder() {
        let text = told(&case, |case, notes| case.theirs(helm, notes))?;
        fs::write(&golden, format!("# {}\n{text}", helm.version))?;
    }
    let expected = fs::read_to_string(&golden)
        .map_err(|_| format!("no {}: record it with RECORD=1", golden.display()))?;
    let expected = expected.split_once('\n').map_or("", |(_, rest)| rest);
    let actual =
        told(&case, |case, notes| Ok(case.ours(notes).map_err(|error| helm::error_text(&error))))?;
    if actual == expected {
        return Ok(());
    }
    Err(crate::harness::difference(expected, &actual).into())
}

#[expect(clippy::disallowed_methods, reason = "a developer asks for new recordings")]
fn recorder() -> Option<&'static Helm> {
    std::env::var_os("RECORD").and_then(|_| Helm::find())
}

/// Every template of the case with what becomes of it.
fn told(
    case: &Case,
    render: impl Fn(&Case, Option<&str>) -> Result<Result<String, String>, Failed>,
) -> Result<String, Failed> {
    let mut text = String::new();
    if let Some(sets) = &case.sets {
        for line in sets {
            let args = line.replace('⏎', "\n").split(" & ").map(str::to_owned).collect();
            let one = Case {
                files: case.files.clone(),
                args,
                lines: None,
                sets: None,
                steps: None,
                matrix: None,
            };
            let notes = "{{ .Values | toJson }}";
            text.push_str(&format!("== {line}\n{}", shown(render(&one, Some(notes))?)));
        }
        return Ok(text);
    }
    let Some(lines) = &case.lines else { return render(case, None).map(shown) };
    for line in lines {
        let answer = shown(render(case, Some(&line.replace('⏎', "\n")))?);
        text.push_str(&format!("== {line}\n{answer}"));
    }
    Ok(text)
}

fn shown(answer: Result<String, String>) -> String {
    match answer {
        Ok(text) => format!("{text}\n"),
        Err(error) => format!("error: {error}\n"),
    }
}
