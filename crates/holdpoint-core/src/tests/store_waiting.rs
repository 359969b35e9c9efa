//! Waiting for a store: tickets and news, by threads and by tasks.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use crate::store::{
    AppendError, Appended, Changes, ChangesSender, Commit, Completer, RequestError, Ticket, ticket,
};

/// Longer than any test may take: a thread that waits so long waits in vain.
const LONG: Duration = Duration::from_secs(60);

/// How often a race is run: 100 times, or that many times what `HOLDPOINT_ROUNDS` says.
fn rounds() -> usize {
    let rounds = std::env::var("HOLDPOINT_ROUNDS").ok().and_then(|text| text.parse().ok());
    rounds.unwrap_or(1_usize) * 100
}

/// A waker that counts.
#[derive(Default)]
struct Count(AtomicUsize);

impl Count {
    fn new() -> (Arc<Self>, Waker) {
        let count = Arc::new(Self::default());
        (Arc::clone(&count), count.into())
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A waker that owns something, as that of a task does.
struct Owning<T>(Mutex<T>);

impl<T: Send + 'static> Owning<T> {
    fn waker(owned: T) -> Waker {
        Arc::new(Self(Mutex::new(owned))).into()
    }
}

impl<T: Send + 'static> Wake for Owning<T> {
    fn wake(self: Arc<Self>) {}
}

type Answer = Result<u32, AppendError>;

fn pair() -> (Completer<Answer>, Ticket<Answer>) {
    ticket()
}

fn poll(ticket: &mut Ticket<Answer>, waker: &Waker) -> Poll<Answer> {
    Pin::new(ticket).poll(&mut Context::from_waker(waker))
}

fn look(changes: &mut Changes, waker: &Waker) -> Poll<bool> {
    changes.poll_changed(&mut Context::from_waker(waker))
}

// Tickets

#[test]
fn a_thread_gets_the_value_whether_it_waits_before_or_after() {
    for _ in 0..rounds() {
        let (completer, ticket) = pair();
        let start = Arc::new(Barrier::new(2));
        let go = Arc::clone(&start);
        let thread = thread::spawn(move || {
            go.wait();
            completer.complete(Ok(7));
        });
        start.wait();
        assert!(matches!(ticket.wait(), Ok(7)));
        thread.join().unwrap();
    }
    let (completer, ticket) = pair();
    completer.complete(Ok(8));
    assert!(matches!(ticket.wait(), Ok(8)));
}

#[test]
fn a_future_is_woken_once_and_by_its_last_waker() {
    let (completer, mut ticket) = pair();
    let ((first, first_waker), (second, second_waker)) = (Count::new(), Count::new());
    assert!(poll(&mut ticket, &first_waker).is_pending());
    assert!(poll(&mut ticket, &second_waker).is_pending());
    assert!(poll(&mut ticket, &second_waker).is_pending());
    completer.complete(Ok(7));
    assert_eq!((first.get(), second.get()), (0, 1));
    assert!(matches!(poll(&mut ticket, &second_waker), Poll::Ready(Ok(7))));
}

#[test]
fn a_polled_ticket_can_still_be_waited_for_by_a_thread() {
    let (completer, mut ticket) = pair();
    let (count, waker) = Count::new();
    assert!(poll(&mut ticket, &waker).is_pending());
    let thread = thread::spawn(move || ticket.wait());
    completer.complete(Ok(7));
    assert!(matches!(thread.join().unwrap(), Ok(7)));
    assert_eq!(count.get(), 1);
}

#[test]
fn a_completer_that_goes_away_tells_that_the_store_is_closed() {
    let (completer, ticket) = pair();
    drop(completer);
    assert!(matches!(ticket.wait(), Err(AppendError::Closed)));

    let (completer, mut ticket) = pair();
    let (count, waker) = Count::new();
    assert!(poll(&mut ticket, &waker).is_pending());
    let panicked = thread::spawn(move || {
        let _completer = completer;
        panic!("on purpose");
    });
    assert!(panicked.join().is_err());
    assert_eq!(count.get(), 1);
    assert!(matches!(poll(&mut ticket, &waker), Poll::Ready(Err(AppendError::Closed))));

    let (completer, waiting) = crate::store::ticket::<Result<(), RequestError>>();
    let waiting = thread::spawn(move || waiting.wait());
    drop(completer);
    assert!(matches!(waiting.join().unwrap(), Err(RequestError::Closed)));
}

