//! What bodies and effects tell, over all lives of a process.
//!
//! # Invariants
//! 1. Who speaks for a life that is over is not heard: what is left of a process that was lost
//!    does nothing.
//! 2. Whatever is changed outlasts the process where there is a file: a line is written before the
//!    change counts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::future::{Future, poll_fn};
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use holdpoint_core::body::SessionContext;
use holdpoint_core::{BoxError, SessionId};
use serde_json::{Value, json};

use super::witness::Witness;
use super::{Returned, cases};
use crate::sim::Random;

/// What bodies and effects tell. A clone is the same ledger.
#[derive(Clone)]
pub struct Ledger(Arc<Mutex<Book>>);

/// A body of the cases, in one life of a process: to be registered under its name.
#[derive(Clone)]
pub struct NamedBody {
    name: &'static str,
    ledger: Ledger,
    life: u64,
}

struct Book {
    life: u64,
    ticks: u64,
    /// Effects that wait for a tick or a gate.
    waiting: Vec<Waker>,
    random: Random,
    gates: BTreeSet<String>,
    sessions: BTreeMap<SessionId, Told>,
    faults: Vec<String>,
    file: Option<File>,
}

/// What is known of a session.
#[derive(Default)]
struct Told {
    body: String,
    /// What its body was given, in order.
    given: Vec<String>,
    /// Step, start and attempt of each execution.
    executed: BTreeSet<(String, u64, u64)>,
    /// The operations whose results its body has.
    over: BTreeSet<String>,
    /// The steps whose effects run in this life.
    running: Vec<String>,
}

