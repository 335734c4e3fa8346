//! Traffic without a network: connections in memory to gateways, Services and pods of the rehearsal cluster.
//!
//! `DataPlane` gives the `Dialer` of a client outside the cluster and the `Nodes` of the API server (logs, exec,
//! port-forward, proxy). Nothing is configured ahead: each request is answered from the objects as they are now, as
//! a proxy would whose configuration is up to date. Reading order: `address` (who answers where), `gateway` (Envoy),
//! `routes`, `upstream` (from a proxy to a pod), `policy`, `apps`, and `admin` (what proxies tell about themselves).

mod address;
mod admin;
mod apps;
mod backend_tls;
mod body;
mod dump;
mod filters;
mod forward;
mod gateway;
mod http_server;
mod pipe;
mod policy;
mod proxy;
mod routes;
mod streams;
mod upstream;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::BoxFuture;
use http::Request;
use parking_lot::Mutex;
use serde_json::Value;

use self::address::{Destination, RoundRobin};
use self::body::Body;
use self::policy::Peer;
use self::upstream::Reached;
use crate::base::clock::Clock as _;
use crate::base::net::{Connection, Dialer, Stream};
use crate::sandbox::api::Api;
use crate::sandbox::certificates::Authority;
use crate::sandbox::controllers::object;
use crate::sandbox::mesh::presence;
use crate::sandbox::node::World;
use crate::sandbox::node::images::Program;

/// Where a connection comes from.
#[derive(Clone, Debug)]
enum Origin {
    /// A client outside, through a load balancer or a node port.
    Outside,
    /// The pod's own network namespace: a port-forward.
    Loopback,
    /// The API server's proxy, which is no part of the mesh.
    ApiServer,
    /// Another pod.
    Pod(Arc<Value>),
}

/// When a proxy asks for its next certificate.
const ROTATION: jiff::SignedDuration = jiff::SignedDuration::from_hours(12);

/// The traffic of one cluster.
pub struct DataPlane {
    api: Arc<dyn Api>,
    world: Arc<World>,
    authority: Arc<Authority>,
    turn: RoundRobin,
    /// Requests that had a choice of backends, by the route's uid and the place of the rule.
    turns: Mutex<BTreeMap<(String, usize), u64>>,
    draws: AtomicU64,
    /// Requests by (proxy's uid, cluster, host).
    counts: Mutex<BTreeMap<(String, String, String), u64>>,
    /// The certificates of workloads by pod uid, and when each was made.
    certificates: Mutex<BTreeMap<String, (String, jiff::Timestamp)>>,
}

impl fmt::Debug for DataPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataPlane").finish_non_exhaustive()
    }
}

impl DataPlane {
    /// The data plane over the objects of `api`.
    pub fn new(api: Arc<dyn Api>, world: Arc<World>, authority: Arc<Authority>) -> Arc<Self> {
        Arc::new(Self {
            api,
            world,
            authority,
            turn: RoundRobin::default(),
            turns: Mutex::default(),
            draws: AtomicU64::new(0),
            counts: Mutex::default(),
            certificates: Mutex::default(),
        })
    }

    /// The dialer of a client outside of the cluster.
    pub fn dialer(self: &Arc<Self>) -> Arc<OutsideDialer> {
        Arc::new(OutsideDialer(Arc::clone(self)))
    }

    /// How many requests of a rule had a choice before this one.
    fn next_turn(&self, route: &str, rule: usize) -> u64 {
        let mut turns = self.turns.lock();
        let turn = turns.entry((route.to_owned(), rule)).or_default();
        *turn += 1;
        *turn - 1
    }

