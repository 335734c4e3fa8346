//! `meshscript sandbox` as other programs find it: the guide's own shell commands (kubectl, helm, istioctl, curl), and the
//! official Gateway API conformance suite. The programs are the test bed's; its cluster is not touched.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use super::Scenario;
use super::bed::{Bed, Ran, ensure, eventually, ran};

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("the_guides_shell_commands_succeed_on_a_served_sandbox", guide),
    ("kubectl_follows_copies_attaches_and_debugs_on_a_served_sandbox", inside),
    ("a_served_sandbox_passes_the_gateway_api_conformance_suite", conformance),
];

/// What Istio 1.30 claims of the profile GATEWAY-HTTP besides its core; the exceptions are in tests/README.md.
const FEATURES: &[&str] = &[
    "Gateway",
    "HTTPRoute",
    "ReferenceGrant",
    "GatewayPort8080",
    "GatewayHTTPListenerIsolation",
    "GatewayInfrastructurePropagation",
    "GatewayAddressEmpty",
    "HTTPRouteBackendRequestHeaderModification",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteMethodMatching",
    "HTTPRouteResponseHeaderModification",
    "HTTPRoutePortRedirect",
    "HTTPRouteSchemeRedirect",
    "HTTPRoutePathRedirect",
    "HTTPRouteHostRewrite",
    "HTTPRoutePathRewrite",
    "HTTPRouteRequestMirror",
    "HTTPRouteRequestMultipleMirrors",
    "HTTPRouteRequestPercentageMirror",
    "HTTPRouteRequestTimeout",
    "HTTPRouteBackendTimeout",
    "HTTPRouteParentRefPort",
    "HTTPRouteBackendProtocolH2C",
    "HTTPRouteBackendProtocolWebSocket",
    "HTTPRouteNamedRouteRule",
    "HTTPRouteCORS",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteDestinationPortMatching",
    "BackendTLSPolicy",
    "BackendTLSPolicySANValidation",
];

/// A sandbox in a process of its own; it ends with the scenario.
struct Served {
    process: Child,
    folder: tempfile::TempDir,
    kubeconfig: PathBuf,
    said: Arc<Mutex<String>>,
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Served {
    fn start() -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let kubeconfig = folder.path().join("kubeconfig");
        let mut process = Command::new(env!("CARGO_BIN_EXE_meshscript"))
            .args(["sandbox", "--speed", "100", "--kubeconfig"])
            .arg(&kubeconfig)
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let output = process.stdout.take().ok_or("no standard output")?;
        let said = Arc::new(Mutex::new(String::new()));
        let into = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Ok(mut said) = into.lock() {
                    said.push_str(&line);
                    said.push('\n');
                }
            }
        });
        let served = Self { process, folder, kubeconfig, said };
        eventually(20, || served.says("sandbox ready"))?;
        Ok(served)
    }

    fn says(&self, text: &str) -> Result<(), String> {
        let said = self.said.lock().map(|said| said.clone()).unwrap_or_default();
        ensure(said.contains(text), || format!("the sandbox does not say `{text}`:\n{said}"))
    }

    /// Runs a line of a shell with `KUBECONFIG` set, and fails unless it succeeds.
    fn shell(&self, line: &str) -> Result<Ran, String> {
        let mut command = Command::new("bash");
        command
            .args(["-euo", "pipefail", "-c", line])
            .current_dir(self.folder.path())
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", self.folder.path())
            .stdin(Stdio::null());
        ran(command)?.ends(0).map_err(|why| format!("$ {line}\n{why}"))
    }

    /// A shell line that installs what a chart or manifest of the shared folder holds.
    fn shared(&self, line: &str) -> Result<Ran, String> {
        self.shell(&line.replace("DATA", &Bed::data()?.display().to_string()))
    }
}

const CRDS: &str =
    "kubectl apply --server-side -f DATA/manifests/gateway-api-v1.5.1-standard-install.yaml";
const BASE: &str =
    "helm install istio-base DATA/charts/base-1.30.3.tgz -n istio-system --create-namespace --wait";
const ISTIOD: &str = "helm install istiod DATA/charts/istiod-1.30.3.tgz -n istio-system --set profile=ambient --wait";

