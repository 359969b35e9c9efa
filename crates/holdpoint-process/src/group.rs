//! The group of one started process.
//!
//! # Invariants
//! 1. The group's number is the leader's process id. As long as the leader is not reaped, the
//!    system gives that number to nobody else, so signals go out only until then.
//! 2. A group that is dropped before its leader was reaped is killed, and its leader reaped.

use std::io;
use std::mem;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::exit::Status;
use crate::identity;
use crate::launch::Output;
use crate::pid_file::FileEntry;
use crate::pool::Pool;
use crate::record::Entry;

/// A started process that leads its group, not yet reaped.
#[derive(Debug)]
pub(crate) struct Group {
    /// Taken only by `reap` and `drop`.
    leader: Option<Child>,
    pid: Pid,
    /// The read ends of both streams.
    output: Option<Output>,
    lines: Lines,
    pool: Pool,
}

/// Where it is recorded, as long as there is something to be ended (PROC-007).
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// For the watchdog.
    pub(crate) watched: Option<Entry>,
    pub(crate) filed: Option<FileEntry>,
}

impl Group {
    pub(crate) fn new(leader: Child, output: Output, lines: Lines, pool: Pool) -> Self {
        let pid = Pid::from_child(&leader);
        lines.started(leader.id());
        Self { leader: Some(leader), pid, output: Some(output), lines, pool }
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    pub(crate) fn id(&self) -> u32 {
        self.pid.as_raw_pid().unsigned_abs()
    }

    /// The read ends of both streams. Once only.
    pub(crate) fn take_output(&mut self) -> (OwnedFd, OwnedFd) {
        let output = self.output.take().expect("BUG: a group has two streams, taken once");
        (output.stdout.into(), output.stderr.into())
    }

    /// Whether the leader has ended. Leaves it to be reaped.
    pub(crate) fn has_exited(&self) -> io::Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        loop {
            match waitid(WaitId::Pid(self.pid), options) {
                Err(Errno::INTR) => {}
                answer => return Ok(answer?.is_some()),
            }
        }
    }

    /// Asks all members to end. Those that are stopped go on, for only then do they hear it.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
        self.signal(Signal::CONT);
    }

    /// Ends all members.
    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Whether any process but the ended leader is left in the group. No plain Unix call tells,
    /// so elsewhere than on Linux the group counts as gone once its output has ended.
    pub(crate) fn has_members(&self) -> bool {
        identity::all().iter().any(|process| process.alive && process.group == self.id())
    }

    /// Takes the exit status of the leader, which has ended. Its id is somebody else's from then
    /// on, so it is crossed out first.
    pub(crate) fn reap(mut self) -> io::Result<Status> {
        self.lines = Lines::default();
        match self.leader.take() {
            Some(mut leader) => leader.wait().map(status),
            None => Err(Errno::CHILD.into()),
        }
    }

    /// A refusal is no news: the group may be gone, or belong to another user.
    fn signal(&self, signal: Signal) {
        let _ = kill_process_group(self.pid, signal);
    }
}

impl Lines {
    fn started(&self, pid: u32) {
        if let Some(process) = identity::process(pid) {
            let leader = (pid, process.start);
            self.watched.iter().for_each(|entry| entry.started(leader));
            self.filed.iter().for_each(|entry| entry.started(leader));
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(mut leader) = self.leader.take() {
            self.signal(Signal::KILL);
            self.output = None;
            // Its end takes a moment, or for ever where it hangs in the kernel: not waited for
            // here, and on record until then.
            if !matches!(leader.try_wait(), Ok(Some(_))) {
                self.pool.reap_later(leader, mem::take(&mut self.lines));
            }
        }
    }
}

fn status(status: ExitStatus) -> Status {
    match (status.code(), status.signal()) {
        (Some(code), _) => Status::Code(code),
        (None, signal) => Status::Signal(signal.unwrap_or_default()),
    }
}
