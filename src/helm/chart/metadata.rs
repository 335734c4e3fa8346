//! `Chart.yaml`.

use serde_json::{Map, Value as Json, json};

use super::ChartError;
use crate::helm::semver::Version;

/// What a chart says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    pub name: String,
    pub home: String,
    pub sources: Vec<String>,
    pub version: String,
    pub description: String,
    pub keywords: Vec<String>,
    /// Name, email, URL.
    pub maintainers: Vec<(String, String, String)>,
    pub icon: String,
    pub api_version: String,
    pub condition: String,
    pub tags: String,
    pub app_version: String,
    pub deprecated: bool,
    pub annotations: Map<String, Json>,
    pub kube_version: String,
    pub dependencies: Vec<Dependency>,
    pub chart_type: String,
}

/// A chart that this chart uses.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dependency {
    /// The name, or the alias once dependencies were processed.
    pub name: String,
    pub version: String,
    pub repository: String,
    pub condition: String,
    pub tags: Vec<String>,
    pub enabled: bool,
    pub import_values: Vec<Json>,
    pub alias: String,
}

/// Reads typed fields of an object as Go's decoder does: numbers and booleans become strings where one is wanted.
struct Fields<'a> {
    map: &'a Map<String, Json>,
    of: &'static str,
}

impl Fields<'_> {
    fn wrong(&self, field: &str, value: &Json, wanted: &str) -> ChartError {
        let found = match value {
            Json::Array(_) => "array",
            Json::Object(_) => "object",
            Json::String(_) => "string",
            Json::Number(_) => "number",
            Json::Bool(_) => "bool",
            Json::Null => "null",
        };
        let of = self.of;
        ChartError::Content {
            file: "Chart.yaml".to_owned(),
            message: format!(
                "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {found} into Go struct field {of}.{field} of type {wanted}"
            ),
        }
    }

    fn text(&self, field: &str) -> Result<String, ChartError> {
        match self.map.get(field) {
            None => Ok(String::new()),
            Some(value) => to_text(value).ok_or_else(|| self.wrong(field, value, "string")),
        }
    }

    fn texts(&self, field: &str) -> Result<Vec<String>, ChartError> {
        match self.map.get(field) {
            None | Some(Json::Null) => Ok(Vec::new()),
            Some(Json::Array(items)) => items
                .iter()
                .map(|item| to_text(item).ok_or_else(|| self.wrong(field, item, "string")))
                .collect(),
            Some(other) => Err(self.wrong(field, other, "[]string")),
        }
    }

    fn items(&self, field: &str, of: &str) -> Result<Vec<&Map<String, Json>>, ChartError> {
        match self.map.get(field) {
            None | Some(Json::Null) => Ok(Vec::new()),
            Some(Json::Array(items)) => items
                .iter()
                .map(|item| item.as_object().ok_or_else(|| self.wrong(field, item, of)))
                .collect(),
            Some(other) => Err(self.wrong(field, other, &format!("[]*{of}"))),
        }
    }
}

fn to_text(value: &Json) -> Option<String> {
    match value {
        Json::Null => Some(String::new()),
        Json::String(text) => Some(text.clone()),
        Json::Bool(value) => Some(value.to_string()),
        Json::Number(number) if number.is_f64() => {
            Some(crate::base::yaml::format_float(number.as_f64().unwrap_or_default()))
        }
        Json::Number(number) => Some(number.to_string()),
        Json::Array(_) | Json::Object(_) => None,
    }
}

/// Removes what does not print, as Helm does with text of unknown origin.
fn clean(text: String) -> String {
    text.chars()
        .filter_map(|c| match c {
            c if c.is_whitespace() => Some(' '),
            c if c.is_control() => None,
            c => Some(c),
        })
        .collect()
}

