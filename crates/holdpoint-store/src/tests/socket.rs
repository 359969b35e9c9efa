//! Requests between processes (STORE-009). Sockets of processes that are killed, stopped, or speak
//! nonsense.

mod users;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use holdpoint_core::event::Stream;
use holdpoint_core::store::{Reply, Responder};
use holdpoint_core::{BatchId, SessionId};

use super::child::{Child, PATIENCE, hear, part, rounds, say, until};
use crate::socket::{AskFailure, LIMIT, Listener, ask};

/// A patience that is not over by accident, for answers that are to come.
const LONG: Duration = PATIENCE;

/// A patience for answers that will not come.
const SHORT: Duration = Duration::from_millis(200);

/// What other processes do here.
#[test]
fn child() {
    let Some((part, folder)) = part() else { return };
    let (held, _keeps) = channel();
    let responder: Arc<dyn Responder> = match part.as_str() {
        "echo" => Echo::new(),
        "hold" => Arc::new(Held(Mutex::new(held))),
        other => panic!("no part {other}"),
    };
    let listener = Listener::start(&folder.join("a.sock"), responder).unwrap();
    say("here");
    while hear() != "end" {}
    drop(listener);
}

/// Answers at once with what was asked.
struct Echo {
    calls: AtomicUsize,
}

impl Echo {
    fn new() -> Arc<Self> {
        Arc::new(Self { calls: AtomicUsize::new(0) })
    }
}

impl Responder for Echo {
    fn request(&self, stream: &Stream, request: &[u8], reply: Reply) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let mut answer = request.to_vec();
        if request.len() < 100 {
            answer.extend_from_slice(stream.to_string().as_bytes());
        }
        reply.send(answer);
    }
}

/// Hands replies over, to be answered by somebody else.
struct Held(Mutex<Sender<(Vec<u8>, Reply)>>);

impl Responder for Held {
    fn request(&self, _: &Stream, request: &[u8], reply: Reply) {
        if request.starts_with(b"say") {
            say(String::from_utf8_lossy(request));
        }
        let _ = self.0.lock().unwrap().send((request.to_vec(), reply));
    }
}

fn held() -> (Arc<Held>, Receiver<(Vec<u8>, Reply)>) {
    let (sender, receiver) = channel();
    (Arc::new(Held(Mutex::new(sender))), receiver)
}

/// Answers with something else than was asked.
struct Sized(usize);

impl Responder for Sized {
    fn request(&self, _: &Stream, _: &[u8], reply: Reply) {
        reply.send(vec![7; self.0]);
    }
}

/// Drops what it is asked.
struct Refusing;

impl Responder for Refusing {
    fn request(&self, _: &Stream, _: &[u8], reply: Reply) {
        drop(reply);
    }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir_in("/tmp").unwrap())
    }

    fn socket(&self) -> PathBuf {
        self.0.path().join("a.sock")
    }

    fn listen(&self, responder: Arc<dyn Responder>) -> Listener {
        Listener::start(&self.socket(), responder).unwrap()
    }

    fn child(&self, part: &str) -> Child {
        let mut child = Child::start(module_path!(), part, self.0.path());
        assert_eq!(child.line(), "here");
        child
    }

    fn ask(&self, request: &[u8]) -> Result<Vec<u8>, AskFailure> {
        ask(&self.socket(), &session(), request, LONG)
    }

    fn raw(&self) -> UnixStream {
        UnixStream::connect(self.socket()).unwrap()
    }
}

fn session() -> Stream {
    Stream::Session(SessionId::generate())
}

#[test]
fn store_009_a_request_is_answered() {
    let folder = Folder::new();
    let _listener = folder.listen(Echo::new());
    for stream in [
        session(),
        Stream::Batch(BatchId::generate()),
        Stream::Schedule("nightly".parse().unwrap()),
    ] {
        let answer = ask(&folder.socket(), &stream, b"who? ", LONG).unwrap();
        assert_eq!(answer, format!("who? {stream}").into_bytes());
    }
    assert_eq!(folder.ask(&[0; 200]).unwrap(), [0; 200]);
}

#[test]
fn store_009_the_answer_may_come_later_from_another_thread() {
    let folder = Folder::new();
    let (responder, requests) = held();
    let _listener = folder.listen(responder);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| folder.ask(b"later"));
        let (request, reply) = requests.recv().unwrap();
        assert_eq!(request, b"later");
        reply.send(b"now".to_vec());
        assert_eq!(asking.join().unwrap().unwrap(), b"now");
    });
}

