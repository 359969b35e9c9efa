//! The parts of the store port that every implementation shares: the plain values that go in and
//! come out. How one waits for them is in `store_waiting`.

use std::sync::{Arc, mpsc};
use std::thread;

use crate::error::Retryable;
use crate::event::{Event, EventKind, Stream};
use crate::session::{Owner, StateName};
use crate::store::{
    AppendError, Fence, Filter, Keep, ReadError, Reply, RequestError, Snapshot, StoredEvent,
    StreamInfo, StreamKind, Write,
};
use crate::{BatchId, SessionId, Timestamp};

fn session() -> Stream {
    Stream::Session(SessionId::generate())
}

fn event(stream: &Stream, seq: u64) -> Event {
    Event::new(seq, Timestamp::from_micros(seq), stream.clone(), EventKind::SessionPaused)
}

#[test]
fn a_reply_answers_once_and_a_dropped_one_answers_with_none() {
    let (send, answers) = mpsc::channel();
    let reply = |send: &mpsc::Sender<_>| {
        let send = send.clone();
        Reply::new(move |answer| send.send(answer).unwrap())
    };
    reply(&send).send(b"yes".to_vec());
    assert_eq!(answers.try_recv(), Ok(Some(b"yes".to_vec())));
    drop(reply(&send));
    assert_eq!(answers.try_recv(), Ok(None));
    let kept = reply(&send);
    assert!(
        thread::spawn(move || {
            let _kept = kept;
            panic!("on purpose");
        })
        .join()
        .is_err()
    );
    assert_eq!(answers.try_recv(), Ok(None));
    assert_eq!(answers.try_recv(), Err(mpsc::TryRecvError::Empty));
}

#[test]
fn a_write_has_what_was_given_and_nothing_else() {
    let stream = session();
    let plain = Write::new(&stream, Fence::Claim { epoch: 3 });
    assert_eq!(
        (plain.stream, plain.fence, plain.release),
        (&stream, Fence::Claim { epoch: 3 }, false)
    );
    assert!(plain.events.is_empty() && plain.journal.is_empty() && plain.snapshot.is_none());
    assert_eq!((plain.key, plain.label), (None, ""));

    let (events, journal) = ([event(&stream, 1)], [b"entry".as_slice()]);
    let snapshot = Snapshot { state: StateName::Paused, data: b"{}" };
    let write = Write::new(&stream, Fence::New)
        .events(&events)
        .journal(&journal)
        .snapshot(snapshot)
        .release()
        .key("key")
        .label("label");
    assert_eq!((write.events, write.journal), (events.as_slice(), journal.as_slice()));
    assert_eq!((write.snapshot, write.release), (Some(snapshot), true));
    assert_eq!((write.key, write.label), (Some("key"), "label"));
}

#[test]
fn the_default_filter_lets_everything_through() {
    let all = Filter::default();
    assert_eq!((all.kind, all.after, all.limit), (None, 0, usize::MAX));
    assert!(!all.left_behind && !all.newest_first);
    for state in [StateName::Planned, StateName::Running, StateName::Done, StateName::Failed] {
        assert!(all.matches_state(state));
    }
}

#[test]
fn a_filter_has_what_was_given() {
    let filter =
        Filter::of(StreamKind::Batch).states(&[StateName::Paused]).after(4).newest_first().limit(2);
    assert_eq!((filter.kind, filter.after, filter.limit), (Some(StreamKind::Batch), 4, 2));
    assert!(filter.newest_first && !filter.left_behind);
    assert!(filter.matches_state(StateName::Paused));
    assert!(!filter.matches_state(StateName::Planned));
    assert_eq!(filter.states(&[]).states, []);
    let left = Filter::left_behind();
    assert!(left.left_behind && left.kind.is_none() && left.limit == usize::MAX);
}

