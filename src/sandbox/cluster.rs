//! One rehearsal cluster: the API server with its controllers, and how clients get at it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::Timestamp;
use tower::Service;

use super::api::{Api, Control, Controller, Status};
use super::api_server::ApiServer;
use super::api_server::access::Peer;
use super::api_server::runner::Runner;
use super::control::Controls;
use super::controllers::node_lifecycle::NodeLifecycle;
use super::controllers::{self, ClusterFacts, bootstrap};
use super::data_plane::DataPlane;
use super::loopback;
use super::node::{KUBELET, Kubelet, World};
use super::wire::{self, Wire};
use super::{certificates, mesh};
use crate::base::net::SharedDialer;
use crate::base::virtual_clock::VirtualClock;

/// Bytes that one side of an in-memory connection may be ahead of the other.
const PIPE_BYTES: usize = 256 * 1024;

/// How a cluster begins.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Names, uids and addresses follow from it.
    pub seed: u64,
    /// The cluster's time at the start.
    pub epoch: Timestamp,
    pub n_nodes: u8,
    pub pace: Pace,
    pub load_balancers: LoadBalancers,
}

/// Who gives load balancers their addresses, besides MetalLB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoadBalancers {
    /// Nobody, as on a cluster without a cloud.
    #[default]
    None,
    /// A controller that gives addresses of 127.0.0.0/8, where [`Cluster::serve_traffic`] can serve them.
    Loopback,
}

/// How time passes in a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// It jumps to what is due next as soon as nobody has work to do.
    #[default]
    Jumps,
    /// As on the wall; what the simulated world does takes this many times less.
    Real { speed: u32 },
}

impl Default for Options {
    fn default() -> Self {
        // A Thursday; any fixed moment makes rehearsals repeatable.
        let epoch = Timestamp::from_second(1_767_225_600).unwrap_or(Timestamp::UNIX_EPOCH);
        Self { seed: 1, epoch, n_nodes: 1, pace: Pace::Jumps, load_balancers: LoadBalancers::None }
    }
}

