//! A chart: metadata, templates, files, values, schema and the charts inside it.
//!
//! Reading order: `archive` (tgz to files), `metadata` (Chart.yaml), `dependencies` (which subcharts take part). Nothing here
//! touches a disk: a chart is made of files in memory.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value as Json};

use crate::base::yaml::{self, YamlError};

mod archive;
pub(crate) mod dependencies;
mod ignore;
mod metadata;

pub use archive::MAX_SIZE;
pub use ignore::IgnoreRules;
pub use metadata::{Dependency, Metadata};

/// Charts inside charts beyond this depth are refused.
const MAX_DEPTH: usize = 32;

/// A chart that cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChartError {
    #[error("`Chart.yaml` file is missing")]
    NoChartYaml,
    #[error("cannot load {file}: {source}")]
    Yaml { file: String, source: YamlError },
    #[error("cannot load {file}: {message}")]
    Content { file: String, message: String },
    #[error("validation: {0}")]
    Invalid(String),
    #[error("the archive is not a chart: {0}")]
    Archive(String),
    #[error("decompressed chart is larger than the maximum size {MAX_SIZE}")]
    TooBig,
    #[error("charts are nested deeper than {MAX_DEPTH}")]
    TooDeep,
    #[error("error unpacking subchart {subchart} in {chart}: {source}")]
    Subchart { subchart: String, chart: String, source: Box<Self> },
    #[error("type mismatch on {name}: {found}")]
    SubchartValues { name: String, found: String },
    #[error("found in Chart.yaml, but missing in charts/ directory: {0}")]
    MissingDependencies(String),
}

/// A file by its path inside the chart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub name: String,
    pub data: Arc<[u8]>,
    /// When it was changed last, by the file system or the archive; a release tells it.
    pub modified: Option<Timestamp>,
}

impl File {
    /// A file of the given bytes.
    pub fn new(name: impl Into<String>, data: impl Into<Arc<[u8]>>) -> Self {
        Self { name: name.into(), data: data.into(), modified: None }
    }

    /// The same file with the time of its last change.
    #[must_use]
    pub(crate) fn at(self, modified: Option<Timestamp>) -> Self {
        Self { modified, ..self }
    }

    /// The same file under another name.
    fn named(&self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self.clone() }
    }

    /// The content as text; bytes that are no text are kept as private characters inside templates.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.data).into_owned()
    }
}

/// A loaded chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    pub metadata: Metadata,
    /// `Chart.lock` as it is.
    pub lock: Option<Json>,
    pub templates: Vec<File>,
    /// All files that have no meaning of their own, `crds/` included.
    pub files: Vec<File>,
    /// The defaults. Every number is a float, as Helm reads it.
    pub values: Map<String, Json>,
    pub schema: Option<Arc<[u8]>>,
    pub dependencies: Vec<Self>,
    /// The chart's `README.md`, defaults and so on as they came, for showing.
    pub raw_values: Option<Arc<[u8]>>,
    /// When `Chart.yaml` was changed last.
    pub modified: Option<Timestamp>,
    /// When the schema was.
    pub schema_modified: Option<Timestamp>,
}

impl Chart {
    /// Loads a packed chart.
    ///
    /// # Errors
    /// When the archive is damaged, too big or reaches outside itself, or when the chart in it is wrong.
    pub fn from_archive(data: &[u8]) -> Result<Self, ChartError> {
        Self::build(archive::unpack(data)?, 0)
    }

    /// Loads a chart from its files, named by their paths inside the chart.
    ///
    /// # Errors
    /// When `Chart.yaml` is missing or wrong, or a subchart is.
    pub fn from_files(files: Vec<File>) -> Result<Self, ChartError> {
        Self::build(files, 0)
    }

    /// The name in `Chart.yaml`, or the alias of a dependency.
    pub fn name(&self) -> &str {
        &self.metadata.name
    }

    /// The text of a template of it or of its subcharts by the name that errors carry: `istiod/charts/base/templates/x.yaml`.
    pub fn template_text(&self, path: &str) -> Option<String> {
        let inside = path.strip_prefix(self.name())?.strip_prefix('/')?;
        if let Some(template) = self.templates.iter().find(|file| file.name == inside) {
            return Some(template.text());
        }
        let below = inside.strip_prefix("charts/")?;
        self.dependencies.iter().find_map(|chart| chart.template_text(below))
    }

    /// Objects of `crds/`: path and content, in the order of their names; subcharts follow.
    pub fn crds(&self) -> Vec<File> {
        self.crds_below(&self.metadata.name)
    }