/// What is written down.
enum Entry<'a> {
    /// A body begins.
    Body(&'a str),
    /// A body is given its n-th result.
    Given(usize, &'a str),
    /// An effect begins, in this start and attempt.
    Executed(&'a str, u64, u64),
    /// A body has the result of an operation.
    Over(&'a str),
}

impl Ledger {
    /// A ledger in memory. The seed decides how long effects take, and when the outside does what
    /// it may do at any time.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Book {
            life: 0,
            ticks: 0,
            waiting: Vec::new(),
            random: Random::new(seed),
            gates: BTreeSet::new(),
            sessions: BTreeMap::new(),
            faults: Vec::new(),
            file: None,
        })))
    }

    /// A ledger that outlasts the process in a file, where the file is one already with all that it
    /// says. For processes that are killed; not for disks that lose their power.
    ///
    /// # Errors
    /// Where the file cannot be read or written, or is none of a ledger.
    pub fn in_file(path: &Path, seed: u64) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let ledger = Self::new(seed);
        // The last line may be half a one: whoever wrote it did nothing after it.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in whole.lines().filter(|line| !line.is_empty()) {
            let is_known = ledger.read(line).is_some();
            // Half a line that was given an end by the next life.
            if !is_known && serde_json::from_str::<Value>(line).is_ok() {
                return Err(io::Error::other(format!("no line of a ledger: {line}")));
            }
        }
        if !text.is_empty() && !text.ends_with('\n') {
            file.write_all(b"\n")?;
        }
        ledger.book().file = Some(file);
        Ok(ledger)
    }

    /// The bodies of all cases for the next life of the process. Those of the lives before are not
    /// heard any more.
    #[must_use]
    pub fn next_life(&self) -> Vec<NamedBody> {
        let life = {
            let mut book = self.book();
            book.life += 1;
            book.sessions.values_mut().for_each(|told| told.running.clear());
            book.waiting.clear();
            book.life
        };
        let named = |name| NamedBody { name, ledger: self.clone(), life };
        cases::BODIES.iter().map(|(name, _)| named(*name)).collect()
    }

    /// What was found so far.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        self.book().faults.clone()
    }

    /// How many effects were begun, over all lives.
    #[must_use]
    pub fn executions(&self) -> usize {
        self.book().sessions.values().map(|told| told.executed.len()).sum()
    }

    /// The sessions whose bodies have this name and ever ran.
    pub(crate) fn sessions_of(&self, body: &str) -> Vec<SessionId> {
        let book = self.book();
        let of = book.sessions.iter().filter(|(_, told)| told.body == body);
        of.map(|(id, _)| *id).collect()
    }

    /// Whether effects of all these steps run.
    pub(crate) fn are_running(&self, steps: &[&str]) -> bool {
        let book = self.book();
        let running: Vec<&str> =
            book.sessions.values().flat_map(|told| &told.running).map(String::as_str).collect();
        steps.iter().all(|step| running.contains(step))
    }

    /// Time passes for effects.
    pub(crate) fn tick(&self) {
        let mut book = self.book();
        book.ticks += 1;
        let waiting = std::mem::take(&mut book.waiting);
        drop(book);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Lets effects go on that wait for this.
    pub(crate) fn open(&self, gate: &str) {
        let mut book = self.book();
        book.write(&json!({ "open": gate }));
        book.gates.insert(gate.to_owned());
        let waiting = std::mem::take(&mut book.waiting);
        drop(book);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Whether this was opened, in this process or an earlier one.
    pub(crate) fn is_open(&self, gate: &str) -> bool {
        self.book().gates.contains(gate)
    }

    /// A number by chance.
    pub(crate) fn below(&self, end: u64) -> u64 {
        self.book().random.below(end)
    }

    /// Waits for so many ticks.
    pub(crate) async fn ticks(&self, count: u64) {
        let due = self.book().ticks + count;
        self.wait_for(|book| book.ticks >= due).await;
    }

    /// Waits until this is open.
    pub(crate) async fn gate(&self, gate: &str) {
        self.wait_for(|book| book.gates.contains(gate)).await;
    }

    fn wait_for(&self, mut is_so: impl FnMut(&Book) -> bool) -> impl Future<Output = ()> {
        let ledger = self.clone();
        poll_fn(move |cx| {
            let mut book = ledger.book();
            if is_so(&book) {
                return Poll::Ready(());
            }
            if !book.waiting.iter().any(|known| known.will_wake(cx.waker())) {
                book.waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
    }

    /// A body begins.
    pub(crate) fn begins(&self, life: u64, session: SessionId, body: &str) {
        self.tell(life, session, &Entry::Body(body));
    }

    /// A body is given its n-th result.
    pub(crate) fn given(&self, life: u64, session: SessionId, place: usize, text: &str) {
        self.tell(life, session, &Entry::Given(place, text));
    }

    /// A body has the result of an operation.
    pub(crate) fn is_over(&self, life: u64, session: SessionId, operation: &str) {
        self.tell(life, session, &Entry::Over(operation));
    }

    /// The body has ended, after so many results.
    pub(crate) fn ends(&self, life: u64, session: SessionId, place: usize) {
        let mut book = self.book();
        let Some(told) = book.sessions.get(&session).filter(|_| book.life == life) else { return };
        if place < told.given.len() {
            let fault = format!("{session} has ended before `{}`", told.given[place]);
            book.faults.push(fault);
        }
    }

    /// An effect begins.
    pub(crate) fn executes(
        &self,
        life: u64,
        session: SessionId,
        (operation, step): (&str, &str),
        (start, attempt): (u64, u64),
    ) {
        self.tell(life, session, &Entry::Executed(operation, start, attempt));
        let mut book = self.book();
        if book.life == life {
            book.sessions.entry(session).or_default().running.push(step.to_owned());
        }
    }

    /// An effect has ended, or was dropped.
    pub(crate) fn executes_no_more(&self, life: u64, session: SessionId, step: &str) {
        let mut book = self.book();
        if book.life == life
            && let Some(told) = book.sessions.get_mut(&session)
            && let Some(place) = told.running.iter().position(|known| known == step)
        {
            told.running.swap_remove(place);
        }
    }

    fn tell(&self, life: u64, session: SessionId, entry: &Entry<'_>) {
        let mut book = self.book();
        if book.life == life {
            book.write(&entry.to_line(session));
            book.note(session, entry);
        }
    }

    /// Takes a line of the file; none where it is no line of a ledger.
    fn read(&self, line: &str) -> Option<()> {
        let value: Value = serde_json::from_str(line).ok()?;
        if let Some(gate) = value["open"].as_str() {
            self.book().gates.insert(gate.to_owned());
            return Some(());
        }
        let session: SessionId = value["session"].as_str()?.parse().ok()?;
        let text = |key: &str| value[key].as_str();
        let number = |key: &str| value[key].as_u64();
        let entry = if let Some(body) = text("body") {
            Entry::Body(body)
        } else if let Some(given) = text("given") {
            Entry::Given(usize::try_from(number("place")?).ok()?, given)
        } else if let Some(step) = text("executed") {
            Entry::Executed(step, number("start")?, number("attempt")?)
        } else {
            Entry::Over(text("over")?)
        };
        self.book().note(session, &entry);
        Some(())
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn note(&mut self, session: SessionId, entry: &Entry<'_>) {
        let told = self.sessions.entry(session).or_default();
        let fault = match *entry {
            Entry::Body(body) => {
                body.clone_into(&mut told.body);
                None
            }
            Entry::Given(place, text) => match told.given.get(place) {
                Some(known) if known == text => None,
                Some(known) => Some(format!("{session} was given `{known}`, and now `{text}`")),
                None => {
                    told.given.push(text.to_owned());
                    None
                }
            },
            Entry::Executed(step, start, attempt) => {
                if told.over.contains(step) {
                    Some(format!("`{step}` of {session} is over, and is executed again"))
                } else if !told.executed.insert((step.to_owned(), start, attempt)) {
                    let pair = format!("start {start}, attempt {attempt}");
                    Some(format!("`{step}` of {session}: {pair} come again"))
                } else {
                    None
                }
            }
            Entry::Over(operation) => {
                told.over.insert(operation.to_owned());
                let mut executed = told.executed.iter();
                let is_effect = operation.starts_with("step ");
                let was_executed = executed.any(|(step, ..)| step == operation);
                (is_effect && !was_executed)
                    .then(|| format!("`{operation}` of {session} was never executed"))
            }
        };
        self.faults.extend(fault);
    }

    fn write(&mut self, line: &Value) {
        if let Some(file) = &mut self.file {
            let line = format!("{line}\n");
            file.write_all(line.as_bytes()).expect("the ledger's file takes a line");
        }
    }
}

impl Entry<'_> {
    fn to_line(&self, session: SessionId) -> Value {
        let session = session.to_string();
        match *self {
            Self::Body(body) => json!({ "session": session, "body": body }),
            Self::Given(place, given) => {
                json!({ "session": session, "given": given, "place": place })
            }
            Self::Executed(step, start, attempt) => {
                json!({ "session": session, "executed": step, "start": start, "attempt": attempt })
            }
            Self::Over(operation) => json!({ "session": session, "over": operation }),
        }
    }
}

impl NamedBody {
    /// The name under which it is to be registered.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Runs it.
    #[must_use]
    pub fn call(&self, cx: SessionContext, input: Value) -> Returned {
        let body = cases::BODIES.iter().find(|(name, _)| *name == self.name);
        let Some((name, body)) = body else {
            return Box::pin(async { Err::<Value, BoxError>("there is no such body".into()) });
        };
        let witness = Witness::new(self.ledger.clone(), self.life, cx);
        Box::pin(async move {
            witness.begins(name);
            let result = body(witness.clone(), input).await;
            witness.ends();
            result
        })
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let book = self.book();
        f.debug_struct("Ledger")
            .field("life", &book.life)
            .field("faults", &book.faults)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for NamedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NamedBody").field(&self.name).finish()
    }
}
