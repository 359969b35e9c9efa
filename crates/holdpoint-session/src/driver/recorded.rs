//! A body whose results are recorded: what it has called, what it is to be given next, and what
//! the journal says of its earlier starts (SESS-017).
//!
//! # Invariants
//! 1. The body is given one record a turn, in the order of the journal; in replay from there, after
//!    that from `ready`, where only what is acknowledged comes.
//!    A body with a ledger has all of the journal at once, and what comes later as it comes.
//! 2. Nothing is opened, executed or written for the body before the journal is at its end.
//! 3. A timer counts only as long as `delays` or `sleeps` has it: one that was closed and given
//!    again is another.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;

use holdpoint_core::body::{
    Delivery as Delivered, Fresh, Kind, LedgerFault, OpError, OpId, OpKey, OpTable, Open,
    Opened as LedgerOpened, Payload,
};
use holdpoint_core::session::QuestionId;
use holdpoint_core::{Monotonic, SessionId, Timestamp};

use super::journal::{Done, Kept, Opened, Record, Start, What, hash_secret};
use super::link::{Delivery, OpRef};
use super::random;
use super::slots::Target;
use super::watch::Wakes;

/// The operations of a body, and its journal.
pub(crate) struct Recorded {
    pub(crate) table: OpTable,
    /// What is acknowledged and not given yet, with its time.
    ready: VecDeque<(Delivery, Timestamp)>,
    /// What is left of the journal.
    replay: VecDeque<Record>,
    pub(crate) is_live: bool,
    /// The body was given something, or starts: its own code may move.
    pub(crate) is_turn: bool,
    /// How many operations it had called before this turn.
    pub(crate) moves: u64,
    /// The time as the body sees it.
    pub(crate) now: Timestamp,
    seed: u64,
    drawn: u64,
    salt: String,
    /// Called and not acted upon.
    pub(crate) fresh: BTreeMap<OpKey, (OpId, Open)>,
    /// What the journal says was opened.
    pub(crate) opened: BTreeMap<OpKey, What>,
    /// Results of an earlier attempt, taken instead of executing a step again.
    pub(crate) offers: HashMap<OpKey, Payload>,
    timers: BinaryHeap<Reverse<(Monotonic, Timer)>>,
    delays: HashMap<OpId, Monotonic>,
    sleeps: BTreeMap<OpKey, Monotonic>,
    /// Steps whose effects run.
    pub(crate) executing: BTreeSet<OpKey>,
    /// Children that run, by the operation that waits for them.
    pub(crate) children: BTreeMap<OpKey, SessionId>,
    /// Questions that wait for a place among the paused.
    pub(crate) unasked: BTreeMap<OpKey, Open>,
    /// A secret of the journal that has to be given again.
    pub(crate) secret: Option<Secret>,
    /// Operations whose results were decided during the replay, and come after it.
    pub(crate) decided: BTreeSet<OpKey>,
    /// Progress that was told in replay: what of it is new is published when the replay is over.
    pub(crate) held: Vec<Payload>,
    /// How often the body told of its progress in this start.
    pub(crate) emitted: u64,
    /// What the ledger of the body does not know.
    mismatch: Option<(Arc<str>, Arc<str>)>,
    /// Of a body that has opened its ledger.
    pub(crate) ledger: Option<Box<Ledger>>,
    #[cfg(test)]
    pub(crate) flaw: Option<Flaw>,
    #[cfg(test)]
    was_two: bool,
}

/// What a body with a ledger has besides.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Results that no operation was called for yet, in this start.
    results: HashMap<OpKey, Result<Payload, OpError>>,
    /// Nothing is under way in the body: it may be dropped.
    pub(crate) may_let_go: bool,
    /// The body wants to know when it is to come to an end.
    pub(crate) suspend: Option<Waker>,
}

/// Ways to break the rule of one record a turn, to show that the tests see it.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    TwoLive,
    TwoInReplay,
}

