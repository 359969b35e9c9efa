//! Random sequences of calls, good and bad, against a reference: the same answers, and the same
//! store after each.

use std::sync::Arc;

use holdpoint_core::event::Stream;
use holdpoint_core::session::{Owner, StateName};
use holdpoint_core::store::{Fence, Filter, ReadError, Snapshot, Store, Write};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseResult};

use crate::support::{at as time, *};

/// The streams by kind: sessions, then batches, then schedules. The last session is never written
/// at random: it has the records with which notes are written.
const SESSIONS: usize = 5;
const BATCHES: usize = 2;
const SCHEDULES: usize = 2;
const STREAMS: usize = SESSIONS + BATCHES + SCHEDULES;
const BEACON: usize = SESSIONS - 1;
const KEYS: [&str; 2] = ["pr-1", "pr-2"];

/// Properties run 256 cases, or as many as `HOLDPOINT_CASES` says.
fn config() -> Config {
    let cases = std::env::var("HOLDPOINT_CASES").ok().and_then(|text| text.parse().ok());
    Config { cases: cases.unwrap_or(256), failure_persistence: None, ..Config::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn store_001_store_007_store_008_the_store_in_memory_does_what_the_reference_says(
        calls in prop::collection::vec(call(), 1..60)
    ) {
        agrees(Memory::new().open(), &calls)?;
    }
}

#[cfg(feature = "file")]
proptest! {
    // Each call is brought to the disk.
    #![proptest_config(Config { cases: config().cases / 8, ..config() })]

    #[test]
    fn store_001_store_007_store_008_the_store_on_disk_does_what_the_reference_says(
        calls in prop::collection::vec(call(), 1..60)
    ) {
        let host = File::new();
        agrees(host.open(), &calls)?;
    }
}

#[derive(Debug, Clone)]
enum Call {
    Append(Vec<Plan>),
    Note { stream: usize, epoch: Skew, count: u64, seq: Skew },
    ClaimSchedules,
    Close,
}

/// A write, relative to what the stream is at the time.
#[derive(Debug, Clone)]
struct Plan {
    stream: usize,
    fence: Wanted,
    release: bool,
    count: u64,
    seq: Skew,
    /// Of whose events the last is another stream's.
    is_foreign: bool,
    journal: Vec<u8>,
    snapshot: Option<StateName>,
    is_large: bool,
    key: Option<usize>,
}

#[derive(Debug, Clone, Copy)]
enum Wanted {
    /// Whatever would be accepted.
    Fitting,
    New,
    NewOwned,
    Claim(Skew),
    Owned(Skew),
}

/// A number beside the right one.
type Skew = i64;

fn call() -> impl Strategy<Value = Call> {
    let note = (0..STREAMS, skew(), 0..3_u64, skew());
    prop_oneof![
        30 => prop::collection::vec(plan(), 1..2).prop_map(Call::Append),
        8 => prop::collection::vec(plan(), 0..4).prop_map(Call::Append),
        8 => note.prop_map(|(stream, epoch, count, seq)| Call::Note { stream, epoch, count, seq }),
        3 => Just(Call::ClaimSchedules),
        1 => Just(Call::Close),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    let fence = prop_oneof![
        10 => Just(Wanted::Fitting),
        1 => Just(Wanted::New),
        1 => Just(Wanted::NewOwned),
        2 => skew().prop_map(Wanted::Claim),
        2 => skew().prop_map(Wanted::Owned),
    ];
    let state = prop::sample::select(vec![
        StateName::Planned,
        StateName::Running,
        StateName::Paused,
        StateName::Suspended,
        StateName::Done,
        StateName::Failed,
        StateName::Cancelled,
    ]);
    let what = (0..STREAMS, fence, prop::bool::weighted(0.2), 0..4_u64, skew(), rarely());
    let more = (
        prop::collection::vec(any::<u8>(), 0..3),
        prop::option::weighted(0.4, state),
        prop::bool::weighted(0.01),
        prop::option::weighted(0.15, 0..KEYS.len()),
    );
    (what, more).prop_map(|(what, more)| {
        let (stream, fence, release, count, seq, is_foreign) = what;
        let (journal, snapshot, is_large, key) = more;
        let stream = if stream == BEACON { 0 } else { stream };
        Plan { stream, fence, release, count, seq, is_foreign, journal, snapshot, is_large, key }
    })
}

fn skew() -> impl Strategy<Value = Skew> {
    prop_oneof![10 => Just(0), 1 => Just(1), 1 => Just(-1)]
}

fn rarely() -> impl Strategy<Value = bool> {
    prop::bool::weighted(0.03)
}

/// The store as it should be.
#[derive(Default)]
struct Reference {
    streams: [Option<Kept>; STREAMS],
    /// Streams in the order of their creation.
    created: Vec<usize>,
    /// Stream and number of every event, in order.
    events: Vec<(usize, u64)>,
    scheduling: Option<u64>,
    is_closed: bool,
}

#[derive(Clone)]
struct Kept {
    key: Option<usize>,
    owned: Option<u64>,
    epoch: u64,
    last_seq: u64,
    journal: Vec<u8>,
    state: StateName,
    snapshot: Option<(StateName, u64)>,
}

/// A write with its numbers.
#[derive(Clone, Copy)]
struct Bound<'a> {
    plan: &'a Plan,
    fence: Fence,
    first: u64,
}

impl Reference {
    fn bind<'a>(&self, plan: &'a Plan) -> Bound<'a> {
        let found = self.streams[plan.stream].as_ref();
        let is_schedule = plan.stream >= SESSIONS + BATCHES;
        let epoch = match found {
            _ if is_schedule => self.scheduling.unwrap_or(0),
            found => found.map_or(0, |kept| kept.epoch),
        };
        let fence = match plan.fence {
            Wanted::New => Fence::New,
            Wanted::NewOwned => Fence::NewOwned,
            Wanted::Claim(skew) => Fence::Claim { epoch: epoch.saturating_add_signed(skew) },
            Wanted::Owned(skew) => Fence::Owned { epoch: epoch.saturating_add_signed(skew) },
            Wanted::Fitting => match found {
                None if is_schedule || plan.release => Fence::New,
                None => Fence::NewOwned,
                Some(kept) if kept.owned.is_none() && !is_schedule => Fence::Claim { epoch },
                Some(_) => Fence::Owned { epoch },
            },
        };
        let last = found.map_or(0, |kept| kept.last_seq);
        Bound { plan, fence, first: (last + 1).saturating_add_signed(plan.seq) }
    }

    /// What an append is refused for.
    fn refusal(&self, writes: &[Bound<'_>]) -> Option<&'static str> {
        writes
            .iter()
            .find_map(|write| refusal_alone(*write))
            .or_else(|| self.is_closed.then_some("Closed"))
            .or_else(|| (0..writes.len()).find_map(|at| self.refusal_of(writes, at)))
    }

    fn refusal_of(&self, writes: &[Bound<'_>], at: usize) -> Option<&'static str> {
        let Bound { plan, fence, first } = writes[at];
        let mut earlier = writes[..at].iter().map(|write| write.plan);
        let is_new = matches!(fence, Fence::New | Fence::NewOwned);
        if earlier
            .any(|other| other.stream == plan.stream || plan.key.is_some() && other.key == plan.key)
        {
            return Some("Unsuitable");
        }
        let mut kept = self.streams.iter().flatten();
        if plan.key.is_some() && kept.any(|kept| kept.key == plan.key) {
            return Some("KeyTaken");
        }
        let is_schedule = plan.stream >= SESSIONS + BATCHES;
        let expected = match &self.streams[plan.stream] {
            Some(_) if is_new => return Some("Exists"),
            None if !is_new => return Some("NotFound"),
            None if is_schedule && self.scheduling.is_none() => return Some("LostOwnership"),
            None => 1,
            Some(kept) => {
                match fence {
                    Fence::Claim { .. } if kept.owned.is_some() => return Some("Owned"),
                    Fence::Claim { epoch } if kept.epoch != epoch => return Some("EpochPassed"),
                    Fence::Owned { epoch } => {
                        let owned = if is_schedule { self.scheduling } else { kept.owned };
                        if owned != Some(epoch) {
                            return Some("LostOwnership");
                        }
                    }
                    _ => {}
                }
                kept.last_seq + 1
            }
        };
        (plan.count > 0 && first != expected).then_some("OutOfOrder")
    }

    fn accept(&mut self, write: Bound<'_>) {
        let Bound { plan, fence, first } = write;
        let is_schedule = plan.stream >= SESSIONS + BATCHES;
        if self.streams[plan.stream].is_none() {
            self.created.push(plan.stream);
        }
        let kept = self.streams[plan.stream].get_or_insert_with(|| Kept {
            key: plan.key,
            owned: None,
            epoch: 0,
            last_seq: 0,
            journal: Vec::new(),
            state: StateName::Planned,
            snapshot: None,
        });
        if matches!(fence, Fence::NewOwned | Fence::Claim { .. }) {
            kept.epoch += 1;
            kept.owned = Some(kept.epoch);
        }
        for seq in (first..).take(plan.count as usize) {
            kept.last_seq = seq;
            self.events.push((plan.stream, seq));
        }
        kept.journal.extend(&plan.journal);
        if let Some(state) = plan.snapshot {
            kept.state = state;
            kept.snapshot = Some((state, kept.last_seq));
        }
        if plan.release || kept.state.is_terminal() && !is_schedule {
            kept.owned = None;
        }
    }
}

/// What a write is refused for whatever the store has.
fn refusal_alone(Bound { plan, fence, first }: Bound<'_>) -> Option<&'static str> {
    let is_new = matches!(fence, Fence::New | Fence::NewOwned);
    let is_schedule = plan.stream >= SESSIONS + BATCHES;
    let claims = matches!(fence, Fence::NewOwned | Fence::Claim { .. });
    if is_new && plan.count == 0
        || is_schedule && (claims || plan.release)
        || plan.key.is_some() && !(is_new && plan.stream < SESSIONS)
    {
        return Some("Unsuitable");
    }
    if plan.is_large {
        return Some("TooLarge");
    }
    let _ = first;
    (plan.is_foreign && plan.count > 0).then_some("Unsuitable")
}

struct Play {
    store: Arc<dyn Store>,
    names: [Stream; STREAMS],
    reference: Reference,
    large: Vec<u8>,
}

fn agrees(store: Arc<dyn Store>, calls: &[Call]) -> TestCaseResult {
    let names = std::array::from_fn(|at| match at {
        0..SESSIONS => session(),
        at if at < SESSIONS + BATCHES => batch(),
        at => schedule(&format!("schedule-{at}")),
    });
    let large = vec![0; Write::MAX_PAYLOAD + 1];
    let mut play = Play { store, names, reference: Reference::default(), large };
    play.beacon()?;
    for call in calls {
        play.call(call)?;
        play.same()?;
    }
    Ok(())
}

impl Play {
    fn call(&mut self, call: &Call) -> TestCaseResult {
        match call {
            Call::Append(plans) => self.append(plans),
            Call::Note { stream, epoch, count, seq } => {
                self.note(*stream, *epoch, *count, *seq)?;
                // Notes can be read when the next record is.
                self.beacon()
            }
            Call::ClaimSchedules => {
                let claimed = self.store.claim_schedules().and_then(|ticket| ticket.wait());
                let found = claimed.map_err(|error| kind(&error));
                if self.reference.is_closed {
                    prop_assert_eq!(found, Err("Closed".to_owned()));
                    return Ok(());
                }
                let Owner { instance, epoch } = found.map_err(TestCaseError::fail)?;
                prop_assert_eq!(instance, self.store.instance());
                prop_assert_eq!(epoch, *self.reference.scheduling.get_or_insert(epoch));
                Ok(())
            }
            Call::Close => {
                prop_assert!(self.store.close().wait().is_ok());
                self.reference.is_closed = true;
                Ok(())
            }
        }
    }

    fn append(&mut self, plans: &[Plan]) -> TestCaseResult {
        let bound: Vec<_> = plans.iter().map(|plan| self.reference.bind(plan)).collect();
        let events: Vec<_> = bound.iter().map(|write| self.events(*write)).collect();
        let entries: Vec<_> = plans.iter().map(|plan| plan.journal.chunks(1).collect()).collect();
        let writes: Vec<_> = bound
            .iter()
            .zip(events.iter().zip(&entries))
            .map(|(bound, (events, entries))| self.write(*bound, events, entries))
            .collect();
        let found = append(&*self.store, &writes);
        let expected = self.reference.refusal(&bound);
        prop_assert_eq!(found.as_ref().err().map(kind), expected.map(str::to_owned), "{:?}", found);
        if expected.is_none() {
            for write in bound {
                self.reference.accept(write);
            }
            let last = self.store.all_events(0, usize::MAX).unwrap().last().map_or(0, |e| e.pos);
            prop_assert!(found.unwrap().pos >= last);
        }
        Ok(())
    }

    fn events(&self, Bound { plan, first, .. }: Bound<'_>) -> Vec<holdpoint_core::event::Event> {
        let mut events = events(&self.names[plan.stream], (first..).take(plan.count as usize));
        if let Some(last) = events.last_mut().filter(|_| plan.is_foreign) {
            last.stream = self.names[(plan.stream + 1) % STREAMS].clone();
        }
        events
    }

    fn write<'a>(
        &'a self,
        Bound { plan, fence, .. }: Bound<'_>,
        events: &'a [holdpoint_core::event::Event],
        entries: &'a Vec<&'a [u8]>,
    ) -> Write<'a> {
        let mut write = Write::new(&self.names[plan.stream], fence).events(events);
        write = write.journal(entries).label(LABELS[plan.stream]);
        if plan.is_large {
            write = write.snapshot(Snapshot { state: StateName::Running, data: &self.large });
        } else if let Some(state) = plan.snapshot {
            write = write.snapshot(Snapshot { state, data: data(state) });
        }
        if plan.release {
            write = write.release();
        }
        plan.key.map_or(write, |key| write.key(KEYS[key]))
    }

    fn note(&mut self, stream: usize, epoch: Skew, count: u64, seq: Skew) -> TestCaseResult {
        let plan = Plan {
            stream,
            fence: Wanted::Owned(epoch),
            release: false,
            count,
            seq,
            is_foreign: false,
            journal: Vec::new(),
            snapshot: None,
            is_large: false,
            key: None,
        };
        let bound = self.reference.bind(&plan);
        let Fence::Owned { epoch } = bound.fence else { unreachable!() };
        let found = self.store.note(&self.names[stream], epoch, &self.events(bound));
        let expected = self.reference.is_closed.then(|| "Closed".to_owned());
        prop_assert_eq!(found.err().as_ref().map(kind), expected);
        if self.reference.refusal(&[bound]).is_none() {
            self.reference.accept(bound);
        }
        Ok(())
    }

    /// A record of a stream of its own.
    fn beacon(&mut self) -> TestCaseResult {
        self.append(&[Plan {
            stream: BEACON,
            fence: Wanted::Fitting,
            release: false,
            count: 1,
            seq: 0,
            is_foreign: false,
            journal: Vec::new(),
            snapshot: None,
            is_large: false,
            key: None,
        }])
    }

    /// The store is as the reference says.
    fn same(&self) -> TestCaseResult {
        let Self { store, names, reference, .. } = self;
        let mut number = 0;
        let mut halves = [Vec::new(), Vec::new()];
        for &at in &reference.created {
            halves[usize::from(at < SESSIONS)].push(at);
        }
        let listed = store.list(&Filter::default()).unwrap();
        let expected: Vec<_> = halves.concat().iter().map(|at| names[*at].clone()).collect();
        prop_assert!(listed.iter().map(|info| &info.stream).eq(&expected));
        for (info, at) in listed.iter().zip(halves.concat()) {
            let kept = reference.streams[at].as_ref().unwrap();
            number += u64::from(at < SESSIONS);
            let owner = kept.owned.map(|epoch| Owner { instance: store.instance(), epoch });
            prop_assert_eq!(info, &store.info(&names[at]).unwrap());
            prop_assert_eq!(info.number, (at < SESSIONS).then_some(number));
            prop_assert_eq!(&*info.label, LABELS[at]);
            prop_assert_eq!(info.key.as_deref(), kept.key.map(|key| KEYS[key]));
            prop_assert_eq!((info.owner, info.epoch), (owner, kept.epoch));
            prop_assert_eq!(info.state, kept.state);
            prop_assert_eq!(info.last_seq, kept.last_seq);
            prop_assert_eq!(info.last_entry, kept.journal.len() as u64);
            prop_assert_eq!((info.created_at, info.updated_at), (time(1), time(kept.last_seq)));
            prop_assert_eq!(numbers(&**store, &names[at]), (1..=kept.last_seq).collect::<Vec<_>>());
            prop_assert_eq!(journal(&**store, &names[at]).concat(), kept.journal.clone());
            let snapshot = store.snapshot(&names[at]).unwrap();
            let found = snapshot.as_ref().map(|snapshot| (snapshot.state, snapshot.seq));
            prop_assert_eq!(found, kept.snapshot);
            prop_assert!(snapshot.is_none_or(|kept| *kept.data == *data(kept.state)));
            let left_behind = reference.is_closed && kept.owned.is_some();
            prop_assert_eq!(info.owner.is_some_and(|owner| !store.is_alive(owner)), left_behind);
        }
        for (at, name) in names.iter().enumerate() {
            let is_missing = matches!(store.info(name), Err(ReadError::NotFound { .. }));
            prop_assert_eq!(is_missing, reference.streams[at].is_none());
        }
        for (key, text) in KEYS.iter().enumerate() {
            let of = |kept: &Option<Kept>| kept.as_ref().is_some_and(|kept| kept.key == Some(key));
            let expected = reference.streams.iter().position(of).map(|at| &names[at]);
            let found = store.by_key(text).unwrap().map(|info| info.stream);
            prop_assert_eq!(found.as_ref(), expected);
        }
        let found = order(&**store);
        let expected = reference.events.iter().map(|(at, seq)| (&names[*at], *seq));
        prop_assert!(found.iter().map(|(_, stream, seq)| (stream, *seq)).eq(expected));
        Ok(())
    }
}

const LABELS: [&str; STREAMS] = ["a", "b", "c", "d", "", "f", "g", "h", "i"];

fn data(state: StateName) -> &'static [u8] {
    match state {
        StateName::Planned => b"",
        StateName::Running => b"running",
        StateName::Done => b"done",
        _ => b"{\"state\":\"another\"}",
    }
}
