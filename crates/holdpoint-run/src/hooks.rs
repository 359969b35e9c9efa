//! `on:` what is told to others when a run pauses, fails or succeeds: a command that gets the event
//! as JSON on its standard input, or a webhook to which it is posted.
//!
//! A hook changes nothing about its run: what fails or hangs is given up and said, no more. Hooks
//! run one after the other, so that they tell of things in the order in which these happened.

use std::fmt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdpoint_core::{Event, EventKind, EventSink};
use holdpoint_manifest::{Action, Hook, HookAction, Hooks as Declared};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use crate::plan::Plan;

/// How long a hook may take where its manifest says nothing.
const LIMIT: Duration = Duration::from_secs(30);

/// How much of what a hook prints is repeated when it fails, in bytes.
const REPEATED: usize = 400;

/// The hooks of one run.
#[derive(Debug)]
pub struct Hooks {
    declared: Declared,
    /// Where commands start.
    root: PathBuf,
    events: UnboundedReceiver<Happened>,
}

/// Tells [`Hooks`] of events. A run's sink.
#[derive(Debug)]
pub struct HookSink {
    wanted: Declared,
    /// None when nothing more is to be told.
    events: Mutex<Option<UnboundedSender<Happened>>>,
    /// The number of the run, when it is known.
    run: Mutex<Option<u64>>,
}

/// When a hook is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Occasion {
    /// A question is open.
    Paused,
    /// The run is done.
    Success,
    /// The run has failed.
    Failure,
}

#[derive(Debug)]
struct Happened {
    occasion: Occasion,
    event: Event,
    run: Option<u64>,
}

/// A hook that did not do what it was called for.
#[derive(Debug, thiserror::Error)]
#[error("the hook `on.{occasion}` {reason}")]
pub struct HookFailed {
    /// When it was called.
    pub occasion: Occasion,
    reason: String,
}

impl Hooks {
    /// The hooks of a plan's manifest, and what tells them of events.
    #[must_use]
    pub fn of(plan: &Plan) -> (Self, Arc<HookSink>) {
        let (sender, events) = unbounded_channel();
        let declared = plan.manifest().hooks().clone();
        let root = plan.manifest().root().to_owned();
        let sink = HookSink {
            wanted: declared.clone(),
            events: Mutex::new(Some(sender)),
            run: Mutex::default(),
        };
        (Self { declared, root, events }, Arc::new(sink))
    }

    /// Calls hooks as events come, until the sink is closed and all are called. `tell` hears of those that failed.
    ///
    /// # Cancel safety
    /// Dropping the future kills the command that runs.
    pub async fn serve(mut self, mut tell: impl FnMut(HookFailed)) {
        while let Some(happened) = self.events.recv().await {
            let occasion = happened.occasion;
            if let Some(hook) = of(&self.declared, occasion)
                && let Err(reason) = self.call(hook, &happened).await
            {
                tell(HookFailed { occasion, reason });
            }
        }
    }

    async fn call(&self, hook: &Hook, happened: &Happened) -> Result<(), String> {
        let limit = hook.timeout.unwrap_or(LIMIT);
        let body = body(happened);
        let call = async {
            match &hook.what {
                HookAction::Command(action) => self.command(action, happened, &body).await,
                HookAction::Webhook { url, secret_env } => {
                    post(url, secret_env.as_deref(), body, limit).await
                }
            }
        };
        let called = timeout(limit, call).await;
        called.unwrap_or_else(|_| Err(format!("took longer than {limit:?} and was given up")))
    }