const GATEWAY: &str = r#"kubectl apply -f - <<'END'
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: shared-gateway, namespace: networking}
spec:
  gatewayClassName: istio
  listeners:
  - {name: http, port: 80, protocol: HTTP, hostname: "*.example.com", allowedRoutes: {namespaces: {from: All}}}
  - name: https
    port: 443
    protocol: HTTPS
    hostname: "*.example.com"
    allowedRoutes: {namespaces: {from: All}}
    tls: {mode: Terminate, certificateRefs: [{kind: Secret, name: wildcard-certs}]}
END"#;

const TENANT: &str = r#"kubectl apply -n sample -f - <<'END'
apiVersion: v1
kind: ServiceAccount
metadata: {name: httpbin}
---
apiVersion: v1
kind: Service
metadata: {name: httpbin, labels: {app: httpbin, service: httpbin}}
spec: {ports: [{name: http, port: 8000, targetPort: 8080}], selector: {app: httpbin}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: httpbin}
spec:
  selector: {matchLabels: {app: httpbin, version: v1}}
  template:
    metadata: {labels: {app: httpbin, version: v1}}
    spec:
      serviceAccountName: httpbin
      containers: [{name: httpbin, image: "docker.io/mccutchen/go-httpbin:v2.15.0", ports: [{containerPort: 8080}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: httpbin}
spec:
  parentRefs: [{name: shared-gateway, namespace: networking}]
  hostnames: [httpbin.example.com]
  rules:
  - matches: [{path: {type: PathPrefix, value: /status}}, {path: {type: PathPrefix, value: /}}]
    backendRefs: [{name: httpbin, port: 8000}]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: STRICT}}
END"#;

const CERTIFICATES: &str = r#"
openssl req -x509 -sha256 -nodes -days 365 -newkey rsa:2048 -subj '/O=example Inc./CN=example.com' -keyout ca.key -out ca.crt
openssl req -out leaf.csr -newkey rsa:2048 -nodes -keyout leaf.key -subj '/CN=*.example.com/O=example'
printf 'subjectAltName=DNS:*.example.com,DNS:example.com\nbasicConstraints=CA:FALSE\n' >leaf.ext
openssl x509 -req -sha256 -days 365 -CA ca.crt -CAkey ca.key -set_serial 0 -in leaf.csr -out leaf.crt -extfile leaf.ext
kubectl create -n networking secret tls wildcard-certs --key=leaf.key --cert=leaf.crt
"#;

/// The address that the shared gateway's status names.
const ADDRESS: &str =
    "A=$(kubectl get gtw shared-gateway -n networking -o jsonpath='{.status.addresses[0].value}')";

fn guide(_: &Bed) -> Result<(), String> {
    let served = Served::start()?;
    served.shell("kubectl get nodes")?.says("Ready")?;
    served.shared(&format!("kubectl get crd gateways.gateway.networking.k8s.io || {CRDS}"))?;
    served.shared(BASE)?.says("STATUS: deployed")?;
    served.shared(ISTIOD)?.says("STATUS: deployed")?;
    served.shared("helm install istio-cni DATA/charts/cni-1.30.3.tgz -n istio-system --set profile=ambient --wait")?;
    served.shared("helm install ztunnel DATA/charts/ztunnel-1.30.3.tgz -n istio-system --wait")?;
    served.shell("kubectl get pods -n istio-system")?.says("ztunnel-")?;
    served.shell("kubectl create namespace networking")?;
    served.shell(CERTIFICATES)?;
    served.shell(GATEWAY)?;
    served.shell(
        "kubectl wait -n networking gtw/shared-gateway --for=condition=Programmed --timeout=60s",
    )?;
    served.shell(
        "kubectl rollout status -n networking deployment/shared-gateway-istio --timeout=60s",
    )?;
    served.shell("kubectl create namespace sample && kubectl label namespace sample istio.io/dataplane-mode=ambient")?;
    served.shell(TENANT)?;
    served.shell("kubectl rollout status -n sample deployment/httpbin --timeout=60s")?;
    served
        .shell("istioctl waypoint apply -n sample --enroll-namespace --wait")?
        .says("is ready")?;
    served.shell("kubectl get gtw -n networking shared-gateway")?.says("127.18.0.1")?;
    served.says("http://127.18.0.1:80 serves networking/shared-gateway-istio")?;
    let curl = |line: &str, wanted: &str| {
        eventually(10, || served.shell(&format!("{ADDRESS}; {line}"))?.says(wanted).map(drop))
    };
    curl("curl -sS -I -H 'Host: httpbin.example.com' http://$A/status/200", "HTTP/1.1 200 OK")?;
    curl(
        "curl -sS -I --cacert ca.crt --resolve httpbin.example.com:443:$A https://httpbin.example.com/status/200",
        "HTTP/2 200",
    )?;
    curl("curl -sS -I -H 'Host: wrong.example.com' http://$A/", "404 Not Found")?;
    curl(
        "curl -sS --cacert ca.crt --resolve other.test:443:$A https://other.test/ 2>&1 || echo code $?",
        "code 35",
    )?;
    // Ten numbers, one after the other: what is streamed comes as it is written.
    curl("curl -sSN -H 'Host: httpbin.example.com' http://$A/stream/10 | wc -l", "10")?;
    let forwarded = "kubectl -n sample port-forward svc/httpbin 28080:8000 >forward.log & P=$!; trap 'kill $P' EXIT; \
                     for i in $(seq 50); do grep -q Forwarding forward.log && break; sleep 0.1; done; \
                     curl -sS -o /dev/null -w '%{http_code} %{size_download}' http://127.0.0.1:28080/bytes/1000000";
    served.shell(forwarded)?.says("200 1000000")?;
    proxies(&served)?;
    served.shell("kubectl delete -n networking gtw/shared-gateway --wait")?;
    eventually(20, || served.says("http://127.18.0.1:80 is gone"))?;
    served.shell("curl -sS http://127.18.0.1/ 2>&1 || echo code $?")?.says("code 7").map(drop)
}

