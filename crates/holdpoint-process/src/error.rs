//! Why a command could not be run.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;

use holdpoint_core::{CancelInfo, Retryable};

use crate::exit::Exit;
use crate::output::Stream;

/// Why a command could not be run, or not to its recorded end. That a process failed is no
/// error but an [`Exit`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// The working directory was not given by absolute path.
    #[error("working directory {} is relative; give it from the root", path.display())]
    RelativeDirectory {
        /// As given.
        path: PathBuf,
    },
    /// The working directory is not there.
    #[error("working directory {} does not exist; create it before the command runs", path.display())]
    DirectoryMissing {
        /// As given.
        path: PathBuf,
    },
    /// The working directory is something else.
    #[error("working directory {} is not a directory", path.display())]
    NotADirectory {
        /// As given.
        path: PathBuf,
    },
    /// The working directory may not be entered.
    #[error("working directory {} may not be entered; it needs the execute permission", path.display())]
    DirectoryDenied {
        /// As given.
        path: PathBuf,
    },
    /// No such program.
    #[error("program {} not found{}; install it or correct its name", program.to_string_lossy(), Searched(searched.as_ref()))]
    ProgramNotFound {
        /// As given.
        program: OsString,
        /// The `PATH` that was searched; none where the program was given as a path.
        searched: Option<OsString>,
    },
    /// The file exists and may not be executed.
    #[error("{} is not executable; `chmod +x` it or name its interpreter", path.display())]
    NotExecutable {
        /// The file found.
        path: PathBuf,
    },
    /// The file is a script whose `#!` line names nothing that exists, or a program whose
    /// loader is missing.
    #[error("the interpreter of {} does not exist; correct its `#!` line or install its loader", path.display())]
    InterpreterMissing {
        /// The file found.
        path: PathBuf,
    },
    /// The file is executable and no program.
    #[error("{} is not a program of this system; a script needs a `#!` line", path.display())]
    NotAProgram {
        /// The file found.
        path: PathBuf,
    },
    /// Somebody has the program open for writing.
    #[error("{} is being written; run it when it is complete", path.display())]
    TextBusy {
        /// The file found.
        path: PathBuf,
    },
    /// Arguments and environment together are longer than the system takes.
    #[error(
        "arguments and environment are too long ({bytes} bytes, the longest {longest}); pass long lists and scripts as a file"
    )]
    ArgumentsTooLong {
        /// Their length in all.
        bytes: usize,
        /// The length of the longest, which has a limit of its own.
        longest: usize,
    },
    /// A part of the command holds a NUL byte.
    #[error("{what} holds a NUL byte, which no process can receive: {text:?}")]
    NulByte {
        /// Which part.
        what: &'static str,
        /// The part.
        text: OsString,
    },
    /// The system gives no more of something now.
    #[error("{limit} reached while starting {}; run fewer at once or raise it", program.to_string_lossy())]
    LimitReached {
        /// Of what.
        limit: SystemLimit,
        /// The program.
        program: OsString,
        /// What the system said.
        source: io::Error,
    },
    /// Any other refusal to start the program.
    #[error("{} could not be started", program.to_string_lossy())]
    Spawn {
        /// The program.
        program: OsString,
        /// What the system said.
        source: io::Error,
    },
    /// The cancel came first. Nothing was started, or it was killed while it was.
    #[error("cancelled before it started ({cause})")]
    Cancelled {
        /// The cause of the cancel.
        cause: CancelInfo,
    },
    /// Called outside a tokio runtime.
    #[error("no tokio runtime here; call from within one")]
    NoRuntime,
    /// The process could not be recorded in the [`PidFile`](crate::PidFile), so it was not started.
    #[error("pid file {} could not be written; free space or correct the path", path.display())]
    NotRecorded {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The thread that starts processes could not be made.
    #[error("no thread to start processes from")]
    NoThread {
        /// What the system said.
        source: io::Error,
    },
    /// The log file took not all of the output. The process was let run to its end.
    #[error("output lost: log file {} could not be written; free space or correct the path", path.display())]
    Log {
        /// The log file.
        path: PathBuf,
        /// How the process ended.
        exit: Box<Exit>,
        /// What the system said, the first time.
        source: io::Error,
    },
    /// A stream of the process could not be read. The process was let run to its end.
    #[error("output lost: {stream} of process {} could not be read", exit.pid)]
    Output {
        /// Which stream.
        stream: Stream,
        /// How the process ended.
        exit: Box<Exit>,
        /// What the system said.
        source: io::Error,
    },
    /// The end of the process could not be observed. It was killed, where it still ran. One
    /// reason is a runner that was itself started with SIGCHLD ignored: then the system keeps
    /// no exit status for it.
    #[error("the end of process {pid} could not be observed; is SIGCHLD ignored here?")]
    Watch {
        /// The process.
        pid: u32,
        /// What the system said.
        source: io::Error,
    },
    /// The process did not end after SIGKILL: it hangs in the kernel, or belongs to a user that
    /// we may not signal.
    #[error(
        "process {pid} did not end after SIGKILL; see what it waits for with `ps -o stat,wchan -p {pid}`"
    )]
    Unkillable {
        /// The process.
        pid: u32,
    },
}

/// Why a [`PidFile`](crate::PidFile) could not be made, or the leftovers of one not be ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PidFileError {
    /// There is a file already.
    #[error("pid file {} exists; end what its owner left, then make it", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Its owner lives, or somebody else is ending the leftovers now.
    #[error("pid file {} belongs to a process that lives", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The system refused it.
    #[error("pid file {} could not be used", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What the system had no more of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SystemLimit {
    /// Open files, of this process or of the system.
    Descriptors,
    /// Processes, of this user or of the system.
    Processes,
    /// Memory.
    Memory,
}

impl Retryable for ProcessError {
    fn is_retryable(&self) -> bool {
        matches!(self, Self::TextBusy { .. } | Self::LimitReached { .. })
    }
}

impl fmt::Display for SystemLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Descriptors => "the limit of open files (`ulimit -n`)",
            Self::Processes => "the limit of processes (`ulimit -u`)",
            Self::Memory => "the limit of memory",
        })
    }
}

struct Searched<'a>(Option<&'a OsString>);

impl fmt::Display for Searched<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(path) => write!(f, " in PATH={}", path.to_string_lossy()),
            None => Ok(()),
        }
    }
}