#[test]
fn store_009_a_dropped_reply_says_that_the_stream_is_not_owned_here() {
    let folder = Folder::new();
    let listener = folder.listen(Arc::new(Refusing));
    assert!(matches!(folder.ask(b"x"), Err(AskFailure::Unowned)));
    listener.replace(Echo::new());
    assert!(folder.ask(b"x").is_ok());
}

#[test]
fn store_009_two_hundred_may_wait_for_answers_at_once() {
    let folder = Folder::new();
    let (responder, requests) = held();
    let _listener = folder.listen(responder);
    std::thread::scope(|scope| {
        let folder = &folder;
        let asking: Vec<_> = (0..200_u32)
            .map(|n| scope.spawn(move || folder.ask(&n.to_le_bytes()).unwrap() == n.to_le_bytes()))
            .collect();
        // None has its answer before all have asked; and they get them the other way round.
        let mut all: Vec<_> = requests.iter().take(200).collect();
        all.reverse();
        all.into_iter().for_each(|(request, reply)| reply.send(request));
        assert!(asking.into_iter().all(|one| one.join().unwrap()));
    });
}

#[test]
fn store_009_requests_and_answers_of_the_largest_size_go_through() {
    let folder = Folder::new();
    let listener = folder.listen(Echo::new());
    let large: Vec<u8> = (0..LIMIT).map(|n| (n / 7) as u8).collect();
    assert!(folder.ask(&large).unwrap() == large, "it was changed on the way");
    // Neither more; and what is refused does no harm.
    let failure = folder.ask(&vec![0; LIMIT + 1]).unwrap_err();
    assert!(matches!(failure, AskFailure::TooLarge { size } if size == LIMIT + 1), "{failure}");
    listener.replace(Arc::new(Sized(LIMIT + 1)));
    let failure = folder.ask(b"x").unwrap_err();
    assert!(
        matches!(failure, AskFailure::AnswerTooLarge { size } if size == LIMIT + 1),
        "{failure}"
    );
    assert!(failure.to_string().contains("16777217 bytes"), "{failure}");
    listener.replace(Echo::new());
    assert!(folder.ask(b"x").is_ok());
}

#[test]
fn store_009_who_answers_does_not_wait_for_a_slow_asker() {
    let folder = Folder::new();
    let (responder, requests) = held();
    let _listener = folder.listen(responder);
    let mut asker = folder.raw();
    asker.write_all(&request_frame(b"x")).unwrap();
    let (_, reply) = requests.recv().unwrap();
    // Nobody reads yet, and no socket has so much room: this would block for ever.
    reply.send(vec![7; LIMIT]);
    let mut answer = Vec::new();
    asker.read_to_end(&mut answer).unwrap();
    assert_eq!(answer.len(), LIMIT + 6);
    assert!(answer[6..].iter().all(|byte| *byte == 7));
}

#[test]
fn store_009_a_request_that_is_too_large_is_refused_by_who_is_asked_too() {
    let folder = Folder::new();
    let echo = Echo::new();
    let _listener = folder.listen(Arc::clone(&echo) as _);
    let mut size = vec![0xFF; 4];
    size.extend_from_slice(&[1, 1]);
    let answer = raw_answer(&folder, &size);
    assert_eq!(answer[4..6], [1, 130]);
    // Within the limit of a frame, but not within that of a request.
    let answer = raw_answer(&folder, &request_frame(&vec![0; LIMIT + 1]));
    assert_eq!(answer[4..6], [1, 130]);
    assert_eq!(answer[6..14], (LIMIT as u64 + 1).to_le_bytes());
    assert_eq!(echo.calls.load(Ordering::SeqCst), 0);
    assert!(folder.ask(b"x").is_ok());
}

#[test]
fn store_009_another_version_is_told_so() {
    let folder = Folder::new();
    let _listener = folder.listen(Echo::new());
    let answer = raw_answer(&folder, &[2, 0, 0, 0, 9, 1]);
    assert_eq!(answer, [2, 0, 0, 0, 1, 132]);
    // An answer of another version is no answer.
    let folder = Folder::new();
    let listener = UnixListener::bind(folder.socket()).unwrap();
    for (answer, expected) in [
        (&[2, 0, 0, 0, 9, 128][..], "another version"),
        (&[0, 0, 0, 0], "not Holdpoint's"),
        (&[1, 0, 0, 0, 1], "not Holdpoint's"),
        (&[0xFF; 4], "not Holdpoint's"),
        (&[3, 0, 0, 0, 1, 130, 0], "not Holdpoint's"),
        (&[9, 0, 0, 0, 1, 128], "the owner is gone"),
        (&[], "the owner is gone"),
    ] {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                assert!(stream.read(&mut [0; 1000]).unwrap() > 50, "a whole request");
                stream.write_all(answer).unwrap();
            });
            let failure = folder.ask(b"x").unwrap_err();
            assert!(failure.to_string().contains(expected), "{answer:?}: {failure}");
        });
    }
}