impl Metadata {
    pub(super) fn from_json(json: &Json) -> Result<Self, ChartError> {
        let empty = Map::new();
        let map = match json {
            Json::Object(map) => map,
            Json::Null => &empty,
            _ => {
                return Err(ChartError::Content {
                    file: "Chart.yaml".to_owned(),
                    message: "a chart's metadata is a map".to_owned(),
                });
            }
        };
        let fields = Fields { map, of: "Metadata" };
        let mut maintainers = Vec::new();
        for item in fields.items("maintainers", "v2.Maintainer")? {
            let item = Fields { map: item, of: "Maintainer" };
            maintainers.push((item.text("name")?, item.text("email")?, item.text("url")?));
        }
        let mut annotations = Map::new();
        match map.get("annotations") {
            None | Some(Json::Null) => {}
            Some(Json::Object(found)) => {
                for (key, value) in found {
                    let text = to_text(value)
                        .ok_or_else(|| fields.wrong("annotations", value, "string"))?;
                    annotations.insert(key.clone(), Json::from(text));
                }
            }
            Some(other) => return Err(fields.wrong("annotations", other, "map[string]string")),
        }
        let mut metadata = Self {
            name: clean(fields.text("name")?),
            home: clean(fields.text("home")?),
            sources: fields.texts("sources")?.into_iter().map(clean).collect(),
            version: fields.text("version")?,
            description: clean(fields.text("description")?),
            keywords: fields.texts("keywords")?.into_iter().map(clean).collect(),
            maintainers,
            icon: clean(fields.text("icon")?),
            api_version: fields.text("apiVersion")?,
            condition: clean(fields.text("condition")?),
            tags: clean(fields.text("tags")?),
            app_version: clean(fields.text("appVersion")?),
            deprecated: map.get("deprecated").and_then(Json::as_bool).unwrap_or(false),
            annotations,
            kube_version: clean(fields.text("kubeVersion")?),
            dependencies: Vec::new(),
            chart_type: fields.text("type")?,
        };
        metadata.add_dependencies(json)?;
        if metadata.api_version.is_empty() {
            metadata.api_version = "v1".to_owned();
        }
        Ok(metadata)
    }

    /// Takes the `dependencies` of a document; those of `requirements.yaml` replace what was there.
    pub(super) fn add_dependencies(&mut self, json: &Json) -> Result<(), ChartError> {
        let Json::Object(map) = json else { return Ok(()) };
        let fields = Fields { map, of: "Metadata" };
        let mut dependencies = Vec::new();
        for item in fields.items("dependencies", "v2.Dependency")? {
            let fields = Fields { map: item, of: "Dependency" };
            dependencies.push(Dependency {
                name: clean(fields.text("name")?),
                version: clean(fields.text("version")?),
                repository: clean(fields.text("repository")?),
                condition: clean(fields.text("condition")?),
                tags: fields.texts("tags")?.into_iter().map(clean).collect(),
                enabled: item.get("enabled").and_then(Json::as_bool).unwrap_or(false),
                import_values: match item.get("import-values") {
                    Some(Json::Array(items)) => items.clone(),
                    _ => Vec::new(),
                },
                alias: fields.text("alias")?,
            });
        }
        if !dependencies.is_empty() {
            self.dependencies = dependencies;
        }
        Ok(())
    }

    pub(super) fn validate(&self) -> Result<(), ChartError> {
        let invalid = |message: String| Err(ChartError::Invalid(message));
        let Self { name, version, .. } = self;
        if name.is_empty() {
            return invalid("chart.metadata.name is required".to_owned());
        }
        if name == "." || name == ".." {
            return invalid(format!("chart.metadata.name {name:?} is not allowed"));
        }
        if name.contains('/') {
            return invalid(format!("chart.metadata.name {name:?} is invalid"));
        }
        if version.is_empty() {
            return invalid("chart.metadata.version is required".to_owned());
        }
        if Version::parse(version).is_err() {
            return invalid(format!("chart.metadata.version {version:?} is invalid"));
        }
        if !matches!(self.chart_type.as_str(), "" | "application" | "library") {
            return invalid("chart.metadata.type must be application or library".to_owned());
        }
        let mut names: Vec<&str> = Vec::new();
        for dependency in &self.dependencies {
            let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-' || c == '.';
            if !dependency.alias.chars().all(allowed) {
                let name = &dependency.name;
                return invalid(format!(
                    "dependency {name:?} has disallowed characters in the alias"
                ));
            }
            let key = dependency.key();
            if names.contains(&key) {
                return invalid(format!("more than one dependency with name or alias {key:?}"));
            }
            names.push(key);
        }
        Ok(())
    }