/// A secret that has to be given again.
#[derive(Debug)]
pub(crate) struct Secret {
    pub(crate) key: OpKey,
    pub(crate) hash: String,
    pub(crate) question: Option<QuestionId>,
    pub(crate) value: Option<Payload>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Delay(OpId),
    /// With the time that the journal has for it: of those that fell due while nobody was up, the
    /// one that was due first is over first.
    Sleep(Timestamp, OpKey),
}

/// What comes next for the body.
#[derive(Debug)]
pub(crate) enum Turn {
    /// It was given something: poll it.
    Poll,
    /// Nothing at the moment.
    Nothing,
    /// A secret has to be asked for first.
    Secret,
    /// The journal has come to its end; what the body has called is to be acted upon.
    Live,
    /// The journal says something that the body has not called.
    Mismatch { recorded: Arc<str>, found: Arc<str> },
}

impl Recorded {
    /// A body that starts, with the entries of its attempt that follow the start.
    pub(crate) fn new(start: &Start, replay: VecDeque<Record>) -> Self {
        Self {
            table: OpTable::new(),
            ready: VecDeque::new(),
            replay,
            is_live: false,
            is_turn: true,
            moves: 0,
            now: start.at,
            seed: start.seed,
            drawn: 0,
            salt: start.salt.clone(),
            fresh: BTreeMap::new(),
            opened: BTreeMap::new(),
            offers: HashMap::new(),
            timers: BinaryHeap::new(),
            delays: HashMap::new(),
            sleeps: BTreeMap::new(),
            executing: BTreeSet::new(),
            children: BTreeMap::new(),
            unasked: BTreeMap::new(),
            secret: None,
            decided: BTreeSet::new(),
            held: Vec::new(),
            emitted: 0,
            mismatch: None,
            ledger: None,
            #[cfg(test)]
            flaw: None,
            #[cfg(test)]
            was_two: false,
        }
    }

    /// The next random number.
    pub(crate) fn random(&mut self) -> u64 {
        self.drawn += 1;
        random::nth(self.seed, self.drawn)
    }

    /// The keyed hash of a secret of this session.
    pub(crate) fn hash(&self, value: &str) -> String {
        hash_secret(&self.salt, value)
    }

    /// Something is acknowledged: the body gets it in its turn.
    pub(crate) fn give(&mut self, delivery: Delivery, at: Timestamp) {
        self.ready.push_back((delivery, at));
    }

    /// The secret that the replay waits for is there.
    pub(crate) fn know_secret(&mut self, value: Payload) {
        if let Some(secret) = &mut self.secret {
            secret.value = Some(value);
        }
    }

    /// The body opens its ledger: all that is left of the journal is its.
    pub(crate) fn open_ledger(
        &mut self,
        knows: &mut dyn FnMut(&OpKey) -> bool,
    ) -> Result<LedgerOpened, LedgerFault> {
        if self.table.moves() > 0 || self.ledger.is_some() {
            return Err(LedgerFault::Misplaced);
        }
        let mut ledger = Box::<Ledger>::default();
        for record in std::mem::take(&mut self.replay) {
            match record {
                Record::Start(_) => {}
                Record::Opened(Opened { key, what, .. }) => {
                    self.opened.insert(key, what);
                }
                Record::Cancelled { at, cause } => {
                    self.now = at;
                    // Nothing is open that could be cancelled.
                    drop(self.table.deliver_cancel(cause));
                }
                Record::Done(Done { key, at, result }) => {
                    if !knows(&key) {
                        let found = Arc::from("a ledger that does not know it");
                        self.mismatch = Some((key.to_string().into(), found));
                        return Err(LedgerFault::Mismatch);
                    }
                    self.now = at;
                    self.opened.remove(&key);
                    let result = match result {
                        Kept::Ok(value) => Ok(value.get().to_owned()),
                        Kept::Err(error) => Err(error),
                        // It is not known any more, and will be asked for again.
                        Kept::Secret(_) => continue,
                    };
                    ledger.results.insert(key, result);
                }
            }
        }
        let results = ledger.results.iter().filter_map(|(key, result)| {
            result.as_ref().ok().map(|value| (key.clone(), value.clone()))
        });
        let offers = self.offers.iter().map(|(key, value)| (key.clone(), value.clone()));
        let opened =
            LedgerOpened { start: 0, results: results.collect(), offers: offers.collect() };
        self.ledger = Some(ledger);
        Ok(opened)
    }

