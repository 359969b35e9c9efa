//! News of commits between processes (STORE-009).

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::child::{Child, PATIENCE, hear, part, rounds, say, until};
use crate::news::{Freshness, News, NewsListener};
use crate::owner::{Instance, Instances};

/// What other processes do here: they listen, and say how often they were told.
#[test]
fn child() {
    let Some((part, folder)) = part() else { return };
    assert_eq!(part, "listen");
    let instances = Instances::open(&folder).unwrap();
    let listening = Listening::start(&instances, &folder, true);
    say(listening.instance.id());
    while hear() != "end" {}
}

/// An instance that listens.
struct Listening {
    instance: Instance,
    listener: NewsListener,
    told: Receiver<()>,
}

impl Listening {
    fn start(instances: &Instances, folder: &Path, says: bool) -> Self {
        let mut instance = instances.enter().unwrap();
        let path = folder.join(format!("{}.news", instance.id()));
        let (tell, told) = channel();
        let listener = NewsListener::start(&path, move || {
            let _ = tell.send(());
            if says {
                say("told");
            }
        })
        .unwrap();
        instance.change_card(|card| card.news = Some(listener.path().to_owned())).unwrap();
        Self { instance, listener, told }
    }
}

struct Store {
    folder: tempfile::TempDir,
    instances: Arc<Instances>,
    me: Instance,
    news: News,
}

impl Store {
    fn new() -> Self {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let instances = Arc::new(Instances::open(folder.path()).unwrap());
        let me = instances.enter().unwrap();
        let news = News::new(Arc::clone(&instances), me.id());
        Self { folder, instances, me, news }
    }

    fn child(&self) -> Child {
        let mut child = Child::start(module_path!(), "listen", self.folder.path());
        child.line();
        child
    }

    fn listening(&self) -> Listening {
        Listening::start(&self.instances, self.folder.path(), false)
    }

    /// Tells until the cards are not looked at any more.
    fn settle(&mut self) {
        until(PATIENCE, || {
            self.news.tell();
            self.news.is_settled()
        });
    }
}

