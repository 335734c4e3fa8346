//! What all functions of a run share: the target, the clock, the files granted, the reporter; the only `block_on`.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;

use super::cancel::{Cancel, Cause};
use super::error;
use super::files::Files;
use super::run::Run;
use super::scripts::{Script, Scripts};
use super::target::{self, Target};
use crate::base::clock::{Clock as _, SharedClock, SystemClock, Working};
use crate::base::diagnostic::{Diagnostic, ErrorKind};
use crate::base::net::{SharedDialer, TcpDialer};
use crate::base::progress::Progress;
use crate::base::secret::Redactor;
use crate::config::Settings;
use crate::k8s::cluster::Cluster;
use crate::report::Reporter;
use crate::sandbox;

/// The host of one run.
pub struct Host {
    pub settings: Settings,
    pub redactor: Arc<Redactor>,
    /// Where domains tell what they do; the same object as `reporter`.
    pub progress: Arc<dyn Progress>,
    pub reporter: Arc<Reporter>,
    /// Which files scripts may touch.
    pub files: Files,
    pub cancel: Arc<Cancel>,
    /// Parameters, steps and checks of the run so far.
    pub run: Run,
    pub(super) scripts: Arc<Scripts>,
    runtime: OnceLock<tokio::runtime::Runtime>,
    target: OnceLock<Target>,
    opening: Mutex<()>,
    /// Whether a script began to run: what fails before that changed nothing.
    begun: AtomicBool,
    /// When the run must have ended, on the target's clock.
    deadline: OnceLock<Duration>,
}

impl Host {
    /// A host that is not connected yet.
    pub fn new(settings: Settings, reporter: Arc<Reporter>, redactor: Arc<Redactor>) -> Arc<Self> {
        let mut read = settings.allow_read.clone();
        // What the user names as the value of a parameter, such as a folder of charts, may be read.
        for (_, value) in &settings.set {
            let path = settings.environment.folder.join(value);
            if !value.is_empty() && path.exists() {
                read.push(path);
            }
        }
        let files = Files::new(
            &settings.workspace,
            &settings.environment.folder,
            &read,
            &settings.allow_write,
        );
        let scripts = Arc::new(Scripts::new(files.root().to_owned()));
        let run = Run::new(&settings);
        Arc::new(Self {
            settings,
            redactor,
            progress: Arc::clone(&reporter) as Arc<dyn Progress>,
            reporter,
            files,
            cancel: Arc::default(),
            run,
            scripts,
            runtime: OnceLock::new(),
            target: OnceLock::new(),
            opening: Mutex::new(()),
            begun: AtomicBool::new(false),
            deadline: OnceLock::new(),
        })
    }

    /// The target, opened at the first call.
    ///
    /// # Errors
    /// `Usage` for a context or kubeconfig that is named but missing, `Unreachable` or `Forbidden` from the server.
    pub fn target(&self) -> Result<&Target, Diagnostic> {
        if let Some(target) = self.target.get() {
            return Ok(target);
        }
        let _guard = self.opening.lock();
        if let Some(target) = self.target.get() {
            return Ok(target);
        }
        let opened = self.block_on(target::open(
            &self.settings,
            Arc::clone(&self.progress),
            Arc::clone(&self.redactor),
        ))?;
        if let Some(limit) = self.settings.timeout {
            let _ = self.deadline.set(opened.clock.monotonic() + limit);
        }
        Ok(self.target.get_or_init(|| opened))
    }

    /// A script begins to run.
    pub(super) fn begin(&self) {
        self.begun.store(true, Ordering::Relaxed);
    }

    /// The exit code of an error: what is wrong with a script ends with 2 as long as nothing ran, with 1 afterwards.
    pub fn exit_code(&self, error: &Diagnostic) -> u8 {
        let begun = self.begun.load(Ordering::Relaxed);
        match error.kind {
            ErrorKind::Script if begun => ErrorKind::Failed.exit_code(),
            ErrorKind::Argument | ErrorKind::NotFound | ErrorKind::Invalid if !begun => {
                ErrorKind::Script.exit_code()
            }
            kind => kind.exit_code(),
        }
    }

    /// A script named on the command line.
    ///
    /// # Errors
    /// `NotFound` with the near name.
    pub fn find_script(&self, name: &str) -> Result<Script, Diagnostic> {
        self.scripts.find(name, &self.settings.environment.folder)
    }

    /// A module as an import at the top level finds it.
    ///
    /// # Errors
    /// `Script` with the near name.
    pub fn module(&self, path: &str) -> Result<Script, Diagnostic> {
        self.scripts.module(path, None)
    }

