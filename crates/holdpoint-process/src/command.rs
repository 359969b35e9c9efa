//! What to run, as plain data.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::environment::Environment;

/// One command: an action, the directory it runs in, its whole environment and, where its
/// output is to be kept, a log file (PROC-001).
///
/// The command says everything: nothing is taken over from the runner. Standard input is
/// empty, the process leads a group of its own, and it gets no descriptor but 0, 1 and 2.
///
/// ```
/// use holdpoint_process::{Command, Environment};
///
/// let compile = Command::program("/srv/calc", "cc", ["-c", "main.c"])
///     .environment(Environment::from_iter([("PATH", "/usr/bin:/bin")]))
///     .log("/var/log/compile.txt");
/// assert_eq!(compile.to_string(), "cc -c main.c");
///
/// let script = Command::shell("/srv/calc", ["cd src", "make"]);
/// assert_eq!(script.to_string(), "cd src; make");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    pub(crate) action: Action,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) directory: PathBuf,
    pub(crate) environment: Environment,
    pub(crate) log: Option<PathBuf>,
}

/// What is executed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// A program by path, or by a name that the `PATH` of the command's own environment finds.
    /// A relative path or `PATH` entry counts from the command's directory.
    Program(OsString),
    /// A script for `/bin/sh -e -c`.
    Shell(OsString),
}

impl Command {
    /// A program with arguments, in a directory given by absolute path.
    pub fn program<A>(
        directory: impl Into<PathBuf>,
        program: impl Into<OsString>,
        arguments: A,
    ) -> Self
    where
        A: IntoIterator,
        A::Item: Into<OsString>,
    {
        Self::new(directory.into(), Action::Program(program.into())).arguments(arguments)
    }

    /// Lines of one shell script, in a directory given by absolute path. The script ends at the
    /// first line that fails; variables and `cd` last from line to line.
    pub fn shell<L>(directory: impl Into<PathBuf>, lines: L) -> Self
    where
        L: IntoIterator,
        L::Item: AsRef<OsStr>,
    {
        let mut script = OsString::new();
        for line in lines {
            if !script.is_empty() {
                script.push("\n");
            }
            script.push(line);
        }
        Self::new(directory.into(), Action::Shell(script))
    }

    /// Adds arguments. A script finds them in `"$@"`, never in its text.
    #[must_use]
    pub fn arguments<A>(mut self, arguments: A) -> Self
    where
        A: IntoIterator,
        A::Item: Into<OsString>,
    {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// The complete environment. Default: empty.
    #[must_use]
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    /// The file that receives every byte of output, as it arrives. It is made (or emptied) at
    /// the first byte, so a silent command leaves no file. Default: none.
    #[must_use]
    pub fn log(mut self, path: impl Into<PathBuf>) -> Self {
        self.log = Some(path.into());
        self
    }

    /// The directory it runs in.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What is executed.
    #[must_use]
    pub fn action(&self) -> &Action {
        &self.action
    }

    fn new(directory: PathBuf, action: Action) -> Self {
        Self {
            action,
            arguments: Vec::new(),
            directory,
            environment: Environment::default(),
            log: None,
        }
    }
}

/// The command as a person would say it, in one row: for messages, not for a shell.
impl std::fmt::Display for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Action::Program(text) | Action::Shell(text)) = &self.action;
        f.write_str(&text.to_string_lossy().replace('\n', "; "))?;
        self.arguments.iter().try_for_each(|a| write!(f, " {}", a.to_string_lossy()))
    }
}