/// A cluster that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the sandbox cannot start the thread of its controllers")]
    Thread(#[source] io::Error),
    #[error("the sandbox cannot make the certificate authority of its API server")]
    Authority(#[source] certificates::CertificateError),
    #[error("the sandbox's API server refuses an object of a fresh cluster: {}", .0.message)]
    Bootstrap(Status),
}

/// What lives beside the API server: nodes, the mesh's authority, the API server's.
type Parts = (Arc<World>, Arc<certificates::Authority>, Arc<certificates::Authority>);

/// A running cluster; it ends when dropped.
pub struct Cluster {
    server: Arc<ApiServer>,
    world: Arc<World>,
    authority: Arc<certificates::Authority>,
    identity: Arc<certificates::Authority>,
    dialer: SharedDialer,
    data_plane: Arc<DataPlane>,
    control: Arc<dyn Control>,
    runtime: tokio::runtime::Handle,
    _runner: Runner,
}

impl Cluster {
    /// Starts a cluster on the current tokio runtime.
    pub fn start(options: &Options) -> Result<Self, StartError> {
        let world = Arc::new(World::default());
        let authority = Arc::new(certificates::Authority::since(options.epoch));
        let identity = Arc::new(certificates::Authority::named("kubernetes"));
        let root = identity.root().map_err(StartError::Authority)?;
        let facts = ClusterFacts { root_ca: root.certificate, identity: Arc::clone(&identity) };
        let mut all: Vec<Box<dyn Controller>> = controllers::all(&facts);
        all.push(Box::new(NodeLifecycle::new(world.clone())));
        all.push(Box::new(Kubelet::new(world.clone())));
        all.extend(mesh::all(&authority));
        if options.load_balancers == LoadBalancers::Loopback {
            all.push(Box::new(loopback::Balancer));
        }
        Self::start_with(options, all, (world, authority, identity), &facts)
    }

    /// Starts a cluster without controllers: an API server that only stores.
    pub fn without_controllers(options: &Options) -> Result<Self, StartError> {
        let identity = Arc::new(certificates::Authority::named("kubernetes"));
        let facts = ClusterFacts::default();
        let parts = (Arc::default(), Arc::default(), identity);
        Self::start_with(options, Vec::new(), parts, &facts)
    }

    fn start_with(
        options: &Options,
        controllers: Vec<Box<dyn Controller>>,
        (world, authority, identity): Parts,
        facts: &ClusterFacts,
    ) -> Result<Self, StartError> {
        let runtime = tokio::runtime::Handle::current();
        let clock = match options.pace {
            Pace::Jumps => {
                let clock = VirtualClock::starting_at(options.epoch);
                runtime.spawn(VirtualClock::run(Arc::downgrade(&clock)));
                clock
            }
            Pace::Real { speed } => VirtualClock::on_the_wall(options.epoch, speed),
        };
        let server = ApiServer::new(clock, options.seed);
        let runner =
            Runner::start(&server, controllers, runtime.clone()).map_err(StartError::Thread)?;
        bootstrap::cluster(&*server, options.n_nodes, facts).map_err(StartError::Bootstrap)?;
        let control: Arc<dyn Control> = Arc::new(Controls {
            server: Arc::downgrade(&server),
            world: world.clone(),
            waker: runner.waker(&server),
            authorities: [("mesh", authority.clone()), ("apiServer", identity.clone())],
        });
        server.set_control(control.clone());
        let waker = runner.waker(&server);
        world.on_input(Box::new(move |namespace, pod| waker.wake(KUBELET, namespace, pod)));
        let data_plane = DataPlane::new(server.clone(), world.clone(), authority.clone());
        server.set_nodes(Some(data_plane.nodes()));
        let dialer = data_plane.dialer();
        Ok(Self {
            server,
            world,
            authority,
            identity,
            dialer,
            data_plane,
            control,
            runtime,
            _runner: runner,
        })
    }

    /// A client that speaks HTTP to the API server over streams in memory.
    pub fn client(&self) -> kube::Client {
        let pipes = Pipes { server: self.server.clone(), runtime: self.runtime.clone() };
        let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .build::<_, kube::client::Body>(pipes);
        let service = tower::service_fn(move |mut request: http::Request<kube::client::Body>| {
            let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
            if let Ok(uri) = format!("http://sandbox{path}").parse() {
                *request.uri_mut() = uri;
            }
            http.request(request)
        });
        kube::Client::new(service, "default")
    }

    /// The API server itself.
    pub(super) fn api_server(&self) -> Arc<ApiServer> {
        self.server.clone()
    }

    /// The cluster's clock.
    pub fn clock(&self) -> Arc<VirtualClock> {
        self.server.clock.clone()
    }

    /// The API server without HTTP.
    pub fn api(&self) -> Arc<dyn Api> {
        self.server.clone()
    }

    /// Faults and logs of the simulated nodes.
    pub fn world(&self) -> Arc<World> {
        self.world.clone()
    }

    /// The mesh's certificate authority.
    pub fn authority(&self) -> Arc<certificates::Authority> {
        self.authority.clone()
    }

    /// The API server's certificate authority.
    pub fn identity(&self) -> Arc<certificates::Authority> {
        self.identity.clone()
    }

    /// Faults, time and state of the cluster.
    pub fn control(&self) -> Arc<dyn Control> {
        self.control.clone()
    }

    /// Opens connections to addresses and names of the cluster.
    pub fn dialer(&self) -> SharedDialer {
        self.dialer.clone()
    }

    /// The traffic of the cluster, for connections from inside.
    pub fn data_plane(&self) -> Arc<DataPlane> {
        self.data_plane.clone()
    }

    /// What clients and controllers met that the sandbox does not model.
    pub fn not_modelled(&self) -> Vec<String> {
        self.server.not_modelled()
    }

    /// Requests that clients sent: reads and writes.
    pub fn requests(&self) -> (u64, u64) {
        self.server.counters.total()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The data plane holds the API server, and the API server the data plane.
        self.server.set_nodes(None);
    }
}

/// Opens an in-memory connection to the API server.
#[derive(Clone)]
struct Pipes {
    server: Arc<ApiServer>,
    runtime: tokio::runtime::Handle,
}

impl Service<Uri> for Pipes {
    type Response = Pipe;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Pipe>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (ours, theirs) = wire::pair(&self.server.clock, PIPE_BYTES);
        self.runtime.spawn(super::api_server::http::serve(
            self.server.clone(),
            Peer::admin(),
            theirs,
        ));
        Box::pin(async move { Ok(Pipe(TokioIo::new(ours))) })
    }
}

/// The client's end of an in-memory connection.
struct Pipe(TokioIo<Wire>);

impl Connection for Pipe {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl Write for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
