//! A machine that counts, and who decides by it: the least that shows how one decides over the
//! store port (STORE-009).
//!
//! [`Counter`] is the machine: every decision, and nothing else. [`Decider`] carries them out over
//! any store; a process has one for each counter. [`Ledger`] reads back what all processes
//! together have done, and says what is wrong with it. What goes between processes is plain bytes:
//! [`Input::encode`], [`Answer::encode`].
//!
//! A counter is the stream of a session. Its adds are `session_progress`; a claim starts or resumes
//! the session under the number of the epoch, and who lets go suspends it.
//!
//! ```
//! use std::sync::Arc;
//! use holdpoint_core::{SessionId, SystemClock};
//! use holdpoint_core::event::Stream;
//! use holdpoint_testkit::store::VirtualDisk;
//! use holdpoint_testkit::store::counter::{Answer, Decider, Input, Ledger, block_on};
//!
//! let disk = VirtualDisk::new();
//! let stream = Stream::Session(SessionId::generate());
//! let process = || Decider::new(disk.open(), stream.clone(), Arc::new(SystemClock::new()));
//! let (one, other) = (process()?, process()?);
//! block_on(one.create(100))?;
//!
//! // Nobody owns the counter: the asker claims it, decides, and lets go in the same write.
//! let answer = block_on(one.ask(Input::Add { request: 1, amount: 5 }))?;
//! assert_eq!(answer, Answer::Added { value: 5 });
//!
//! // Now the other owns it, and is asked.
//! block_on(other.own())?;
//! let answer = block_on(one.ask(Input::Add { request: 2, amount: 7 }))?;
//! assert_eq!(answer, Answer::Added { value: 12 });
//! // The same request again changes nothing.
//! assert_eq!(block_on(one.ask(Input::Add { request: 2, amount: 7 }))?, answer);
//!
//! assert_eq!(Ledger::read(one.store(), &stream)?.value, 12);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod decider;
mod events;
mod ledger;
mod line;
mod tenure;
mod wait;

use std::collections::BTreeMap;

pub use decider::{AskError, Decider, Flaw};
pub use ledger::Ledger;
pub use wait::block_on;

/// A number that only grows, up to a limit.
///
/// ```
/// use holdpoint_testkit::store::counter::{Answer, Counter, Input};
///
/// let mut counter = Counter::new(10);
/// let decision = counter.handle(Input::Add { request: 1, amount: 4 });
/// assert_eq!((decision.change.is_some(), decision.answer), (true, Answer::Added { value: 4 }));
/// let again = Counter::restore(&counter.snapshot()).unwrap();
/// assert_eq!(again, counter);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counter {
    limit: u64,
    value: u64,
    /// For each request that was granted, the value after it.
    granted: BTreeMap<u64, u64>,
}

/// What somebody wants of a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// That it grows.
    Add {
        /// Which request this is. The same one again is granted once.
        request: u64,
        /// By how much.
        amount: u64,
    },
    /// To know its value.
    Read,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// What has changed, and is to be recorded.
    pub change: Option<Change>,
    /// What to say, once this change and those before it are kept.
    pub answer: Answer,
}

/// A change of a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Who wanted it.
    pub request: u64,
    /// By how much it grew.
    pub amount: u64,
    /// The value after.
    pub value: u64,
}

/// What to say to who wanted something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The request was granted, now or before.
    Added {
        /// The value after it.
        value: u64,
    },
    /// It would go beyond the limit, and was refused.
    Full {
        /// The value.
        value: u64,
    },
    /// It was asked for.
    Value(u64),
}

impl Counter {
    /// A counter at 0 that does not go beyond `limit`.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self { limit, value: 0, granted: BTreeMap::new() }
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.value
    }

    /// Takes in what somebody wants, and decides.
    pub fn handle(&mut self, input: Input) -> Decision {
        let value = self.value;
        let say = |answer| Decision { change: None, answer };
        let Input::Add { request, amount } = input else { return say(Answer::Value(value)) };
        if let Some(&value) = self.granted.get(&request) {
            return say(Answer::Added { value });
        }
        match value.checked_add(amount).filter(|sum| *sum <= self.limit) {
            Some(value) => {
                self.value = value;
                self.granted.insert(request, value);
                let change = Some(Change { request, amount, value });
                Decision { change, answer: Answer::Added { value } }
            }
            None => say(Answer::Full { value }),
        }
    }

    /// All there is to restore it from.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        let granted = self.granted.iter().flat_map(|(request, value)| [*request, *value]);
        let numbers = [self.limit, self.value].into_iter().chain(granted);
        numbers.flat_map(u64::to_le_bytes).collect()
    }

    /// The counter of a snapshot; none where it is none.
    #[must_use]
    pub fn restore(snapshot: &[u8]) -> Option<Self> {
        let mut numbers = numbers(snapshot)?.into_iter();
        let (limit, value) = (numbers.next()?, numbers.next()?);
        let mut granted = BTreeMap::new();
        while let Some(request) = numbers.next() {
            granted.insert(request, numbers.next()?);
        }
        Some(Self { limit, value, granted })
    }

    /// Forgets which requests were granted.
    fn forget(&mut self) {
        self.granted.clear();
    }
}

impl Input {
    /// Its bytes.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        match self {
            Self::Add { request, amount } => [request, amount].map(u64::to_le_bytes).concat(),
            Self::Read => Vec::new(),
        }
    }

    /// What these bytes say; none where they say nothing.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        match numbers(bytes)?[..] {
            [request, amount] => Some(Self::Add { request, amount }),
            [] => Some(Self::Read),
            _ => None,
        }
    }
}

impl Answer {
    /// Its bytes.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let (kind, value) = match self {
            Self::Added { value } => (0, value),
            Self::Full { value } => (1, value),
            Self::Value(value) => (2, value),
        };
        [kind, value].map(u64::to_le_bytes).concat()
    }

    /// What these bytes say; none where they say nothing.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        match numbers(bytes)?[..] {
            [0, value] => Some(Self::Added { value }),
            [1, value] => Some(Self::Full { value }),
            [2, value] => Some(Self::Value(value)),
            _ => None,
        }
    }

    /// The value it tells of.
    #[must_use]
    pub fn value(self) -> u64 {
        match self {
            Self::Added { value } | Self::Full { value } | Self::Value(value) => value,
        }
    }
}

fn numbers(bytes: &[u8]) -> Option<Vec<u64>> {
    let (numbers, rest) = bytes.as_chunks::<8>();
    rest.is_empty().then(|| numbers.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect())
}