#[test]
fn a_dropped_ticket_disturbs_nobody() {
    let (completer, ticket) = pair();
    drop(ticket);
    completer.complete(Ok(7));

    let (completer, mut ticket) = pair();
    let (count, waker) = Count::new();
    assert!(poll(&mut ticket, &waker).is_pending());
    drop(ticket);
    completer.complete(Ok(7));
    assert!(count.get() <= 1);
}

#[test]
fn try_take_gives_the_value_or_the_ticket_back() {
    let (completer, ticket) = pair();
    let Err(ticket) = ticket.try_take() else { panic!("a value from nowhere") };
    completer.complete(Ok(7));
    assert!(matches!(ticket.try_take(), Ok(Ok(7))));
}

#[test]
fn a_waker_may_own_the_completer_of_the_ticket_it_waits_for() {
    let (completer, mut ticket) = pair();
    assert!(poll(&mut ticket, &Owning::waker(completer)).is_pending());
    // The first waker goes, and the completer with it.
    let (count, waker) = Count::new();
    assert!(poll(&mut ticket, &waker).is_pending());
    assert_eq!(count.get(), 1);
    assert!(matches!(ticket.wait(), Err(AppendError::Closed)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tickets_of_many_tasks_all_end() {
    let (to_thread, completers) = mpsc::channel::<(u32, Completer<Answer>)>();
    let thread = thread::spawn(move || {
        for (number, completer) in completers {
            // Every third one is abandoned.
            if number % 3 != 0 {
                completer.complete(Ok(number));
            }
        }
    });
    let mut tasks = Vec::new();
    for number in 0..300 {
        let to_thread = to_thread.clone();
        tasks.push(tokio::spawn(async move {
            let (completer, ticket) = pair();
            to_thread.send((number, completer)).unwrap();
            match ticket.await {
                Ok(found) => assert_eq!((found, number % 3 != 0), (number, true)),
                Err(error) => assert!(matches!(error, AppendError::Closed) && number % 3 == 0),
            }
        }));
    }
    drop(to_thread);
    for task in tasks {
        task.await.unwrap();
    }
    thread.join().unwrap();
}

#[tokio::test]
async fn an_append_is_acknowledged_at_once_or_by_its_ticket() {
    let at = |pos| Ok::<_, AppendError>(Commit::at(pos));
    assert_eq!(Appended::Acked(Commit::at(3)).wait().unwrap().pos, 3);
    assert_eq!(Appended::Acked(Commit::at(3)).acked().await.unwrap().pos, 3);
    let (completer, pending) = ticket();
    completer.complete(at(4));
    assert_eq!(Appended::Pending(pending).wait().unwrap().pos, 4);
    let (completer, pending) = ticket();
    completer.complete(at(5));
    assert_eq!(Appended::Pending(pending).acked().await.unwrap().pos, 5);
    let (completer, pending) = ticket::<Result<Commit, AppendError>>();
    drop(completer);
    assert!(matches!(Appended::Pending(pending).acked().await, Err(AppendError::Closed)));
}

// News

#[test]
fn many_commits_between_two_looks_are_one_piece_of_news() {
    let sender = ChangesSender::new();
    let mut changes = sender.subscribe();
    let (count, waker) = Count::new();
    assert_eq!(look(&mut changes, &waker), Poll::Pending);
    for _ in 0..5 {
        sender.send();
    }
    assert_eq!(count.get(), 1);
    assert_eq!(look(&mut changes, &waker), Poll::Ready(true));
    assert_eq!(look(&mut changes, &waker), Poll::Pending);
    sender.send();
    assert_eq!(count.get(), 2);
    assert!(changes.wait(Duration::ZERO));
    assert!(!changes.wait(Duration::ZERO));
}

#[test]
fn a_reader_is_told_of_what_comes_after_it_and_a_clone_of_what_its_origin_has_not_seen() {
    let sender = ChangesSender::default();
    let (_, waker) = Count::new();
    sender.send();
    let mut changes = sender.subscribe();
    assert_eq!(look(&mut changes, &waker), Poll::Pending);
    sender.send();
    let mut clone = changes.clone();
    assert_eq!(look(&mut changes, &waker), Poll::Ready(true));
    assert_eq!(look(&mut clone, &waker), Poll::Ready(true));
    let mut clone = changes.clone();
    assert_eq!(look(&mut clone, &waker), Poll::Pending);
}

#[test]
fn a_clone_is_woken_beside_its_origin() {
    let sender = ChangesSender::new();
    let mut changes = sender.subscribe();
    let mut clone = changes.clone();
    let ((first, first_waker), (second, second_waker)) = (Count::new(), Count::new());
    assert_eq!(look(&mut changes, &first_waker), Poll::Pending);
    assert_eq!(look(&mut clone, &second_waker), Poll::Pending);
    let other = sender.clone();
    drop(sender);
    other.send();
    assert_eq!((first.get(), second.get()), (1, 1));
}

#[test]
fn a_reader_has_one_waker_the_last() {
    let sender = ChangesSender::new();
    let mut changes = sender.subscribe();
    let ((first, first_waker), (second, second_waker)) = (Count::new(), Count::new());
    for waker in [&first_waker, &second_waker, &second_waker] {
        assert_eq!(look(&mut changes, waker), Poll::Pending);
    }
    sender.send();
    assert_eq!((first.get(), second.get()), (0, 1));
    // Once for each registration, not for each piece of news.
    sender.send();
    assert_eq!(second.get(), 1);
}

#[test]
fn a_dropped_reader_leaves_no_waker_behind() {
    let sender = ChangesSender::new();
    let mut changes = sender.subscribe();
    let mut other = sender.subscribe();
    let ((count, waker), (stays, other_waker)) = (Count::new(), Count::new());
    assert_eq!(look(&mut changes, &waker), Poll::Pending);
    assert_eq!(look(&mut other, &other_waker), Poll::Pending);
    drop(waker);
    drop(changes);
    assert_eq!(Arc::strong_count(&count), 1);
    sender.send();
    assert_eq!((count.get(), stays.get()), (0, 1));
}

#[test]
fn a_dropped_look_misses_nothing() {
    let sender = ChangesSender::new();
    let mut changes = sender.subscribe();
    let (_, waker) = Count::new();
    {
        let mut look = Box::pin(changes.changed());
        assert!(look.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        sender.send();
        // Dropped although it has been woken.
    }
    assert_eq!(look(&mut changes, &waker), Poll::Ready(true));
}

#[test]
fn closing_wakes_everybody_and_what_was_told_before_is_still_told() {
    let sender = ChangesSender::new();
    let (mut told, mut waits) = (sender.subscribe(), sender.subscribe());
    let thread = thread::spawn({
        let mut waits = waits.clone();
        move || {
            let mut news = 0;
            while waits.wait(LONG) {
                news += 1;
            }
            news
        }
    });
    let (count, waker) = Count::new();
    assert_eq!(look(&mut waits, &waker), Poll::Pending);
    sender.send();
    assert_eq!(count.get(), 1);
    assert_eq!(look(&mut waits, &waker), Poll::Ready(true));
    assert_eq!(look(&mut waits, &waker), Poll::Pending);
    sender.close();
    sender.close();
    assert_eq!(count.get(), 2);
    assert_eq!(look(&mut waits, &waker), Poll::Ready(false));
    assert_eq!(look(&mut waits, &waker), Poll::Ready(false));
    assert_eq!(look(&mut told, &waker), Poll::Ready(true));
    assert_eq!(look(&mut told, &waker), Poll::Ready(false));
    assert_eq!(thread.join().unwrap(), 1);
    // Who comes later is told too.
    assert_eq!(look(&mut sender.subscribe(), &waker), Poll::Ready(false));
    assert!(!sender.subscribe().wait(LONG));
}

#[test]
fn a_waker_may_own_readers() {
    let sender = ChangesSender::new();
    let mut changes = sender.subscribe();
    let owning = || Owning::waker(sender.subscribe());
    assert_eq!(look(&mut changes, &owning()), Poll::Pending);
    assert_eq!(look(&mut changes, &owning()), Poll::Pending);
    sender.send();
    assert_eq!(look(&mut changes, &owning()), Poll::Ready(true));
    assert_eq!(look(&mut changes, &owning()), Poll::Pending);
    drop(changes);
}

#[test]
fn a_thread_waits_no_longer_than_its_patience() {
    let sender = ChangesSender::new();
    let mut changes = sender.subscribe();
    assert!(!changes.wait(Duration::from_millis(1)));
    let thread = thread::spawn(move || changes.wait(LONG));
    sender.send();
    assert!(thread.join().unwrap());
}

/// Two threads answer each other, one commit at a time: one missed piece of news would stop them.
#[test]
fn no_news_is_missed_between_threads() {
    let (ping, pong) = (ChangesSender::new(), ChangesSender::new());
    let (mut pings, mut pongs) = (ping.subscribe(), pong.subscribe());
    let rounds = rounds() * 20;
    let thread = thread::spawn(move || {
        for _ in 0..rounds {
            assert!(pings.wait(LONG), "a ping was missed");
            pong.send();
        }
    });
    for _ in 0..rounds {
        ping.send();
        assert!(pongs.wait(LONG), "a pong was missed");
    }
    thread.join().unwrap();
}

/// Readers of both kinds beside senders: all of them see the last value, however the threads run.
#[test]
fn every_reader_sees_the_last_of_racing_commits() {
    const SENDERS: u64 = 3;
    const EACH: u64 = 20;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    for _ in 0..rounds() {
        let (sender, value) = (ChangesSender::new(), Arc::new(AtomicU64::new(0)));
        let start = Arc::new(Barrier::new(SENDERS as usize + 2));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (mut changes, value) = (sender.subscribe(), Arc::clone(&value));
                let start = Arc::clone(&start);
                thread::spawn(move || {
                    start.wait();
                    while value.load(Ordering::SeqCst) < SENDERS * EACH {
                        assert!(changes.wait(LONG), "news was missed");
                    }
                })
            })
            .collect();
        let tasks: Vec<_> = (0..4)
            .map(|_| {
                let (mut changes, value) = (sender.subscribe(), Arc::clone(&value));
                runtime.spawn(async move {
                    while value.load(Ordering::SeqCst) < SENDERS * EACH {
                        assert!(changes.changed().await);
                    }
                })
            })
            .collect();
        let senders: Vec<_> = (0..SENDERS)
            .map(|_| {
                let (sender, value) = (sender.clone(), Arc::clone(&value));
                let start = Arc::clone(&start);
                thread::spawn(move || {
                    start.wait();
                    for _ in 0..EACH {
                        value.fetch_add(1, Ordering::SeqCst);
                        sender.send();
                    }
                })
            })
            .collect();
        for thread in senders.into_iter().chain(threads) {
            thread.join().unwrap();
        }
        runtime.block_on(async {
            for task in tasks {
                tokio::time::timeout(LONG, task).await.expect("news was missed").unwrap();
            }
        });
    }
}

#[test]
fn many_readers_come_and_go() {
    let sender = ChangesSender::new();
    let mut readers: Vec<_> = (0..1000).map(|_| (sender.subscribe(), Count::new())).collect();
    for (changes, (_, waker)) in &mut readers {
        assert_eq!(look(changes, waker), Poll::Pending);
    }
    let gone: Vec<_> = readers.drain(..).enumerate().collect();
    let (kept, gone): (Vec<_>, Vec<_>) = gone.into_iter().partition(|(at, _)| at % 2 == 0);
    let gone: Vec<_> = gone.into_iter().map(|(_, (_, (count, _)))| count).collect();
    sender.send();
    assert!(gone.iter().all(|count| count.get() == 0));
    for (_, (mut changes, (count, waker))) in kept {
        assert_eq!(count.get(), 1);
        assert_eq!(look(&mut changes, &waker), Poll::Ready(true));
    }
}

const _: () = {
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<Ticket<Answer>>();
    is_shared::<Completer<Answer>>();
    is_shared::<Changes>();
    is_shared::<ChangesSender>();
};
