//! PROC-001 and PROC-002: what a process gets, and how its end is told.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::support::{path_only, run, shell, state};
use holdpoint_process::{Command, Environment, Spawner, Status, Stream, Verdict};

#[tokio::test]
async fn proc_001_a_program_gets_its_arguments_as_they_are() {
    let arguments = ["a b", "$HOME", "`id`", "'\"", "*", "", "-n"];
    let print = ["-e", "-c", "for a; do printf '<%s>' \"$a\"; done", "sh"];
    let command = Command::program("/", "/bin/sh", print).arguments(arguments);
    let expected: String = arguments.iter().map(|argument| format!("<{argument}>")).collect();
    assert_eq!(run(&command).await.1.stdout(), expected);
}

#[tokio::test]
async fn proc_001_ch_11_bytes_that_are_no_utf_8_are_passed() {
    let bytes = OsStr::from_bytes(b"\xff\xfe");
    let script = "printf %s \"$1$V\" | od -An -tx1 | tr -d ' \\n'";
    let mut environment = path_only();
    environment.set("V", bytes);
    let command = Command::shell("/", [script]).arguments([bytes]).environment(environment);
    assert_eq!(run(&command).await.1.stdout(), "fffefffe");
}

#[tokio::test]
async fn proc_001_a_name_is_found_in_the_path_of_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let tool = folder.path().join("holdpoint-test-tool");
    std::fs::copy("/bin/echo", &tool).unwrap();
    for path in [folder.path().to_str().unwrap(), "/nowhere:.:/bin", "/nowhere:", "::"] {
        let command = Command::program(folder.path(), "holdpoint-test-tool", ["found"])
            .environment(Environment::from_iter([("PATH", path)]));
        assert_eq!(run(&command).await.1.stdout(), "found\n", "{path}");
    }
    let relative = Command::program(folder.path(), "./holdpoint-test-tool", ["found"]);
    assert_eq!(run(&relative).await.1.stdout(), "found\n");
}

#[tokio::test]
async fn proc_001_a_script_is_one_and_ends_at_its_first_failure() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    let lines = ["cd sub", "x=1", "echo \"$x $(basename \"$PWD\") $1 $#\"", "false", "echo never"];
    let command = Command::shell(folder.path(), lines)
        .arguments(["; echo injected", "b"])
        .environment(path_only());
    let (exit, seen) = run(&command).await;
    assert_eq!(seen.stdout(), "1 sub ; echo injected 2\n");
    assert_eq!(exit.status, Status::Code(1));
}

#[tokio::test]
async fn proc_001_the_environment_is_what_was_given_and_nothing_else() {
    let given = Environment::from_iter([("B", "2 \n3"), ("A", "")]);
    let command = Command::program("/", "/usr/bin/env", ["-0"]).environment(given);
    assert_eq!(run(&command).await.1.stdout(), "A=\0B=2 \n3\0");
}

#[tokio::test]
async fn proc_001_directory_group_and_parent() {
    let folder = tempfile::tempdir().unwrap();
    let real = folder.path().canonicalize().unwrap();
    let ids = if cfg!(target_os = "linux") {
        "read -r pid name state ppid pgid rest < /proc/self/stat; echo $pgid $ppid"
    } else {
        "ps -o pgid= -o ppid= -p $$"
    };
    let lines = ["pwd -P", ids];
    let command = Command::shell(&real, lines).environment(path_only());
    let (exit, seen) = run(&command).await;
    let stdout = seen.stdout();
    let (directory, ids) = stdout.split_once('\n').unwrap();
    assert_eq!(directory, real.to_str().unwrap());
    let ids: Vec<u32> = ids.split_whitespace().map(|id| id.parse().unwrap()).collect();
    assert_eq!(ids, [exit.pid, std::process::id()]);
    assert_eq!(seen.pid, exit.pid);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn proc_001_ch_10_a_child_has_no_descriptor_but_three() {
    use rustix::io::{FdFlags, fcntl_setfd};

    // As a caller that leaks one would leave it to us.
    let inherited = std::fs::File::open("/dev/null").unwrap();
    fcntl_setfd(&inherited, FdFlags::empty()).unwrap();
    let _seals = Spawner::new().unwrap();
    let command = Command::program("/", "ls", ["/proc/self/fd"]).environment(path_only());
    // The fourth is what `ls` reads the folder with.
    assert_eq!(run(&command).await.1.stdout(), "0\n1\n2\n3\n");
    drop(inherited);
}

#[tokio::test]
async fn proc_002_codes_and_foreign_signals() {
    let (exit, _) = run(&shell("exit 0")).await;
    assert_eq!((exit.status, exit.verdict()), (Status::Code(0), Verdict::Succeeded));
    for (script, status) in [
        ("exit 1", Status::Code(1)),
        ("exit 255", Status::Code(255)),
        ("kill -9 $$", Status::Signal(9)),
        ("kill -15 $$", Status::Signal(15)),
    ] {
        let (exit, _) = run(&shell(script)).await;
        assert_eq!(exit.status, status);
        assert!(matches!(exit.verdict(), Verdict::Failed(_)), "{script}");
        assert_eq!(exit.cancelled, None);
    }
}

#[tokio::test]
async fn proc_005_the_exit_counts_the_bytes_of_both_streams() {
    let (exit, seen) = run(&shell("printf 12345; printf 678 >&2")).await;
    assert_eq!(exit.output_bytes, 8);
    assert_eq!(seen.text(Stream::Stderr), "678");
}

#[tokio::test]
async fn ch_6_every_child_is_reaped() {
    let spawner = Spawner::new().unwrap();
    let runs: Vec<_> = (0..4)
        .map(|_| {
            let spawner = spawner.clone();
            tokio::spawn(async move {
                let command = Command::program("/", "/bin/true", [""; 0]);
                let mut pids = Vec::new();
                for _ in 0..100 {
                    let mut sink = |_: Stream, _: holdpoint_process::Line<'_>| {};
                    let cancel = holdpoint_core::Cancel::new();
                    let run = spawner.run(&command, &mut sink, &cancel, Default::default());
                    pids.push(run.await.unwrap().pid);
                }
                pids
            })
        })
        .collect();
    let mut pids = Vec::new();
    for run in runs {
        pids.extend(run.await.unwrap());
    }
    for pid in &pids {
        assert_ne!(state(*pid), Some('Z'), "{pid}");
    }
    assert_eq!(pids.len(), 400);
}
