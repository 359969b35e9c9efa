//! One store, several instances: each opening is one, in one process or in several.

use std::sync::Arc;
use std::time::{Duration, Instant};

use holdpoint_core::event::{EventKind, Stream};
use holdpoint_core::session::{Owner, StateName};
use holdpoint_core::store::{
    AppendError, Fence, Filter, Reply, RequestError, Responder, Snapshot, Store, Write,
};

use super::{Folder, begin, end, event, go_on, numbers, progress, session, wait_until};
use crate::{FileOptions, FileStore, Retention};

fn try_claim(store: &FileStore, stream: &Stream, epoch: u64) -> Result<(), AppendError> {
    store.append(&[Write::new(stream, Fence::Claim { epoch })])?.wait().map(drop)
}

#[test]
fn store_007_an_owner_is_recorded_and_counts_as_dead_when_its_lock_is_free() {
    let folder = Folder::new();
    let (first, second) = (folder.open(), folder.open());
    assert!(first.instance() < second.instance());
    let stream = begin(&first);
    let owner = second.info(&stream).unwrap().owner.unwrap();
    assert_eq!(owner, Owner { instance: first.instance(), epoch: 1 });
    assert!(second.is_alive(owner));
    let refused = try_claim(&second, &stream, 1).unwrap_err();
    let text = refused.to_string();
    assert!(matches!(refused, AppendError::Owned { owner: found, .. } if found == owner), "{text}");
    assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
    assert_eq!(second.list(&Filter::left_behind()).unwrap(), []);
    drop(first);
    assert!(!second.is_alive(owner));
    let left: Vec<_> = second.list(&Filter::left_behind()).unwrap();
    assert_eq!(left.iter().map(|info| &info.stream).collect::<Vec<_>>(), [&stream]);
    try_claim(&second, &stream, 1).unwrap();
    let owner = second.info(&stream).unwrap().owner.unwrap();
    assert_eq!(owner, Owner { instance: second.instance(), epoch: 2 });
}

#[test]
fn store_007_a_claim_names_the_epoch_that_was_seen() {
    let folder = Folder::new();
    let (first, second) = (folder.open(), folder.open());
    let stream = begin(&first);
    let release = Write::new(&stream, Fence::Owned { epoch: 1 }).release();
    first.append(&[release]).unwrap().wait().unwrap();
    try_claim(&second, &stream, 1).unwrap();
    second
        .append(&[Write::new(&stream, Fence::Owned { epoch: 2 }).release()])
        .unwrap()
        .wait()
        .unwrap();
    let late = try_claim(&first, &stream, 1).unwrap_err();
    assert!(matches!(late, AppendError::EpochPassed { current: 2, .. }), "{late}");
}

#[test]
fn store_008_the_loser_is_refused_in_the_same_transaction_and_nothing_of_it_is_written() {
    let folder = Folder::new();
    let (first, second) = (folder.open(), folder.open());
    let (mine, other) = (begin(&first), begin(&first));
    first
        .append(&[Write::new(&mine, Fence::Owned { epoch: 1 }).release()])
        .unwrap()
        .wait()
        .unwrap();
    try_claim(&second, &mine, 1).unwrap();
    // What the first remembers is no longer true, and it has no way to know but by the database.
    let lost = go_on(&first, &mine, 2).unwrap_err();
    assert!(matches!(lost, AppendError::LostOwnership { epoch: 1, .. }), "{lost}");
    let (a, b) = (progress(&other, 2), progress(&mine, 2));
    let both = [
        Write::new(&other, Fence::Owned { epoch: 1 }).events(std::slice::from_ref(&a)),
        Write::new(&mine, Fence::Owned { epoch: 1 }).events(std::slice::from_ref(&b)),
    ];
    let lost = first.append(&both).unwrap().wait().unwrap_err();
    assert!(matches!(lost, AppendError::LostOwnership { .. }), "{lost}");
    assert_eq!(numbers(&second, &other), [1], "all or none");
    go_on(&first, &other, 2).unwrap();
    assert_eq!(numbers(&second, &other), [1, 2]);
}

