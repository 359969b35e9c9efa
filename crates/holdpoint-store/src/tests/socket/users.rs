//! Processes of other users, which takes root (STORE-009).

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Echo, Folder, request_frame};
use crate::socket::AskFailure;

#[test]
fn store_009_other_users_are_turned_away_without_a_word() {
    if !can_be_another() {
        eprintln!("SKIPPED: this takes root, setpriv and python3");
        return;
    }
    let folder = Folder::new();
    let echo = Echo::new();
    let listener = folder.listen(Arc::clone(&echo) as _);
    // Let them come as far as the socket.
    fs::set_permissions(folder.0.path(), Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(folder.socket(), Permissions::from_mode(0o777)).unwrap();
    let client = "
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
try:
    s.sendall(bytes.fromhex(sys.argv[2]))
    print('got', s.recv(100).hex())
except (BrokenPipeError, ConnectionResetError):
    print('got')
";
    let frame: String = request_frame(b"x").iter().map(|byte| format!("{byte:02x}")).collect();
    let ask_as = |uid: &str| {
        let output =
            python_as(uid, client).arg(folder.socket()).arg(&frame).output().expect("an asker");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(ask_as("65534"), "got");
    assert_eq!(echo.calls.load(Ordering::SeqCst), 0);
    assert!(ask_as("0").len() > "got".len());
    drop(listener);
    // Nor do we ask others.
    let server = "
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen()
print('here', flush=True)
print('heard', s.accept()[0].recv(100).hex(), flush=True)
";
    let mut foreign = python_as("65534", server)
        .arg(folder.socket())
        .stdout(Stdio::piped())
        .spawn()
        .expect("an owner of another user");
    let mut lines = BufReader::new(foreign.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "here");
    assert!(matches!(folder.ask(b"secret"), Err(AskFailure::Gone)));
    assert_eq!(lines.next().unwrap().unwrap().trim(), "heard");
    foreign.wait().unwrap();
}

/// A program that another user runs.
fn python_as(uid: &str, program: &str) -> Command {
    let mut command = Command::new("setpriv");
    // Not one that lies in somebody's home.
    command.env("PATH", "/usr/bin:/bin");
    command.args(["--reuid", uid, "--clear-groups", "python3", "-c", program]);
    command
}

fn can_be_another() -> bool {
    rustix::process::geteuid().is_root()
        && python_as("65534", "import socket").output().is_ok_and(|run| run.status.success())
}
