//! Rendered objects changed by the caller before they are stored and applied.
//!
//! As Helm does for its post-renderers, each object is told its template by an annotation and is sorted again afterwards, so
//! that one may also become a hook or cease to be one.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::manifest::{self, DocumentError, ManifestError};
use super::render::{RenderError, Rendered};
use crate::base::yaml;

/// The annotation that names the template; an object without it gets a name of its own.
const FILE_NAME: &str = "postrenderer.helm.sh/postrender-filename";

/// All objects, hooks too, each with its template's path as an annotation.
pub(crate) fn objects(rendered: &Rendered) -> Result<Vec<Json>, RenderError> {
    let manifests = rendered.manifests.iter().map(|one| (&one.source, &one.content));
    let hooks = rendered.hooks.iter().map(|one| (&one.path, &one.manifest));
    let mut objects = Vec::new();
    for (path, text) in manifests.chain(hooks) {
        let documents = yaml::parse_documents(text).map_err(|error| ManifestError {
            template: path.clone(),
            source: DocumentError::Yaml(error),
            content: text.clone(),
        })?;
        for document in documents {
            let mut object = document.value;
            if object.is_null() {
                continue;
            }
            annotate(&mut object, path);
            objects.push(object);
        }
    }
    Ok(objects)
}

fn annotate(object: &mut Json, path: &str) {
    let Some(object) = object.as_object_mut() else { return };
    let metadata = object.entry("metadata").or_insert_with(|| Json::Object(Default::default()));
    let Some(metadata) = metadata.as_object_mut() else { return };
    let annotations = metadata.entry("annotations").or_insert(Json::Null);
    if annotations.is_null() {
        *annotations = Json::Object(Default::default());
    }
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.insert(FILE_NAME.to_owned(), Json::from(path));
    }
}

/// The path that [`annotate`] wrote, taken out again with what it had to add.
fn take_path(object: &mut Json) -> Option<String> {
    let metadata = object.get_mut("metadata")?.as_object_mut()?;
    let annotations = metadata.get_mut("annotations")?.as_object_mut()?;
    let path = annotations.remove(FILE_NAME)?;
    if annotations.is_empty() {
        metadata.remove("annotations");
    }
    path.as_str().map(str::to_owned)
}

/// Takes `objects` in place of the rendered ones.
pub(crate) fn replace(rendered: &mut Rendered, objects: Vec<Json>) -> Result<(), RenderError> {
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    for (at, mut object) in objects.into_iter().enumerate() {
        if !object["kind"].is_string() {
            return Err(RenderError::PostRender(at + 1));
        }
        let path =
            take_path(&mut object).unwrap_or_else(|| format!("generated-by-postrender-{at}.yaml"));
        let text = files.entry(path).or_default();
        text.push_str("---\n");
        text.push_str(yaml::emit(&object).trim_end());
        text.push('\n');
    }
    let files = files.into_iter().map(|(path, text)| (path, text.trim_end().to_owned()));
    (rendered.hooks, rendered.manifests) = manifest::sort(files.collect())?;
    Ok(())
}
