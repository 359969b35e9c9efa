//! The counter and its deciders, one case at a time.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use holdpoint_core::SystemClock;
use holdpoint_core::event::Stream;
use holdpoint_core::session::StateName;
use holdpoint_core::store::{AppendError, RequestError, Store};

use super::words::session_stream;
use crate::audit;
use crate::store::counter::{Answer, AskError, Counter, Decider, Flaw, Input, Ledger, block_on};
use crate::store::{Failure, Faults, FaultyStore, VirtualDisk};

/// A virtual process with its part in a counter.
struct Process {
    store: Arc<FaultyStore>,
    decider: Decider,
}

impl Process {
    fn on(disk: &VirtualDisk, stream: &Stream, flaw: Flaw) -> Self {
        let store = disk.open();
        let clock = Arc::new(SystemClock::new());
        let decider = Decider::flawed(store.clone(), stream.clone(), clock, flaw).unwrap();
        Self { store, decider }
    }

    fn ask(&self, input: Input) -> Result<Answer, AskError> {
        block_on(self.decider.ask(input))
    }

    fn adds(&self, request: u64, amount: u64) -> u64 {
        match self.ask(Input::Add { request, amount }).unwrap() {
            Answer::Added { value } => value,
            answer => panic!("{answer:?}"),
        }
    }

    fn reads(&self) -> u64 {
        self.ask(Input::Read).unwrap().value()
    }
}

/// Two processes and a counter up to 100, which nobody owns.
fn pair() -> (Process, Process, Stream) {
    let (disk, stream) = (VirtualDisk::new(), session_stream());
    let [one, other] = [(); 2].map(|()| Process::on(&disk, &stream, Flaw::None));
    block_on(one.decider.create(100)).unwrap();
    (one, other, stream)
}

/// Polls once.
fn poll<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn names(store: &dyn Store, stream: &Stream) -> Vec<&'static str> {
    let stored = store.events(stream, 0, usize::MAX).unwrap();
    stored.iter().map(|stored| stored.event().unwrap().kind.name()).collect()
}

#[test]
fn a_counter_grants_each_request_once_and_up_to_its_limit() {
    let mut counter = Counter::new(10);
    let mut add = |request, amount| {
        let decision = counter.handle(Input::Add { request, amount });
        (decision.change.is_some(), decision.answer)
    };
    assert_eq!(add(1, 4), (true, Answer::Added { value: 4 }));
    assert_eq!(add(2, 6), (true, Answer::Added { value: 10 }));
    assert_eq!(add(1, 4), (false, Answer::Added { value: 4 }));
    assert_eq!(add(3, 1), (false, Answer::Full { value: 10 }));
    assert_eq!(add(4, u64::MAX), (false, Answer::Full { value: 10 }));
    assert_eq!(Counter::restore(&counter.snapshot()), Some(counter.clone()));
    assert_eq!(counter.handle(Input::Read).answer, Answer::Value(10));
}

#[test]
fn what_goes_between_processes_is_bytes() {
    for input in [Input::Read, Input::Add { request: 7, amount: u64::MAX }] {
        assert_eq!(Input::decode(&input.encode()), Some(input));
    }
    for answer in [Answer::Added { value: 1 }, Answer::Full { value: 2 }, Answer::Value(3)] {
        assert_eq!(Answer::decode(&answer.encode()), Some(answer));
    }
    for bytes in [&b"odd"[..], &[3; 16], &[0; 24]] {
        assert_eq!((Input::decode(bytes), Answer::decode(bytes)).1, None);
    }
    assert_eq!((Input::decode(&[0; 8]), Counter::restore(&[0; 8])), (None, None));
    assert_eq!(Counter::restore(&[0; 24]), None);
}

#[test]
fn who_finds_no_owner_decides_and_lets_go() {
    let (one, other, stream) = pair();
    assert_eq!((one.adds(1, 2), other.adds(2, 3), one.reads()), (2, 5, 5));
    let info = one.store.info(&stream).unwrap();
    assert_eq!((info.owner, info.epoch, info.state), (None, 3, StateName::Suspended));
    let names = names(&*one.store, &stream);
    let cycle = ["session_resumed", "session_progress", "session_suspended"];
    assert_eq!(names[..2], ["session_planned", "session_started"]);
    assert_eq!(names[4..7], cycle);
    let ledger = Ledger::read(&*one.store, &stream).unwrap();
    assert_eq!((ledger.value, ledger.adds.len(), ledger.claims.len()), (5, 2, 3));
}