    /// The body has a result of this operation already, by its ledger: it is given to it.
    pub(crate) fn give_known(&mut self, key: &OpKey) -> bool {
        let known = self.ledger.as_deref_mut().and_then(|ledger| ledger.results.remove(key));
        let Some(result) = known else { return false };
        self.ready.push_back((Delivery::Op(OpRef::Key(key.clone()), result), self.now));
        true
    }

    /// Gives the body the next record.
    pub(crate) fn next_turn(&mut self, wakes: &mut Wakes) -> Turn {
        if let Some((recorded, found)) = self.mismatch.take() {
            return Turn::Mismatch { recorded, found };
        }
        if self.ledger.is_some() && self.is_live {
            return self.next_of_ledger(wakes);
        }
        if self.is_live { self.next_live(wakes) } else { self.next_recorded(wakes) }
    }

    fn next_live(&mut self, wakes: &mut Wakes) -> Turn {
        while let Some((delivery, at)) = self.ready.pop_front() {
            let is_given = match delivery {
                Delivery::Op(OpRef::Key(key), result) => {
                    self.deliver(&key, result, wakes) == Given::Yes
                }
                // A body whose results are recorded has no slots.
                Delivery::Op(OpRef::Slot(Target { .. }), _) => false,
                Delivery::Cancel(cause) => {
                    wakes.extend(self.table.deliver_cancel(cause));
                    true
                }
                Delivery::Secret(_) => false,
            };
            if is_given {
                self.now = at;
                self.is_turn = true;
                #[cfg(test)]
                if self.flaw == Some(Flaw::TwoLive) {
                    self.was_two = !self.was_two;
                    if self.was_two {
                        continue;
                    }
                }
                return Turn::Poll;
            }
        }
        #[cfg(test)]
        if std::mem::take(&mut self.was_two) && self.is_turn {
            return Turn::Poll;
        }
        Turn::Nothing
    }

    /// All that is there. What the body has not called yet is kept for when it does.
    fn next_of_ledger(&mut self, wakes: &mut Wakes) -> Turn {
        let mut turn = Turn::Nothing;
        while let Some((delivery, at)) = self.ready.pop_front() {
            self.now = self.now.max(at);
            match delivery {
                Delivery::Op(OpRef::Key(key), result) => {
                    match self.deliver(&key, result.clone(), wakes) {
                        Given::Yes => turn = Turn::Poll,
                        Given::Abandoned => {}
                        Given::Unknown => {
                            if let Some(ledger) = &mut self.ledger {
                                ledger.results.insert(key, result);
                            }
                        }
                    }
                }
                Delivery::Cancel(cause) => {
                    wakes.extend(self.table.deliver_cancel(cause));
                    turn = Turn::Poll;
                }
                // It has no slots, and no replay that could wait for a secret.
                Delivery::Op(OpRef::Slot(_), _) | Delivery::Secret(_) => {}
            }
        }
        turn
    }

