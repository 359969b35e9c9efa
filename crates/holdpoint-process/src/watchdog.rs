//! Ends the groups when this process dies, `kill -9` included (PROC-007).
//!
//! A process that is killed does nothing more, so somebody else has to: a shell that waits for
//! the end of a pipe which only this process holds open, and then kills every group of a record
//! that both have. It costs a start nothing but the line in the record, a few microseconds.
//!
//! Why not the system's parent-death signal: the child has to ask for it, between fork and
//! execute. That is code of ours in the child, unsafe, and turns `posix_spawn` into a fork which
//! copies the tables of all our memory; and it reaches the child alone, not what it has started.
//! The shell reaches the whole group, on every Unix.
//!
//! A start that is under way is not missed: until it executes, the child itself has a copy of the
//! end of the pipe, so the shell looks after that, and its line is there before it.
//!
//! Not reached: whoever has left the group (`setsid`); what outlived the end of its task; of a
//! group whose leader had ended those who write elsewhere (before Linux 5.14 all of it, and a start
//! under way); and everybody, where the shell was killed first, or a copy of this process that never
//! executes anything (a bare fork) lives on with the pipe. Who did not leave the group and was
//! recorded in a [`PidFile`](crate::PidFile) is found at the next start.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::record::{Entry, Pipes, Record};

/// Builtins only. Standard input ends with this process, standard output is the record, whose
/// lines `record` explains. A group is killed if its leader is still the one recorded: id and, in
/// the 22nd field, start. Else, where that one has ended or was just being started, if one of the
/// group writes to the pipes that were made for it.
#[cfg(target_os = "linux")]
const SCRIPT: &str = r#"
trap '' HUP INT QUIT TERM
while read -r _; do :; done

look() {
    group= start=
    { read -r row < "/proc/$1/stat"; } || return
    set -- ${row##*) }
    group=$3 start=${20}
}
is_pipe() {
    mount= inode=
    while read -r key value; do
        case $key in
        mnt_id:) mount=$value ;;
        ino:) inode=$value ;;
        esac
    done < "/proc/$1/fdinfo/$2"
    [ "$mount" = "$pipes" ] && [ "$inode" = "$3" ]
}

exec 3<&0
is_pipe self 3
pipes=$mount
while read -r mark pid made _ out err; do
    case $mark in
    +) look "$pid" && [ "$start" = "$made" ] && kill -s KILL -- "-$pid" && continue ;;
    '?') ;;
    *) continue ;;
    esac
    for process in /proc/[0-9]*; do
        process=${process#/proc/}
        look "$process"
        case $mark$group in
        "+$pid" | "?$process")
            if is_pipe "$process" 1 "$out" || is_pipe "$process" 2 "$err"; then
                kill -s KILL -- "-$group"
                break
            fi
            ;;
        esac
    done
done <&1
"#;

/// Where nobody says when a process was made, what ran when this process died has to do: ids are
/// not given out again within that moment.
#[cfg(not(target_os = "linux"))]
const SCRIPT: &str = r#"
trap '' HUP INT QUIT TERM
while read -r _; do :; done
while read -r mark pid _; do
    [ "$mark" = + ] && kill -s KILL -- "-$pid"
done <&1
"#;

/// Starts the shell with the first process.
#[derive(Debug, Default)]
pub(crate) struct Watchdog(Mutex<Option<Watching>>);

#[derive(Debug)]
struct Watching {
    record: Record,
    shell: Child,
}

impl Watchdog {
    /// Notes a process that is about to be started. None where there can be no watchdog now, for
    /// want of memory, descriptors or a shell: what the task itself needs decides about it. The
    /// next start tries again.
    pub(crate) fn enter(&self, pipes: Pipes) -> Option<Entry> {
        // Held while the shell starts, once: no other process is to start before it.
        let mut watching = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if watching.is_none() {
            *watching = Watching::start().ok();
        }
        watching.as_ref()?.record.enter(pipes).ok()
    }

    /// Lets the shell end, and reaps it. Comes when no group is left.
    pub(crate) fn end(&self) {
        let watching = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Watching { mut shell, .. }) = watching {
            // Closes the pipe first.
            let _ = shell.wait();
        }
    }
}

impl Watching {
    fn start() -> io::Result<Self> {
        let file = nameless_file()?;
        let shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "holdpoint-watchdog"])
            .env_clear()
            .current_dir("/")
            // Whoever ends our group, or the terminal's, is not to end the watchdog first.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::from(file.try_clone()?))
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { record: Record::new(file), shell })
    }
}

#[cfg(target_os = "linux")]
fn nameless_file() -> io::Result<File> {
    use rustix::fs::{MemfdFlags, memfd_create};

    Ok(memfd_create("holdpoint-groups", MemfdFlags::CLOEXEC)?.into())
}

#[cfg(not(target_os = "linux"))]
fn nameless_file() -> io::Result<File> {
    use std::sync::atomic::{AtomicU32, Ordering};

    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("holdpoint-groups-{}-{number}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}
