//! The simulator: engines on a virtual clock, in one thread, decided by one seed.
//!
//! A [`Simulation`] keeps a queue of what is to happen, ordered by time; what happens at one
//! time comes in an order that the seed decides. Each happening is told to its [`Actor`], which
//! wraps a machine, a script or a model, and which schedules more through its [`World`]. The
//! simulation ends when nothing is left to happen, and every event that was published is then
//! audited. Nothing reads a real clock, and nothing else is random: the same seed gives the same
//! trace, and an error names its seed.
//!
//! To add an engine, write an actor: feed each happening to the machine's `handle`, turn each
//! `next_effect` into happenings of a later time, and schedule one for `next_deadline`. See
//! [`graph`] for a machine with effects and deadlines, [`session`] for one without, [`process`] for
//! one that others bring along.
//!
//! ```
//! use std::time::Duration;
//! use holdpoint_testkit::sim::{Actor, Simulation, World};
//!
//! /// Counts down, a second each.
//! struct Countdown(u32);
//!
//! impl Actor for Countdown {
//!     type Happening = ();
//!
//!     fn begin(&mut self, world: &mut World<'_, ()>) {
//!         world.after(Duration::from_secs(1), ());
//!     }
//!
//!     fn happens(&mut self, (): (), world: &mut World<'_, ()>) {
//!         self.0 -= 1;
//!         if self.0 > 0 {
//!             world.after(Duration::from_secs(1), ());
//!         }
//!     }
//! }
//!
//! let mut simulation = Simulation::new(42);
//! let countdown = simulation.add(Countdown(3));
//! let run = simulation.run()?;
//! assert_eq!(run.took(), Duration::from_secs(3));
//! assert_eq!(run.actor(countdown).0, 0);
//! # Ok::<(), holdpoint_testkit::sim::SimError>(())
//! ```

mod error;
pub mod graph;
pub mod holds;
pub mod process;
mod random;
mod recorder;
pub mod session;
mod world;

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use holdpoint_core::{Clock, Event, ManualClock, Monotonic};

use self::world::Stage;
use crate::audit::Audit;

pub use self::error::SimError;
pub use self::random::Random;
pub use self::recorder::Recorder;
pub use self::world::{Address, World};

/// Somebody to whom things happen.
pub trait Actor: 'static {
    /// What can happen to it.
    type Happening: 'static;

    /// The simulation begins. Whoever schedules nothing here is only ever told what others send.
    fn begin(&mut self, world: &mut World<'_, Self::Happening>);

    /// Something happens, at `world.now()`.
    fn happens(&mut self, what: Self::Happening, world: &mut World<'_, Self::Happening>);

    /// The simulation is over: nothing is left to happen.
    ///
    /// # Errors
    /// What is not as it should be at rest, in words. It fails the simulation.
    fn end(&mut self) -> Result<(), String> {
        Ok(())
    }
}

/// Actors, a clock and a seed.
pub struct Simulation {
    seed: u64,
    actors: Vec<Box<dyn Play>>,
    stage: Stage,
    most_steps: u64,
    most_time: Duration,
}

/// What is left of a simulation that ended well.
pub struct Run {
    seed: u64,
    events: Vec<Event>,
    steps: u64,
    took: Duration,
    actors: Vec<Box<dyn Play>>,
}

/// An actor's place in its simulation.
pub struct Part<A> {
    index: usize,
    actor: PhantomData<fn(A)>,
}

impl Simulation {
    /// A simulation without actors. Unless told otherwise it may take a million steps and a
    /// virtual year.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            actors: Vec::new(),
            stage: Stage::new(seed),
            most_steps: 1_000_000,
            most_time: Duration::from_secs(366 * 86_400),
        }
    }

    /// How many happenings it may have before it counts as one that never ends.
    #[must_use]
    pub fn most_steps(mut self, steps: u64) -> Self {
        self.most_steps = steps;
        self
    }

    /// How much virtual time it may take.
    #[must_use]
    pub fn most_time(mut self, time: Duration) -> Self {
        self.most_time = time;
        self
    }

    /// Sets what the audit takes for granted, besides that cancels are prompt. Where sessions
    /// share a hold set: `audit(Audit::shared_holds)`.
    #[must_use]
    pub fn audit(mut self, set: impl FnOnce(Audit) -> Audit) -> Self {
        self.stage.audit = set(std::mem::take(&mut self.stage.audit));
        self
    }

    /// The clock, which shows a fixed day at the start. Only the simulation moves it.
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::<ManualClock>::clone(&self.stage.clock)
    }

    /// Adds an actor.
    pub fn add<A: Actor>(&mut self, actor: A) -> Part<A> {
        self.actors.push(Box::new(Cast { actor }));
        Part { index: self.actors.len() - 1, actor: PhantomData }
    }

    /// Lets everything happen, then audits what was told.
    ///
    /// # Errors
    /// [`SimError`], with the seed: it did not end within its bounds, an actor found something
    /// wrong, or the events break a rule.
    pub fn run(self) -> Result<Run, SimError> {
        let Self { seed, mut actors, mut stage, most_steps, most_time } = self;
        for (index, actor) in actors.iter_mut().enumerate() {
            actor.begin(&mut stage, index);
        }
        let mut steps = 0;
        while let Some(next) = stage.next() {
            let at = next.at - Monotonic::ZERO;
            if at > most_time {
                let waiting = stage.waiting() + 1;
                return Err(SimError::Time { seed, limit: most_time, waiting });
            }
            if steps == most_steps {
                return Err(SimError::Steps { seed, steps, at });
            }
            steps += 1;
            stage.move_to(next.at);
            if let Some(actor) = actors.get_mut(next.actor) {
                actor.happens(&mut stage, next.actor, next.what);
            }
            if let Some(message) = stage.fault.take() {
                return Err(SimError::Actor { seed, at, message });
            }
        }
        let took = stage.clock.monotonic() - Monotonic::ZERO;
        for actor in &mut actors {
            let ended = actor.end();
            ended.map_err(|message| SimError::Actor { seed, at: took, message })?;
        }
        let Stage { audit, events, .. } = stage;
        let violations = audit.finish();
        if !violations.is_empty() {
            return Err(SimError::Audit { seed, violations, events });
        }
        Ok(Run { seed, events, steps, took, actors })
    }
}

