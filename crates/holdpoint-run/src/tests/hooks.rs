//! Hooks: what they are told, and what becomes of those that fail or hang.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::plan;
use crate::{Hooks, Plan, RunOptions, run};

/// Runs a plan with its hooks. Says which have failed, and how.
fn run_with_hooks(plan: &Plan) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (hooks, sink) = Hooks::of(plan);
        sink.is_run(Some(7));
        let end = run(plan, RunOptions::default().sink(Arc::clone(&sink) as _)).await;
        end.unwrap();
        sink.close();
        let mut failed = Vec::new();
        hooks.serve(|hook| failed.push(hook.to_string())).await;
        failed
    })
}

fn line(folder: &Path, file: &str) -> serde_json::Value {
    serde_json::from_str(&fs::read_to_string(folder.join(file)).unwrap()).unwrap()
}

#[test]
fn run_008_a_command_has_the_event_on_its_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let text = "
on:
  success: 'cat > success; echo $HOLDPOINT_RUN > number'
  failure: cat > failure
tasks: { a: 'true', b: { needs: a, run: exit 3, allow_failure: true } }
";
    assert!(run_with_hooks(&plan(folder.path(), text)).is_empty());
    let told = line(folder.path(), "success");
    assert_eq!((&told["kind"], &told["run"]), (&"session_done".into(), &7.into()));
    assert_eq!(fs::read_to_string(folder.path().join("number")).unwrap(), "7\n");
    assert!(!folder.path().join("failure").exists());

    let text = text.replace(", allow_failure: true", "");
    fs::remove_file(folder.path().join("success")).unwrap();
    assert!(run_with_hooks(&plan(folder.path(), &text)).is_empty());
    assert_eq!(line(folder.path(), "failure")["message"], "1 task failed: b");
    assert!(!folder.path().join("success").exists());
}

#[test]
fn run_008_a_hook_that_fails_hangs_or_is_missing_is_given_up_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let hook = |hook: &str| {
        let text = format!("on: {{ success: {hook} }}\ntasks: {{ a: 'true' }}\n");
        run_with_hooks(&plan(folder.path(), &text))
    };
    assert_eq!(
        hook("'echo no room >&2; exit 4'"),
        ["the hook `on.success` ended with exit code 4: no room"]
    );
    assert_eq!(hook("'kill -9 $$'"), ["the hook `on.success` was ended by a signal"]);
    let missing = hook("{ exec: [./no-such-hook] }");
    assert!(missing[0].contains("cannot be started"), "{missing:?}");
    // It and what it has started are ended; it need not read what it is told.
    let hangs = hook("{ run: 'sleep 600 & echo $! > child; wait', timeout: 100ms }");
    assert_eq!(hangs, ["the hook `on.success` took longer than 100ms and was given up"]);
    let child = fs::read_to_string(folder.path().join("child")).unwrap();
    let stat = format!("/proc/{}/stat", child.trim());
    let is_gone = || fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
    let began = Instant::now();
    while !is_gone() {
        assert!(began.elapsed() < Duration::from_secs(120), "its child is still there");
        thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(feature = "webhook")]
mod webhooks {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    use hmac::{Hmac, KeyInit as _, Mac as _};

    use super::*;

    /// Its headers and its body.
    type Request = (Vec<String>, Vec<u8>);

    /// Takes one request, and answers with a status. Gives its headers and body.
    fn serve(status: &'static str) -> (String, JoinHandle<Request>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let mut headers = Vec::new();
            let mut length = 0;
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                let line = line.trim().to_owned();
                if line.is_empty() {
                    break;
                }
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                headers.push(line);
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let answer =
                format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
            (headers, body)
        });
        (url, server)
    }

    #[test]
    fn run_008_a_webhook_is_posted_the_event_with_its_signature() {
        let folder = tempfile::tempdir().unwrap();
        let (url, server) = serve("204 No Content");
        // A variable of this process that is there wherever tests are run.
        let secret = std::env::var("PATH").unwrap();
        let text = format!(
            "on: {{ success: {{ webhook: \"{url}\", secret_env: PATH }} }}\ntasks: {{ a: 'true' }}\n"
        );
        assert!(run_with_hooks(&plan(folder.path(), &text)).is_empty());
        let (headers, body) = server.join().unwrap();
        assert_eq!(headers[0], "POST /hook HTTP/1.1");
        let event: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(event["kind"], "session_done");
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(&body);
        let expected: String =
            mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let signature = headers.iter().find_map(|header| {
            let (name, value) = header.split_once(": ")?;
            name.eq_ignore_ascii_case("x-hub-signature-256").then(|| value.to_owned())
        });
        assert_eq!(signature, Some(format!("sha256={expected}")));
    }

    #[test]
    fn run_008_a_webhook_that_is_refused_or_unreachable_or_has_no_secret_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let hook = |hook: String| {
            let text =
                format!("on: {{ success: {{ webhook: {hook} }} }}\ntasks: {{ a: 'true' }}\n");
            run_with_hooks(&plan(folder.path(), &text))
        };
        let (url, server) = serve("500 Internal Server Error");
        let refused = hook(format!("\"{url}\""));
        assert!(refused[0].contains("was not taken") && refused[0].contains("500"), "{refused:?}");
        server.join().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let unreachable = hook(format!("\"http://{free}/\""));
        assert!(unreachable[0].contains("was not taken"), "{unreachable:?}");
        let missing = hook(format!("\"http://{free}/\", secret_env: NO_SUCH_VARIABLE"));
        assert!(missing[0].contains("NO_SUCH_VARIABLE is not set"), "{missing:?}");
    }
}
