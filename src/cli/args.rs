//! Flags that several commands share.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::base::duration;
use crate::config::Color;

/// Flags of every command.
#[derive(Args, Clone, Debug)]
pub(super) struct Global {
    /// When to colour
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        help_heading = "Output"
    )]
    pub(super) color: When,
    /// Print only what is wrong
    #[arg(short, long, global = true, help_heading = "Output")]
    pub(super) quiet: bool,
    /// Name every object that is written or compared, and the evidence of every check
    #[arg(short, long, global = true, help_heading = "Output")]
    pub(super) verbose: bool,
    /// The folder of the scripts [default: that of the nearest meshscript.toml, else the current one]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Workspace")]
    pub(super) workspace: Option<PathBuf>,
}

/// When to colour.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum When {
    Auto,
    Always,
    Never,
}

impl From<When> for Color {
    fn from(when: When) -> Self {
        match when {
            When::Auto => Self::Auto,
            When::Always => Self::Always,
            When::Never => Self::Never,
        }
    }
}

/// Which cluster.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Target")]
pub(super) struct Target {
    /// Rehearse on the built-in sandbox
    #[arg(long, conflicts_with_all = ["context", "kubeconfig"])]
    pub(super) sandbox: bool,
    /// The context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME")]
    pub(super) context: Option<String>,
    /// The kubeconfig [default: KUBECONFIG, else ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    pub(super) kubeconfig: Option<PathBuf>,
    /// The namespace of objects that name none [default: the context's]
    #[arg(short, long, value_name = "NAME")]
    pub(super) namespace: Option<String>,
    /// The user to act as
    #[arg(long = "as", value_name = "USER")]
    pub(super) as_user: Option<String>,
    /// A group to act as; can be repeated
    #[arg(long = "as-group", value_name = "GROUP")]
    pub(super) as_groups: Vec<String>,
    /// The limit of one request [default: 30s]
    #[arg(long, value_name = "SPAN", value_parser = duration::parse)]
    pub(super) request_timeout: Option<Duration>,
}

/// What scripts may reach.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Workspace")]
pub(super) struct Grants {
    /// Let scripts read a file or folder outside of the workspace; can be repeated
    #[arg(long, value_name = "PATH")]
    pub(super) allow_read: Vec<PathBuf>,
    /// Let scripts write a file or folder outside of the workspace; can be repeated
    #[arg(long, value_name = "PATH")]
    pub(super) allow_write: Vec<PathBuf>,
    /// Let scripts read an environment variable; can be repeated
    #[arg(long, value_name = "NAME")]
    pub(super) allow_env: Vec<String>,
}

/// Parameters of scripts.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Parameters")]
pub(super) struct Params {
    /// Set a parameter; can be repeated, a later one wins
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment)]
    pub(super) set: Vec<(String, String)>,
    /// Read parameters from a YAML file; can be repeated, a later one wins
    #[arg(long, value_name = "FILE")]
    pub(super) values: Vec<PathBuf>,
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as NAME=VALUE".to_owned()),
    }
}

/// The form of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    #[default]
    Text,
    /// One JSON object per line
    Json,
}
