//! Releases as Helm stores them: one Secret per revision, gzip of JSON inside.
//!
//! What is written here `helm` reads, and the other way round. An annotation of our own tells who works on a pending
//! revision, so that the next run can take over from one that was killed.

use std::io::{Read as _, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Map, Value as Json, json};

use super::chart::Chart;
use super::manifest::Hook;
use super::values;
use crate::k8s::cluster::Cluster;
use crate::k8s::delete::{self, DeleteOptions};
use crate::k8s::error::Error;
use crate::k8s::read::{self, ListOptions, Scope};
use crate::k8s::write;

/// Who works on a pending revision, and when it was last heard of.
pub const HEARTBEAT: &str = "meshscript.dev/heartbeat";
/// Names that Helm gives the labels of its Secrets.
pub(crate) const SYSTEM_LABELS: &[&str] =
    &["name", "owner", "status", "version", "createdAt", "modifiedAt"];
const TYPE: &str = "helm.sh/release.v1";
/// What a stored release may unpack to.
const MAX_SIZE: u64 = 256 << 20;

/// A stored revision: Helm's own JSON, so that what we do not know is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Release {
    pub json: Json,
    /// The labels of the Secret.
    pub labels: Map<String, Json>,
    pub heartbeat: String,
}

impl Release {
    /// A new revision that is being worked on.
    #[expect(clippy::too_many_arguments, reason = "the facts of a release")]
    pub fn new(
        name: &str,
        namespace: &str,
        revision: i64,
        chart: &Chart,
        config: &Map<String, Json>,
        manifest: &str,
        hooks: &[Hook],
        notes: &str,
    ) -> Self {
        let mut json = json!({
            "name": name,
            "info": {"status": "unknown", "description": ""},
            "chart": chart_json(chart),
            "manifest": manifest,
            "hooks": hooks.iter().map(hook_json).collect::<Vec<_>>(),
            "version": revision,
            "namespace": namespace,
            "apply_method": "ssa",
        });
        let config = whole(&Json::Object(config.clone()));
        if config.as_object().is_some_and(|config| !config.is_empty()) {
            json["config"] = config;
        }
        if !notes.is_empty() {
            json["info"]["notes"] = Json::from(notes);
        }
        Self { json, labels: Map::new(), heartbeat: String::new() }
    }

    fn text(&self, pointer: &str) -> &str {
        self.json.pointer(pointer).and_then(Json::as_str).unwrap_or_default()
    }

    pub fn name(&self) -> &str {
        self.text("/name")
    }

    pub fn namespace(&self) -> &str {
        self.text("/namespace")
    }

    pub fn status(&self) -> &str {
        self.text("/info/status")
    }

    pub fn manifest(&self) -> &str {
        self.text("/manifest")
    }

    pub fn notes(&self) -> &str {
        self.text("/info/notes")
    }

    pub fn description(&self) -> &str {
        self.text("/info/description")
    }

    pub fn updated(&self) -> &str {
        self.text("/info/last_deployed")
    }

    pub fn chart_name(&self) -> &str {
        self.text("/chart/metadata/name")
    }

    pub fn chart_version(&self) -> &str {
        self.text("/chart/metadata/version")
    }

    pub fn app_version(&self) -> &str {
        self.text("/chart/metadata/appVersion")
    }

    pub fn revision(&self) -> i64 {
        self.json["version"].as_i64().unwrap_or(0)
    }

    /// The values that the user gave.
    pub fn config(&self) -> Map<String, Json> {
        self.json["config"].as_object().cloned().unwrap_or_default()
    }

    /// The defaults of the chart as stored.
    pub fn defaults(&self) -> Map<String, Json> {
        self.json.pointer("/chart/values").and_then(Json::as_object).cloned().unwrap_or_default()
    }

    /// Whether its objects were applied by the server; Helm 3 and `helm --server-side=false` do it themselves.
    pub fn is_server_side(&self) -> bool {
        self.json["apply_method"] == "ssa"
    }

    pub fn is_pending(&self) -> bool {
        matches!(
            self.status(),
            "pending-install" | "pending-upgrade" | "pending-rollback" | "uninstalling"
        )
    }

