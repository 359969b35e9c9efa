//! What tells a process from any other that has had its id, or will: Linux only. Elsewhere no
//! plain Unix call says when a process was made, so nobody is ever recognised.

/// A process as the system lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) group: u32,
    /// When it was made, in ticks since the boot. Two processes of one id are not made in one
    /// tick: all other ids come in between.
    pub(crate) start: u64,
    /// It runs, or could; false for a zombie.
    pub(crate) alive: bool,
}

#[cfg(target_os = "linux")]
pub(crate) use linux::{all, holds, place, process};
#[cfg(not(target_os = "linux"))]
pub(crate) use plain::{all, holds, place, process};

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::{self, File};
    use std::io::Read;

    use super::Process;
    use crate::record::Pipes;

    /// The boot and the space of process ids: within one such place, id and start say who it is.
    /// Containers may share a disk and a boot, and not their ids. Without blanks; never empty.
    pub(crate) fn place() -> String {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let space = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let space: String =
            space.to_string_lossy().chars().filter(char::is_ascii_digit).take(10).collect();
        format!("{:.36}:{space}", boot.trim())
    }

    /// The process of this id.
    pub(crate) fn process(pid: u32) -> Option<Process> {
        // Once, at every start: one read has all that is looked at, and costs half of reading to
        // the end.
        let mut stat = [0; 1024];
        let read = File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut stat).ok()?;
        parse(pid, &stat[..read])
    }

    /// All processes.
    pub(crate) fn all() -> Vec<Process> {
        let Ok(listed) = fs::read_dir("/proc") else { return Vec::new() };
        listed
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok().and_then(process))
            .collect()
    }

    /// Whether it writes to one of the pipes where its first process did.
    pub(crate) fn holds(pid: u32, pipes: Pipes) -> bool {
        [1, 2].iter().zip(pipes).any(|(descriptor, inode)| {
            fs::read_link(format!("/proc/{pid}/fd/{descriptor}"))
                .is_ok_and(|link| link.as_os_str() == format!("pipe:[{inode}]").as_str())
        })
    }

    /// Reads `pid (name) state parent group ..`; the name may hold anything, so the last
    /// parenthesis counts. The start is the 22nd field.
    fn parse(pid: u32, stat: &[u8]) -> Option<Process> {
        let name_end = stat.iter().rposition(|byte| *byte == b')')?;
        let mut fields = str::from_utf8(&stat[name_end + 1..]).ok()?.split_ascii_whitespace();
        let state = fields.next()?;
        let group = fields.nth(1)?.parse().ok()?;
        let start = fields.nth(16)?.parse().ok()?;
        Some(Process { pid, group, start, alive: !matches!(state, "Z" | "X") })
    }
}

#[cfg(not(target_os = "linux"))]
mod plain {
    use super::Process;
    use crate::record::Pipes;

    pub(crate) fn place() -> String {
        "-".into()
    }

    pub(crate) fn process(pid: u32) -> Option<Process> {
        Some(Process { pid, group: pid, start: 0, alive: true })
    }

    pub(crate) fn all() -> Vec<Process> {
        Vec::new()
    }

    pub(crate) fn holds(_: u32, _: Pipes) -> bool {
        false
    }
}
