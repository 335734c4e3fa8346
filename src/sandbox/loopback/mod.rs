//! The data plane on real sockets of this machine: what a load balancer's address promises, a browser reaches.
//!
//! `balancer` gives load balancers addresses of 127.0.0.0/8 where no MetalLB is there to give others; `doors` says which
//! addresses and ports somebody answers at now; this file binds each of them, or another one in its place, and carries
//! connections to the data plane. A socket is open as long as a client of a real cluster would find somebody listening:
//! a refusal is the kernel's own.

mod balancer;
mod doors;

pub(super) use balancer::Balancer;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use self::doors::{Door, Exposed};
use super::api_server::ApiServer;
use super::cluster::Cluster;
use super::data_plane::DataPlane;
use crate::base::clock::{Clock as _, SystemClock};
use crate::base::net::Dialer as _;

/// Connections at once; more wait until one ends.
const MAX_CONNECTIONS: usize = 1_024;
/// Changes come in bursts; the world is looked at when one is over.
const SETTLE: Duration = Duration::from_millis(20);
/// How long to wait when no file descriptor is left for a connection.
const EXHAUSTED: Duration = Duration::from_millis(50);
/// What is added to a port that only the superuser may listen on.
const UNPRIVILEGED: u16 = 8_000;

/// An address and a port of the cluster that began, or ceased, to be reachable from this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// `http`, `https`, or `tcp` for what is neither.
    pub scheme: &'static str,
    /// What the cluster calls it.
    pub address: SocketAddr,
    /// Where it is served; the same, unless this process cannot listen there.
    pub at: SocketAddr,
    /// `networking/shared-gateway-istio`
    pub service: String,
    pub begins: bool,
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, address, at, service, begins } = self;
        match (begins, at == address) {
            (true, true) => write!(f, "{scheme}://{at} serves {service}"),
            (true, false) => write!(f, "{scheme}://{address} is served at {at}"),
            (false, true) => write!(f, "{scheme}://{at} is gone"),
            (false, false) => write!(f, "{scheme}://{address} at {at} is gone"),
        }
    }
}

impl Cluster {
    /// Serves the cluster's load balancers and node ports on this machine, and tells `tell` of each that comes and goes. It
    /// ends only when dropped, and closes its sockets then.
    pub async fn serve_traffic(&self, tell: impl Fn(&Traffic)) {
        serve(&self.api_server(), &self.data_plane(), tell).await;
    }
}

/// An open door: what is told when it closes, and the task behind it.
struct Open {
    traffic: Traffic,
    /// Its only task; it ends with the set.
    task: JoinSet<()>,
}

async fn serve(server: &Arc<ApiServer>, plane: &Arc<DataPlane>, tell: impl Fn(&Traffic)) {
    let exposed = Arc::new(Exposed::default());
    let listener = Arc::downgrade(&exposed);
    server.store.on_change(Box::new(move |event| {
        if let Some(exposed) = listener.upgrade() {
            exposed.note(event);
        }
    }));
    exposed.begin(plane);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut open: BTreeMap<Door, Open> = BTreeMap::new();
    loop {
        let wanted = exposed.open(plane);
        let gone: Vec<Door> = open.keys().filter(|door| !wanted.contains(*door)).cloned().collect();
        for door in gone {
            if let Some(mut closing) = open.remove(&door) {
                // Whoever is told that it is gone finds nobody there.
                closing.task.shutdown().await;
                tell(&Traffic { begins: false, ..closing.traffic });
            }
        }
        for door in wanted {
            if open.contains_key(&door) {
                continue;
            }
            // Without any place to listen there is nothing to tell but that.
            let Ok((listener, at)) = bind(door.address).await else { continue };
            let traffic = Traffic {
                scheme: door.scheme,
                address: door.address,
                at,
                service: door.service.clone(),
                begins: true,
            };
            tell(&traffic);
            let (plane, places) = (Arc::clone(plane), Arc::clone(&places));
            let mut task = JoinSet::new();
            task.spawn(accept(listener, plane, door.address, places));
            open.insert(door, Open { traffic, task });
        }
        exposed.changed().await;
        SystemClock::new().sleep(SETTLE).await;
    }
}

/// Where to listen for an address, the best place first: there; at an address of loopback that looks like it; at a port
/// that needs no privilege; anywhere.
fn places(address: SocketAddr) -> Vec<SocketAddr> {
    let port = address.port();
    let mut ports = vec![port];
    if port < 1_024 {
        ports.push(port + UNPRIVILEGED);
    }
    ports.push(0);
    let alike = match address.ip() {
        ip @ IpAddr::V4(own) if !own.is_loopback() => {
            let [_, b, c, d] = own.octets();
            vec![ip, IpAddr::V4(Ipv4Addr::new(127, b, c, d))]
        }
        ip => vec![ip],
    };
    let mut found = vec![address];
    for ip in alike.into_iter().filter(IpAddr::is_loopback).chain([Ipv4Addr::LOCALHOST.into()]) {
        found.extend(ports.iter().map(|port| SocketAddr::new(ip, *port)));
    }
    found
}

async fn bind(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for place in places(address) {
        match TcpListener::bind(place).await {
            Ok(listener) => {
                let at = listener.local_addr()?;
                return Ok((listener, at));
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Takes connections until it is aborted; those that are open end with it.
async fn accept(
    listener: TcpListener,
    plane: Arc<DataPlane>,
    address: SocketAddr,
    places: Arc<Semaphore>,
) {
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(carry(stream, Arc::clone(&plane), address, place));
            }
            Err(_) => SystemClock::new().sleep(EXHAUSTED).await,
        }
        while connections.try_join_next().is_some() {}
    }
}

/// Carries one connection between its client and the data plane; a reset on the one side is a reset on the other.
async fn carry(
    mut stream: TcpStream,
    plane: Arc<DataPlane>,
    address: SocketAddr,
    _place: OwnedSemaphorePermit,
) {
    // Small answers go at once; a socket that refuses that is only slower.
    let _ = stream.set_nodelay(true);
    let dialed = plane.dialer().dial(&address.ip().to_string(), address.port()).await;
    let carried = match dialed {
        Ok(mut connection) => copy_bidirectional(&mut stream, &mut connection.stream).await,
        Err(error) => Err(error),
    };
    if carried.is_err() {
        // Without lingering the socket is reset when it closes; a peer that is gone needs none.
        let _ = stream.set_zero_linger();
    }
}