#[test]
fn store_007_all_schedules_have_one_owner() {
    let folder = Folder::new();
    let (first, second) = (folder.open(), folder.open());
    let owner = first.claim_schedules().unwrap().wait().unwrap();
    assert_eq!(first.claim_schedules().unwrap().wait().unwrap(), owner);
    let refused = second.claim_schedules().unwrap().wait().unwrap_err();
    let text = refused.to_string();
    assert!(text.starts_with("the scheduling of this store already has an owner"), "{text}");
    let nightly = Stream::Schedule("nightly".parse().unwrap());
    let added = event(&nightly, 1, EventKind::ScheduleAdded);
    let new = Write::new(&nightly, Fence::New).events(std::slice::from_ref(&added));
    let refused = second.append(&[new]).unwrap().wait().unwrap_err();
    assert!(matches!(refused, AppendError::LostOwnership { .. }), "{refused}");
    first.append(&[new]).unwrap().wait().unwrap();
    // An occurrence and the session it starts, in one transaction.
    let run = session();
    let fired = event(&nightly, 2, EventKind::SchedulePaused);
    let planned = event(&run, 1, EventKind::SessionPlanned { attempt: 1 });
    let both = [
        Write::new(&nightly, Fence::Owned { epoch: owner.epoch })
            .events(std::slice::from_ref(&fired)),
        Write::new(&run, Fence::New).events(std::slice::from_ref(&planned)),
    ];
    first.append(&both).unwrap().wait().unwrap();
    drop(first);
    let owner = second.claim_schedules().unwrap().wait().unwrap();
    assert_eq!(owner.epoch, 2);
    assert_eq!((numbers(&second, &nightly), numbers(&second, &run)), (vec![1, 2], vec![1]));
}

#[test]
fn store_004_commits_of_others_are_seen_and_news_of_them_comes() {
    let folder = Folder::new();
    let (writer, watcher) = (folder.open(), folder.open());
    let mut changes = watcher.changes();
    let stream = begin(&writer);
    for seq in 2..=50 {
        assert!(changes.wait(Duration::from_secs(60)), "no news of commit {seq}");
        assert_eq!(numbers(&watcher, &stream).len() as u64, seq - 1);
        go_on(&writer, &stream, seq).unwrap();
    }
    // Its own commits are news as well.
    let mut own = writer.changes();
    begin(&writer);
    assert!(own.wait(Duration::from_secs(60)));
}

struct Echo;

impl Responder for Echo {
    fn request(&self, stream: &Stream, request: &[u8], reply: Reply) {
        match request {
            b"drop" => drop(reply),
            b"keep" => std::mem::forget(reply),
            _ => reply.send(format!("{stream}: {}", String::from_utf8_lossy(request)).into()),
        }
    }
}

#[test]
fn store_009_whoever_does_not_own_a_stream_asks_its_owner() {
    let folder = Folder::new();
    let (owner, asker) = (folder.open(), folder.open());
    let stream = begin(&owner);
    let ask = |request: &[u8]| asker.request(&stream, request).and_then(|ticket| ticket.wait());
    assert!(matches!(ask(b"?").unwrap_err(), RequestError::Deaf { .. }));
    owner.respond(Arc::new(Echo)).unwrap();
    assert_eq!(ask(b"hello").unwrap(), format!("{stream}: hello").as_bytes());
    assert!(matches!(ask(b"drop").unwrap_err(), RequestError::Unowned { .. }));
    let own = owner.request(&stream, b"?").unwrap_err();
    assert!(matches!(own, RequestError::Own { .. }), "{own}");
    let none = asker.request(&session(), b"?").unwrap_err();
    assert!(matches!(none, RequestError::NotFound { .. }), "{none}");
    // An owner that does not answer stays the owner.
    let began = Instant::now();
    let silent = ask(b"keep").unwrap_err();
    assert!(began.elapsed() >= Duration::from_secs(2));
    assert!(silent.to_string().contains("does not answer"), "{silent}");
    assert!(try_claim(&asker, &stream, 1).is_err());
    drop(owner);
    assert!(matches!(ask(b"hello").unwrap_err(), RequestError::Unowned { .. }));
    try_claim(&asker, &stream, 1).unwrap();
}

