//! The group of one started process.
//!
//! # Invariants
//! 1. The group's number is the leader's process id. As long as the leader is not reaped, the
//!    system gives that number to nobody else, so signals go out only until then.
//! 2. A group that is dropped before its leader was reaped is killed, and its leader reaped.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::exit::Status;
use crate::pool::Pool;

/// A started process that leads its group, not yet reaped.
#[derive(Debug)]
pub(crate) struct Group {
    /// Taken only by `reap` and `drop`.
    leader: Option<Child>,
    pid: Pid,
    pool: Pool,
}

impl Group {
    pub(crate) fn new(leader: Child, pool: Pool) -> Self {
        let pid = Pid::from_child(&leader);
        Self { leader: Some(leader), pid, pool }
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
        let streams =
            self.leader.as_mut().and_then(|leader| leader.stdout.take().zip(leader.stderr.take()));
        let (stdout, stderr) = streams.expect("BUG: a group has two streams, taken once");
        (stdout.into(), stderr.into())
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

    /// Whether any process but the ended leader is left in the group.
    #[cfg(target_os = "linux")]
    pub(crate) fn has_members(&self) -> bool {
        let group = self.pid.as_raw_pid().to_string();
        let Ok(processes) = std::fs::read_dir("/proc") else { return false };
        processes.flatten().any(|entry| {
            let is_process = entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit);
            is_process
                && std::fs::read(entry.path().join("stat"))
                    .is_ok_and(|stat| is_live_member(&stat, group.as_bytes()))
        })
    }

    /// Whether any process but the ended leader is left in the group: no plain Unix call tells,
    /// so once its output has ended the group counts as gone.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn has_members(&self) -> bool {
        false
    }

    /// Takes the leader's exit status. Waits for it where it has not ended.
    pub(crate) fn reap(mut self) -> io::Result<Status> {
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

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(mut leader) = self.leader.take() {
            self.signal(Signal::KILL);
            drop((leader.stdout.take(), leader.stderr.take()));
            // Its end takes a moment, or for ever where it hangs in the kernel: not waited for here.
            if !matches!(leader.try_wait(), Ok(Some(_))) {
                self.pool.reap_later(leader);
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

/// Reads `pid (name) state parent group ..`; the name may hold anything, so the last parenthesis
/// counts.
#[cfg(target_os = "linux")]
fn is_live_member(stat: &[u8], group: &[u8]) -> bool {
    let Some(name_end) = stat.iter().rposition(|byte| *byte == b')') else { return false };
    let mut fields = stat[name_end + 1..].split(|byte| *byte == b' ').skip(1);
    let (state, _parent, of_group) = (fields.next(), fields.next(), fields.next());
    !matches!(state, None | Some(b"Z" | b"X")) && of_group == Some(group)
}
