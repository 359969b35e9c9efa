//! Standing between a process and the system: `strace`.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Whether there is a strace and it may trace; else says so.
pub(super) fn is_there(for_what: &str) -> bool {
    static WHY_NOT: OnceLock<Option<String>> = OnceLock::new();
    let why_not = WHY_NOT.get_or_init(|| {
        let mut probe = Command::new("strace");
        probe.args(["-f", "-qq", "-o", "/dev/null", "-e", "inject=fdatasync:error=EIO", "true"]);
        match probe.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).output() {
            Err(error) => Some(format!("strace cannot be started ({error})")),
            Ok(output) if output.status.success() => None,
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                Some(format!("strace may not trace ({said})"))
            }
        }
    });
    if let Some(why) = why_not {
        super::skip(&format!("{why}: {for_what}"));
    }
    why_not.is_none()
}

/// The words before a command that let strace do something to its calls on some files, or on all.
pub(super) fn inject(what: &str, files: &[&Path]) -> Vec<String> {
    let calls = what.split_once(':').map_or(what, |(calls, _)| calls);
    let mut words = words(&["strace", "-f", "-qq", "-o", "/dev/null"]);
    for file in files {
        words.extend(["-P".to_owned(), file.display().to_string()]);
    }
    words.extend(["-e".to_owned(), format!("trace={calls}")]);
    words.extend(["-e".to_owned(), format!("inject={what}")]);
    words
}

/// The words before a command that make strace write a log of calls.
pub(super) fn record(log: &Path, calls: &str) -> Vec<String> {
    let mut words = words(&["strace", "-f", "-qq", "-xx", "-s", "70000", "-o"]);
    words.extend([log.display().to_string(), "-e".to_owned(), format!("trace={calls}")]);
    words.extend(["-e".to_owned(), "signal=none".to_owned()]);
    words
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