#[test]
fn store_009_nonsense_does_no_harm() {
    let folder = Folder::new();
    let echo = Echo::new();
    let _listener = folder.listen(Arc::clone(&echo) as _);
    let good = request_frame(b"some request");
    for end in 0..good.len() {
        assert_eq!(raw_answer(&folder, &good[..end]), b"", "after {end} bytes");
    }
    assert_eq!(echo.calls.load(Ordering::SeqCst), 0, "half a request is none");
    let mut answered = 0;
    for at in 4..good.len() - b"some request".len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        let answer = raw_answer(&folder, &bad);
        // A changed digit of an id is another id.
        answered += usize::from(answer.get(5) == Some(&128));
    }
    assert_eq!(echo.calls.load(Ordering::SeqCst), answered);
    for bad in [&b""[..], b"\0\0\0\0", b"\x01\0\0\0x", b"GET / HTTP/1.1\r\n\r\n", &[0xFF; 300]] {
        raw_answer(&folder, bad);
    }
    assert_eq!(echo.calls.load(Ordering::SeqCst), answered);
    assert!(folder.ask(b"x").is_ok());
}

#[test]
fn store_009_who_says_nothing_stops_nobody_else() {
    let folder = Folder::new();
    let _listener = Listener::start_with(&folder.socket(), Echo::new(), LONG).unwrap();
    let mut silent: Vec<_> = (0..63).map(|_| folder.raw()).collect();
    silent[0].write_all(&request_frame(b"x")[..9]).unwrap();
    assert!(folder.ask(b"x").is_ok(), "one thread was left");
    silent.push(folder.raw());
    let failure = ask(&folder.socket(), &session(), b"x", SHORT).unwrap_err();
    assert!(matches!(failure, AskFailure::Silent), "{failure}");
    silent.pop();
    assert!(folder.ask(b"x").is_ok(), "one thread is free again");
}

#[test]
fn store_009_who_says_nothing_is_dismissed() {
    let folder = Folder::new();
    let arrival = Duration::from_millis(100);
    let _listener = Listener::start_with(&folder.socket(), Echo::new(), arrival).unwrap();
    let silent: Vec<_> = (0..100).map(|_| folder.raw()).collect();
    assert!(folder.ask(b"x").is_ok());
    for mut stream in silent {
        assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
    }
}

#[test]
fn store_009_the_dead_and_the_missing_are_gone() {
    let folder = Folder::new();
    assert!(matches!(folder.ask(b"x"), Err(AskFailure::Gone)), "there is nothing");
    let nowhere = folder.0.path().join("missing/a.sock");
    assert!(matches!(ask(&nowhere, &session(), b"x", LONG), Err(AskFailure::Gone)));
    let child = folder.child("echo");
    assert!(folder.ask(b"x").is_ok());
    drop(child);
    assert!(folder.socket().exists(), "it had no time to clean up");
    assert!(matches!(folder.ask(b"x"), Err(AskFailure::Gone)));
    // What it left is in nobody's way.
    let listener = folder.listen(Echo::new());
    assert!(folder.ask(b"x").is_ok());
    drop(listener);
    assert!(!folder.socket().exists());
}

#[test]
fn store_009_an_owner_that_is_killed_in_the_middle_is_gone_at_once() {
    let folder = Folder::new();
    for _ in 0..rounds(3) {
        let mut child = folder.child("hold");
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| folder.ask(b"say so"));
            assert_eq!(child.line(), "say so");
            child.kill();
            assert!(matches!(asking.join().unwrap(), Err(AskFailure::Gone)));
        });
    }
}

#[test]
fn store_009_a_stopped_owner_is_silent_and_answers_again_when_it_goes_on() {
    let folder = Folder::new();
    let child = folder.child("echo");
    child.stop();
    // More than may wait to be let in, so that the last ones do not even get so far.
    std::thread::scope(|scope| {
        for _ in 0..150 {
            scope.spawn(|| {
                let start = Instant::now();
                let failure = ask(&folder.socket(), &session(), b"x", SHORT).unwrap_err();
                assert!(matches!(failure, AskFailure::Silent), "{failure}");
                let took = start.elapsed();
                assert!(took >= SHORT && took < SHORT + Duration::from_secs(5), "{took:?}");
            });
        }
    });
    // A request that it cannot even take in.
    let large = vec![0; LIMIT];
    assert!(matches!(ask(&folder.socket(), &session(), &large, SHORT), Err(AskFailure::Silent)));
    child.go_on();
    assert!(folder.ask(b"x").is_ok());
    child.end();
    assert!(matches!(folder.ask(b"x"), Err(AskFailure::Gone)));
}