    fn next_recorded(&mut self, wakes: &mut Wakes) -> Turn {
        loop {
            let Some(record) = self.replay.pop_front() else { return Turn::Live };
            let at = match record {
                Record::Start(_) => continue,
                Record::Opened(Opened { key, what, .. }) => {
                    self.opened.insert(key, what);
                    continue;
                }
                Record::Cancelled { at, cause } => {
                    wakes.extend(self.table.deliver_cancel(cause));
                    at
                }
                Record::Done(done) => {
                    let Done { key, at, .. } = &done;
                    let (key, at) = (key.clone(), *at);
                    let result = match self.result_of(&done) {
                        Ok(result) => result,
                        Err(Unknown) => {
                            self.replay.push_front(Record::Done(done));
                            return Turn::Secret;
                        }
                    };
                    // It is over: it is neither opened nor given up any more.
                    self.opened.remove(&key);
                    match self.deliver(&key, result, wakes) {
                        Given::Yes => at,
                        Given::Abandoned => continue,
                        Given::Unknown => return self.mismatch(&key),
                    }
                }
            };
            self.now = at;
            self.is_turn = true;
            #[cfg(test)]
            if self.flaw == Some(Flaw::TwoInReplay) {
                self.give_second(wakes);
            }
            return Turn::Poll;
        }
    }

    /// Breaks the rule: a second record in one turn.
    #[cfg(test)]
    fn give_second(&mut self, wakes: &mut Wakes) {
        if let Some(Record::Done(done)) = self.replay.front().cloned()
            && self.table.outstanding().any(|key| *key == done.key)
            && let Ok(result) = self.result_of(&done)
        {
            self.replay.pop_front();
            let _given = self.deliver(&done.key, result, wakes);
        }
    }

    /// The result of a record; a secret's has to be known by now.
    fn result_of(&mut self, done: &Done) -> Result<Result<Payload, OpError>, Unknown> {
        match &done.result {
            Kept::Ok(value) => Ok(Ok(value.get().to_owned())),
            Kept::Err(error) => Ok(Err(error.clone())),
            Kept::Secret(hash) => {
                let known = self.secret.take_if(|secret| secret.value.is_some());
                if let Some(value) = known.and_then(|secret| secret.value) {
                    return Ok(Ok(value));
                }
                if self.table.outstanding().any(|key| *key == done.key) {
                    self.secret.get_or_insert_with(|| Secret {
                        key: done.key.clone(),
                        hash: hash.clone().into_owned(),
                        question: None,
                        value: None,
                    });
                    return Err(Unknown);
                }
                // Nobody wants it: abandoned, or a mismatch.
                Ok(Ok("null".to_owned()))
            }
        }
    }

    fn deliver(
        &mut self,
        key: &OpKey,
        result: Result<Payload, OpError>,
        wakes: &mut Wakes,
    ) -> Given {
        match self.table.deliver(key, result) {
            Delivered::Delivered(waker) => {
                wakes.extend(waker);
                self.fresh.remove(key);
                self.unasked.remove(key);
                self.sleeps.remove(key);
                self.executing.remove(key);
                self.children.remove(key);
                self.decided.remove(key);
                Given::Yes
            }
            Delivered::Abandoned => Given::Abandoned,
            Delivered::Unknown => Given::Unknown,
        }
    }

    /// What the journal has next, beside what the body has called.
    fn mismatch(&self, key: &OpKey) -> Turn {
        Turn::Mismatch { recorded: key.to_string().into(), found: self.found() }
    }

    /// The body ended in replay. What is left of the journal must be what it has dropped.
    pub(crate) fn check_end(&mut self) -> Result<(), (Arc<str>, Arc<str>)> {
        while let Some(record) = self.replay.pop_front() {
            let Record::Done(done) = record else { continue };
            match self.table.deliver(&done.key, Ok("null".to_owned())) {
                Delivered::Abandoned => {}
                _ => return Err((done.key.to_string().into(), Arc::from("the end of the body"))),
            }
        }
        Ok(())
    }

    /// The children that nobody waits for any more when the body is over.
    pub(crate) fn take_children(&mut self) -> impl Iterator<Item = SessionId> + use<> {
        let opened = std::mem::take(&mut self.opened).into_values();
        let opened = opened.filter_map(|what| match what {
            What::Child(child) => Some(child),
            _ => None,
        });
        std::mem::take(&mut self.children).into_values().chain(opened)
    }

