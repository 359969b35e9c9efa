//! When to signal a process, and when its task is over. Decisions only: time is an argument,
//! the driver carries the effects out (PROC-002, PROC-003, PROC-004).
//!
//! # Invariants
//! 1. No signal is asked for before a cancel, nor after [`Effect::Finish`].
//! 2. A cancelled group always gets SIGKILL at the end, while its leader is not yet reaped: what
//!    is left of it ends, and the group's number can be nobody else's.
//! 3. In every state but `Running` there is a deadline, so nothing that the process or those it
//!    left behind do can keep the task from ending.

use std::time::Duration;

use crate::options::RunOptions;

/// How long after SIGKILL the end is waited for: within the second that PROC-003 allows.
const KILL_WAIT: Duration = Duration::from_millis(800);
/// First and longest pause between two looks for members left in a signalled group.
const LOOK: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(80));

/// What the driver observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// The process has ended and is not reaped.
    Exited,
    /// Both streams have ended.
    OutputClosed,
    /// Somebody wants it to stop.
    Cancelled,
    /// Nobody but the ended leader is left in the group.
    GroupEmpty,
    /// The deadline has come.
    Tick,
}

/// What the driver is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// SIGTERM to the group.
    Terminate,
    /// SIGKILL to the group.
    Kill,
    /// Look whether the group has members besides the ended leader.
    LookForMembers,
    /// The task is over.
    Finish(Finish),
}

/// How the task is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finish {
    /// The process has ended; reap it.
    Exited {
        /// Somebody still holds its output.
        leaky_output: bool,
    },
    /// It outlived SIGKILL.
    Unkillable,
}

/// Times are those since the start of the process.
#[derive(Debug)]
pub(crate) struct Machine {
    options: RunOptions,
    state: State,
    exited: bool,
    closed: bool,
    interrupted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The process runs, nobody wants it to stop.
    Running,
    /// It has ended by itself; its output is open.
    Draining { until: Duration },
    /// SIGTERM was sent; the process or a member of its group may still be cleaning up.
    Terminating { kill_at: Duration, look: Option<Look> },
    /// SIGKILL was sent; the process is ending or its output is open.
    Killed { until: Duration },
    /// [`Effect::Finish`] was given.
    Over,
}

/// The next look for members, once process and output are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    at: Duration,
    pause: Duration,
}

impl Machine {
    pub(crate) fn new(options: RunOptions) -> Self {
        Self { options, state: State::Running, exited: false, closed: false, interrupted: false }
    }

    /// Takes an observation. Of two at one time the end of the process comes first: a cancel
    /// counts only where the process had not ended by itself. Effects are carried out one by
    /// one, each answered by an input: [`Input::GroupEmpty`] if so, else [`Input::Tick`].
    pub(crate) fn handle(&mut self, now: Duration, input: Input) -> Option<Effect> {
        self.exited |= input == Input::Exited;
        self.closed |= input == Input::OutputClosed;
        match self.state {
            State::Running if input == Input::Cancelled => self.interrupt(now),
            State::Running if self.exited && (self.closed || self.options.drain.is_zero()) => {
                self.finish()
            }
            State::Running if self.exited => {
                self.state = State::Draining { until: now + self.options.drain };
                None
            }
            State::Running => None,
            State::Draining { until } => match input {
                _ if self.closed || now >= until => self.finish(),
                // The end was its own; those that it left behind are stopped.
                Input::Cancelled => self.kill(until.min(now + KILL_WAIT)),
                _ => None,
            },
            State::Terminating { kill_at, look } => self.terminating(now, input, kill_at, look),
            State::Killed { until } => match (self.exited, self.closed) {
                (true, true) => self.finish(),
                _ if now < until => None,
                (true, false) => self.finish(),
                (false, _) => self.over(Finish::Unkillable),
            },
            State::Over => None,
        }
    }

    /// When to come back with [`Input::Tick`].
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        match self.state {
            State::Running | State::Over => None,
            State::Draining { until } | State::Killed { until } => Some(until),
            State::Terminating { kill_at, look } => {
                Some(look.map_or(kill_at, |look| look.at.min(kill_at)))
            }
        }
    }

    /// Whether a signal was asked for before the process had ended by itself.
    pub(crate) fn interrupted(&self) -> bool {
        self.interrupted
    }

    fn interrupt(&mut self, now: Duration) -> Option<Effect> {
        self.interrupted = true;
        if self.options.grace.is_zero() {
            return self.kill(now + KILL_WAIT);
        }
        self.state = State::Terminating { kill_at: now + self.options.grace, look: None };
        Some(Effect::Terminate)
    }

    /// The grace belongs to the whole group: a shell may be gone at once while the program that
    /// it had started still cleans up. Where that program writes elsewhere, only a look tells.
    fn terminating(
        &mut self,
        now: Duration,
        input: Input,
        kill_at: Duration,
        look: Option<Look>,
    ) -> Option<Effect> {
        if now >= kill_at || input == Input::GroupEmpty {
            return self.kill(now + KILL_WAIT);
        }
        if !(self.exited && self.closed) {
            return None;
        }
        let pause = match look {
            None => LOOK.0,
            Some(look) if now >= look.at => LOOK.1.min(look.pause * 2),
            Some(_) => return None,
        };
        let look = Some(Look { at: now + pause, pause });
        self.state = State::Terminating { kill_at, look };
        Some(Effect::LookForMembers)
    }

    fn kill(&mut self, until: Duration) -> Option<Effect> {
        self.state = State::Killed { until };
        Some(Effect::Kill)
    }

    fn finish(&mut self) -> Option<Effect> {
        self.over(Finish::Exited { leaky_output: !self.closed })
    }

    fn over(&mut self, finish: Finish) -> Option<Effect> {
        self.state = State::Over;
        Some(Effect::Finish(finish))
    }
}
