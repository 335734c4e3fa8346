//! `sandbox`: a cluster for kubectl, helm and every other client.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::args::{Form, Grants};
use super::start::{Start, listen};
use crate::base::diagnostic::Diagnostic;
use crate::engine::serve::{ServeOptions, coverage, serve};
use crate::report::ReportOptions;

/// Flags of `sandbox`.
#[derive(ClapArgs)]
#[command(
    after_help = "The cluster lives in this process and is gone when it ends. Time passes as on the wall, but images are \
                        pulled and pods start faster, by --speed. Nobody gets in without the kubeconfig's certificate or a \
                        token of the cluster. Load balancers get addresses of 127.0.0.0/8, or of MetalLB's pool, and are \
                        served there; for what this process cannot listen on, the place to use instead is printed.\n\nExample:\n  meshscript sandbox --kubeconfig sandbox.yaml &\n  kubectl \
                        --kubeconfig sandbox.yaml get nodes"
)]
pub(super) struct Args {
    /// The port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// The address to listen on, one of loopback
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    address: IpAddr,
    /// Where to write the kubeconfig; it is removed at the end
    #[arg(long, value_name = "FILE", default_value = "sandbox.kubeconfig")]
    kubeconfig: PathBuf,
    /// How many times faster pods start than on a usual node
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    speed: u32,
    /// Names and addresses follow from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A file that holds the cluster's state: read at the start if it is there, written at the end
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Begin with what the cluster of a context of your kubeconfig holds: read only, Secrets as hashes
    #[arg(long, value_name = "CONTEXT", conflicts_with = "state")]
    from_context: Option<String>,
    /// The kubeconfig that `--from-context` looks into [default: KUBECONFIG, ~/.kube/config]
    #[arg(long, value_name = "FILE", requires = "from_context")]
    from_kubeconfig: Option<PathBuf>,
    /// Print what the sandbox models of a cluster and what it does not, and end
    #[arg(long)]
    coverage: bool,
    /// How many nodes it has
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=50))]
    nodes: u8,
}

/// `meshscript sandbox`
pub(super) fn run(start: &Start, args: &Args) -> Result<u8, Diagnostic> {
    if args.coverage {
        start.print(&coverage());
        return Ok(0);
    }
    let mut settings = start.settings(&Grants::default())?;
    settings.target.context.clone_from(&args.from_context);
    settings.target.kubeconfig.clone_from(&args.from_kubeconfig);
    // Standard output holds where it listens, for whoever reads that by a program.
    let options = ReportOptions { report_to_stderr: true, ..start.options(Form::Text) };
    let session = start.session(settings, options);
    listen(&session.host)?;
    let options = ServeOptions {
        address: SocketAddr::new(args.address, args.port),
        kubeconfig: start.environment.folder.join(&args.kubeconfig),
        speed: args.speed,
        seed: args.seed,
        n_nodes: args.nodes,
        state: args.state.as_ref().map(|path| start.environment.folder.join(path)),
        import: args.from_context.is_some(),
    };
    let ready = |address, took: std::time::Duration| {
        start.print(&format!(
            "sandbox ready at https://{address} after {} ms\nexport KUBECONFIG={}",
            took.as_millis(),
            options.kubeconfig.display()
        ));
    };
    serve(&session.host, &options, ready, |traffic| start.print(&traffic.to_string()))?;
    Ok(0)
}