    /// A number that looks drawn by chance (splitmix64), the same from run to run.
    fn draw(&self) -> u64 {
        let step = self.draws.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let mut mixed = step.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The certificate of a workload, PEM: made when it is first asked for, and again when half of its day is over.
    fn workload_certificate(
        &self,
        uid: &str,
        identity: &str,
    ) -> Result<String, crate::sandbox::certificates::CertificateError> {
        let now = self.api.clock().now();
        let mut certificates = self.certificates.lock();
        if let Some((found, since)) = certificates.get(uid)
            && now.duration_since(*since) < ROTATION
        {
            return Ok(found.clone());
        }
        let made = self.authority.workload(identity, now)?.certificate;
        certificates.insert(uid.to_owned(), (made.clone(), now));
        Ok(made)
    }

    /// Counts a request that a proxy sent to a host of a cluster.
    fn count(&self, proxy: &Value, cluster: &str, host: &str) {
        let key = (object::uid(proxy).to_owned(), cluster.to_owned(), host.to_owned());
        *self.counts.lock().entry(key).or_default() += 1;
    }

    /// Requests of a proxy by cluster and host.
    fn counted(&self, proxy: &Value) -> Vec<(String, String, u64)> {
        let id = object::uid(proxy);
        let counts = self.counts.lock();
        counts
            .iter()
            .filter(|((found, _, _), _)| found == id)
            .map(|((_, cluster, host), count)| (cluster.clone(), host.clone(), *count))
            .collect()
    }

    /// The caller as the destination's ztunnel or program sees it.
    fn peer(&self, origin: &Origin) -> Peer {
        match origin {
            Origin::Outside => Peer { identity: None, address: gateway::NODE_CLIENT.to_owned() },
            Origin::Loopback => Peer { identity: None, address: "127.0.0.1".to_owned() },
            Origin::ApiServer => Peer { identity: None, address: "172.18.0.2".to_owned() },
            Origin::Pod(pod) => Peer {
                identity: presence::is_captured(pod).then(|| policy::identity(pod)),
                address: pod["status"]["podIP"].as_str().unwrap_or_default().to_owned(),
            },
        }
    }

    /// The objects that traffic is answered from.
    pub(super) fn api(&self) -> &dyn Api {
        &*self.api
    }

    /// Whether a client outside of the cluster finds somebody listening behind a port of a Service.
    pub(super) fn answers(&self, service: &Value, port: &Value) -> bool {
        address::is_announced(&*self.api, service)
            && address::endpoints(&*self.api, service, port)
                .iter()
                .any(|(pod, port)| self.listens(pod, *port, false))
    }

    /// Whether a pod listens on a port.
    fn listens(&self, pod: &Value, port: u16, loopback: bool) -> bool {
        let program = Program::of_pod(pod);
        if !is_running(pod) {
            return false;
        }
        if admin::listens(program, port, loopback) {
            return true;
        }
        if program == Program::Proxy {
            return object::is_true(pod, "Ready")
                && gateway::gateway_of(self, pod)
                    .is_some_and(|found| gateway::listens(self, &found, port));
        }
        apps::listens(pod, program, port)
    }

    /// Opens a connection to a port of a pod.
    fn open(
        self: &Arc<Self>,
        pod: Arc<Value>,
        port: u16,
        origin: &Origin,
    ) -> io::Result<Box<dyn Stream>> {
        let loopback = matches!(origin, Origin::Loopback);
        if !self.listens(&pod, port, loopback) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let caller = self.peer(origin);
        let program = Program::of_pod(&pod);
        if admin::listens(program, port, loopback) {
            let (client, server) = pipe::pair();
            let (plane, clock) = (Arc::clone(self), self.api.clock());
            tokio::spawn(http_server::serve(server, clock, move |request: Request<Body>| {
                let response = admin::answer(&plane, &pod, program, port, &request);
                async move { response }
            }));
            return Ok(Box::new(client));
        }
        if program == Program::Proxy {
            let (client, server) = pipe::pair();
            tokio::spawn(gateway::serve(Arc::clone(self), pod, port, caller.address, server));
            return Ok(Box::new(client));
        }
        let (client, server) = pipe::pair();
        // A port-forward enters behind ztunnel; everything else passes it.
        if !loopback && self.admitted(&caller, &pod, port).is_err() {
            server.reset();
            return Ok(Box::new(client));
        }
        tokio::spawn(apps::serve(Arc::clone(self), pod, port, caller.address, server));
        Ok(Box::new(client))
    }

    fn reach(
        self: &Arc<Self>,
        destination: Destination,
        host: &str,
        port: u16,
        origin: &Origin,
    ) -> io::Result<Connection> {
        match destination {
            Destination::Pod { pod, port: target, service } => {
                let stream = self.open(Arc::clone(&pod), target, origin)?;
                let through = service
                    .map(|service| {
                        format!(
                            " (service {}/{})",
                            object::namespace(&service),
                            object::name(&service)
                        )
                    })
                    .unwrap_or_default();
                Ok(Connection { stream, peer: format!("{host}:{port}{through}") })
            }
            Destination::Refused => Err(io::ErrorKind::ConnectionRefused.into()),
            Destination::Unreachable(why) => Err(io::Error::new(
                io::ErrorKind::HostUnreachable,
                format!("no route to host: {why}"),
            )),
            Destination::UnknownName => Err(unknown_name(host)),
        }
    }
}

fn is_running(pod: &Value) -> bool {
    pod["status"]["phase"] == "Running" && pod["status"]["podIP"].is_string()
}

fn unknown_name(host: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::NotFound,
        format!("failed to lookup address information: `{host}` is not known"),
    )
}

