//! The thread that starts processes, and the handle to it.

use std::io;
use std::process::Child;
use std::sync::mpsc;
use std::thread;

use tokio::sync::oneshot;

use crate::command::Command;
use crate::error::ProcessError;
use crate::exit::Exit;
use crate::group::Group;
use crate::launch;
use crate::options::RunOptions;
use crate::output::OutputSink;
use crate::run;
use holdpoint_core::Cancel;

/// Starts processes, all from one thread of its own. A clone is the same spawner.
///
/// A program makes one and keeps it. The thread lives as long as any handle or any run does: the
/// system ties what it promises a child about its parent to the thread that started it. One
/// thread also starts one process at a time, so that no child of ours ever holds a descriptor
/// that another of our starts is about to execute (the "text file busy" race).
///
/// ```
/// use holdpoint_core::Cancel;
/// use holdpoint_process::{Command, Line, RunOptions, Spawner, Stream, Verdict};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let spawner = Spawner::new()?;
/// let command = Command::shell("/", ["echo hello", "echo oops >&2"]);
/// let mut seen = Vec::new();
/// let mut sink = |stream: Stream, line: Line<'_>| seen.push((stream, line.bytes.to_vec()));
/// let exit = spawner.run(&command, &mut sink, &Cancel::new(), RunOptions::default()).await?;
/// assert_eq!(exit.verdict(), Verdict::Succeeded);
/// assert!(seen.contains(&(Stream::Stdout, b"hello".to_vec())));
/// assert!(seen.contains(&(Stream::Stderr, b"oops".to_vec())));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Spawner {
    requests: mpsc::Sender<Request>,
}

enum Request {
    Spawn(Box<std::process::Command>, Spawner, oneshot::Sender<io::Result<Group>>),
    Reap(Child),
}

impl Spawner {
    /// Starts the thread.
    ///
    /// Also marks every descriptor that this process has inherited, besides the three standard
    /// ones, as not to be inherited further: children get 0, 1 and 2 only.
    ///
    /// # Errors
    /// [`ProcessError::NoThread`] where the system gives no thread.
    pub fn new() -> Result<Self, ProcessError> {
        close_fds::set_fds_cloexec_threadsafe(3, &[]);
        let (requests, inbox) = mpsc::channel();
        thread::Builder::new()
            .name("holdpoint-spawn".into())
            .spawn(move || serve(&inbox))
            .map_err(|source| ProcessError::NoThread { source: Some(source) })?;
        Ok(Self { requests })
    }

    /// Runs one command to its end: its process has ended, what it wrote was passed on, and it
    /// is reaped.
    ///
    /// Both streams are read all the time, passed to `sink` line by line and written to the
    /// command's log file. Output that somebody else still holds after the end is waited for
    /// no longer than the drain (PROC-004). `cancel` sends SIGTERM to the process's group and,
    /// after the grace, SIGKILL; the call then returns within the grace and one second
    /// (PROC-003). A cancel that was there before the start prevents nothing but is obeyed at
    /// once. What the end means says [`Exit::verdict`].
    ///
    /// # Errors
    /// Whatever keeps the process from being started, observed or recorded; see
    /// [`ProcessError`]. A process that fails is no error.
    ///
    /// # Panics
    /// In a tokio runtime whose I/O or time driver is off.
    ///
    /// # Cancel safety
    /// Dropping the future kills the process's whole group at once, without grace, and its
    /// leader is reaped in the background.
    pub async fn run(
        &self,
        command: &Command,
        sink: &mut (impl OutputSink + ?Sized),
        cancel: &Cancel,
        options: RunOptions,
    ) -> Result<Exit, ProcessError> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(ProcessError::NoRuntime);
        }
        let group = self.start(command).await?;
        run::accompany(group, command, sink, cancel, options).await
    }

    async fn start(&self, command: &Command) -> Result<Group, ProcessError> {
        let prepared = Box::new(launch::prepare(command)?);
        let (reply, answer) = oneshot::channel();
        let gone = || ProcessError::NoThread { source: None };
        self.requests.send(Request::Spawn(prepared, self.clone(), reply)).map_err(|_| gone())?;
        match answer.await {
            Ok(Ok(group)) => Ok(group),
            Ok(Err(refused)) => Err(launch::diagnose(command, refused)),
            Err(_) => Err(gone()),
        }
    }

    /// Reaps a killed child when it ends.
    pub(crate) fn reap_later(&self, child: Child) {
        let _ = self.requests.send(Request::Reap(child));
    }
}

/// The thread. Ends with the last handle.
fn serve(inbox: &mpsc::Receiver<Request>) {
    // Children that outlive their group's handle are waited for on a second thread, made with
    // the first of them: one that hangs in the kernel must not hold up a start.
    let mut reaper: Option<mpsc::Sender<Child>> = None;
    for request in inbox {
        match request {
            Request::Spawn(mut command, spawner, reply) => {
                let started = command.spawn().map(|leader| Group::new(leader, spawner));
                // An answer that nobody waits for any more is dropped, and its group killed.
                let _ = reply.send(started);
            }
            Request::Reap(child) => {
                let _ = reaper.get_or_insert_with(start_reaper).send(child);
            }
        }
    }
}

fn start_reaper() -> mpsc::Sender<Child> {
    let (children, inbox) = mpsc::channel::<Child>();
    let reap = move || inbox.iter().for_each(|mut child| _ = child.wait());
    // Without a thread they stay zombies until this process ends: nothing better is left.
    let _ = thread::Builder::new().name("holdpoint-reap".into()).spawn(reap);
    children
}
