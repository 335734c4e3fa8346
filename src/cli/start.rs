//! From flags and environment to settings, reporter and host.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::sync::Arc;

use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use super::args::{Form, Global, Grants, Params, Target};
use crate::base::diagnostic::{Diagnostic, ErrorKind};
use crate::base::secret::Redactor;
use crate::config::{Color, Environment, Settings, TargetOptions, Workspace, WorkspaceError};
use crate::engine::cancel::{Cancel, Cause};
use crate::engine::host::Host;
use crate::engine::session::Session;
use crate::report::event::Format;
use crate::report::{Output, ReportOptions, Reporter};

/// What every command starts from.
pub(super) struct Start {
    pub(super) environment: Environment,
    pub(super) global: Global,
}

/// Requests and branches at once unless `--parallel` says otherwise.
pub(super) const PARALLEL: usize = 16;

impl Start {
    /// The workspace.
    pub(super) fn workspace(&self) -> Result<Workspace, Diagnostic> {
        Workspace::find(self.global.workspace.as_deref(), &self.environment.folder).map_err(
            |error| {
                let diagnostic = Diagnostic::new(ErrorKind::Usage, error.to_string());
                match &error {
                    WorkspaceError::NotAFolder(_) => diagnostic,
                    WorkspaceError::Unreadable(_, source) => diagnostic.cause(source.to_string()),
                    WorkspaceError::Invalid(_, source) => {
                        diagnostic.cause(source.to_string().trim_end())
                    }
                }
            },
        )
    }

    /// Settings without target and parameters.
    pub(super) fn settings(&self, grants: &Grants) -> Result<Settings, Diagnostic> {
        let workspace = self.workspace()?;
        let below = |paths: &[std::path::PathBuf]| {
            paths.iter().map(|path| workspace.folder.join(path)).collect::<Vec<_>>()
        };
        let mut allow_read = grants.allow_read.clone();
        allow_read.extend(below(&workspace.file.allow.read));
        let mut allow_write = grants.allow_write.clone();
        allow_write.extend(below(&workspace.file.allow.write));
        let mut allow_env = grants.allow_env.clone();
        allow_env.extend(workspace.file.allow.env.iter().cloned());
        let interactive = !self.environment.is_ci()
            && std::io::stdin().is_terminal()
            && std::io::stderr().is_terminal();
        Ok(Settings {
            environment: self.environment.clone(),
            target: TargetOptions { context: workspace.file.context, ..TargetOptions::default() },
            workspace: workspace.folder,
            allow_read,
            allow_write,
            allow_env,
            values: workspace.file.params,
            parallel: PARALLEL,
            interactive,
            ..Settings::default()
        })
    }

    /// Lays the target's flags over the settings.
    pub(super) fn with_target(&self, settings: &mut Settings, target: &Target) {
        settings.target = TargetOptions {
            sandbox: target.sandbox,
            context: target
                .context
                .clone()
                .or_else(|| settings.target.context.take())
                .filter(|_| !target.sandbox),
            kubeconfig: target.kubeconfig.clone(),
            namespace: target.namespace.clone(),
            as_user: target.as_user.clone(),
            as_groups: target.as_groups.clone(),
            request_timeout: target.request_timeout,
        };
    }

    /// Lays parameters over the settings.
    pub(super) fn with_params(
        &self,
        settings: &mut Settings,
        params: &Params,
    ) -> Result<(), Diagnostic> {
        for path in &params.values {
            let shown = path.display();
            let wrong = |text: String| Diagnostic::new(ErrorKind::Usage, text);
            let text =
                std::fs::read_to_string(self.environment.folder.join(path)).map_err(|error| {
                    wrong(format!("cannot read `{shown}`")).cause(error.to_string())
                })?;
            let value = crate::base::yaml::parse(&text).map_err(|error| {
                wrong(format!("`{shown}` is not YAML")).cause(error.to_string())
            })?;
            match value {
                Value::Object(map) => {
                    settings.values.extend(map.into_iter().collect::<BTreeMap<_, _>>());
                }
                Value::Null => {}
                _ => return Err(wrong(format!("`{shown}` is not a map of parameters"))),
            }
        }
        settings.set.clone_from(&params.set);
        Ok(())
    }

    /// How this process shows things.
    pub(super) fn options(&self, form: Form) -> ReportOptions {
        let color: Color = self.global.color.into();
        let (out, err) = (std::io::stdout().is_terminal(), std::io::stderr().is_terminal());
        ReportOptions {
            format: match form {
                Form::Text => Format::Text,
                Form::Json => Format::Json,
            },
            color_out: color.decide(&self.environment, out),
            color_err: color.decide(&self.environment, err),
            live: err && !self.environment.is_ci() && self.environment.var("TERM") != Some("dumb"),
            unicode: self.environment.is_utf8(),
            verbose: self.global.verbose,
            quiet: self.global.quiet,
            ..ReportOptions::default()
        }
    }

    /// A reporter of this process.
    pub(super) fn reporter(&self, options: ReportOptions) -> (Arc<Reporter>, Arc<Redactor>) {
        let redactor = Arc::new(Redactor::default());
        (Reporter::new(options, Arc::clone(&redactor), Output::Process), redactor)
    }

    /// A session of this process.
    pub(super) fn session(&self, settings: Settings, options: ReportOptions) -> Session {
        let (reporter, redactor) = self.reporter(options);
        Session::new(Host::new(settings, reporter, redactor))
    }

    /// Prints lines to standard output.
    pub(super) fn print(&self, text: &str) {
        let (reporter, _) = self.reporter(self.options(Form::Text));
        reporter.data(text);
    }

    /// Draws an error that ended the command and gives its exit code.
    pub(super) fn fail(&self, diagnostic: &Diagnostic) -> u8 {
        let (reporter, _) = self.reporter(self.options(Form::Text));
        reporter.error(diagnostic, &|_| None);
        diagnostic.kind.exit_code()
    }
}

/// Lets Ctrl-C and SIGTERM end a run: the first asks it to end, the second ends the process.
pub(super) fn listen(host: &Arc<Host>) -> Result<(), Diagnostic> {
    let cancel = Arc::clone(&host.cancel);
    let reporter = Arc::clone(&host.reporter);
    host.spawn(async move {
        // One listener of each for all: a key that is pressed while the one before is dealt with is not lost.
        let Ok(mut interrupts) = signal(SignalKind::interrupt()) else { return };
        let mut terminated = signal(SignalKind::terminate()).ok();
        loop {
            let terminate = async {
                match &mut terminated {
                    Some(signal) => signal.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = interrupts.recv() => {}
                _ = terminate => {}
            }
            interrupt(&cancel, &reporter);
        }
    })
}

fn interrupt(cancel: &Cancel, reporter: &Reporter) {
    if cancel.cause().is_some() {
        leave();
    }
    cancel.cancel(Cause::Interrupted);
    reporter.line_err("interrupted: ending what is under way; press Ctrl-C again to end at once");
}

#[expect(clippy::exit, reason = "the second Ctrl-C does not wait for anything")]
fn leave() {
    std::process::exit(i32::from(ErrorKind::Interrupted.exit_code()));
}
