//! Many threads at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use holdpoint_core::event::Stream;
use holdpoint_core::session::Owner;
use holdpoint_core::store::{AppendError, Commit, Fence, Filter, Store, StreamKind, Write};

use crate::support::*;

const THREADS: usize = 8;

suite! {
    #[test] fn store_007_of_racing_claims_exactly_one_wins;
    #[test] fn store_007_racing_claims_of_all_schedules_agree;
    #[test] fn store_001_of_racing_creations_exactly_one_wins;
    #[test] fn core_006_racing_appends_to_different_streams_land_in_dense_order;
    #[test] fn core_006_a_reader_beside_writers_loses_and_repeats_nothing;
    #[test] fn store_001_racing_appends_to_several_streams_do_not_lock_each_other_out;
    #[test] fn a_write_beside_a_close_is_kept_or_refused;
}

/// Runs `work` on all threads at the same moment.
fn race<T: Send>(work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let start = Barrier::new(THREADS);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (start, work) = (&start, &work);
                scope.spawn(move || {
                    start.wait();
                    work(thread)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn store_007_of_racing_claims_exactly_one_wins(store: Arc<dyn Store>) {
    let stream = unowned(&*store);
    let wins = |results: &[Result<Commit, AppendError>]| {
        results.iter().filter(|result| result.is_ok()).count()
    };
    let mut epoch = 0;
    for _ in 0..rounds() {
        // Claims that keep it: the others find it owned.
        let results = race(|_| claim(&*store, &stream, epoch));
        assert_eq!(wins(&results), 1, "{results:?}");
        for error in results.iter().filter_map(|result| result.as_ref().err()) {
            assert_eq!(kind(error), "Owned");
        }
        epoch += 1;
        let owner = Owner { instance: store.instance(), epoch };
        assert_eq!(info(&*store, &stream).owner, Some(owner));
        append(&*store, &[Write::new(&stream, Fence::Owned { epoch }).release()]).unwrap();
        // Claims that give it free at once: the others find that its epoch has passed.
        let results =
            race(|_| append(&*store, &[Write::new(&stream, Fence::Claim { epoch }).release()]));
        assert_eq!(wins(&results), 1, "{results:?}");
        for error in results.iter().filter_map(|result| result.as_ref().err()) {
            assert_eq!(kind(error), "EpochPassed");
        }
        epoch += 1;
        assert_eq!(info(&*store, &stream).epoch, epoch);
    }
}

fn store_007_racing_claims_of_all_schedules_agree(store: Arc<dyn Store>) {
    let epochs = race(|_| claim_schedules(&*store));
    assert!(epochs.iter().all(|epoch| *epoch == epochs[0]));
}

fn store_001_of_racing_creations_exactly_one_wins(store: Arc<dyn Store>) {
    for round in 0..rounds() {
        let stream = session();
        let results = race(|_| create(&*store, &stream, Fence::New));
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
        // The same of keys, whatever session comes with them.
        let key = format!("key-{round}");
        let results = race(|_| {
            let stream = session();
            let first = events(&stream, [1]);
            append(&*store, &[Write::new(&stream, Fence::New).events(&first).key(&key)])?;
            Ok::<_, AppendError>(stream)
        });
        let won: Vec<_> = results.iter().filter_map(|result| result.as_ref().ok()).collect();
        assert_eq!(won.len(), 1, "{results:?}");
        assert_eq!(store.by_key(&key).unwrap().unwrap().stream, *won[0]);
        for error in results.iter().filter_map(|result| result.as_ref().err()) {
            let AppendError::KeyTaken { stream, .. } = error else { panic!("{error}") };
            assert_eq!(stream, won[0]);
        }
    }
    let list = store.list(&Filter::of(StreamKind::Session)).unwrap();
    let count = 2 * rounds() as u64;
    assert!(list.iter().map(|info| info.number).eq((1..=count).map(Some)));
}

fn core_006_racing_appends_to_different_streams_land_in_dense_order(store: Arc<dyn Store>) {
    const EACH: u64 = 100;
    let streams: Vec<_> = race(|_| {
        let stream = owned(&*store);
        for seq in 2..=EACH {
            if seq % 3 == 0 {
                store.note(&stream, 1, &events(&stream, [seq])).unwrap();
            } else {
                go_on(&*store, &stream, 1, seq).unwrap();
            }
        }
        stream
    });
    let all = order(&*store);
    assert_eq!(all.len(), THREADS * EACH as usize);
    for stream in &streams {
        assert_eq!(numbers(&*store, stream), (1..=EACH).collect::<Vec<_>>());
        let of_all = all.iter().filter(|(_, of, _)| of == stream).map(|(.., seq)| *seq);
        assert!(of_all.eq(1..=EACH));
    }
    let mut numbers: Vec<_> = streams.iter().map(|stream| info(&*store, stream).number).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq((1..=THREADS as u64).map(Some)));
}

/// Whoever reads on from the last position he saw must see every event once, although positions
/// are given out by many threads at once.
fn core_006_a_reader_beside_writers_loses_and_repeats_nothing(store: Arc<dyn Store>) {
    let each = 20 * rounds() as u64;
    let is_over = AtomicBool::new(false);
    // One reader takes small parts, the others are always at the end, where positions are new.
    let read = &|limit| {
        let (mut read, mut after) = (Vec::new(), 0);
        loop {
            // Looked at first: what comes after it is read for certain.
            let was_over = is_over.load(Ordering::SeqCst);
            let part = store.all_events(after, limit).unwrap();
            after = part.last().map_or(after, |stored| stored.pos);
            if part.is_empty() && was_over {
                return read;
            }
            read.extend(part.into_iter().map(|stored| (stored.pos, stored.stream, stored.seq)));
        }
    };
    let readings: Vec<Vec<_>> = thread::scope(|scope| {
        let limits = [50, usize::MAX, usize::MAX];
        let readers = limits.map(|limit| scope.spawn(move || read(limit)));
        race(|_| {
            let stream = owned(&*store);
            for seq in 2..=each {
                go_on(&*store, &stream, 1, seq).unwrap();
            }
        });
        is_over.store(true, Ordering::SeqCst);
        readers.into_iter().map(|reader| reader.join().unwrap()).collect()
    });
    let all = order(&*store);
    assert_eq!(all.len(), THREADS * each as usize);
    for read in readings {
        assert_eq!(read.len(), all.len());
        assert!(read == all, "the same events, in another order");
    }
}

fn store_001_racing_appends_to_several_streams_do_not_lock_each_other_out(store: Arc<dyn Store>) {
    // Each thread writes the same pool of unowned streams, claimed and released in one write, in
    // an order of its own.
    let streams: Vec<Stream> = (0..12).map(|_| unowned(&*store)).collect();
    let rounds = 5 * rounds();
    let wins: Vec<usize> = race(|thread| {
        let mut wins = 0;
        for round in 0..rounds {
            let picked: Vec<_> =
                (0..4).map(|step| (thread * 5 + round * 7 + step * 3) % streams.len()).collect();
            let found: Vec<_> = picked.iter().map(|at| info(&*store, &streams[*at])).collect();
            let next: Vec<_> =
                found.iter().map(|info| events(&info.stream, [info.last_seq + 1])).collect();
            let writes: Vec<_> = found
                .iter()
                .zip(&next)
                .map(|(info, next)| {
                    let fence = Fence::Claim { epoch: info.epoch };
                    Write::new(&info.stream, fence).events(next).release()
                })
                .collect();
            match append(&*store, &writes) {
                Ok(_) => wins += 1,
                Err(error) => {
                    assert!(matches!(kind(&error).as_str(), "EpochPassed" | "OutOfOrder"));
                }
            }
        }
        wins
    });
    let wins: usize = wins.iter().sum();
    assert!(wins > 0);
    assert_eq!(order(&*store).len(), streams.len() + 4 * wins);
    let epochs: u64 = streams.iter().map(|stream| info(&*store, stream).epoch).sum();
    assert_eq!(epochs, 4 * wins as u64);
}

fn a_write_beside_a_close_is_kept_or_refused(store: Arc<dyn Store>) {
    let results = race(|thread| {
        if thread == THREADS / 2 {
            store.close().wait().unwrap();
            return Err(order(&*store));
        }
        let stream = session();
        let mut last = 0;
        loop {
            let result = match last {
                0 => create(&*store, &stream, Fence::NewOwned),
                _ => go_on(&*store, &stream, 1, last + 1),
            };
            match result {
                Ok(_) => last += 1,
                Err(error) => {
                    assert_eq!(kind(&error), "Closed");
                    return Ok((stream, last));
                }
            }
        }
    });
    for result in results {
        match result {
            Ok((stream, last)) if last > 0 => {
                assert_eq!(numbers(&*store, &stream), (1..=last).collect::<Vec<_>>());
            }
            Ok(_) => {}
            Err(at_the_close) => assert!(order(&*store) == at_the_close, "written after it"),
        }
    }
}