/// What istioctl reads from the proxies.
fn proxies(served: &Served) -> Result<(), String> {
    const GATEWAY: &str = "deployment/shared-gateway-istio -n networking";
    const WAYPOINT: &str = "deployment/waypoint -n sample";
    let routes =
        "https.443.default.shared-gateway~istio-autogenerated-k8s-gateway~https.networking";
    for (what, proxy, wanted) in [
        ("routes", GATEWAY, routes),
        ("listeners", GATEWAY, "Inline Route: /healthz/ready*"),
        ("clusters", GATEWAY, "ORIGINAL_DST"),
        ("endpoints", GATEWAY, "envoy://connect_originate/"),
        ("secret", GATEWAY, "kubernetes-gateway://networking/wildcard-certs"),
        ("routes", WAYPOINT, "inbound|http|8000"),
        ("listeners", WAYPOINT, "Cluster: encap"),
        ("clusters", WAYPOINT, "inbound-vip"),
        ("endpoints", WAYPOINT, "envoy://main_internal/"),
    ] {
        served.shell(&format!("istioctl proxy-config {what} {proxy}"))?.says(wanted)?;
    }
    served.shell("istioctl ztunnel-config services")?.says("waypoint")?;
    served.shell("istioctl ztunnel-config workloads")?.says("HBONE")?;
    served.shell("istioctl version")?.says("control plane version: 1.30.3").map(drop)
}

fn conformance(_: &Bed) -> Result<(), String> {
    let served = Served::start()?;
    for line in [CRDS, BASE, ISTIOD] {
        served.shared(line)?;
    }
    served.shell("kubectl wait gatewayclass/istio --for=condition=Accepted --timeout=30s")?;
    let suite = format!(
        "gateway-conformance -test.timeout 5m -gateway-class istio -conformance-profiles GATEWAY-HTTP \
         -allow-crds-mismatch -organization meshscript -project meshscript -url https://example.com -version dev \
         -contact none -report-output report.yaml -supported-features {} >suite.log 2>&1 || \
         {{ grep -E -B3 -- '--- FAIL|Error:' suite.log | tail -60; exit 1; }}",
        FEATURES.join(",")
    );
    served.shell(&suite)?;
    let report = std::fs::read_to_string(served.folder.path().join("report.yaml"))
        .map_err(|error| error.to_string())?;
    let report = meshscript::base::yaml::parse(&report).map_err(|error| error.to_string())?;
    let profile = &report["profiles"][0];
    for (part, least) in [("core", 33), ("extended", 30)] {
        let part = &profile[part];
        let passed = part["statistics"]["Passed"].as_u64().unwrap_or(0);
        ensure(part["result"] == "success" && passed >= least, || format!("{profile:#}"))?;
    }
    Ok(())
}

