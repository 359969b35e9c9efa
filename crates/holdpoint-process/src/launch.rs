//! From a [`Command`] to a started process, and from a refusal to its reason.
//!
//! std starts a process by `posix_spawn`, which shares memory with the child until it executes,
//! as long as nothing asks for code of ours in between. Setting `PATH` and leaving the lookup to
//! std counts as asking, so the lookup happens here; that also tells which file was meant when
//! the system refuses it.

use std::ffi::{OsStr, OsString};
use std::io::PipeReader;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::{fs, io};

use rustix::fs::fstat;
use rustix::io::Errno;

use crate::command::{Action, Command};
use crate::error::{ProcessError, SystemLimit};
use crate::record::Pipes;

/// Where programs are looked for without a `PATH`, as POSIX systems do.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// By path: a script means the system's shell, whatever its environment has for `PATH`.
const SHELL: &str = "/bin/sh";

/// The command in std's form, without its output. Refuses what cannot be started at all.
pub(crate) fn prepare(command: &Command) -> Result<std::process::Command, ProcessError> {
    if !command.directory.is_absolute() {
        return Err(ProcessError::RelativeDirectory { path: command.directory.clone() });
    }
    let mut prepared = match &command.action {
        Action::Program(program) => {
            let mut prepared = std::process::Command::new(find(program, command)?);
            prepared.arg0(program);
            prepared
        }
        Action::Shell(script) => {
            let mut prepared = std::process::Command::new(SHELL);
            prepared.arg0("sh").args(["-e", "-c"]).arg(script).arg("sh");
            prepared
        }
    };
    prepared
        .args(&command.arguments)
        .current_dir(&command.directory)
        .env_clear()
        .envs(command.environment.iter())
        .process_group(0)
        .stdin(Stdio::null());
    Ok(prepared)
}

/// The pipes of a process that is about to be started.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) stdout: PipeReader,
    pub(crate) stderr: PipeReader,
    /// What tells these pipes from all others.
    pub(crate) inodes: Pipes,
}

/// Gives the command its pipes. They are made before it starts, so that they can be recorded.
pub(crate) fn connect(command: &mut std::process::Command) -> io::Result<Output> {
    let ((stdout, to_stdout), (stderr, to_stderr)) = (io::pipe()?, io::pipe()?);
    let inodes = [fstat(&stdout)?.st_ino, fstat(&stderr)?.st_ino];
    command.stdout(to_stdout).stderr(to_stderr);
    Ok(Output { stdout, stderr, inodes })
}

/// Why the system refused to start a command that [`prepare`] let through. Its answer does not
/// say which of the files it is about, so they are looked at again.
pub(crate) fn diagnose(command: &Command, refused: io::Error) -> ProcessError {
    if refused.kind() == io::ErrorKind::InvalidInput
        && let Some((what, text)) = find_nul(command)
    {
        return ProcessError::NulByte { what, text };
    }
    if let Some(of_directory) = diagnose_directory(&command.directory) {
        return of_directory;
    }
    let (program, path) = match &command.action {
        Action::Program(program) => match find(program, command) {
            Ok(path) => (program.clone(), command.directory.join(path)),
            Err(gone) => return gone,
        },
        Action::Shell(_) => ("sh".into(), SHELL.into()),
    };
    match Errno::from_io_error(&refused) {
        Some(Errno::NOENT) if path.exists() => ProcessError::InterpreterMissing { path },
        Some(Errno::NOENT | Errno::NOTDIR) => {
            ProcessError::ProgramNotFound { program, searched: None }
        }
        Some(Errno::ACCESS | Errno::PERM | Errno::ISDIR) => ProcessError::NotExecutable { path },
        Some(Errno::NOEXEC) => ProcessError::NotAProgram { path },
        Some(Errno::TXTBSY) => ProcessError::TextBusy { path },
        Some(Errno::TOOBIG) => too_long(command),
        errno => {
            let limit = match errno {
                Some(Errno::MFILE | Errno::NFILE) => SystemLimit::Descriptors,
                Some(Errno::AGAIN) => SystemLimit::Processes,
                Some(Errno::NOMEM) => SystemLimit::Memory,
                _ => return ProcessError::Spawn { program, source: refused },
            };
            ProcessError::LimitReached { limit, program, source: refused }
        }
    }
}

/// The file that a program's name means. A name with a slash is a path from the command's
/// directory, which the child enters before it executes; any other is looked for in `PATH`.
fn find(program: &OsStr, command: &Command) -> Result<PathBuf, ProcessError> {
    if program.as_bytes().contains(&b'/') {
        return Ok(program.into());
    }
    let searched = command.environment.get("PATH").unwrap_or(OsStr::new(DEFAULT_PATH));
    let (mut path, mut refused) = (PathBuf::new(), None);
    for folder in searched.as_bytes().split(|byte| *byte == b':') {
        path.clear();
        path.extend([command.directory.as_os_str(), OsStr::from_bytes(folder), program]);
        match fs::metadata(&path) {
            Ok(found) if found.is_file() && found.permissions().mode() & 0o111 != 0 => {
                return Ok(path);
            }
            Ok(found) if found.is_file() => _ = refused.get_or_insert_with(|| path.clone()),
            _ => {}
        }
    }
    Err(match refused {
        Some(path) => ProcessError::NotExecutable { path },
        None => {
            let searched = Some(searched.to_owned());
            ProcessError::ProgramNotFound { program: program.to_owned(), searched }
        }
    })
}

fn diagnose_directory(directory: &Path) -> Option<ProcessError> {
    let path = directory.to_owned();
    // The dot asks whether it may be entered, not only whether it is there.
    match (fs::metadata(directory), fs::metadata(directory.join("."))) {
        (Ok(found), _) if !found.is_dir() => Some(ProcessError::NotADirectory { path }),
        (Ok(_), Ok(_)) => None,
        (Err(error), _) | (_, Err(error)) => Some(match error.kind() {
            io::ErrorKind::PermissionDenied => ProcessError::DirectoryDenied { path },
            _ => ProcessError::DirectoryMissing { path },
        }),
    }
}

fn find_nul(command: &Command) -> Option<(&'static str, OsString)> {
    let (Action::Program(action) | Action::Shell(action)) = &command.action;
    let directory = command.directory.as_os_str();
    let parts = [("command", action.as_os_str()), ("working directory", directory)]
        .into_iter()
        .chain(command.arguments.iter().map(|text| ("argument", text.as_os_str())))
        .chain(command.environment.iter().flat_map(|(n, v)| [("variable", n), ("variable", v)]));
    parts
        .into_iter()
        .find(|(_, text)| text.as_bytes().contains(&0))
        .map(|(what, text)| (what, text.to_owned()))
}

fn too_long(command: &Command) -> ProcessError {
    let (Action::Program(action) | Action::Shell(action)) = &command.action;
    let arguments = command.arguments.iter().map(|text| text.len() + 1);
    let variables = command.environment.iter().map(|(name, value)| name.len() + value.len() + 2);
    let (mut bytes, mut longest) = (0, 0);
    for length in [action.len() + 1].into_iter().chain(arguments).chain(variables) {
        bytes += length;
        longest = longest.max(length);
    }
    ProcessError::ArgumentsTooLong { bytes, longest }
}