    /// What templates see as `.Chart`, under Go's names.
    pub(crate) fn to_scope(&self, is_root: bool) -> Json {
        let maintainers: Vec<Json> = self
            .maintainers
            .iter()
            .map(|(name, email, url)| json!({"Name": name, "Email": email, "URL": url}))
            .collect();
        let dependencies: Vec<Json> = self
            .dependencies
            .iter()
            .map(|dependency| {
                json!({
                    "Name": dependency.name,
                    "Version": dependency.version,
                    "Repository": dependency.repository,
                    "Condition": dependency.condition,
                    "Tags": dependency.tags,
                    "Enabled": dependency.enabled,
                    "ImportValues": dependency.import_values,
                    "Alias": dependency.alias,
                })
            })
            .collect();
        json!({
            "Name": self.name,
            "Home": self.home,
            "Sources": self.sources,
            "Version": self.version,
            "Description": self.description,
            "Keywords": self.keywords,
            "Maintainers": maintainers,
            "Icon": self.icon,
            "APIVersion": self.api_version,
            "Condition": self.condition,
            "Tags": self.tags,
            "AppVersion": self.app_version,
            "Deprecated": self.deprecated,
            "Annotations": self.annotations,
            "KubeVersion": self.kube_version,
            "Dependencies": dependencies,
            "Type": self.chart_type,
            "IsRoot": is_root,
        })
    }

    /// As a release stores it: fields that are empty are left out.
    pub(crate) fn to_json(&self) -> Json {
        let maintainers: Vec<Json> = self
            .maintainers
            .iter()
            .map(|(name, email, url)| {
                without_empty(json!({"name": name, "email": email, "url": url}))
            })
            .collect();
        let dependencies: Vec<Json> = self.dependencies.iter().map(Dependency::to_json).collect();
        without_empty(json!({
            "name": self.name,
            "home": self.home,
            "sources": self.sources,
            "version": self.version,
            "description": self.description,
            "keywords": self.keywords,
            "maintainers": maintainers,
            "icon": self.icon,
            "apiVersion": self.api_version,
            "condition": self.condition,
            "tags": self.tags,
            "appVersion": self.app_version,
            "deprecated": self.deprecated,
            "annotations": self.annotations,
            "kubeVersion": self.kube_version,
            "dependencies": dependencies,
            "type": self.chart_type,
        }))
    }
}

impl Dependency {
    /// The name under which the chart is known in its parent.
    pub(crate) fn key(&self) -> &str {
        if self.alias.is_empty() { &self.name } else { &self.alias }
    }

    fn to_json(&self) -> Json {
        let mut json = without_empty(json!({
            "version": self.version,
            "condition": self.condition,
            "tags": self.tags,
            "enabled": self.enabled,
            "import-values": self.import_values,
            "alias": self.alias,
        }));
        json["name"] = Json::from(self.name.as_str());
        json["repository"] = Json::from(self.repository.as_str());
        json
    }
}

fn without_empty(json: Json) -> Json {
    match json {
        Json::Object(map) => map
            .into_iter()
            .filter(|(_, value)| match value {
                Json::Null | Json::Bool(false) => false,
                Json::String(text) => !text.is_empty(),
                Json::Array(items) => !items.is_empty(),
                Json::Object(map) => !map.is_empty(),
                _ => true,
            })
            .collect(),
        other => other,
    }
}
