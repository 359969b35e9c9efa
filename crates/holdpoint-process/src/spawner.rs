//! What callers hold to run commands.

use std::io::ErrorKind::ExecutableFileBusy;
use std::thread;
use std::time::Duration;

use holdpoint_core::Cancel;

use crate::command::Command;
use crate::error::ProcessError;
use crate::exit::Exit;
use crate::group::Group;
use crate::options::RunOptions;
use crate::output::OutputSink;
use crate::pid_file::PidFile;
use crate::pool::{Pool, Refused};
use crate::{launch, run};

/// Starts processes, from threads of its own. A clone is the same spawner.
///
/// When this process dies, however it dies, what it has started dies too: a small process beside
/// it, made with the first start, then kills the groups that run (PROC-007).
///
/// A program makes one and keeps it. The threads live as long as any handle or any run does.
/// There are as many as processors, 4 to 8: a thread stands still while the child that it starts
/// loads its program.
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
    pool: Pool,
    pid_file: Option<PidFile>,
}

/// A program that is open for writing is tried again, with pauses from the first to the last,
/// doubled each time: another start may hold a copy of a descriptor that the writer has closed, until it
/// executes.
const BUSY_FIRST_PAUSE: Duration = Duration::from_millis(1);
const BUSY_LAST_PAUSE: Duration = Duration::from_millis(128);

impl Spawner {
    /// Starts the threads.
    ///
    /// Also marks every descriptor that this process has inherited, besides the three standard
    /// ones, as not to be inherited further: children get 0, 1 and 2 only.
    ///
    /// # Errors
    /// [`ProcessError::NoThread`] where the system gives no thread.
    pub fn new() -> Result<Self, ProcessError> {
        close_fds::set_fds_cloexec_threadsafe(3, &[]);
        let processors = thread::available_parallelism().map_or(2, usize::from);
        let pool = Pool::new(processors.clamp(4, 8));
        pool.map(|pool| Self { pool, pid_file: None })
            .map_err(|source| ProcessError::NoThread { source })
    }

    /// A handle to the same threads that records what it starts in this file, for whoever comes
    /// after an owner that died; see [`end_leftovers`](crate::end_leftovers).
    #[must_use]
    pub fn recording(&self, file: &PidFile) -> Self {
        Self { pool: self.pool.clone(), pid_file: Some(file.clone()) }
    }

    /// Runs one command to its end: its process has ended, what it wrote was passed on, and it
    /// is reaped.
    ///
    /// Both streams are read all the time, passed to `sink` line by line and written to the
    /// command's log file. Output that somebody else still holds after the end is waited for
    /// no longer than the drain (PROC-004). `cancel` sends SIGTERM to the process's group and,
    /// after the grace, SIGKILL; the call then returns within the grace and one second
    /// (PROC-003). Where the cancel came before the start, nothing is started. What the end
    /// means says [`Exit::verdict`].
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
        let group = tokio::select! {
            biased;
            cause = cancel.cancelled() => return Err(ProcessError::Cancelled { cause }),
            started = self.start(command) => started?,
        };
        run::accompany(group, command.log.as_deref(), sink, cancel, options).await
    }

    async fn start(&self, command: &Command) -> Result<Group, ProcessError> {
        let mut pause = BUSY_FIRST_PAUSE;
        loop {
            let prepared = launch::prepare(command)?;
            match self.pool.start(Box::new(prepared), self.pid_file.clone()).await {
                Ok(group) => return Ok(group),
                Err(Refused::Start(refused))
                    if refused.kind() == ExecutableFileBusy && pause <= BUSY_LAST_PAUSE =>
                {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                Err(Refused::Start(refused)) => return Err(launch::diagnose(command, refused)),
                Err(Refused::Record(source)) => {
                    let path = self.pid_file.as_ref().map(|file| file.path().into());
                    let path = path.unwrap_or_default();
                    return Err(ProcessError::NotRecorded { path, source });
                }
            }
        }
    }
}