#[test]
fn store_009_other_processes_are_told_at_once() {
    let mut store = Store::new();
    // Nobody is there.
    store.news.tell();
    let mut one = store.child();
    let mut other = store.child();
    for _ in 0..rounds(20) {
        let start = Instant::now();
        store.news.tell();
        assert_eq!(one.line(), "told");
        assert_eq!(other.line(), "told");
        // The 5 ms of a machine with nothing else to do.
        let took = start.elapsed();
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
    one.end();
    other.end();
}

#[test]
fn store_009_oneself_is_not_told() {
    let mut store = Store::new();
    let listening = store.listening();
    let path = listening.listener.path().to_owned();
    store.me.change_card(|card| card.news = Some(path)).unwrap();
    drop(listening.instance);
    store.news.tell();
    assert_eq!(store.news.peers(), 0);
}

#[test]
fn store_009_many_commits_are_one_piece_of_news_for_who_is_busy() {
    let mut store = Store::new();
    let mut child = store.child();
    store.news.tell();
    assert_eq!(child.line(), "told");
    child.stop();
    for _ in 0..10_000 {
        // Never waits, however many were not looked at.
        store.news.tell();
    }
    child.go_on();
    assert_eq!(child.line(), "told");
    child.tell("end");
    let more = std::iter::from_fn(|| child.next_line()).filter(|line| line == "told").count();
    assert!(more < 1_000, "told {more} times more");
}

#[test]
fn store_009_the_dead_are_forgotten() {
    let mut store = Store::new();
    let (one, mut other) = (store.child(), store.child());
    store.settle();
    assert_eq!(store.news.peers(), 2);
    // Killed: its card stays.
    drop(one);
    store.news.tell();
    assert_eq!(store.news.peers(), 1);
    assert_eq!(other.line(), "told");
    // And stays forgotten, though the cards are read again.
    let listening = store.listening();
    store.news.tell();
    assert_eq!(store.news.peers(), 2);
    listening.told.recv_timeout(PATIENCE).unwrap();
    other.end();
    drop(listening);
    store.news.tell();
    assert_eq!(store.news.peers(), 0);
}

#[test]
fn store_009_who_comes_later_is_told_of_the_next_commit() {
    let mut store = Store::new();
    for _ in 0..rounds(20) {
        store.news.tell();
        // So soon after the last look that the folder's time may be the same.
        let (one, other) = (store.listening(), store.listening());
        store.news.tell();
        one.told.recv_timeout(PATIENCE).expect("news for the first");
        other.told.recv_timeout(PATIENCE).expect("news for the second");
    }
    store.settle();
    let late = store.listening();
    store.news.tell();
    late.told.recv_timeout(PATIENCE).expect("news for the last");
}

#[test]
fn store_009_who_wants_no_more_news_gets_none() {
    let mut store = Store::new();
    let mut listening = store.listening();
    store.news.tell();
    listening.told.recv_timeout(PATIENCE).unwrap();
    listening.instance.change_card(|card| card.news = None).unwrap();
    store.news.tell();
    assert_eq!(store.news.peers(), 0);
}

#[test]
fn store_009_a_folder_that_was_made_anew_is_found() {
    let mut store = Store::new();
    store.settle();
    std::fs::remove_dir_all(store.instances.folder()).unwrap();
    std::fs::create_dir(store.instances.folder()).unwrap();
    store.settle();
    let listening = store.listening();
    store.news.tell();
    listening.told.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn store_009_cards_are_read_again_until_a_step_of_the_file_systems_time_is_over() {
    let start = Instant::now();
    let at = |millis| start + Duration::from_millis(millis);
    let mut freshness = Freshness::default();
    let mut may_have_changed = |modified, millis| freshness.may_have_changed(modified, at(millis));
    let (one, other) = ((7, 1), (7, 2));
    assert!(may_have_changed(one, 0), "never read before");
    assert!(may_have_changed(one, 1) && may_have_changed(one, 50), "within a step");
    assert!(may_have_changed(one, 51), "once more when the step is over");
    assert!(!may_have_changed(one, 52) && !may_have_changed(one, 9_000));
    // Clocks of file systems may go back.
    assert!(may_have_changed(other, 9_001) && may_have_changed(one, 9_002));
    assert!(may_have_changed(one, 9_052) && may_have_changed(one, 9_053));
    assert!(!may_have_changed(one, 9_054));
    // A file system that knows no parts of seconds.
    let whole = (8, 0);
    assert!(may_have_changed(whole, 10_000) && may_have_changed(whole, 12_100));
    assert!(may_have_changed(whole, 12_101));
    assert!(!may_have_changed(whole, 12_102));
}

#[test]
fn store_009_dropping_a_listener_ends_its_thread_and_removes_the_socket() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let path = folder.path().join("a.news");
    for _ in 0..rounds(50) {
        let kept = Arc::new(());
        let listener = NewsListener::start(&path, {
            let kept = Arc::clone(&kept);
            move || drop(Arc::clone(&kept))
        })
        .unwrap();
        let sender = UnixDatagram::unbound().unwrap();
        sender.send_to(b"x", &path).unwrap();
        drop(listener);
        assert_eq!(Arc::strong_count(&kept), 1, "the thread is not gone");
        assert!(!path.exists());
        assert!(sender.send_to(b"x", &path).is_err());
    }
}

#[test]
fn store_009_news_that_come_while_one_looks_are_one_more_call() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let path = folder.path().join("a.news");
    // Ended last: it waits for a call that waits for us.
    let _listener;
    let (began, begins) = channel();
    let (go_on, goes_on) = channel::<()>();
    _listener = NewsListener::start(&path, move || {
        let _ = began.send(());
        let _ = goes_on.recv();
    })
    .unwrap();
    let sender = UnixDatagram::unbound().unwrap();
    sender.send_to(b"x", &path).unwrap();
    begins.recv_timeout(PATIENCE).unwrap();
    let room = fill(&path);
    go_on.send(()).unwrap();
    begins.recv_timeout(PATIENCE).expect("a second call");
    // All that had come was taken for it.
    assert_eq!(fill(&path), room);
}

/// Sends until there is no room. How much there was.
fn fill(path: &Path) -> usize {
    let sender = UnixDatagram::unbound().unwrap();
    sender.set_nonblocking(true).unwrap();
    (0..100_000).take_while(|_| sender.send_to(b"x", path).is_ok()).count()
}