#[test]
fn store_006_what_has_ended_is_pruned_by_age_number_and_size_and_nothing_else() {
    let folder = Folder::new();
    let store = folder.open();
    let ended: Vec<_> = (0..30).map(|_| begin(&store)).collect();
    let live = begin(&store);
    for stream in &ended {
        for seq in 2..=20 {
            go_on(&store, stream, seq).unwrap();
        }
        end(&store, stream, 21);
    }
    let last = store.all_events(0, usize::MAX).unwrap().last().unwrap().pos;
    assert_eq!(last, 31 + 30 * 20);
    let prune = |retention| store.prune(retention).unwrap().wait().unwrap();
    let young = prune(Retention::new().keep_last(0).age(Duration::from_secs(200 * 365 * 86_400)));
    assert_eq!(young.streams, 0);
    let all = Retention::new().age(Duration::ZERO);
    assert_eq!(prune(all).streams, 0, "200 are kept");
    let keep = store.keep(&ended[0]);
    let pruned = prune(all.keep_last(10));
    assert_eq!((pruned.streams, pruned.events, pruned.kept), (19, 19 * 21, 1));
    let left: Vec<_> = store.list(&Filter::default()).unwrap();
    assert_eq!(left.len(), 12);
    assert!(store.events(&ended[1], 0, 9).unwrap_err().to_string().starts_with("there is no"));
    assert_eq!(numbers(&store, &ended[0]).len(), 21, "it is kept");
    drop(keep);
    assert_eq!(prune(all.keep_last(10)).streams, 1);
    // By size, whatever the age.
    assert_eq!(prune(Retention::new().size(1).keep_last(3)).streams, 7);
    assert_eq!(prune(all.keep_last(0)).streams, 3);
    assert_eq!(store.list(&Filter::default()).unwrap().len(), 1);
    assert_eq!(numbers(&store, &live), [1]);
    assert_eq!(store.check().unwrap().faults, []);
    // Numbers and positions do not come again.
    drop(store);
    let store = folder.open();
    let next = begin(&store);
    assert_eq!(store.info(&next).unwrap().number, Some(32));
    assert!(store.events(&next, 0, 1).unwrap()[0].pos > last);
    assert_eq!(store.check().unwrap().faults, []);
}

#[test]
fn store_006_a_retried_session_is_not_pruned() {
    let folder = Folder::new();
    let store = folder.open();
    let stream = begin(&store);
    end(&store, &stream, 2);
    let again = event(&stream, 3, EventKind::SessionPlanned { attempt: 2 });
    let write = Write::new(&stream, Fence::Claim { epoch: 1 })
        .events(std::slice::from_ref(&again))
        .snapshot(Snapshot { state: StateName::Planned, data: b"{}" })
        .release();
    store.append(&[write]).unwrap().wait().unwrap();
    let all = Retention::new().age(Duration::ZERO).keep_last(0);
    assert_eq!(store.prune(all).unwrap().wait().unwrap().streams, 0);
    assert_eq!(numbers(&store, &stream), [1, 2, 3]);
    wait_until("nothing is left to merge", || super::merges(&store) == 0);
    assert_eq!(store.check().unwrap().faults, []);
}

#[test]
fn store_004_a_store_that_is_read_only_writes_nothing_and_is_no_instance() {
    let folder = Folder::new();
    let missing = FileStore::open(folder.path(), FileOptions::new().read_only()).unwrap_err();
    assert!(missing.to_string().starts_with("there is no store in"), "{missing}");
    let store = folder.open();
    let stream = begin(&store);
    let reader = FileStore::open(folder.path(), FileOptions::new().read_only()).unwrap();
    assert_eq!((reader.instance(), numbers(&reader, &stream)), (0, vec![1]));
    assert!(matches!(go_on(&reader, &stream, 2), Err(AppendError::Closed)));
    go_on(&store, &stream, 2).unwrap();
    assert_eq!(numbers(&reader, &stream), [1, 2]);
}
