//! The stand-ins that a rehearsal without network and without a bundle uses: minimal charts and CRDs of our own with the public
//! names, labels and ports. A real cluster never gets them.

use std::collections::BTreeMap;

use include_dir::{Dir, include_dir};

static FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/src/engine/builtin/files");

/// What a script writes before the name of a stand-in: `builtin:istiod`.
pub const PREFIX: &str = "builtin:";

/// The files of a stand-in chart by their path inside the chart; `None` when there is no such chart.
pub fn chart(name: &str) -> Option<BTreeMap<String, Vec<u8>>> {
    let folder = FILES.get_dir(format!("charts/{name}"))?;
    let mut files = BTreeMap::new();
    let mut open = vec![folder];
    while let Some(next) = open.pop() {
        open.extend(next.dirs());
        for file in next.files() {
            if let Ok(path) = file.path().strip_prefix(folder.path()) {
                files.insert(path.to_string_lossy().into_owned(), file.contents().to_vec());
            }
        }
    }
    Some(files)
}

/// The text of a stand-in manifest; `None` when there is no such manifest.
pub fn manifest(name: &str) -> Option<&'static str> {
    FILES.get_file(format!("manifests/{name}.yaml"))?.contents_utf8()
}

/// The names of all stand-ins, for near names.
pub fn names() -> Vec<String> {
    let stem = |path: &std::path::Path| {
        path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let folder = |name: &str| FILES.get_dir(name);
    let charts = folder("charts").into_iter().flat_map(Dir::dirs).map(|dir| stem(dir.path()));
    let manifests =
        folder("manifests").into_iter().flat_map(Dir::files).map(|file| stem(file.path()));
    charts.chain(manifests).collect()
}