/// Dials as a workstation does that sees the cluster's load balancers and nodes.
#[derive(Clone, Debug)]
pub struct OutsideDialer(Arc<DataPlane>);

impl Dialer for OutsideDialer {
    fn dial(&self, host: &str, port: u16) -> BoxFuture<'_, io::Result<Connection>> {
        let host = host.to_owned();
        Box::pin(async move {
            let plane = &self.0;
            let destination = address::from_outside(&*plane.api, &plane.turn, &host, port);
            plane.reach(destination, &host, port, &Origin::Outside)
        })
    }

    fn lookup(&self, host: &str) -> BoxFuture<'_, io::Result<Vec<IpAddr>>> {
        let host = host.to_owned();
        Box::pin(async move {
            // No public name leads into a rehearsal; a client pins the address with `resolve`.
            match host.parse() {
                Ok(address) => Ok(vec![address]),
                Err(_) => Err(unknown_name(&host)),
            }
        })
    }
}

/// A dialer inside a pod: cluster names and addresses, as a member of the mesh or not.
#[derive(Clone, Debug)]
pub struct PodDialer {
    plane: Arc<DataPlane>,
    pod: Arc<Value>,
}

impl DataPlane {
    /// The dialer of a program in a pod.
    pub fn dialer_of(self: &Arc<Self>, pod: Arc<Value>) -> PodDialer {
        PodDialer { plane: Arc::clone(self), pod }
    }
}

impl Dialer for PodDialer {
    fn dial(&self, host: &str, port: u16) -> BoxFuture<'_, io::Result<Connection>> {
        let host = host.to_owned();
        Box::pin(async move {
            let plane = &self.plane;
            let namespace = object::namespace(&self.pod);
            let destination =
                address::from_inside(&*plane.api, &plane.turn, namespace, &host, port);
            plane.reach(destination, &host, port, &Origin::Pod(Arc::clone(&self.pod)))
        })
    }
}

/// What a plain client of a pod's port gets.
impl DataPlane {
    async fn request_pod(
        self: &Arc<Self>,
        origin: &Origin,
        pod: &Arc<Value>,
        port: u16,
        request: Request<Body>,
    ) -> Reached {
        let program = Program::of_pod(pod);
        if admin::listens(program, port, false) {
            return Reached::Response(admin::answer(self, pod, program, port, &request));
        }
        self.call_pod(&self.peer(origin), pod, port, request).await
    }
}
