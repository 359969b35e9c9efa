//! What virtual processes ask each other.

use std::sync::{Arc, Mutex};

use holdpoint_core::event::Stream;
use holdpoint_core::store::{Fence, Reply, RequestError, Responder, Store, Ticket, Write};

use super::store::{append, owned};
use super::words::session_stream;
use crate::store::{FaultyStore, VirtualDisk};

/// Keeps replies until the test answers.
#[derive(Default)]
struct Desk(Mutex<Vec<(Vec<u8>, Reply)>>);

impl Responder for Desk {
    fn request(&self, _: &Stream, request: &[u8], reply: Reply) {
        self.0.lock().unwrap().push((request.to_vec(), reply));
    }
}

impl Desk {
    fn at(store: &FaultyStore) -> Arc<Self> {
        let desk = Arc::new(Self::default());
        store.respond(desk.clone()).unwrap();
        desk
    }

    fn take(&self) -> (Vec<u8>, Reply) {
        self.0.lock().unwrap().remove(0)
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// An owner with its desk, another process, and the stream.
fn pair() -> (Arc<FaultyStore>, Arc<Desk>, Arc<FaultyStore>, Stream) {
    let disk = VirtualDisk::new();
    let (owner, other) = (disk.open(), disk.open());
    let (desk, stream) = (Desk::at(&owner), owned(&*owner));
    (owner, desk, other, stream)
}

type Asked = Ticket<Result<Vec<u8>, RequestError>>;

fn ask(store: &dyn Store, stream: &Stream) -> Asked {
    store.request(stream, b"?").unwrap()
}

fn is_unowned(asked: Asked) -> bool {
    matches!(asked.wait(), Err(RequestError::Unowned { .. }))
}

#[test]
fn the_owner_answers() {
    let (_owner, desk, other, stream) = pair();
    let asked = ask(&*other, &stream);
    let (request, reply) = desk.take();
    assert_eq!(request, b"?");
    let asked = asked.try_take().expect_err("no answer yet");
    reply.send(b"!".to_vec());
    assert_eq!(asked.wait().unwrap(), b"!");
    let asked = ask(&*other, &stream);
    drop(desk.take());
    assert!(is_unowned(asked), "a reply that is dropped");
}

#[test]
fn who_cannot_be_asked_is_said_at_once() {
    let (owner, _desk, other, stream) = pair();
    let request = |store: &dyn Store, stream: &Stream| store.request(stream, b"").unwrap_err();
    assert!(matches!(request(&*owner, &stream), RequestError::Own { .. }));
    let missing = request(&*owner, &session_stream());
    assert!(matches!(missing, RequestError::NotFound { .. }));
    let deaf = request(&*owner, &owned(&*other));
    assert!(matches!(deaf, RequestError::Deaf { owner, .. } if owner.instance == other.instance()));
    append(&*owner, Write::new(&stream, Fence::Owned { epoch: 1 }).release()).unwrap();
    assert!(matches!(request(&*other, &stream), RequestError::Unowned { .. }));
    other.crash();
    assert!(matches!(request(&*other, &stream), RequestError::Closed));
    assert!(matches!(other.respond(Arc::new(Desk::default())), Err(RequestError::Closed)));
}

#[test]
fn an_owner_that_dies_leaves_its_askers_to_themselves() {
    let (owner, desk, other, stream) = pair();
    let asked = ask(&*other, &stream);
    let (_, late) = desk.take();
    owner.crash();
    assert!(is_unowned(asked));
    late.send(b"!".to_vec());
    assert!(matches!(other.request(&stream, b""), Err(RequestError::Unowned { .. })));
    assert_eq!(Arc::strong_count(&desk), 1, "the responder went with it");
}

#[test]
fn an_asker_that_dies_is_not_waited_for() {
    let (_owner, desk, other, stream) = pair();
    let asked = ask(&*other, &stream);
    other.crash();
    assert!(matches!(asked.wait(), Err(RequestError::Closed)));
    desk.take().1.send(b"!".to_vec());
}

#[test]
fn a_stopped_owner_stays_owner_and_hears_when_it_goes_on() {
    let (owner, desk, other, stream) = pair();
    owner.stop();
    let (first, second) = (ask(&*other, &stream), ask(&*other, &stream));
    assert_eq!(desk.len(), 0);
    assert_eq!(other.lose_patience(), 2);
    for asked in [first, second] {
        assert!(matches!(asked.wait(), Err(RequestError::Silent { .. })));
    }
    let patient = ask(&*other, &stream);
    assert!(owner.deliver_one());
    assert_eq!(desk.len(), 1);
    owner.go_on();
    assert_eq!((desk.len(), owner.deliver_one()), (3, false), "also those that nobody waits for");
    (0..3).for_each(|_| desk.take().1.send(b"!".to_vec()));
    assert_eq!(patient.wait().unwrap(), b"!");
}
