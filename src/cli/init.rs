//! `init` and `new`: scripts to be edited.

use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, Subcommand};
use include_dir::Dir;

use super::start::Start;
use crate::base::diagnostic::{Diagnostic, ErrorKind};
use crate::config::WORKSPACE_FILE;
use crate::engine::scripts::{SCRIPTS, STDLIB};
use crate::engine::{definitions, files};

/// The settings of a new workspace.
const SETTINGS: &str = "\
# The workspace of meshscript: scripts may read and write below this folder.

# Values for parameters of the scripts; `--values` and `--set` win over them.
[params]
# domain = \"example.com\"

# What scripts may reach besides this folder.
[allow]
read = []
write = []
env = []
";

/// Flags of `init`.
#[derive(ClapArgs)]
pub(super) struct Args {
    /// The folder; files that are there already stay as they are
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
}

/// `meshscript init`
pub(super) fn run(start: &Start, args: Args) -> Result<u8, Diagnostic> {
    let root = start.environment.folder.join(&args.folder);
    let mut wanted = vec![(PathBuf::from(WORKSPACE_FILE), SETTINGS.as_bytes().to_vec())];
    wanted.extend(embedded("scripts", &SCRIPTS));
    wanted.extend(embedded("stdlib", &STDLIB));
    for (name, text) in definitions::all() {
        wanted.push((Path::new(".rhai/definitions").join(name), text.into_bytes()));
    }
    let (mut written, mut kept) = (0, 0);
    for (path, bytes) in wanted {
        let real = root.join(&path);
        if real.exists() {
            kept += 1;
            continue;
        }
        files::write(&real, &bytes)
            .map_err(|error| files::io_error("write", &path.display().to_string(), &error))?;
        written += 1;
    }
    let shown = args.folder.display();
    start.print(&format!("{written} files written to {shown}, {kept} were there already and stay"));
    start.print("next: meshscript run scripts/all.rhai");
    Ok(0)
}

/// The files of an embedded folder.
fn embedded(name: &str, folder: &'static Dir<'static>) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut open = vec![folder];
    while let Some(next) = open.pop() {
        open.extend(next.dirs());
        for file in next.files().filter(|file| {
            file.path()
                .extension()
                .is_some_and(|extension| extension == "rhai" || extension == "md")
        }) {
            found.push((Path::new(name).join(file.path()), file.contents().to_vec()));
        }
    }
    found.sort();
    found
}

/// Flags of `new`.
#[derive(ClapArgs)]
pub(super) struct NewArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// A script that adds one tenant
    Tenant {
        /// The tenant's name, which is its namespace too
        name: String,
        /// The host name [default: NAME.example.com]
        #[arg(long)]
        host: Option<String>,
    },
}

/// `meshscript new`
pub(super) fn new(start: &Start, args: NewArgs) -> Result<u8, Diagnostic> {
    let What::Tenant { name, host } = args.what;
    let is_label = !name.is_empty()
        && name.len() <= 63
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    if !is_label {
        return Err(Diagnostic::new(
            ErrorKind::Usage,
            format!("`{name}` cannot be the name of a namespace"),
        )
        .hint("use lower-case letters, digits and `-`, at most 63"));
    }
    let host = host.unwrap_or_else(|| format!("{name}.example.com"));
    let root = start.workspace()?.folder;
    let path = PathBuf::from(format!("scripts/tenants/{name}.rhai"));
    let real = root.join(&path);
    if real.exists() {
        return Err(Diagnostic::new(
            ErrorKind::AlreadyExists,
            format!("`{}` exists already", path.display()),
        ));
    }
    files::write(&real, tenant(&name, &host).as_bytes())
        .map_err(|error| files::io_error("write", &path.display().to_string(), &error))?;
    start.print(&format!("{} written", path.display()));
    start.print(&format!("next: meshscript run {}", path.display()));
    Ok(0)
}

fn tenant(name: &str, host: &str) -> String {
    format!(
        "// The tenant {name}. `meshscript doc scripts/tenant.rhai` lists every parameter.\n\
         //\n\
         //   meshscript run scripts/tenants/{name}.rhai\n\
         \n\
         run_script(\"scripts/tenant.rhai\", #{{\n    name: \"{name}\",\n    host: \"{host}\",\n}});\n"
    )
}
