//! The auditor of events: what must be true of every trace, whatever ran and however it went.
//!
//! [`audit`] looks at a list of events, [`Audit`] at one event after the other. Both know
//! nothing but the events: they fit the log of a test, of a simulation and of a store alike. An
//! event costs O(1) or O(log n).
//!
//! # The rules
//!
//! | rule | what it says |
//! |---|---|
//! | S9 | numbers are dense in their stream, from 1 |
//! | CORE-006 | an event is of a kind that its stream has |
//! | S1 | the state of a session changes as the table of the core allows; attempts and starts count up |
//! | S2 | one terminal event an attempt, and nothing after it but a retry |
//! | CORE-007 | a requested cancel keeps its first cause to the end |
//! | SESS-003 | the ids of questions rise |
//! | SESS-009 | a question is asked in a pause and closed once; a pause begins before its first question and ends with its last |
//! | G1 | a task begins when all it needs have succeeded and all it comes after have ended (where the edges are known) |
//! | G4 | a task begins once and ends once in each start of its run, and nothing of it follows its end; attempts count up; a hit never starts; all that began ends |
//! | GRAPH-009 | no task starts after a cancel was requested in the same start (where asked for, see [`Audit::prompt_cancels`]) |
//! | SE-8 | a task whose execution has succeeded is not started again (where asked for, see [`Audit::durable`]) |
//! | H1 | nobody holds what conflicts with another's |
//! | H2 | a task takes all of its holds at once |
//! | H6 | what is acquired is released once, and no later than the end of its task and session |
//! | G9 | a process belongs to the attempt that runs, and is reaped once, before its task's end |
//! | B1 | a batch has no more in flight than its limit |
//! | B3 | an item is queued once, and has one outcome; the counts at the end agree |
//! | B4 | items start in the order of the queue, and take the indexes 0, 1, 2 … |
//! | B6 | nothing starts after the cancel, nothing new in a pause, and nothing happens after the end |
//! | T0 | runs count up, and every run has one end |
//! | T1 | an occurrence fires once: the times for which a schedule fires by itself rise |
//! | T2 | nothing fires before it is due |
//! | T9 | a tripped schedule does not fire until it is reset or a run succeeds |
//! | T10 | a schedule fires between its adding and its removal, and by itself only while not paused |
//!
//! # What events do not tell
//!
//! A suspended session has lost its owner, so what its tasks, holds and processes were about is
//! forgotten without blame. That a Paused session lost its owner, and was claimed again, no
//! event tells. So what looks wrong in a pause is kept back: a `session_resumed` of the same
//! start proves that there was no such claim, and it is told; where the number of the start has
//! risen it is dropped, and tasks, holds and processes of that session are not judged until its
//! next start that is told. Where a hold set is shared, nobody is blamed for taking what a paused
//! session has.
//!
//! ```
//! use holdpoint_core::event::{EventKind, Sequencer, Stream};
//! use holdpoint_core::{SessionId, Timestamp};
//! use holdpoint_testkit::audit;
//!
//! let mut numbers = Sequencer::new(Stream::Session(SessionId::generate()));
//! let mut event = |kind| numbers.event(Timestamp::from_micros(0), kind);
//! let mut events = vec![
//!     event(EventKind::SessionPlanned { attempt: 1 }),
//!     event(EventKind::SessionStarted { start: 1 }),
//!     event(EventKind::SessionDone { usage: None }),
//! ];
//! assert_eq!(audit(&events), []);
//!
//! events.push(event(EventKind::SessionDone { usage: None }));
//! assert_eq!(audit(&events)[0].rule, "S2");
//! ```

mod batch;
mod edges;
mod holds;
mod schedule;
mod session;
mod tasks;
mod violation;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use holdpoint_core::event::HoldScope;
use holdpoint_core::{Event, Name, Stream};

use self::batch::BatchStory;
use self::holds::HoldBook;
use self::schedule::ScheduleStory;
use self::session::SessionStory;
use self::violation::Notes;

pub use self::edges::{Edge, Edges};
pub use self::violation::Violation;

/// Audits a whole trace at rest; the same as [`Audit`] without settings.
#[must_use]
pub fn audit<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<Violation> {
    let mut audit = Audit::new();
    events.into_iter().for_each(|event| audit.take(event));
    audit.finish()
}

/// Audits events one after the other, of one stream or of many mixed. Of each stream it must
/// see every event from the first.
#[derive(Debug, Default)]
pub struct Audit {
    settings: Settings,
    streams: BTreeMap<Stream, Track>,
    /// Where all streams share one hold set, who has what.
    shared_holds: Option<HoldBook>,
    found: Vec<Violation>,
}