#[test]
fn an_owner_decides_for_all() {
    let (one, other, stream) = pair();
    assert_eq!(block_on(one.decider.own()).unwrap(), 1);
    assert_eq!(block_on(one.decider.own()).unwrap(), 1, "it has it");
    assert_eq!((one.adds(1, 2), other.adds(2, 3), other.reads()), (2, 5, 5));
    assert_eq!(
        other.ask(Input::Add { request: 3, amount: 96 }).unwrap(),
        Answer::Full { value: 5 }
    );
    let refused = block_on(other.decider.own());
    assert!(matches!(refused, Err(AskError::Append(AppendError::Owned { .. }))));
    assert!(block_on(one.decider.let_go()).unwrap());
    assert!(!block_on(one.decider.let_go()).unwrap());
    assert_eq!(block_on(other.decider.own()).unwrap(), 2);
    assert_eq!(one.adds(4, 1), 6);
    assert!(block_on(other.decider.let_go()).unwrap());
    let events = one.store.events(&stream, 0, usize::MAX).unwrap();
    let events: Vec<_> = events.iter().map(|stored| stored.event().unwrap()).collect();
    assert_eq!(audit(&events), []);
}

#[test]
fn a_dead_owner_is_followed() {
    let (one, other, stream) = pair();
    block_on(one.decider.own()).unwrap();
    one.adds(1, 2);
    one.store.set_faults(Faults::none().delay_all());
    assert!(poll(one.decider.ask(Input::Add { request: 2, amount: 3 })).is_pending());
    one.store.crash();
    assert!(matches!(one.ask(Input::Read), Err(AskError::Request(RequestError::Closed))));
    assert_eq!((other.reads(), other.adds(2, 3)), (2, 5));
    let interrupted = names(&*other.store, &stream);
    assert_eq!(interrupted[3..5], ["session_suspended", "session_resumed"]);
}

#[test]
fn an_answer_waits_for_every_change_it_tells_of() {
    let (one, other, _) = pair();
    block_on(one.decider.own()).unwrap();
    one.store.set_faults(Faults::none().delay_all());
    let mut add = pin!(one.decider.ask(Input::Add { request: 1, amount: 2 }));
    let mut same = pin!(other.decider.ask(Input::Add { request: 1, amount: 2 }));
    let mut read = pin!(other.decider.ask(Input::Read));
    let mut look = || {
        let mut cx = Context::from_waker(Waker::noop());
        [
            add.as_mut().poll(&mut cx).map(Result::unwrap),
            same.as_mut().poll(&mut cx).map(Result::unwrap),
            read.as_mut().poll(&mut cx).map(Result::unwrap),
        ]
    };
    assert_eq!(look(), [Poll::Pending; 3]);
    one.store.release_all();
    let added = Poll::Ready(Answer::Added { value: 2 });
    assert_eq!(look(), [added, added, Poll::Ready(Answer::Value(2))]);
}

#[test]
fn a_busy_disk_is_tried_again() {
    let (one, other, stream) = pair();
    one.store.set_faults(Faults::none().fail(1, Failure::Busy).fail(4, Failure::Busy));
    assert_eq!(one.adds(1, 1), 1, "when it claims");
    block_on(one.decider.own()).unwrap();
    assert_eq!((one.adds(2, 1), other.adds(3, 1)), (2, 3), "and as owner");
    assert_eq!(Ledger::read(&*one.store, &stream).unwrap().value, 3);
}

#[test]
fn who_cannot_write_any_more_says_so_and_others_go_on() {
    let (one, other, _) = pair();
    block_on(one.decider.own()).unwrap();
    one.store.set_faults(Faults::none().fail(1, Failure::Io));
    let failed = one.ask(Input::Add { request: 1, amount: 1 });
    assert!(matches!(failed, Err(AskError::Append(AppendError::Io { .. }))));
    assert_eq!((other.reads(), other.adds(1, 1)), (0, 1));
    let failed = one.ask(Input::Add { request: 2, amount: 1 });
    assert!(matches!(failed, Err(AskError::Append(AppendError::Poisoned { .. }))));
}

