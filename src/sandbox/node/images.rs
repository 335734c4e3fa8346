//! What an image does when it runs, judged by its name: the sandbox pulls nothing.

use std::time::Duration;

use serde_json::Value;

use crate::sandbox::controllers::object;

/// The program in an image, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    Istiod,
    /// Envoy as a gateway or waypoint.
    Proxy,
    Ztunnel,
    Cni,
    MetalLbController,
    MetalLbSpeaker,
    /// go-httpbin and its relatives.
    Httpbin,
    /// The backend of the Gateway API's conformance suite.
    EchoBasic,
    /// Anything else: it listens on its declared ports and echoes.
    Other,
}

impl Program {
    /// The program of an image reference.
    pub fn of(image: &str) -> Self {
        let repository = repository(image);
        let base = repository.rsplit('/').next().unwrap_or_default();
        match base {
            "pilot" => Self::Istiod,
            "proxyv2" => Self::Proxy,
            "ztunnel" => Self::Ztunnel,
            "install-cni" => Self::Cni,
            "controller" if repository.contains("metallb") => Self::MetalLbController,
            "speaker" if repository.contains("metallb") => Self::MetalLbSpeaker,
            "go-httpbin" | "httpbin" => Self::Httpbin,
            "echo-basic" => Self::EchoBasic,
            _ => Self::Other,
        }
    }

    /// The program of a pod's first container that is one we know, or `Other`.
    pub fn of_pod(pod: &Value) -> Self {
        object::items(&pod["spec"], "containers")
            .iter()
            .map(|container| Self::of(container["image"].as_str().unwrap_or_default()))
            .find(|program| *program != Self::Other)
            .unwrap_or(Self::Other)
    }

    /// Time from the container's start until the program serves.
    pub fn startup(self) -> Duration {
        Duration::from_millis(match self {
            Self::Istiod => 1_800,
            Self::Proxy => 900,
            Self::Ztunnel => 1_200,
            Self::Cni => 1_500,
            Self::MetalLbController => 4_000,
            Self::MetalLbSpeaker => 1_000,
            Self::Httpbin | Self::EchoBasic | Self::Other => 200,
        })
    }

    /// Time from the signal to stop until the process ended.
    pub fn shutdown(self) -> Duration {
        Duration::from_millis(match self {
            Self::Proxy => 5_000,
            Self::Ztunnel => 5_000,
            _ => 600,
        })
    }

    /// Whether it serves only when istiod gave it its configuration.
    pub fn needs_istiod(self) -> bool {
        matches!(self, Self::Proxy | Self::Ztunnel)
    }

    /// What its readiness probe answers before it serves.
    pub fn unready_answer(self) -> &'static str {
        match self {
            Self::Ztunnel => "HTTP probe failed with statuscode: 500",
            Self::Proxy | Self::Cni => "HTTP probe failed with statuscode: 503",
            _ => "connect: connection refused",
        }
    }

    /// What it prints when it starts.
    pub fn first_words(self, time: &str) -> Vec<String> {
        let lines: &[&str] = match self {
            Self::Istiod => &[
                "info\tinitializing Istiod gRPC server",
                "info\tStarting Istiod Server with primary cluster Kubernetes",
                "info\tAdding Kubernetes registry adapter",
            ],
            Self::Proxy => &[
                "info\tWorkload is using file mounted certificates. Skipping connecting to CA",
                "info\tInitializing with upstream address \"istiod.istio-system.svc:15012\" and cluster \"Kubernetes\"",
                "info\tStarting proxy agent",
            ],
            Self::Ztunnel => {
                &["info\tztunnel\tversion: sandbox", "info\tapp\tin shared proxy mode"]
            }
            Self::Cni => &["info\tcni-agent\tstarting ambient node agent"],
            Self::MetalLbController => {
                &["level=info op=startup msg=\"MetalLB controller starting\""]
            }
            Self::MetalLbSpeaker => &["level=info op=startup msg=\"MetalLB speaker starting\""],
            Self::Httpbin => &["level=INFO msg=\"go-httpbin listening on http://0.0.0.0:8080\""],
            Self::EchoBasic | Self::Other => &[],
        };
        lines.iter().map(|line| format!("{time}\t{line}")).collect()
    }

    /// What it prints when it serves.
    pub fn ready_words(self, time: &str) -> Vec<String> {
        let lines: &[&str] = match self {
            Self::Istiod => &["info\tAll caches have been synced up in 1.2s, marking server ready"],
            Self::Proxy => &["info\tReadiness succeeded in 903.1ms", "info\tEnvoy proxy is ready"],
            Self::Ztunnel => {
                &["info\treadiness\tTask 'state manager' complete, marking server ready"]
            }
            Self::Cni => &["info\tcni-agent\tinstallation complete, marking ready"],
            _ => &[],
        };
        lines.iter().map(|line| format!("{time}\t{line}")).collect()
    }
}

