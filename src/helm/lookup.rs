//! `lookup` in templates: the cluster is read while a chart is rendered.
//!
//! Templates run on a thread of their own and wait for each answer; the questions are answered here, on the async side, so
//! that a runtime of a single thread does not wait for itself.

use serde_json::Value as Json;
use tokio::sync::mpsc;

use super::render::{RenderError, Rendered};
use super::template::{Lookup, TemplateError};
use crate::k8s::cluster::Cluster;
use crate::k8s::error::Error;
use crate::k8s::read::{self, ListOptions, Scope};

struct Question {
    api_version: String,
    kind: String,
    namespace: String,
    name: String,
    answer: std::sync::mpsc::Sender<Result<Json, String>>,
}

/// Runs work that may ask the cluster.
pub(super) async fn serve<F>(cluster: &Cluster, work: F) -> Result<Rendered, RenderError>
where
    F: FnOnce(&Lookup<'_>) -> Result<Rendered, RenderError> + Send + 'static,
{
    let (questions, mut asked) = mpsc::unbounded_channel::<Question>();
    let mut running = tokio::task::spawn_blocking(move || {
        let ask = |api_version: &str, kind: &str, namespace: &str, name: &str| {
            let (answer, answered) = std::sync::mpsc::channel();
            let question = Question {
                api_version: api_version.to_owned(),
                kind: kind.to_owned(),
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                answer,
            };
            let ended = || "the run was ended".to_owned();
            questions.send(question).map_err(|_| ended())?;
            answered.recv().map_err(|_| ended())?
        };
        work(&ask)
    });
    loop {
        tokio::select! {
            Some(question) = asked.recv() => {
                let found = look_up(cluster, &question).await;
                // Nobody waits any more when rendering has ended.
                let _ = question.answer.send(found);
            }
            done = &mut running => {
                return done.unwrap_or_else(|error| {
                    Err(TemplateError::Thread(error.to_string()).into())
                });
            }
        }
    }
}

/// An object, or all of a kind; what is not there is `null`.
async fn look_up(cluster: &Cluster, question: &Question) -> Result<Json, String> {
    let Question { api_version, kind, namespace, name, .. } = question;
    let place = Some(namespace.as_str()).filter(|namespace| !namespace.is_empty());
    let found = async {
        let resource = cluster.resource_of(api_version, kind).await?;
        if name.is_empty() {
            let scope = place
                .map_or(Scope::AllNamespaces, |namespace| Scope::Namespace(namespace.to_owned()));
            let options = ListOptions { scope, ..ListOptions::default() };
            let items = read::list_objects(cluster, &resource, &options).await?;
            let kind = format!("{kind}List");
            return Ok(serde_json::json!({
                "apiVersion": api_version, "kind": kind, "items": items, "metadata": {},
            }));
        }
        let found = read::get_object(cluster, &resource, place, name).await?;
        Ok::<_, Error>(found.unwrap_or(Json::Null))
    };
    found.await.map_err(|error| error.to_string())
}
