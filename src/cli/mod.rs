//! The command line: one file per command; `args` holds the flags that several commands share.

mod args;
mod check;
mod completion;
mod doc;
mod eval;
mod init;
mod repl;
mod run;
mod sandbox;
mod start;
mod test;
mod version;

use clap::{Parser, Subcommand};

use crate::base::diagnostic::{Diagnostic, ErrorKind};
use crate::config::Environment;

/// Scripts that install, verify and grow an Istio ambient mesh; without a cluster they are rehearsed on a built-in one.
#[derive(Parser)]
#[command(
    name = "meshscript",
    version,
    disable_help_subcommand = true,
    max_term_width = 120,
    after_help = "Without --sandbox, --context or --kubeconfig the target is what kubectl would take; where there is \
                  none, the run is a rehearsal.\n\nExit codes: 0 done; 1 failed; 2 wrong usage or script error before \
                  running; 3 verification failed; 4 cluster unreachable or refused; 5 locked; 6 conflict; 124 timeout; \
                  130 interrupted."
)]
struct Cli {
    #[command(flatten)]
    global: args::Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run scripts
    Run(run::Args),
    /// Prove the mesh: run scripts/verify.rhai
    Verify(run::VerifyArgs),
    /// Work interactively
    Repl(repl::Args),
    /// Evaluate one expression and print its value
    Eval(eval::Args),
    /// Find mistakes in scripts without running them
    Check(check::Args),
    /// Run the *_test.rhai files of a folder, each in a fresh sandbox
    Test(test::Args),
    /// Serve a cluster inside this process to kubectl, helm and other clients
    Sandbox(sandbox::Args),
    /// Explain functions, namespaces, modules and scripts
    Doc(doc::Args),
    /// Write definition files for editors
    Definitions(doc::DefinitionsArgs),
    /// Write the scripts and the standard library into a folder, to be edited
    Init(init::Args),
    /// Write a script from a template
    New(init::NewArgs),
    /// Print a completion script for a shell
    Completion(completion::Args),
    /// Print the version
    Version(version::Args),
}

/// Parses the arguments of this process, runs the command, returns the exit code.
pub fn main() -> u8 {
    let environment = Environment::read();
    match Cli::try_parse_from(&environment.arguments) {
        Ok(cli) => dispatch(cli, environment),
        Err(error) => {
            // Help and version are asked for and go to standard output; clap knows which is which.
            let _ = error.print();
            if error.use_stderr() { ErrorKind::Usage.exit_code() } else { 0 }
        }
    }
}

fn dispatch(cli: Cli, environment: Environment) -> u8 {
    let start = start::Start { environment, global: cli.global };
    let done = match cli.command {
        Command::Run(args) => run::run(&start, args),
        Command::Verify(args) => run::verify(&start, args),
        Command::Repl(args) => repl::run(&start, args),
        Command::Eval(args) => eval::run(&start, args),
        Command::Check(args) => check::run(&start, args),
        Command::Test(args) => test::run(&start, args),
        Command::Sandbox(args) => sandbox::run(&start, &args),
        Command::Doc(args) => doc::run(&start, args),
        Command::Definitions(args) => doc::definitions(&start, args),
        Command::Init(args) => init::run(&start, args),
        Command::New(args) => init::new(&start, args),
        Command::Completion(args) => completion::run(&start, &args),
        Command::Version(args) => version::run(&start, &args),
    };
    done.unwrap_or_else(|diagnostic: Diagnostic| start.fail(&diagnostic))
}

/// The command line as clap knows it, for completion and the docs.
fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}
