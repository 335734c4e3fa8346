//! The real API server of the test bed, one namespace for each case.

use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use kube::config::{KubeConfigOptions, Kubeconfig};
use libtest_mimic::Failed;
use serde_json::{Value, json};

use super::schemas;

/// Whether the test bed is there.
pub(crate) fn is_up() -> bool {
    std::env::var_os("MESHBED_KUBECONFIG").is_some()
}

/// A connection, and a namespace to work in.
pub(crate) struct Bed {
    runtime: tokio::runtime::Runtime,
    client: kube::Client,
    pub(crate) namespace: String,
}

impl Bed {
    /// Connects; the namespace is new.
    pub(crate) fn open(name: &str) -> Result<Self, Failed> {
        let path = std::env::var_os("MESHBED_KUBECONFIG").ok_or("no test bed")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        #[expect(clippy::disallowed_methods, reason = "a test is its own program")]
        let client = runtime.block_on(async {
            let kubeconfig = Kubeconfig::read_from(path).map_err(|error| error.to_string())?;
            let options = KubeConfigOptions::default();
            let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options)
                .await
                .map_err(|error| error.to_string())?;
            kube::Client::try_from(config).map_err(|error| error.to_string())
        })?;
        // A namespace's name has at most 63 characters.
        let short: String = name.replace('_', "-").chars().take(40).collect();
        let namespace = format!("ssa-{short}-{}", std::process::id());
        let bed = Self { runtime, client, namespace };
        let json = "application/json";
        let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        let (code, answer) = bed.send("POST", definitions, json, Some(&schemas::crd()))?;
        if code == 201 {
            // Until its endpoints are there, requests answer 404.
            for _ in 0..100 {
                let served =
                    bed.send("GET", "/apis/ssa.example.com/v1/widgets", json, None)?.0 == 200;
                let beta = bed.send("GET", "/apis/ssa.example.com/v1beta1/widgets", json, None)?.0;
                if served && beta == 200 {
                    break;
                }
                pause(Duration::from_millis(100));
            }
        } else if code != 409 {
            return Err(format!("the CRD: {answer}").into());
        }
        let namespace = json!({"metadata": {"name": bed.namespace}});
        let (code, answer) = bed.send("POST", "/api/v1/namespaces", json, Some(&namespace))?;
        if code == 201 { Ok(bed) } else { Err(format!("the namespace: {answer}").into()) }
    }

    /// One request: status code and body.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Value), Failed> {
        self.send_as("", method, path, content_type, body)
    }

    /// One GET in a media type: status code and bytes.
    pub(crate) fn fetch(&self, path: &str, accept: &str) -> Result<(u16, Vec<u8>), Failed> {
        let request = Request::builder().uri(path).header("accept", accept);
        let request = request.body(kube::client::Body::empty())?;
        #[expect(clippy::disallowed_methods, reason = "a test is its own program")]
        self.runtime.block_on(async {
            let answer = self.client.send(request).await?;
            let code = answer.status().as_u16();
            Ok((code, answer.into_body().collect().await?.to_bytes().to_vec()))
        })
    }

    /// One request as another user; `""` is the administrator.
    pub(crate) fn send_as(
        &self,
        user: &str,
        method: &str,
        path: &str,
        content_type: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Value), Failed> {
        let body = body.map(Value::to_string).unwrap_or_default().into_bytes();
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content_type)
            .header("user-agent", "test-client/1.0");
        if !user.is_empty() {
            request = request.header("impersonate-user", user);
        }
        let request = request.body(kube::client::Body::from(body))?;
        #[expect(clippy::disallowed_methods, reason = "a test is its own program")]
        self.runtime.block_on(async {
            let answer = self.client.send(request).await?;
            let code = answer.status().as_u16();
            let bytes = answer.into_body().collect().await?.to_bytes();
            let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            Ok((code, body))
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "the real server has real time")]
pub(crate) fn pause(span: Duration) {
    std::thread::sleep(span);
}