/// Its process has failed at something else, and nobody has told the decider.
#[test]
fn an_owner_that_is_none_any_more_does_not_tell_what_it_remembers() {
    for failure in [Failure::Poisoned, Failure::LostOwnership(session_stream())] {
        let (one, other, stream) = pair();
        block_on(one.decider.own()).unwrap();
        one.adds(1, 1);
        let failure = match failure {
            Failure::LostOwnership(_) => Failure::LostOwnership(stream),
            failure => failure,
        };
        one.store.set_faults(Faults::none().fail(1, failure));
        let _ = one.store.append(&[]);
        assert_eq!(other.adds(2, 5), 6);
        match one.ask(Input::Read) {
            Ok(answer) => assert_eq!(answer, Answer::Value(6)),
            Err(error) => assert!(matches!(error, AskError::Append(AppendError::Poisoned { .. }))),
        }
    }
}

#[test]
fn a_stopped_owner_is_said_to_be_silent() {
    let (one, other, stream) = pair();
    block_on(one.decider.own()).unwrap();
    one.store.stop();
    let mut asked = pin!(other.decider.ask(Input::Add { request: 1, amount: 1 }));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(asked.as_mut().poll(&mut cx).is_pending());
    other.store.lose_patience();
    let Poll::Ready(Err(AskError::Request(RequestError::Silent { .. }))) =
        asked.as_mut().poll(&mut cx)
    else {
        panic!("it has waited for two seconds")
    };
    one.store.go_on();
    assert_eq!(other.adds(1, 1), 1, "it was done all the same, once");
    assert_eq!(Ledger::read(&*one.store, &stream).unwrap().adds.len(), 1);
}

#[test]
fn a_request_that_comes_while_the_owner_lets_go_is_decided_by_its_asker() {
    let (one, other, _) = pair();
    block_on(one.decider.own()).unwrap();
    one.store.set_faults(Faults::none().delay_all());
    let mut going = pin!(one.decider.let_go());
    let mut asked = pin!(other.decider.ask(Input::Add { request: 1, amount: 1 }));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(going.as_mut().poll(&mut cx).is_pending());
    assert!(asked.as_mut().poll(&mut cx).is_pending());
    one.store.release_all();
    assert!(going.as_mut().poll(&mut cx).is_ready());
    let Poll::Ready(Ok(Answer::Added { value: 1 })) = asked.as_mut().poll(&mut cx) else {
        panic!("nobody owns it")
    };
}

#[test]
fn what_is_no_counter_is_said() {
    let (disk, stream) = (VirtualDisk::new(), session_stream());
    let process = Process::on(&disk, &stream, Flaw::None);
    assert!(matches!(process.ask(Input::Read), Err(AskError::Read(_))));
    let foreign = super::store::owned(&*process.store);
    let process = Process::on(&disk, &foreign, Flaw::None);
    assert!(Ledger::read(&*process.store, &foreign).is_err());
    let owned = block_on(process.decider.own());
    assert!(matches!(owned, Err(AskError::Foreign { .. })));
}

/// Threads, each a process of its own, that ask, own and let go.
#[test]
fn deciders_on_threads_lose_nothing() {
    const PROCESSES: u64 = 4;
    const ADDS: u64 = 50;
    let (disk, stream) = (VirtualDisk::new(), session_stream());
    let first = Process::on(&disk, &stream, Flaw::None);
    block_on(first.decider.create(u64::MAX)).unwrap();
    std::thread::scope(|scope| {
        for process in 0..PROCESSES {
            let (disk, stream) = (&disk, &stream);
            scope.spawn(move || {
                let me = Process::on(disk, stream, Flaw::None);
                for number in 0..ADDS {
                    if number % 10 == process {
                        let _ = block_on(me.decider.own());
                    }
                    let input = Input::Add { request: process * ADDS + number, amount: 1 };
                    while me.ask(input).is_err() {
                        std::thread::yield_now();
                    }
                    if number % 10 == process + 3 {
                        let _ = block_on(me.decider.let_go());
                    }
                }
            });
        }
    });
    assert_eq!(first.reads(), PROCESSES * ADDS);
    assert_eq!(Ledger::read(&*first.store, &stream).unwrap().value, PROCESSES * ADDS);
}