    async fn command(
        &self,
        action: &Action,
        happened: &Happened,
        body: &[u8],
    ) -> Result<(), String> {
        let mut command = match action {
            Action::Shell { script } => {
                let mut shell = Command::new("/bin/sh");
                shell.args(["-e", "-c", script]);
                shell
            }
            Action::Exec { program, args } => {
                let mut own = Command::new(program);
                own.args(args);
                own
            }
        };
        command
            .current_dir(&self.root)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .env("HOLDPOINT_WORKSPACE", &self.root);
        if let Some(run) = happened.run {
            command.env("HOLDPOINT_RUN", run.to_string());
        }
        let mut child = command.spawn().map_err(|error| format!("cannot be started: {error}"))?;
        let group = Group(child.id());
        if let Some(mut stdin) = child.stdin.take() {
            // Who does not want it need not read it.
            let _unread = stdin.write_all(body).await;
        }
        let output = child.wait_with_output().await.map_err(|error| error.to_string())?;
        drop(group);
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.trim();
        let cut = said.char_indices().nth(REPEATED).map_or(said.len(), |(at, _)| at);
        let end = output.status.code().map_or_else(
            || "was ended by a signal".to_owned(),
            |code| format!("ended with exit code {code}"),
        );
        Err(if said.is_empty() { end } else { format!("{end}: {}", &said[..cut]) })
    }
}

/// A hook's processes, which end with it.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let pid = self.0.and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
            // Gone already where it ended by itself.
            let _gone = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }
}

/// The event, with the number of its run where it has one.
fn body(happened: &Happened) -> Vec<u8> {
    let mut value = serde_json::to_value(&happened.event).unwrap_or_default();
    if let (Some(object), Some(run)) = (value.as_object_mut(), happened.run) {
        object.insert("run".to_owned(), run.into());
    }
    let mut body = serde_json::to_vec(&value).unwrap_or_default();
    body.push(b'\n');
    body
}

/// Posts the event. Where there is a secret, with its signature, as others sign webhooks too:
/// `X-Hub-Signature-256: sha256=` and the HMAC of the body in hex.
#[cfg(feature = "webhook")]
async fn post(
    url: &str,
    secret_env: Option<&str>,
    body: Vec<u8>,
    limit: Duration,
) -> Result<(), String> {
    use hmac::{Hmac, KeyInit as _, Mac as _};

    let signature = match secret_env {
        None => None,
        Some(name) => {
            let secret = std::env::var(name)
                .map_err(|_| format!("has no secret: the variable {name} is not set"))?;
            let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes())
                .map_err(|error| error.to_string())?;
            mac.update(&body);
            let bytes = mac.finalize().into_bytes();
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            Some(format!("sha256={hex}"))
        }
    };
    let url = url.to_owned();
    let post = move || {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(limit))
            .max_redirects(0)
            .http_status_as_error(true)
            .build()
            .new_agent();
        let mut request = agent.post(&url).content_type("application/json");
        if let Some(signature) = &signature {
            request = request.header("X-Hub-Signature-256", signature);
        }
        request.send(&body[..]).map(drop).map_err(|error| format!("was not taken: {error}"))
    };
    tokio::task::spawn_blocking(post).await.map_err(|error| error.to_string())?
}

#[cfg(not(feature = "webhook"))]
async fn post(_: &str, _: Option<&str>, _: Vec<u8>, _: Duration) -> Result<(), String> {
    Err("is a webhook, which this build cannot post to".to_owned())
}

fn of(hooks: &Declared, occasion: Occasion) -> Option<&Hook> {
    match occasion {
        Occasion::Paused => hooks.paused.as_ref(),
        Occasion::Success => hooks.success.as_ref(),
        Occasion::Failure => hooks.failure.as_ref(),
    }
}

impl HookSink {
    /// The number of the run, to be told with its events.
    pub fn is_run(&self, number: Option<u64>) {
        *lock(&self.run) = number;
    }

    /// Nothing more happens.
    pub fn close(&self) {
        lock(&self.events).take();
    }
}

impl EventSink for HookSink {
    fn event(&self, event: &Event) {
        let occasion = match event.kind {
            EventKind::SessionQuestion(_) => Occasion::Paused,
            EventKind::SessionDone { .. } => Occasion::Success,
            EventKind::SessionFailed(_) => Occasion::Failure,
            _ => return,
        };
        if of(&self.wanted, occasion).is_some() {
            let run = *lock(&self.run);
            if let Some(events) = &*lock(&self.events) {
                // Nobody serves them any more: then nobody is to be told.
                let _unserved = events.send(Happened { occasion, event: event.clone(), run });
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Display for Occasion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Paused => "paused",
            Self::Success => "success",
            Self::Failure => "failure",
        })
    }
}
