//! What a child has issued and what was acknowledged to it: a file of lines, one a fact, which
//! outlasts the child.
//!
//! A line is written with one call, before the deed where it tells of an intention, after the
//! acknowledgement where it tells of one. Contents are not in it: they follow from the step's id, so
//! that no two steps ever write the same.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::str::FromStr;

use holdpoint_core::event::{Event, EventKind, Stream};
use holdpoint_core::session::StateName;
use holdpoint_core::{BatchId, SessionId, Timestamp};

use super::random::Random;

/// A step's id: the life of the child and a number in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Id {
    pub(super) life: u32,
    pub(super) number: u32,
}

/// What must be true of a stream for a part of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum On {
    New,
    NewOwned,
    Claim,
    Owned,
}

/// What a step does to one stream.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) stream: Stream,
    pub(super) on: On,
    pub(super) release: bool,
    pub(super) first: u64,
    pub(super) count: u64,
    pub(super) first_entry: u64,
    pub(super) entries: u64,
    /// The state of its snapshot, if it has one.
    pub(super) snapshot: Option<StateName>,
    pub(super) has_key: bool,
}

/// An append or a note.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) id: Id,
    pub(super) thread: u32,
    pub(super) is_note: bool,
    pub(super) parts: Vec<Part>,
    /// The line of its being issued.
    pub(super) line: usize,
    /// The line of its acknowledgement, and the position that came with it.
    pub(super) ack: Option<(usize, u64)>,
    /// Whether a later life has seen it.
    pub(super) seen: bool,
    pub(super) failed: Option<String>,
}

impl Step {
    /// Whether it has to be there.
    pub(super) fn is_due(&self) -> bool {
        self.seen || self.ack.is_some()
    }
}

/// A deletion of all that has ended but the last few.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prune {
    pub(super) line: usize,
    pub(super) keep: u64,
    pub(super) done: bool,
}

/// What a stream is after some of its steps.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) entries: u64,
    pub(super) epoch: u64,
    pub(super) owner: Option<u64>,
    pub(super) state: StateName,
    pub(super) snapshot: Option<Id>,
    pub(super) created_by: Option<(Id, bool)>,
    /// Which step wrote each event, and whether it ends the stream.
    pub(super) events: Vec<(Id, bool)>,
    pub(super) journal: Vec<Id>,
}

/// All facts of a file, or of its beginning.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    /// The number of each life's instance.
    pub(super) instances: HashMap<u32, u64>,
    pub(super) steps: Vec<Step>,
    /// Of each stream the steps that are or may be in it, in order.
    pub(super) streams: BTreeMap<Stream, Vec<usize>>,
    /// Streams that were pruned: they do not come back.
    pub(super) gone: BTreeSet<Stream>,
    pub(super) prunes: Vec<Prune>,
    /// What the lives said of opening, reading and ending.
    pub(super) words: Vec<String>,
    steps_by_id: HashMap<Id, usize>,
    sights: BTreeMap<Stream, (u64, u64, u64)>,
    lines: usize,
}

