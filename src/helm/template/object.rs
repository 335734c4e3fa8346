//! Go values that are neither maps nor lists: what templates reach as `.Files`, `.Capabilities` and as results of a few
//! functions.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::{Value as Json, json};

use super::dates::Time;
use super::value::{ListKind, Value};
use super::work::Work;
use crate::helm::semver::Version;

/// The files of a chart by name.
pub(crate) type FileMap = BTreeMap<Rc<str>, Rc<[u8]>>;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Object {
    Files(FileMap),
    Capabilities(Rc<Capabilities>),
    KubeVersion(Rc<KubeVersion>),
    HelmVersion,
    Time(Time),
    SemVer(Version),
    /// What `genCA` and its kin return.
    Certificate {
        cert: Rc<str>,
        key: Rc<str>,
    },
}

/// What the cluster can do, as templates see it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Capabilities {
    pub(crate) kube_version: Rc<KubeVersion>,
    pub(crate) api_versions: Vec<Rc<str>>,
}

/// The version of the API server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KubeVersion {
    /// As given.
    pub(crate) version: Rc<str>,
    /// `vX.Y.Z`.
    pub(crate) normalized: Rc<str>,
    pub(crate) major: Rc<str>,
    pub(crate) minor: Rc<str>,
}

/// What `.Capabilities.HelmVersion` says.
pub(crate) const HELM_VERSION: &str = "v4.3";
const GO_VERSION: &str = "go1.26.8";
const KUBE_CLIENT_VERSION: &str = "v1.37";

impl Object {
    pub(crate) fn is_true(&self) -> bool {
        match self {
            Self::Files(files) => !files.is_empty(),
            _ => true,
        }
    }

    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Files(_) => "engine.files",
            Self::Capabilities(_) => "*common.Capabilities",
            Self::KubeVersion(_) => "common.KubeVersion",
            Self::HelmVersion => "version.BuildInfo",
            Self::Time(_) => "time.Time",
            Self::SemVer(_) => "*semver.Version",
            Self::Certificate { .. } => "sprig.certificate",
        }
    }

    pub(crate) fn kind_name(&self) -> &'static str {
        match self {
            Self::Files(_) => "map",
            Self::Capabilities(_) | Self::SemVer(_) => "ptr",
            Self::KubeVersion(_) | Self::HelmVersion | Self::Time(_) | Self::Certificate { .. } => {
                "struct"
            }
        }
    }

    /// A field of the struct, or an entry of the map.
    pub(crate) fn field(&self, name: &str) -> Option<Value> {
        let text = |text: &Rc<str>| Some(Value::Str(text.clone()));
        match self {
            Self::Files(files) => Some(bytes(files.get(name).map_or(&[][..], |data| data))),
            Self::Capabilities(capabilities) => match name {
                "KubeVersion" => {
                    Some(Value::object(Self::KubeVersion(capabilities.kube_version.clone())))
                }
                "APIVersions" => Some(Value::typed_list(
                    capabilities.api_versions.iter().cloned().map(Value::Str).collect(),
                    ListKind::Versions,
                )),
                "HelmVersion" => Some(Value::object(Self::HelmVersion)),
                _ => None,
            },
            Self::KubeVersion(version) => match name {
                "Version" => text(&version.version),
                "Major" => text(&version.major),
                "Minor" => text(&version.minor),
                _ => None,
            },
            Self::HelmVersion => Some(Value::str(match name {
                "Version" => HELM_VERSION,
                "GitCommit" | "GitTreeState" => "",
                "GoVersion" => GO_VERSION,
                "KubeClientVersion" => KUBE_CLIENT_VERSION,
                _ => return None,
            })),
            Self::Certificate { cert, key } => match name {
                "Cert" => text(cert),
                "Key" => text(key),
                _ => None,
            },
            Self::Time(_) | Self::SemVer(_) => None,
        }
    }

    /// What the value's own `String` method prints, if it has one.
    pub(crate) fn stringer(&self) -> Option<String> {
        match self {
            Self::KubeVersion(version) => Some(version.normalized.to_string()),
            Self::Time(time) => Some(time.to_string()),
            Self::SemVer(version) => Some(version.to_string()),
            _ => None,
        }
    }

    /// The fields in order, for printing.
    pub(crate) fn fields(&self) -> Vec<(&'static str, Value)> {
        let names: &[&'static str] = match self {
            Self::Capabilities(_) => &["KubeVersion", "APIVersions", "HelmVersion"],
            Self::KubeVersion(_) => &["Version", "Major", "Minor"],
            Self::HelmVersion => {
                &["Version", "GitCommit", "GitTreeState", "GoVersion", "KubeClientVersion"]
            }
            Self::Certificate { .. } => &["Cert", "Key"],
            Self::Files(_) | Self::Time(_) | Self::SemVer(_) => &[],
        };
        names.iter().filter_map(|name| Some((*name, self.field(name)?))).collect()
    }

    pub(crate) fn to_json(&self, work: &Work) -> Json {
        match self {
            Self::Files(files) => {
                use base64::Engine as _;
                let encode = |data: &[u8]| {
                    work.made(data.len());
                    base64::engine::general_purpose::STANDARD.encode(data)
                };
                files
                    .iter()
                    .map(|(name, data)| (name.to_string(), Json::from(encode(data))))
                    .collect()
            }
            Self::Time(time) => json!(time.rfc3339()),
            Self::SemVer(version) => json!(version.to_string()),
            Self::HelmVersion => json!({
                "version": HELM_VERSION,
                "go_version": GO_VERSION,
                "kube_client_version": KUBE_CLIENT_VERSION,
            }),
            other => other
                .fields()
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_json(work).unwrap_or_default()))
                .collect(),
        }
    }
}

/// A list of bytes.
pub(crate) fn bytes(data: &[u8]) -> Value {
    let items = data.iter().map(|b| Value::Int(i64::from(*b), super::value::IntKind::Uint8));
    Value::typed_list(items.collect(), ListKind::Bytes)
}
