//! What a virtual child does.

use std::fmt;
use std::time::Duration;

/// A child process as a script. Times count from its start.
///
/// ```
/// use std::time::Duration;
/// use holdpoint_testkit::spawner::{ChildEnd, ChildScript, OnTerm};
///
/// let stubborn = ChildScript {
///     on_term: OnTerm::Ignores,
///     output: vec![(Duration::ZERO, "listening".into())],
///     ..ChildScript::endless()
/// };
/// let failing = ChildScript::exits(Duration::from_millis(20), 3);
/// assert_eq!(failing.ends, Some((Duration::from_millis(20), ChildEnd::Code(3))));
/// # let _ = stubborn;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildScript {
    /// When it ends by itself, and how; none where it does not.
    pub ends: Option<(Duration, ChildEnd)>,
    /// Lines that it writes, and when.
    pub output: Vec<(Duration, String)>,
    /// What SIGTERM does to it.
    pub on_term: OnTerm,
    /// Processes that it starts itself.
    pub grandchildren: Vec<Grandchild>,
    /// The system refuses to start it.
    pub refused: Option<Refusal>,
}

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChildEnd {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// What SIGTERM does to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnTerm {
    /// Ends it at once.
    Dies,
    /// Makes it clean up for so long and exit with this code.
    Exits(Duration, i32),
    /// Nothing.
    Ignores,
}

/// A process that a child starts and does not wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grandchild {
    /// When it is started, where its parent still lives.
    pub starts: Duration,
    /// How long it lives; none for ever.
    pub lives: Option<Duration>,
    /// Whether it keeps the output of its parent open.
    pub keeps_output: bool,
    /// Whether it leaves the group (`setsid`), so that signals to it do not reach it.
    pub escapes: bool,
    /// What SIGTERM does to it.
    pub on_term: OnTerm,
}

/// Why the system starts no process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// EMFILE: no more open files.
    Descriptors,
    /// EAGAIN: no more processes.
    Processes,
    /// ENOMEM: no more memory.
    Memory,
    /// ENOENT: no such program.
    NotFound,
}

/// A signal to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signal {
    /// SIGTERM.
    Terminate,
    /// SIGKILL.
    Kill,
}

impl ChildScript {
    /// Exits with `code` after some time; silent, alone, and obedient.
    #[must_use]
    pub fn exits(after: Duration, code: i32) -> Self {
        Self { ends: Some((after, ChildEnd::Code(code))), ..Self::endless() }
    }

    /// Never ends by itself; else as [`exits`](Self::exits).
    #[must_use]
    pub fn endless() -> Self {
        Self {
            ends: None,
            output: Vec::new(),
            on_term: OnTerm::Dies,
            grandchildren: Vec::new(),
            refused: None,
        }
    }

    /// Is not started.
    #[must_use]
    pub fn refused(refusal: Refusal) -> Self {
        Self { refused: Some(refusal), ..Self::endless() }
    }
}

impl Grandchild {
    /// Lives for ever in its parent's group, with its parent's output open.
    #[must_use]
    pub fn leaky(starts: Duration) -> Self {
        let (lives, escapes, on_term) = (None, false, OnTerm::Dies);
        Self { starts, lives, keeps_output: true, escapes, on_term }
    }
}

impl Signal {
    /// Its number.
    #[must_use]
    pub const fn number(self) -> i32 {
        match self {
            Self::Terminate => 15,
            Self::Kill => 9,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Descriptors => "too many open files",
            Self::Processes => "no more processes",
            Self::Memory => "out of memory",
            Self::NotFound => "no such program",
        })
    }
}