impl Facts {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut facts = Self::default();
        // A last line without an end was not written whole.
        for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            facts.take(line)?;
        }
        Ok(facts)
    }

    /// Takes in one more line.
    pub(super) fn take(&mut self, line: &str) -> Result<(), String> {
        self.lines += 1;
        let words: Vec<&str> = line.splitn(5, ' ').collect();
        self.take_words(&words).map_err(|error| format!("{error}; line {}: {line}", self.lines))
    }

    fn take_words(&mut self, words: &[&str]) -> Result<(), String> {
        match words {
            ["open", life, instance] => {
                self.instances.insert(number(life)? as u32, number(instance)?);
            }
            ["seen", "begin"] => self.sights.clear(),
            ["seen", "end"] => self.settle()?,
            ["seen", stream, seq, entries, epoch] => {
                let sight = (number(seq)?, number(entries)?, number(epoch)?);
                self.sights.insert(parse_stream(stream)?, sight);
            }
            ["issue", id, thread, kind, parts] => {
                let place = self.steps.len();
                let id: Id = id.parse()?;
                let parts: Vec<Part> =
                    parts.split(';').map(str::parse).collect::<Result<_, _>>()?;
                for part in &parts {
                    self.streams.entry(part.stream.clone()).or_default().push(place);
                }
                self.steps_by_id.insert(id, place);
                self.steps.push(Step {
                    id,
                    thread: number(thread)? as u32,
                    is_note: *kind == "note",
                    parts,
                    line: self.lines,
                    ack: None,
                    seen: false,
                    failed: None,
                });
            }
            ["ack", id, pos] => {
                let (line, pos) = (self.lines, number(pos)?);
                let step = self.step_mut(id)?;
                step.ack = Some((line, pos));
            }
            ["fail", id, rest @ ..] => self.step_mut(id)?.failed = Some(rest.join(" ")),
            ["prune", keep] => {
                let (line, keep) = (self.lines, number(keep)?);
                self.prunes.push(Prune { line, keep, done: false });
            }
            ["pruned"] => {
                self.prunes.last_mut().ok_or("pruned nothing")?.done = true;
            }
            _ => self.words.push(words.join(" ")),
        }
        Ok(())
    }

    fn step_mut(&mut self, id: &str) -> Result<&mut Step, String> {
        let place = self.steps_by_id.get(&id.parse()?).ok_or("an unknown step")?;
        Ok(&mut self.steps[*place])
    }

    /// A later life has told what it found: from now on that is what has to be there, and nothing
    /// else of what was issued before.
    fn settle(&mut self) -> Result<(), String> {
        let sights = std::mem::take(&mut self.sights);
        if let Some(stream) = sights.keys().find(|stream| !self.streams.contains_key(*stream)) {
            return Err(format!("a later life saw {stream}, which is not to be there"));
        }
        let streams: Vec<Stream> = self.streams.keys().cloned().collect();
        for stream in streams {
            let count = match sights.get(&stream) {
                Some(sight) => self
                    .count_at(&stream, *sight)
                    .ok_or_else(|| format!("a later life saw {stream} with {sight:?}"))?,
                None if self.may_be_pruned(&stream) => {
                    self.streams.remove(&stream);
                    self.gone.insert(stream);
                    continue;
                }
                None => 0,
            };
            let places = self.streams.get_mut(&stream).expect("a stream of the list");
            for place in places.drain(count..) {
                if self.steps[place].is_due() {
                    return Err(format!("a later life saw nothing of {}", self.steps[place].id));
                }
            }
            for place in places.iter() {
                self.steps[*place].seen = true;
            }
            if places.is_empty() {
                self.streams.remove(&stream);
            }
        }
        Ok(())
    }

    /// Whether a deletion was begun that may have hit the stream: its end was issued before.
    pub(super) fn may_be_pruned(&self, stream: &Stream) -> bool {
        self.end_of(stream).is_some_and(|end| {
            let end = &self.steps[end];
            self.prunes.iter().any(|prune| end.line < prune.line && end.failed.is_none())
        })
    }

    /// The step that ends a stream.
    pub(super) fn end_of(&self, stream: &Stream) -> Option<usize> {
        let place = *self.streams.get(stream)?.last()?;
        let part = self.steps[place].parts.iter().find(|part| part.stream == *stream)?;
        part.snapshot.is_some_and(StateName::is_terminal).then_some(place)
    }

    /// How many steps of a stream lead to this number of events, of entries, and epoch.
    pub(super) fn count_at(&self, stream: &Stream, found: (u64, u64, u64)) -> Option<usize> {
        let steps = self.streams.get(stream)?.len();
        (1..=steps).rev().find(|count| {
            let known = self.known(stream, *count);
            (known.events.len() as u64, known.entries, known.epoch) == found
        })
    }

    /// A stream after its first `count` steps.
    pub(super) fn known(&self, stream: &Stream, count: usize) -> Known {
        let mut known = Known {
            entries: 0,
            epoch: 0,
            owner: None,
            state: StateName::Planned,
            snapshot: None,
            created_by: None,
            events: Vec::new(),
            journal: Vec::new(),
        };
        for place in &self.streams[stream][..count] {
            let step = &self.steps[*place];
            let part = step.parts.iter().find(|part| part.stream == *stream).expect("its part");
            if matches!(part.on, On::New | On::NewOwned) {
                known.created_by = Some((step.id, part.has_key));
            }
            if matches!(part.on, On::NewOwned | On::Claim) {
                known.epoch += 1;
                known.owner = self.instances.get(&step.id.life).copied();
            }
            let ends = part.snapshot.is_some_and(StateName::is_terminal);
            known.events.extend((1..=part.count).map(|n| (step.id, ends && n == part.count)));
            known.journal.extend((0..part.entries).map(|_| step.id));
            known.entries += part.entries;
            if let Some(state) = part.snapshot {
                (known.state, known.snapshot) = (state, Some(step.id));
            }
            if part.release || known.state.is_terminal() {
                known.owner = None;
            }
        }
        known
    }

    /// How many steps were acknowledged.
    pub(super) fn acks(&self) -> usize {
        self.steps.iter().filter(|step| step.ack.is_some()).count()
    }
}