/// The reference without tag and digest.
pub fn repository(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or_default();
    let slash = image.rfind('/').unwrap_or(0);
    match image[slash..].rfind(':') {
        Some(colon) => &image[..slash + colon],
        None => image,
    }
}

fn tag(image: &str) -> Option<&str> {
    let image = image.split('@').next().unwrap_or_default();
    image[repository(image).len()..].strip_prefix(':')
}

/// The registry of a reference; Docker Hub when it names none.
fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => "registry-1.docker.io",
    }
}

/// Why an image surely cannot be pulled, though nobody tried: a name that cannot resolve (RFC 2606), or a tag that a
/// well-known repository cannot have.
pub fn certain_failure(image: &str) -> Option<String> {
    let registry = registry(image);
    let host = registry.split(':').next().unwrap_or_default();
    if host.ends_with(".invalid") {
        let repository = repository(image).trim_start_matches(registry).trim_start_matches('/');
        let tag = tag(image).unwrap_or("latest");
        return Some(format!(
            "rpc error: code = Unknown desc = failed to pull and unpack image \"{image}\": failed to resolve reference \
             \"{image}\": failed to do request: Head \"https://{registry}/v2/{repository}/manifests/{tag}\": dial tcp: \
             lookup {host}: no such host"
        ));
    }
    let versioned = matches!(
        Program::of(image),
        Program::Istiod | Program::Proxy | Program::Ztunnel | Program::Cni | Program::Httpbin
    );
    let tag = tag(image)?;
    let plausible =
        tag == "latest" || tag.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit());
    (versioned && !plausible && !image.contains('@')).then(|| not_found(image))
}

/// containerd's words for an image that its registry does not have.
pub fn not_found(image: &str) -> String {
    let full = if image.split_once('/').is_some_and(|(first, _)| first.contains(['.', ':'])) {
        image.to_owned()
    } else if image.contains('/') {
        format!("docker.io/{image}")
    } else {
        format!("docker.io/library/{image}")
    };
    format!(
        "rpc error: code = NotFound desc = failed to pull and unpack image \"{full}\": failed to resolve reference \
         \"{full}\": {full}: not found"
    )
}

/// Whether an image has a shell, `tar` and their like. Those that are built on distroless or empty images have none; of an
/// image that is not known it is believed.
pub fn has_shell(image: &str) -> bool {
    let repository = repository(image);
    let base = repository.rsplit('/').next().unwrap_or_default();
    let bare = repository.contains("distroless")
        || tag(image).is_some_and(|tag| tag.contains("distroless") || tag.contains("nonroot"));
    match Program::of(image) {
        // Docker Hub's go-httpbin, the conformance suite's echo-basic, MetalLB's two: on distroless images.
        Program::Httpbin => !repository.ends_with("mccutchen/go-httpbin"),
        Program::EchoBasic | Program::MetalLbController | Program::MetalLbSpeaker => false,
        _ => !bare && base != "pause",
    }
}

/// A size and a time to pull that look like an image's, the same for the same name.
pub fn pull_cost(image: &str) -> (u64, Duration) {
    let hash = image.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    let size = 12_000_000 + hash % 70_000_000;
    (size, Duration::from_millis(400 + size / 60_000))
}
