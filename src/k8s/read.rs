//! Reading objects: get, list, exists.

use serde_json::Value;

use super::cluster::Cluster;
use super::error::Error;
use super::manifest::check_name;
use super::request::Request;
use super::resource::Resource;
use super::secrets;

/// Objects per page of a list.
const PAGE: &str = "500";

/// Where to look for objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// The namespace of the connection.
    #[default]
    Default,
    Namespace(String),
    AllNamespaces,
}

/// Which objects to list.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    pub scope: Scope,
    /// `app=web,tier!=cache`
    pub labels: String,
    /// `status.phase=Running`
    pub fields: String,
}

/// A list with the resource version at which a watch goes on.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) items: Vec<Value>,
    pub(super) resource_version: String,
}

/// One object, `None` if it does not exist. `namespace` counts for namespaced kinds only; `None` is the connection's.
///
/// # Errors
/// `UnknownKind`, or those of a request; that the object is not there is none.
pub async fn get(
    cluster: &Cluster,
    kind: &str,
    name: &str,
    namespace: Option<&str>,
) -> Result<Option<Value>, Error> {
    let resource = cluster.resolve(kind).await?;
    get_object(cluster, &resource, namespace, name).await
}

/// As [`get`], of a kind that is already known.
///
/// # Errors
/// Those of a request.
pub async fn get_object(
    cluster: &Cluster,
    resource: &Resource,
    namespace: Option<&str>,
    name: &str,
) -> Result<Option<Value>, Error> {
    check_name(name)?;
    let namespace = namespace.unwrap_or(cluster.namespace());
    let within = if resource.namespaced { namespace } else { "" };
    if let Some(object) = cluster.seen(resource, within, name) {
        return Ok(Some((*object).clone()));
    }
    if let Some(objects) = cluster.snapshot_for_one(resource).await? {
        let found = objects.get(&(within.to_owned(), name.to_owned()));
        return Ok(found.map(|object| (**object).clone()));
    }
    fetch(cluster, resource, namespace, name).await
}