/// The event with this number, as a step writes it.
pub(super) fn event(stream: &Stream, id: Id, seq: u64, ends: bool) -> Event {
    let mut random = Random::of(&[id.life.into(), id.number.into(), seq]);
    let noise = "x".repeat(random.below(120) as usize);
    let text = format!("{id} event {seq} {noise}");
    let kind = match stream {
        Stream::Session(_) if ends => EventKind::SessionDone { usage: None },
        Stream::Session(_) => EventKind::SessionProgress { progress: format!("\"{text}\"").into() },
        _ => EventKind::BatchItemQueued { item: text.into() },
    };
    Event::new(seq, Timestamp::from_micros(1_000_000 * seq), stream.clone(), kind)
}

/// The journal entry with this number, as a step writes it.
pub(super) fn entry(id: Id, number: u64) -> Vec<u8> {
    let mut random = Random::of(&[id.life.into(), id.number.into(), number, 1]);
    let size = if random.below(8) == 0 { random.below(20_000) } else { random.below(1_500) };
    payload(&format!("{id} entry {number} "), size as usize)
}

/// The snapshot that a step writes.
pub(super) fn snapshot(id: Id) -> Vec<u8> {
    let mut random = Random::of(&[id.life.into(), id.number.into(), 2]);
    let size = if random.one_in(2) { 40_000 + random.below(60_000) } else { random.below(900) };
    payload(&format!("{id} snapshot "), size as usize)
}

/// The same words again and again: cheap, and no two payloads look alike.
fn payload(words: &str, size: usize) -> Vec<u8> {
    let size = size.max(words.len());
    let mut payload = words.repeat(size.div_ceil(words.len())).into_bytes();
    payload.truncate(size);
    payload
}

pub(super) fn key(id: Id) -> String {
    format!("key {id}")
}

pub(super) fn label(id: Id) -> String {
    format!("label {id}")
}

/// A stream as it stands in a fact.
pub(super) fn stream_text(stream: &Stream) -> String {
    match stream {
        Stream::Session(id) => format!("s{id}"),
        Stream::Batch(id) => format!("b{id}"),
        other => unreachable!("no child writes to {other}"),
    }
}

fn parse_stream(text: &str) -> Result<Stream, String> {
    let error = || format!("no stream: {text}");
    match text.split_at_checked(1).ok_or_else(error)? {
        ("s", id) => Ok(Stream::Session(id.parse::<SessionId>().map_err(|_| error())?)),
        ("b", id) => Ok(Stream::Batch(id.parse::<BatchId>().map_err(|_| error())?)),
        _ => Err(error()),
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("no number: {text}"))
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.life, self.number)
    }
}

impl FromStr for Id {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (life, own) = text.split_once('.').ok_or_else(|| format!("no id: {text}"))?;
        Ok(Self { life: number(life)? as u32, number: number(own)? as u32 })
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on = match self.on {
            On::New => "new",
            On::NewOwned => "new-owned",
            On::Claim => "claim",
            On::Owned => "owned",
        };
        let snapshot = match self.snapshot {
            None => "none",
            Some(StateName::Done) => "done",
            Some(_) => "running",
        };
        let Self { release, first, count, first_entry, entries, has_key, .. } = self;
        write!(
            f,
            "{},{on},{release},{first},{count},{first_entry},{entries},{snapshot},{has_key}",
            stream_text(&self.stream)
        )
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split(',').collect();
        let [stream, on, release, first, count, first_entry, entries, snapshot, has_key] =
            words[..]
        else {
            return Err(format!("no part of a step: {text}"));
        };
        let on = match on {
            "new" => On::New,
            "new-owned" => On::NewOwned,
            "claim" => On::Claim,
            _ => On::Owned,
        };
        let snapshot = match snapshot {
            "none" => None,
            "done" => Some(StateName::Done),
            _ => Some(StateName::Running),
        };
        Ok(Self {
            stream: parse_stream(stream)?,
            on,
            release: release == "true",
            first: number(first)?,
            count: number(count)?,
            first_entry: number(first_entry)?,
            entries: number(entries)?,
            snapshot,
            has_key: has_key == "true",
        })
    }
}