    fn crds_below(&self, path: &str) -> Vec<File> {
        let wanted = |name: &str| {
            name.starts_with("crds/")
                && [".yaml", ".yml", ".json"].iter().any(|suffix| name.ends_with(suffix))
        };
        let mut found: Vec<File> = self
            .files
            .iter()
            .filter(|file| wanted(&file.name))
            .map(|file| file.named(format!("{path}/{}", file.name)))
            .collect();
        for dependency in &self.dependencies {
            found.extend(dependency.crds_below(&format!("{path}/charts/{}", dependency.name())));
        }
        found
    }

    fn build(files: Vec<File>, depth: usize) -> Result<Self, ChartError> {
        if depth > MAX_DEPTH {
            return Err(ChartError::TooDeep);
        }
        let text = |file: &File| file.text();
        let read = |file: &File| {
            yaml::parse(&text(file))
                .map_err(|source| ChartError::Yaml { file: file.name.clone(), source })
        };
        let chart_yaml =
            files.iter().find(|file| file.name == "Chart.yaml").ok_or(ChartError::NoChartYaml)?;
        let mut metadata = Metadata::from_json(&read(chart_yaml)?)?;
        let mut chart = Self {
            metadata: Metadata::default(),
            lock: None,
            templates: Vec::new(),
            files: Vec::new(),
            values: Map::new(),
            schema: None,
            dependencies: Vec::new(),
            raw_values: None,
            modified: None,
            schema_modified: None,
        };
        let mut subcharts: Vec<(String, Vec<File>)> = Vec::new();
        for file in files {
            match file.name.as_str() {
                "Chart.yaml" => chart.modified = file.modified,
                "Chart.lock" => chart.lock = Some(read(&file)?),
                "values.yaml" => {
                    chart.values = default_values(&file)?;
                    chart.raw_values = Some(file.data);
                }
                "values.schema.json" => {
                    chart.schema_modified = file.modified;
                    chart.schema = Some(file.data);
                }
                "requirements.yaml" => {
                    metadata.add_dependencies(&read(&file)?)?;
                    if metadata.api_version == "v1" {
                        chart.files.push(file);
                    }
                }
                "requirements.lock" => {
                    chart.lock = Some(read(&file)?);
                    if metadata.api_version == "v1" {
                        chart.files.push(file);
                    }
                }
                name if name.starts_with("templates/") => chart.templates.push(file),
                name => match name.strip_prefix("charts/") {
                    Some(rest) if !name.ends_with(".prov") => {
                        let folder = rest.split('/').next().unwrap_or(rest).to_owned();
                        let inner = file.named(rest);
                        match subcharts.iter_mut().find(|(known, _)| *known == folder) {
                            Some((_, files)) => files.push(inner),
                            None => subcharts.push((folder, vec![inner])),
                        }
                    }
                    _ => chart.files.push(file),
                },
            }
        }
        metadata.validate()?;
        chart.metadata = metadata;
        subcharts.sort_by(|a, b| a.0.cmp(&b.0));
        for (name, files) in subcharts {
            if name.starts_with(['_', '.']) {
                continue;
            }
            let loaded = if name.ends_with(".tgz") {
                match files.first() {
                    Some(file) if file.name == name => {
                        archive::unpack(&file.data).and_then(|files| Self::build(files, depth + 1))
                    }
                    _ => continue,
                }
            } else {
                let inner: Vec<File> = files
                    .into_iter()
                    .filter_map(|file| {
                        let (_, rest) = file.name.split_once('/')?;
                        Some(file.named(rest))
                    })
                    .collect();
                if inner.is_empty() {
                    // A plain file such as `charts/README.md`: Helm stumbles over it as well.
                    Err(ChartError::NoChartYaml)
                } else {
                    Self::build(inner, depth + 1)
                }
            };
            let subchart = loaded.map_err(|source| ChartError::Subchart {
                subchart: name,
                chart: chart.metadata.name.clone(),
                source: Box::new(source),
            })?;
            chart.dependencies.push(subchart);
        }
        Ok(chart)
    }
}

/// `values.yaml`: its documents are merged, later ones win.
fn default_values(file: &File) -> Result<Map<String, Json>, ChartError> {
    let error = |source| ChartError::Yaml { file: file.name.clone(), source };
    let mut values = Map::new();
    for document in yaml::parse_documents(&file.text()).map_err(error)? {
        match document.value {
            Json::Object(map) => crate::helm::values::merge_into(&mut values, map),
            _ => {
                return Err(ChartError::Content {
                    file: file.name.clone(),
                    message: "the values of a chart are a map".to_owned(),
                });
            }
        }
    }
    crate::helm::values::to_floats_in(&mut values);
    Ok(values)
}