impl Run {
    /// The seed.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Every event that was published, in order.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// How many things happened.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// How long it took, in virtual time.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.took
    }

    /// An actor as it is at the end.
    ///
    /// # Panics
    /// Where it was added to another simulation.
    #[must_use]
    pub fn actor<A: Actor>(&self, part: Part<A>) -> &A {
        let seed = self.seed;
        let found = self.actors.get(part.index).and_then(|actor| actor.actor().downcast_ref());
        found.unwrap_or_else(|| panic!("seed {seed}: this actor is of another simulation"))
    }
}

impl<A: Actor> Part<A> {
    /// Where to send what is to happen to this actor.
    #[must_use]
    pub fn address(self) -> Address<A::Happening> {
        Address::new(self.index)
    }
}

/// The seeds of a test: as many as `count`, or as `HOLDPOINT_CASES` says; only one where
/// `HOLDPOINT_SEED` names it, to replay it.
#[must_use]
pub fn seeds(count: u64) -> Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match (number("HOLDPOINT_SEED"), number("HOLDPOINT_CASES")) {
        (Some(seed), _) => seed..seed.saturating_add(1),
        (None, cases) => 0..cases.unwrap_or(count),
    }
}

/// Runs one simulation for each of `seeds` until one fails. Gives how many there were.
///
/// # Errors
/// What the first one that failed had to say.
///
/// ```
/// use holdpoint_testkit::sim::{Simulation, explore, seeds};
///
/// let count = explore(seeds(100), |seed| Simulation::new(seed).run())?;
/// # let _ = count;
/// # Ok::<(), holdpoint_testkit::sim::SimError>(())
/// ```
pub fn explore<T>(
    seeds: impl IntoIterator<Item = u64>,
    mut run: impl FnMut(u64) -> Result<T, SimError>,
) -> Result<u64, SimError> {
    let mut count = 0;
    for seed in seeds {
        run(seed)?;
        count += 1;
    }
    Ok(count)
}

/// An [`Actor`] whatever can happen to it.
trait Play {
    fn begin(&mut self, stage: &mut Stage, index: usize);
    fn happens(&mut self, stage: &mut Stage, index: usize, what: Box<dyn Any>);
    fn end(&mut self) -> Result<(), String>;
    fn actor(&self) -> &dyn Any;
}

struct Cast<A> {
    actor: A,
}

impl<A: Actor> Play for Cast<A> {
    fn begin(&mut self, stage: &mut Stage, index: usize) {
        self.actor.begin(&mut World::new(stage, index));
    }

    fn happens(&mut self, stage: &mut Stage, index: usize, what: Box<dyn Any>) {
        // An address is made for the type of its actor only, so this is what it takes.
        if let Ok(what) = what.downcast() {
            self.actor.happens(*what, &mut World::new(stage, index));
        }
    }

    fn end(&mut self) -> Result<(), String> {
        self.actor.end()
    }

    fn actor(&self) -> &dyn Any {
        &self.actor
    }
}

impl<A> Clone for Part<A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A> Copy for Part<A> {}

impl<A> fmt::Debug for Part<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Part({})", self.index)
    }
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation")
            .field("seed", &self.seed)
            .field("actors", &self.actors.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("seed", &self.seed)
            .field("steps", &self.steps)
            .field("took", &self.took)
            .field("events", &self.events.len())
            .finish_non_exhaustive()
    }
}