const PODS: &str = r#"kubectl apply -f - <<'END'
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: blue}
---
apiVersion: v1
kind: Pod
metadata: {name: two, labels: {app: two}}
spec:
  containers:
  - name: first
    image: docker.io/library/busybox:1.37
    command: [sh, -c, 'echo first; sleep infinity']
    volumeMounts: [{name: settings, mountPath: /etc/settings}, {name: shared, mountPath: /shared}]
  - name: second
    image: docker.io/library/busybox:1.37
    command: [sh, -c, 'echo second; sleep infinity']
    volumeMounts: [{name: shared, mountPath: /shared}]
  volumes: [{name: settings, configMap: {name: settings}}, {name: shared, emptyDir: {}}]
---
apiVersion: v1
kind: Pod
metadata: {name: bare}
spec: {containers: [{name: bare, image: "docker.io/mccutchen/go-httpbin:2.15.0"}]}
END"#;

/// What goes into containers and comes out of them. The test bed's nodes have no such containers: what is wanted is what
/// kubectl and a kubelet are documented to do.
fn inside(_: &Bed) -> Result<(), String> {
    let served = Served::start()?;
    let prints = |line: &str, wanted: &str| -> Result<(), String> {
        let ran = served.shell(line)?;
        ensure(ran.stdout.trim_end() == wanted, || {
            format!("$ {line}\nwanted {wanted}\nfound {}", ran.stdout)
        })
    };
    served.shell(PODS)?;
    served.shell("kubectl wait pod/two pod/bare --for=condition=Ready --timeout=30s")?;
    // The second and third line come while the log is followed.
    served.shell("kubectl run counter --image=busybox:1.37 --restart=Never -- sh -c 'for i in 1 2 3; do echo line $i; sleep 1; done'")?;
    served.shell("kubectl wait pod/counter --for=condition=Ready --timeout=30s")?;
    prints("timeout 20 kubectl logs -f counter", "line 1\nline 2\nline 3")?;
    prints("kubectl get pod counter -o jsonpath={.status.phase}", "Succeeded")?;
    prints("kubectl logs counter --tail=1", "line 3")?;
    prints("kubectl logs counter --since=1h | wc -l", "3")?;
    prints("kubectl logs counter --limit-bytes=6", "line 1")?;
    prints("kubectl logs counter --timestamps | grep -cE '^[-0-9]+T[:.0-9]+Z line [123]$'", "3")?;
    prints(
        "kubectl logs -l app=two --all-containers --prefix",
        "[pod/two/first] first\n[pod/two/second] second",
    )?;
    served.shell("kubectl run crash --image=busybox:1.37 -- sh -c 'echo life; exit 3'")?;
    served.shell("kubectl wait pod/crash --for=jsonpath='{.status.containerStatuses[0].restartCount}'=2 --timeout=30s")?;
    prints("kubectl logs -p crash", "life")?;
    prints("kubectl exec two -c first -- cat /etc/settings/colour", "blue")?;
    prints(
        "echo hello | kubectl exec -i two -c first -- sh -c 'cat >/shared/word; wc -l /shared/word'",
        "1 /shared/word",
    )?;
    prints("kubectl exec two -c second -- cat /shared/word", "hello")?;
    prints("kubectl exec two -c first -- sh -c 'exit 3' 2>/dev/null || echo $?", "3")?;
    served.shell(
        "mkdir -p there/deep && echo one >there/a && head -c 300000 /dev/urandom >there/deep/b",
    )?;
    served.shell("kubectl cp there two:/tmp -c first")?;
    prints("kubectl exec two -c first -- ls /tmp/there", "a\ndeep")?;
    served.shell("kubectl cp two:/tmp/there back -c first && diff -r there back")?;
    served
        .shell("kubectl cp bare:/etc/hosts hosts 2>&1 || true")?
        .says(r#"exec: "tar": executable file not found in $PATH"#)?;
    prints(
        "printf 'echo hi $HOSTNAME\nexit 4\n' | kubectl run shell -i -q --rm --image=busybox:1.37 --restart=Never 2>/dev/null || echo $?",
        "hi shell\n4",
    )?;
    served.shell("kubectl debug bare -q --image=busybox:1.37 -c look -- sh -c 'echo looked'")?;
    served.shell("kubectl wait pod/bare --for=jsonpath='{.status.ephemeralContainerStatuses[0].state.terminated.exitCode}'=0 --timeout=30s")?;
    prints("kubectl logs bare -c look", "looked")
}
