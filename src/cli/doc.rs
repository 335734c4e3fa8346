//! `doc` and `definitions`: the reference.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::args::{Form, Grants};
use super::start::Start;
use crate::base::diagnostic::Diagnostic;
use crate::engine::{definitions as files_for_editors, docs, files, outline};

/// Flags of `doc`.
#[derive(ClapArgs)]
pub(super) struct Args {
    /// A function, namespace, module or script [default: a list of everything]
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Write the whole reference as Markdown
    #[arg(long, conflicts_with = "name")]
    markdown: bool,
}

/// `meshscript doc`
pub(super) fn run(start: &Start, args: Args) -> Result<u8, Diagnostic> {
    let session = start.session(start.settings(&Grants::default())?, start.options(Form::Text));
    let text = match &args.name {
        None if args.markdown => docs::reference(&session.engine),
        None => docs::contents(&session.engine),
        Some(name) if name.ends_with(".rhai") => {
            let script = session.host.find_script(name)?;
            let ast = session.compile(&script)?;
            docs::script(&script.name, &script.text, &outline::of(&ast))
        }
        Some(name) => docs::page(&session.engine, name)?,
    };
    session.host.reporter.data(text.trim_end());
    Ok(0)
}

/// Flags of `definitions`.
#[derive(ClapArgs)]
pub(super) struct DefinitionsArgs {
    /// The folder to write them to
    #[arg(value_name = "DIR", default_value = ".rhai/definitions")]
    folder: PathBuf,
}

/// `meshscript definitions`
pub(super) fn definitions(start: &Start, args: DefinitionsArgs) -> Result<u8, Diagnostic> {
    let mut written = 0;
    for (name, text) in files_for_editors::all() {
        let path = args.folder.join(name);
        files::write(&start.environment.folder.join(&path), text.as_bytes())
            .map_err(|error| files::io_error("write", &path.display().to_string(), &error))?;
        written += 1;
    }
    start.print(&format!("{written} files written to {}", args.folder.display()));
    Ok(0)
}