/// As [`get_object`], but always as the server has it now.
pub(super) async fn fetch(
    cluster: &Cluster,
    resource: &Resource,
    namespace: &str,
    name: &str,
) -> Result<Option<Value>, Error> {
    let action = format!("get `{}`", resource.object(Some(namespace), name));
    let request = Request::get(&resource.path_of(Some(namespace), name), action);
    match cluster.send(&request).await {
        Ok(answer) => {
            secrets::learn(cluster.redactor(), &answer.value);
            Ok(Some(answer.value))
        }
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// As [`get`], but an object that does not exist is an error with the nearest name that does.
///
/// # Errors
/// `NotFound`, and those of [`get`].
pub async fn require(
    cluster: &Cluster,
    kind: &str,
    name: &str,
    namespace: Option<&str>,
) -> Result<Value, Error> {
    let resource = cluster.resolve(kind).await?;
    if let Some(object) = get_object(cluster, &resource, namespace, name).await? {
        return Ok(object);
    }
    let scope =
        namespace.map_or(Scope::Default, |namespace| Scope::Namespace(namespace.to_owned()));
    let options = ListOptions { scope, ..ListOptions::default() };
    // The name may be a slip; when the others may not be listed there is just no suggestion.
    let others = list_objects(cluster, &resource, &options).await.unwrap_or_default();
    let names = others.iter().filter_map(|object| object["metadata"]["name"].as_str());
    let near = crate::base::suggest::near(name, names).map(str::to_owned);
    let namespace = namespace.unwrap_or(cluster.namespace());
    Err(Error::NotFound { object: resource.object(Some(namespace), name).to_string(), near })
}

/// Whether an object exists.
///
/// # Errors
/// As [`get`].
pub async fn exists(
    cluster: &Cluster,
    kind: &str,
    name: &str,
    namespace: Option<&str>,
) -> Result<bool, Error> {
    Ok(get(cluster, kind, name, namespace).await?.is_some())
}

/// Objects of a kind, in pages of 500.
///
/// # Errors
/// `UnknownKind`, or those of a request (a malformed selector is one).
pub async fn list(
    cluster: &Cluster,
    kind: &str,
    options: &ListOptions,
) -> Result<Vec<Value>, Error> {
    let resource = cluster.resolve(kind).await?;
    list_objects(cluster, &resource, options).await
}

/// As [`list`], of a kind that is already known.
///
/// # Errors
/// Those of a request.
pub async fn list_objects(
    cluster: &Cluster,
    resource: &Resource,
    options: &ListOptions,
) -> Result<Vec<Value>, Error> {
    let namespace = match &options.scope {
        Scope::Default => Some(cluster.namespace()),
        Scope::Namespace(namespace) => Some(namespace.as_str()),
        Scope::AllNamespaces => None,
    };
    // A selector narrows what the server sends, so the narrow list is asked for unless the wide one is at hand.
    let wide = options.fields.is_empty() && equalities(&options.labels).is_some();
    let objects = match cluster.recall(resource) {
        Some(objects) if wide => Some(objects),
        None if wide && options.labels.is_empty() => cluster.snapshot(resource).await?,
        _ => None,
    };
    if let Some(objects) = objects {
        let labels = equalities(&options.labels).unwrap_or_default();
        let within = namespace.filter(|_| resource.namespaced);
        return Ok(choose(objects.values().map(|object| &**object), within, &labels));
    }
    let labels = if wide { equalities(&options.labels).unwrap_or_default() } else { Vec::new() };
    if !labels.is_empty()
        && let Some(kept) = cluster.chosen(resource, namespace, &labels)
    {
        return Ok(choose(kept.iter(), namespace.filter(|_| resource.namespaced), &labels));
    }
    let listed = list_page_by_page(cluster, resource, namespace, &options.labels, &options.fields);
    let items = listed.await?.items;
    if !labels.is_empty() {
        cluster.keep_chosen(resource, namespace, &labels, &items);
    }
    Ok(items)
}

/// The objects of a namespace (`None`: of all) that carry all of these labels.
fn choose<'a>(
    objects: impl Iterator<Item = &'a Value>,
    namespace: Option<&str>,
    labels: &[(&str, &str)],
) -> Vec<Value> {
    objects
        .map(|object| (object, &object["metadata"]))
        .filter(|(_, metadata)| namespace.is_none_or(|place| metadata["namespace"] == place))
        .filter(|(_, metadata)| {
            labels.iter().all(|(name, value)| metadata["labels"][*name] == **value)
        })
        .map(|(object, _)| object.clone())
        .collect()
}

/// A label selector that only asks for equal values, as pairs; `None` for any other.
fn equalities(selector: &str) -> Option<Vec<(&str, &str)>> {
    if selector.is_empty() {
        return Some(Vec::new());
    }
    selector
        .split(',')
        .map(|part| {
            let (name, value) = part.split_once('=')?;
            let value = value.strip_prefix('=').unwrap_or(value).trim();
            let name = name.trim();
            let plain = !name.contains(['!', ' ', '(']) && !value.is_empty();
            plain.then_some((name, value))
        })
        .collect()
}

/// All objects of a kind in all namespaces if one page holds them.
pub(super) async fn first_page(
    cluster: &Cluster,
    resource: &Resource,
) -> Result<Option<Vec<Value>>, Error> {
    let action = format!("list {}", resource.qualified());
    let request = Request::get(&resource.path(None), action.as_str()).query("limit", PAGE);
    let mut page = cluster.send(&request).await?.value;
    if !page["metadata"]["continue"].as_str().unwrap_or_default().is_empty() {
        return Ok(None);
    }
    Ok(Some(items_of(cluster, resource, &mut page)))
}

/// The items of a page, each with the `apiVersion` and `kind` that lists leave out.
fn items_of(cluster: &Cluster, resource: &Resource, page: &mut Value) -> Vec<Value> {
    let Value::Array(mut items) = page["items"].take() else { return Vec::new() };
    let api_version = Value::String(resource.api_version());
    for item in &mut items {
        if let Some(fields) = item.as_object_mut() {
            fields.entry("apiVersion").or_insert_with(|| api_version.clone());
            fields.entry("kind").or_insert_with(|| Value::String(resource.kind.clone()));
        }
        secrets::learn(cluster.redactor(), item);
    }
    items
}

/// Lists all pages. A continue token that has expired (410) starts over.
pub(super) async fn list_page_by_page(
    cluster: &Cluster,
    resource: &Resource,
    namespace: Option<&str>,
    labels: &str,
    fields: &str,
) -> Result<Listed, Error> {
    let place = match namespace.filter(|_| resource.namespaced) {
        Some(namespace) => format!(" in namespace `{namespace}`"),
        None => String::new(),
    };
    let action = format!("list {}{place}", resource.qualified());
    let mut listed = Listed::default();
    let mut token = String::new();
    let mut restarts = 0;
    loop {
        let request = Request::get(&resource.path(namespace), action.as_str())
            .query("labelSelector", labels)
            .query("fieldSelector", fields)
            .query("limit", PAGE)
            .query("continue", &token);
        let mut page = match cluster.send(&request).await {
            Ok(answer) => answer.value,
            Err(error)
                if error.status().is_some_and(|status| status.code == 410) && restarts < 3 =>
            {
                restarts += 1;
                token.clear();
                listed = Listed::default();
                continue;
            }
            Err(error) => return Err(error),
        };
        let items = items_of(cluster, resource, &mut page);
        cluster.see(resource, &items);
        listed.items.extend(items);
        let metadata = &page["metadata"];
        if listed.resource_version.is_empty() {
            metadata["resourceVersion"]
                .as_str()
                .unwrap_or_default()
                .clone_into(&mut listed.resource_version);
        }
        metadata["continue"].as_str().unwrap_or_default().clone_into(&mut token);
        if token.is_empty() {
            return Ok(listed);
        }
    }
}