/// What is known besides the events.
#[derive(Debug, Default)]
struct Settings {
    graphs: HashMap<Stream, Arc<Edges>>,
    capacities: HashMap<(HoldScope, Name), u32>,
    durable: bool,
    prompt_cancels: bool,
    wall_steps: bool,
}

#[derive(Debug)]
struct Track {
    seq: u64,
    story: Story,
}

#[derive(Debug)]
enum Story {
    Session(Box<SessionStory>),
    Schedule(Box<ScheduleStory>),
    Batch(Box<BatchStory>),
    /// A stream of a kind that this audit does not know: its numbers are all it looks at.
    Unknown,
}

impl Audit {
    /// An audit that knows nothing but the events.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The edges of the graph that this stream runs, for rule G1. May be told at any time before
    /// its first task.
    pub fn know_graph(&mut self, stream: Stream, edges: Edges) {
        self.settings.graphs.insert(stream, Arc::new(edges));
    }

    /// The capacity of a counted hold, without which H1 does not judge its units.
    pub fn know_capacity(&mut self, scope: HoldScope, name: Name, units: u32) {
        self.settings.capacities.insert((scope, name), units);
    }

    /// All streams share one hold set, and the events of all are given in the order in which they
    /// happened. Default: each session has its own, since the order of a store's log over
    /// several streams is that of its commits.
    #[must_use]
    pub fn shared_holds(mut self) -> Self {
        self.shared_holds = Some(HoldBook::default());
        self
    }

    /// What was executed and has succeeded is recorded, so that no later start of the same
    /// attempt may execute it again (SE-8). Default: sessions restart from their beginning.
    #[must_use]
    pub fn durable(mut self) -> Self {
        self.settings.durable = true;
        self
    }

    /// Who tells of a request to cancel tells whoever starts tasks at the same moment, so that
    /// none starts after it (GRAPH-009). Default: between two threads a task may just begin.
    #[must_use]
    pub fn prompt_cancels(mut self) -> Self {
        self.settings.prompt_cancels = true;
        self
    }

    /// The wall clock was stepped by less than schedules tell of, so T1 and T2 cannot be judged.
    #[must_use]
    pub fn wall_steps(mut self) -> Self {
        self.settings.wall_steps = true;
        self
    }

    /// Takes in the next event.
    pub fn take(&mut self, event: &Event) {
        let Self { settings, streams, shared_holds, found } = self;
        if !streams.contains_key(&event.stream) {
            streams.insert(event.stream.clone(), Track { seq: 0, story: Story::of(&event.stream) });
        }
        let Some(track) = streams.get_mut(&event.stream) else { return };
        let mut notes = Notes { stream: &event.stream, seq: event.seq, found };
        let expected = track.seq + 1;
        notes.check(event.seq == expected, "S9", || format!("its number should be {expected}"));
        track.seq = event.seq;
        match &mut track.story {
            Story::Session(story) => {
                story.take(&event.kind, settings, shared_holds.as_mut(), &mut notes);
            }
            Story::Schedule(story) => story.take(event, settings, &mut notes),
            Story::Batch(story) => story.take(&event.kind, &mut notes),
            Story::Unknown => {}
        }
    }

    /// What was found so far: all there is to say of a trace that was cut off, such as that of a
    /// process that was killed or still runs.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.found
    }

    /// Ends the audit of a trace at rest, in which nothing is to follow: what must end and has
    /// not is told too. A session may be left planned, paused or suspended, but not running; a
    /// batch and the runs of a schedule must have ended.
    #[must_use]
    pub fn finish(self) -> Vec<Violation> {
        let Self { streams, mut shared_holds, mut found, .. } = self;
        for (stream, mut track) in streams {
            let mut notes = Notes { stream: &stream, seq: track.seq, found: &mut found };
            match &mut track.story {
                Story::Session(story) => story.finish(shared_holds.as_mut(), &mut notes),
                Story::Schedule(story) => story.finish(&mut notes),
                Story::Batch(story) => story.finish(&mut notes),
                Story::Unknown => {}
            }
        }
        found
    }
}

impl Story {
    fn of(stream: &Stream) -> Self {
        match stream {
            Stream::Session(_) => Self::Session(Box::default()),
            Stream::Schedule(_) => Self::Schedule(Box::default()),
            Stream::Batch(_) => Self::Batch(Box::default()),
            _ => Self::Unknown,
        }
    }
}