    /// The target if it was opened already.
    pub fn opened(&self) -> Option<&Target> {
        self.target.get()
    }

    /// The cluster, connected at the first call.
    ///
    /// # Errors
    /// As [`target`](Self::target).
    pub fn cluster(&self) -> Result<&Cluster, Diagnostic> {
        Ok(&self.target()?.cluster)
    }

    /// The target's clock.
    ///
    /// # Errors
    /// As [`target`](Self::target).
    pub fn clock(&self) -> Result<SharedClock, Diagnostic> {
        if target::is_sandbox(&self.settings) {
            return Ok(Arc::clone(&self.target()?.clock));
        }
        Ok(self.opened().map_or_else(
            || Arc::new(SystemClock::new()) as SharedClock,
            |target| Arc::clone(&target.clock),
        ))
    }

    /// The time of day in the target's world, without opening it: a rehearsal that has not begun is at its first moment.
    pub fn now(&self) -> Timestamp {
        match self.opened() {
            Some(target) => target.clock.now(),
            None if target::is_sandbox(&self.settings) => sandbox::Options::default().epoch,
            None => SystemClock::new().now(),
        }
    }

    /// How connections to the target's world are opened.
    ///
    /// # Errors
    /// As [`target`](Self::target).
    pub fn dialer(&self) -> Result<SharedDialer, Diagnostic> {
        if target::is_sandbox(&self.settings) {
            return Ok(Arc::clone(&self.target()?.dialer));
        }
        Ok(Arc::new(TcpDialer))
    }

    /// Runs async work to its end or until the run is cancelled.
    ///
    /// # Errors
    /// The error of the work, `Interrupted` or `Timeout`.
    #[expect(clippy::disallowed_methods, reason = "the only door from scripts to async code")]
    pub fn block_on<T, E: Into<Diagnostic>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Diagnostic> {
        let runtime = self.runtime()?;
        let deadline = self.deadline.get().copied().zip(self.opened());
        let clock = self.opened().map(|target| Arc::clone(&target.clock));
        let work = async {
            let out_of_time = async {
                match deadline {
                    Some((deadline, target)) => {
                        let left = deadline.saturating_sub(target.clock.monotonic());
                        target.clock.sleep(left).await;
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                cause = self.cancel.cancelled() => Err(error::terminated(cause.token())),
                done = work => done.map_err(Into::into),
                () = out_of_time => {
                    self.cancel.cancel(Cause::TimedOut);
                    Err(error::terminated(Cause::TimedOut.token()))
                }
            }
        };
        let mut work = pin!(work);
        let computing = || clock.as_ref().and_then(|clock| clock.working());
        rest();
        let done = runtime.block_on(poll_fn(|context| {
            let _working = computing();
            work.as_mut().poll(context)
        }));
        WORKING.set(computing());
        done
    }

    /// Starts work that goes on beside the script.
    ///
    /// # Errors
    /// `Bug` if the machine gives no threads.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> Result<(), Diagnostic> {
        self.runtime()?.spawn(work);
        Ok(())
    }

    /// Why the run is to end now, `None` while it goes on; script loops ask this.
    pub fn ended(&self) -> Option<Cause> {
        if let Some(cause) = self.cancel.cause() {
            return Some(cause);
        }
        let (deadline, target) = self.deadline.get().zip(self.opened())?;
        if target.clock.monotonic() < *deadline {
            return None;
        }
        self.cancel.cancel(Cause::TimedOut);
        Some(Cause::TimedOut)
    }

    fn runtime(&self) -> Result<&tokio::runtime::Runtime, Diagnostic> {
        if let Some(runtime) = self.runtime.get() {
            return Ok(runtime);
        }
        // The provider may be there already when several hosts live in one process, as in tests.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("meshscript")
            .enable_all()
            .build()
            .map_err(|error| {
                Diagnostic::new(ErrorKind::Bug, "cannot start the runtime").cause(error.to_string())
            })?;
        Ok(self.runtime.get_or_init(|| runtime))
    }
}

thread_local! {
    /// Between two native calls a script computes: on the clock of a rehearsal no time passes.
    static WORKING: RefCell<Option<Working>> = const { RefCell::new(None) };
}

/// The thread of a script only waits from here to its next native call: time may pass.
pub(super) fn rest() {
    drop(WORKING.take());
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Watches and controllers of a sandbox may still run; nobody waits for them.
            runtime.shutdown_background();
        }
    }
}