    /// What the body waits for, in words.
    fn found(&self) -> Arc<str> {
        let mut names: Vec<String> = self.table.outstanding().map(OpKey::to_string).collect();
        let more = names.len().saturating_sub(8);
        names.truncate(8);
        if more > 0 {
            names.push(format!("{more} more"));
        }
        if names.is_empty() { "nothing".into() } else { names.join(", ").into() }
    }

    /// Takes in what the body has called since the last look.
    pub(crate) fn gather(&mut self, now: Monotonic) {
        for Fresh { id, key, open } in self.table.take_fresh() {
            match (key, open) {
                (Some(key), open) => {
                    self.fresh.insert(key, (id, open));
                }
                (None, Open::Delay(delay)) => {
                    let at = now + delay;
                    self.delays.insert(id, at);
                    self.timers.push(Reverse((at, Timer::Delay(id))));
                }
                (None, _) => {}
            }
        }
    }

    /// Forgets what the body has dropped. Says what had a key.
    pub(crate) fn drop_closed(&mut self) -> Vec<OpKey> {
        let mut keys = Vec::new();
        for closed in self.table.take_closed() {
            let Some(key) = closed.key else {
                self.delays.remove(&closed.id);
                continue;
            };
            self.fresh.remove(&key);
            self.unasked.remove(&key);
            self.sleeps.remove(&key);
            self.executing.remove(&key);
            keys.push(key);
        }
        self.sweep();
        keys
    }

    /// A sleep is over at this time, and was due at that one.
    pub(crate) fn set_sleep(&mut self, key: OpKey, at: Monotonic, due: Timestamp) {
        self.sleeps.insert(key.clone(), at);
        self.timers.push(Reverse((at, Timer::Sleep(due, key))));
    }

    /// When the next operation is over by itself.
    pub(crate) fn next_deadline(&self) -> Option<Monotonic> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// Ends delays that are due, and says which sleeps are: they are over when that is recorded.
    pub(crate) fn tick(&mut self, now: Monotonic, wakes: &mut Wakes) -> Vec<OpKey> {
        let mut due = Vec::new();
        while let Some(Reverse((at, _))) = self.timers.peek() {
            if *at > now {
                break;
            }
            let Some(Reverse((at, timer))) = self.timers.pop() else { break };
            match timer {
                Timer::Delay(id) => {
                    if self.delays.get(&id) == Some(&at) {
                        self.delays.remove(&id);
                        wakes.extend(self.table.deliver_delay(id));
                    }
                }
                Timer::Sleep(_, key) => {
                    if self.sleeps.get(&key) == Some(&at) {
                        self.sleeps.remove(&key);
                        due.push(key);
                    }
                }
            }
        }
        self.sweep();
        due
    }

    /// Forgets the timers of closed operations: those at the front always, all where they are
    /// most of them.
    fn sweep(&mut self) {
        let (delays, sleeps) = (&self.delays, &self.sleeps);
        let lives = |at: Monotonic, timer: &Timer| match timer {
            Timer::Delay(id) => delays.get(id) == Some(&at),
            Timer::Sleep(_, key) => sleeps.get(key) == Some(&at),
        };
        while self.timers.peek().is_some_and(|Reverse((at, timer))| !lives(*at, timer)) {
            self.timers.pop();
        }
        if self.timers.len() > 2 * (delays.len() + sleeps.len()) + 16 {
            self.timers.retain(|Reverse((at, timer))| lives(*at, timer));
        }
    }

    /// Whether the key is one of a question, with which the session cannot go on.
    pub(crate) fn is_ask(key: &OpKey) -> bool {
        key.kind == Kind::Ask
    }
}

/// What became of a record.
#[derive(Debug, PartialEq, Eq)]
enum Given {
    Yes,
    Abandoned,
    Unknown,
}

/// The value of a secret is not known.
struct Unknown;