#[test]
fn store_009_who_waits_to_be_let_in_is_let_in_when_there_is_room() {
    let folder = Folder::new();
    let child = folder.child("echo");
    child.stop();
    let waiting: Vec<_> = (0..129).map(|_| folder.raw()).collect();
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| folder.ask(b"x"));
        child.go_on();
        drop(waiting);
        assert!(asking.join().unwrap().is_ok());
    });
}

#[test]
fn store_009_dropping_a_listener_ends_what_it_started() {
    let folder = Folder::new();
    for _ in 0..rounds(50) {
        let (responder, requests) = held();
        let listener = folder.listen(Arc::clone(&responder) as _);
        let mut slow = folder.raw();
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| folder.ask(b"x"));
            let (_, reply) = requests.recv().unwrap();
            drop(listener);
            assert!(!folder.socket().exists());
            assert!(matches!(folder.ask(b"y"), Err(AskFailure::Gone)));
            // What was asked before is answered.
            reply.send(b"late".to_vec());
            assert_eq!(asking.join().unwrap().unwrap(), b"late");
        });
        // What arrives now is not passed on.
        slow.write_all(&request_frame(b"z")).unwrap();
        // Nobody keeps the responder: all threads are gone.
        until(PATIENCE, || Arc::strong_count(&responder) == 1);
        assert!(requests.try_recv().is_err());
    }
}

#[test]
fn store_009_a_listener_may_be_dropped_by_its_own_responder() {
    struct Dropping(Mutex<Option<Listener>>);
    impl Responder for Dropping {
        fn request(&self, _: &Stream, _: &[u8], reply: Reply) {
            drop(self.0.lock().unwrap().take());
            reply.send(Vec::new());
        }
    }
    let folder = Folder::new();
    let responder = Arc::new(Dropping(Mutex::default()));
    let mut own = responder.0.lock().unwrap();
    *own = Some(folder.listen(Arc::clone(&responder) as _));
    drop(own);
    assert_eq!(folder.ask(b"x").unwrap(), b"");
    assert!(matches!(folder.ask(b"x"), Err(AskFailure::Gone)));
}

#[test]
fn store_009_a_panic_of_the_responder_hurts_only_who_asked() {
    struct Panics;
    impl Responder for Panics {
        fn request(&self, _: &Stream, _: &[u8], _: Reply) {
            std::panic::resume_unwind(Box::new(()));
        }
    }
    let folder = Folder::new();
    let listener = folder.listen(Arc::new(Panics));
    for _ in 0..100 {
        assert!(matches!(folder.ask(b"x"), Err(AskFailure::Unowned)));
    }
    listener.replace(Echo::new());
    assert!(folder.ask(b"x").is_ok());
}

#[test]
fn store_009_only_what_was_left_behind_is_replaced_and_only_ones_own_is_removed() {
    let folder = Folder::new();
    fs::write(folder.socket(), "precious").unwrap();
    let error = Listener::start(&folder.socket(), Echo::new()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert_eq!(fs::read(folder.socket()).unwrap(), b"precious");
    fs::remove_file(folder.socket()).unwrap();
    let one = folder.listen(Echo::new());
    let mode = fs::metadata(folder.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let other = folder.listen(Echo::new());
    drop(one);
    assert!(fs::symlink_metadata(folder.socket()).unwrap().file_type().is_socket());
    assert!(folder.ask(b"x").is_ok());
    drop(other);
    assert!(!folder.socket().exists());
}

/// A request as it goes over the socket.
fn request_frame(request: &[u8]) -> Vec<u8> {
    let name = serde_json::to_vec(&session()).unwrap();
    let length = u32::try_from(4 + name.len() + request.len()).unwrap();
    let mut frame = length.to_le_bytes().to_vec();
    frame.extend_from_slice(&[1, 1]);
    frame.extend_from_slice(&u16::try_from(name.len()).unwrap().to_le_bytes());
    frame.extend_from_slice(&name);
    frame.extend_from_slice(request);
    frame
}

/// What comes back for these bytes.
fn raw_answer(folder: &Folder, bytes: &[u8]) -> Vec<u8> {
    let mut stream = folder.raw();
    stream.set_read_timeout(Some(LONG)).unwrap();
    // Who is refused may be cut off.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}