#[test]
fn kinds_are_those_of_streams() {
    let streams = [
        (session(), StreamKind::Session),
        (Stream::Schedule("nightly".parse().unwrap()), StreamKind::Schedule),
        (Stream::Batch(BatchId::generate()), StreamKind::Batch),
    ];
    for (stream, kind) in streams {
        assert_eq!(StreamKind::from(&stream), kind);
        let info = StreamInfo::new(stream.clone(), Timestamp::from_micros(9));
        assert_eq!((&info.stream, info.number, info.owner, info.epoch), (&stream, None, None, 0));
        assert_eq!((info.last_seq, info.last_entry, info.state), (0, 0, StateName::Planned));
        assert_eq!(
            (info.created_at, info.updated_at),
            (Timestamp::from_micros(9), Timestamp::from_micros(9))
        );
    }
}

#[test]
fn a_stored_event_is_itself_or_is_read_from_its_part_of_a_block() {
    let stream = session();
    let whole = StoredEvent::whole(40, event(&stream, 7));
    assert_eq!((whole.pos, whole.seq, &whole.stream), (40, 7, &stream));
    assert_eq!(whole.bytes(), None);
    assert_eq!(whole.event().unwrap(), event(&stream, 7));

    let decode =
        |text: &[u8], stream: &Stream, seq: u64| (text == b"paused").then(|| event(stream, seq));
    let block: Arc<[u8]> = b"paused\nbroken\n".as_slice().into();
    let text = |seq, place| {
        StoredEvent::text((40 + seq, seq), stream.clone(), Arc::clone(&block), place, decode)
    };
    let good = text(7, 0..6);
    assert_eq!(good.bytes(), Some(b"paused".as_slice()));
    assert_eq!((good.pos, good.event().unwrap()), (47, event(&stream, 7)));
    for bad in [text(8, 7..13), text(8, 10..99), text(8, 99..100)] {
        let error = bad.event().unwrap_err();
        let ReadError::Corrupt { stream: found, seq } = &error else { panic!("{error}") };
        assert_eq!((found, *seq), (&stream, 8));
        assert!(format!("{bad:?}").contains("Corrupt"));
    }
    assert_eq!(text(8, 10..99).bytes(), None);
}

#[test]
fn a_guard_is_held_as_long_as_the_keep() {
    let guard = Arc::new(());
    let keep = Keep::new(Arc::<()>::clone(&guard));
    assert_eq!(Arc::strong_count(&guard), 2);
    drop(keep);
    assert_eq!(Arc::strong_count(&guard), 1);
    drop(Keep::nothing());
}

#[test]
fn errors_say_what_they_are_about_and_what_to_do() {
    let stream = Stream::Schedule("nightly".parse().unwrap());
    let io = || Arc::new(std::io::Error::other("no space"));
    let owner = Owner { instance: 4, epoch: 2 };
    let io_error = AppendError::Io { message: "the log is full".into(), source: io() };
    let finals = [
        io_error.clone(),
        AppendError::Poisoned { message: "the log is full".into() },
        AppendError::Closed,
    ];
    for error in &finals {
        assert!(error.is_final() && !error.is_retryable(), "{error}");
    }
    assert_eq!(std::error::Error::source(&io_error).unwrap().to_string(), "no space");
    let lost = AppendError::LostOwnership { stream: stream.clone(), epoch: 3 };
    assert!(!lost.is_final() && !lost.is_retryable());
    assert_eq!(
        lost.to_string(),
        "schedule nightly is no longer owned by this process under epoch 3"
    );
    assert!(AppendError::Busy.is_retryable() && !AppendError::Busy.is_final());
    let owned = |pid| AppendError::Owned { what: "schedule nightly".into(), owner, pid };
    assert_eq!(
        owned(Some(71)).to_string(),
        "schedule nightly already has an owner (instance 4, process 71)"
    );
    assert_eq!(owned(None).to_string(), "schedule nightly already has an owner (instance 4)");
    assert!(RequestError::Unowned { stream: stream.clone() }.is_retryable());
    assert!(!RequestError::Own { stream: stream.clone() }.is_retryable());
    assert!(!ReadError::NotFound { stream }.is_retryable());
}

const _: () = {
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<StoredEvent>();
    is_shared::<Keep>();
    const fn is_sent<T: Send>() {}
    is_sent::<Reply>();
};