    /// The hooks of an event, in the order in which they run.
    pub fn hooks(&self, event: &str) -> Vec<Json> {
        let mut hooks: Vec<Json> = self.json["hooks"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|hook| {
                hook["events"].as_array().into_iter().flatten().any(|found| found == event)
            })
            .cloned()
            .collect();
        hooks.sort_by_key(|hook| {
            (hook["weight"].as_i64().unwrap_or(0), hook["name"].as_str().unwrap_or("").to_owned())
        });
        hooks
    }

    /// Sets the status with its reason, and the time of it.
    pub fn mark(&mut self, status: &str, description: &str, cluster: &Cluster) {
        let now = cluster.clock().now().to_string();
        let info = &mut self.json["info"];
        info["status"] = Json::from(status);
        info["description"] = Json::from(description);
        if info["first_deployed"].is_null() {
            info["first_deployed"] = Json::from(now.as_str());
        }
        if info["last_deployed"].is_null() {
            info["last_deployed"] = Json::from(now.as_str());
        }
        if status == "uninstalled" || status == "uninstalling" {
            info["deleted"] = Json::from(now.as_str());
        }
    }

    fn secret_name(&self) -> String {
        format!("sh.helm.release.v1.{}.v{}", self.name(), self.revision())
    }

    fn secret(&self, stamp: &str, cluster: &Cluster) -> Json {
        let mut labels = self.labels.clone();
        labels.insert("name".to_owned(), Json::from(self.name()));
        labels.insert("owner".to_owned(), Json::from("helm"));
        labels.insert("status".to_owned(), Json::from(self.status()));
        labels.insert("version".to_owned(), Json::from(self.revision().to_string()));
        let now = cluster.clock().now().as_second().to_string();
        labels.insert(stamp.to_owned(), Json::from(now));
        let mut metadata = json!({
            "name": self.secret_name(),
            "namespace": self.namespace(),
            "labels": labels,
        });
        if self.is_pending() {
            metadata["annotations"] = json!({HEARTBEAT: cluster.clock().now().to_string()});
        }
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata,
            "type": TYPE,
            "data": {"release": STANDARD.encode(encode(&self.json))},
        })
    }

    /// Stores a new revision; that it exists already means that somebody else is at work.
    pub async fn create(&self, cluster: &Cluster) -> Result<(), Error> {
        let secret = self.secret("createdAt", cluster);
        write::create(cluster, secret, Some(self.namespace()), "helm").await.map(|_| ())
    }

    /// Stores a changed revision.
    pub async fn update(&self, cluster: &Cluster) -> Result<(), Error> {
        write::update(cluster, &self.secret("modifiedAt", cluster), "helm").await.map(|_| ())
    }

    /// Removes the revision.
    pub async fn purge(&self, cluster: &Cluster) -> Result<(), Error> {
        let options = DeleteOptions { wait: false, ..DeleteOptions::default() };
        let name = self.secret_name();
        delete::delete(cluster, "secrets", &name, Some(self.namespace()), &options)
            .await
            .map(|_| ())
    }

    fn from_secret(secret: &Json) -> Option<Self> {
        let data = secret["data"]["release"].as_str()?;
        let json = decode(&STANDARD.decode(data).ok()?)?;
        let labels = secret["metadata"]["labels"].as_object()?;
        Some(Self {
            json,
            labels: labels
                .iter()
                .filter(|(name, _)| !SYSTEM_LABELS.contains(&name.as_str()))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            heartbeat: secret["metadata"]["annotations"][HEARTBEAT]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        })
    }
}

/// Makes room for one more revision: the oldest go, never the deployed one. 0 keeps all.
pub async fn prune(cluster: &Cluster, history: &[Release], max: usize) -> Result<(), Error> {
    if max == 0 {
        return Ok(());
    }
    let deployed = history.iter().rev().find(|release| release.status() == "deployed");
    let surplus = history.len().saturating_sub(max - 1);
    let is_deployed = |old: &&Release| deployed.is_none_or(|one| one.revision() != old.revision());
    for old in history.iter().filter(is_deployed).take(surplus) {
        old.purge(cluster).await?;
    }
    Ok(())
}

