//! The threads that start processes, and the one that reaps those nobody waits for.
//!
//! # Invariants
//! 1. A start that was accepted is answered as long as its asker listens; afterwards nothing is
//!    started, or what was started is killed.
//! 2. The threads end when the last handle is gone, not before: each start in the queue and each
//!    group holds one.
//! 3. The lock is never held while a process is started or waited for.
//! 4. The watchdog is there before the first start, and goes after the last group has gone.

use std::collections::VecDeque;
use std::process::{Child, Command};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::{io, thread};

use tokio::sync::oneshot;

use crate::group::{Group, Lines};
use crate::launch;
use crate::pid_file::PidFile;
use crate::watchdog::Watchdog;

/// Why a process was not started.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The system refused it.
    Start(io::Error),
    /// It could not be recorded.
    Record(io::Error),
}

/// A handle to the threads. A clone is the same pool.
#[derive(Debug, Clone)]
pub(crate) struct Pool(Arc<LastHandle>);

#[derive(Debug)]
struct LastHandle(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    watchdog: Watchdog,
}

#[derive(Debug, Default)]
struct State {
    starts: VecDeque<Start>,
    closed: bool,
    reaper: Option<mpsc::Sender<(Child, Lines)>>,
}

#[derive(Debug)]
struct Start {
    command: Box<Command>,
    file: Option<PidFile>,
    pool: Pool,
    reply: oneshot::Sender<Result<Group, Refused>>,
}

impl Pool {
    /// Starts the threads, at least one.
    pub(crate) fn new(threads: usize) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let pool = Self(Arc::new(LastHandle(shared.clone())));
        for number in 0..threads.max(1) {
            let shared = shared.clone();
            let thread = thread::Builder::new().name(format!("holdpoint-spawn-{number}"));
            match thread.spawn(move || shared.serve()) {
                Ok(_) => {}
                // One is enough to work with.
                Err(_) if number > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(pool)
    }

    /// Starts a process. Dropping the future kills what was started for it.
    pub(crate) async fn start(
        &self,
        command: Box<Command>,
        file: Option<PidFile>,
    ) -> Result<Group, Refused> {
        let (reply, answer) = oneshot::channel();
        let start = Start { command, file, pool: self.clone(), reply };
        self.0.0.lock().starts.push_back(start);
        self.0.0.changed.notify_one();
        answer.await.unwrap_or_else(|_| {
            Err(Refused::Start(io::Error::other("the thread that starts it is gone")))
        })
    }

    /// Reaps a child when it ends, on a thread of its own, made with the first such child: it may
    /// hang in the kernel, and must hold up neither a start nor the caller.
    pub(crate) fn reap_later(&self, child: Child, lines: Lines) {
        let mut state = self.0.0.lock();
        let reaper = state.reaper.get_or_insert_with(|| {
            let (children, inbox) = mpsc::channel::<(Child, Lines)>();
            let reap = move || inbox.iter().for_each(|(mut child, _lines)| _ = child.wait());
            // Without a thread they stay zombies until this process ends: nothing better is left.
            let _ = thread::Builder::new().name("holdpoint-reap".into()).spawn(reap);
            children
        });
        let _ = reaper.send((child, lines));
    }
}

impl Drop for LastHandle {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn serve(&self) {
        while let Some(Start { command, file, pool, reply }) = self.next() {
            if reply.is_closed() {
                continue;
            }
            let started = self.start(*command, file, pool);
            // An answer that nobody takes any more is dropped, and its group killed.
            let _ = reply.send(started);
        }
        self.watchdog.end();
    }

    /// Command and file are dropped with the return: the one holds the other ends of the pipes, and
    /// the other is not to outlive the run here.
    fn start(
        &self,
        mut command: Command,
        file: Option<PidFile>,
        pool: Pool,
    ) -> Result<Group, Refused> {
        let output = launch::connect(&mut command).map_err(Refused::Start)?;
        let lines = Lines {
            watched: self.watchdog.enter(output.inodes),
            filed: file
                .as_ref()
                .map(|file| file.enter(output.inodes))
                .transpose()
                .map_err(Refused::Record)?,
        };
        let leader = command.spawn().map_err(Refused::Start)?;
        Ok(Group::new(leader, output, lines, pool))
    }

    fn next(&self) -> Option<Start> {
        let mut state = self.lock();
        loop {
            match state.starts.pop_front() {
                None if state.closed => return None,
                None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                start => return start,
            }
        }
    }

    /// Nothing panics under the lock but for want of memory; the state is whole even then.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