/// Revisions of a release, oldest first.
pub async fn history(
    cluster: &Cluster,
    name: &str,
    namespace: &str,
) -> Result<Vec<Release>, Error> {
    let scope = Scope::Namespace(namespace.to_owned());
    let mut found = stored(cluster, scope, &format!("owner=helm,name={name}")).await?;
    found.sort_by_key(Release::revision);
    Ok(found)
}

/// The newest revision of every release.
pub async fn newest(cluster: &Cluster, scope: Scope) -> Result<Vec<Release>, Error> {
    let mut found = stored(cluster, scope, "owner=helm").await?;
    found.sort_by(|a, b| {
        (a.namespace(), a.name(), b.revision()).cmp(&(b.namespace(), b.name(), a.revision()))
    });
    found.dedup_by(|a, b| (a.namespace(), a.name()) == (b.namespace(), b.name()));
    Ok(found)
}

async fn stored(cluster: &Cluster, scope: Scope, labels: &str) -> Result<Vec<Release>, Error> {
    let options = ListOptions { scope, labels: labels.to_owned(), ..ListOptions::default() };
    let secrets = read::list(cluster, "secrets", &options).await?;
    Ok(secrets
        .iter()
        .filter(|secret| secret["type"] == TYPE)
        .filter_map(Release::from_secret)
        .collect())
}

/// Helm always packs as tight as it can, which takes twice the time for three bytes in a hundred; here only what may not
/// fit into a Secret (1 MiB) is worth it.
fn encode(json: &Json) -> String {
    const TIGHT: usize = 900_000;
    let text = json.to_string();
    let pack = |level| {
        let mut packer = GzEncoder::new(Vec::new(), level);
        // Writing to memory does not fail.
        let packed = packer.write_all(text.as_bytes()).and_then(|()| packer.finish());
        STANDARD.encode(packed.unwrap_or_default())
    };
    let packed = pack(Compression::default());
    if packed.len() < TIGHT { packed } else { pack(Compression::best()) }
}

fn decode(data: &[u8]) -> Option<Json> {
    let packed = STANDARD.decode(data).ok()?;
    if !packed.starts_with(&[0x1F, 0x8B]) {
        return serde_json::from_slice(&packed).ok();
    }
    let mut text = Vec::new();
    GzDecoder::new(&packed[..]).take(MAX_SIZE).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

fn chart_json(chart: &Chart) -> Json {
    // Helm writes the time of its own zone; these are the same moments.
    let file = |file: &super::chart::File| {
        let mut json = json!({"name": file.name, "data": STANDARD.encode(&file.data)});
        if let Some(modified) = file.modified {
            json["modtime"] = Json::from(modified.to_string());
        }
        json
    };
    // Without a schema it is Go's time of nothing.
    let schema_modified = chart
        .schema_modified
        .map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |modified| modified.to_string());
    let mut json = json!({
        "metadata": chart.metadata.to_json(),
        "lock": chart.lock,
        "templates": chart.templates.iter().map(file).collect::<Vec<_>>(),
        "values": whole(&Json::Object(chart.values.clone())),
        "schema": chart.schema.as_ref().map(|schema| STANDARD.encode(schema)),
        "files": chart.files.iter().map(file).collect::<Vec<_>>(),
        "schemamodtime": schema_modified,
    });
    if let Some(modified) = chart.modified {
        json["modtime"] = Json::from(modified.to_string());
    }
    json
}

fn hook_json(hook: &Hook) -> Json {
    let mut json = json!({
        "name": hook.name,
        "kind": hook.kind,
        "path": hook.path,
        "manifest": hook.manifest,
        "events": hook.events,
        "last_run": {"phase": ""},
    });
    if hook.weight != 0 {
        json["weight"] = Json::from(hook.weight);
    }
    if !hook.delete_policies.is_empty() {
        json["delete_policies"] = json!(hook.delete_policies);
    }
    if !hook.output_log_policies.is_empty() {
        json["output_log_policies"] = json!(hook.output_log_policies);
    }
    json
}

/// Whole floats as integers, which is how Go writes them.
pub(crate) fn whole(value: &Json) -> Json {
    match value {
        Json::Object(map) => map.iter().map(|(key, value)| (key.clone(), whole(value))).collect(),
        Json::Array(items) => items.iter().map(whole).collect(),
        Json::Number(number) => values::whole(number),
        other => other.clone(),
    }
}
