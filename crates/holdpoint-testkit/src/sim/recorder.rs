//! A session of the core with its stream, for actors that run one.

use holdpoint_core::SessionMachine;
use holdpoint_core::event::{EventKind, Sequencer, Stream};
use holdpoint_core::session::{IllegalTransition, SessionInput};

use super::world::World;

/// Feeds a [`SessionMachine`] and publishes what it says, as the host of a session does.
#[derive(Debug)]
pub struct Recorder {
    machine: SessionMachine,
    numbers: Sequencer,
}

impl Recorder {
    /// Plans a session.
    pub fn plan<H: 'static>(world: &mut World<'_, H>) -> Self {
        let (machine, planned) = SessionMachine::plan();
        let numbers = Sequencer::new(Stream::Session(world.session_id()));
        let mut recorder = Self { machine, numbers };
        planned.into_iter().for_each(|kind| recorder.publish(kind, world));
        recorder
    }

    /// Feeds the session. What it refuses must leave it unchanged, or the simulation fails.
    ///
    /// # Errors
    /// The session's refusal.
    pub fn apply<H: 'static>(
        &mut self,
        input: SessionInput,
        world: &mut World<'_, H>,
    ) -> Result<(), IllegalTransition> {
        let before = self.machine.clone();
        match self.machine.apply(input) {
            Ok(transition) => transition.into_iter().for_each(|kind| self.publish(kind, world)),
            Err(refusal) => {
                if self.machine != before {
                    world.fail(format!("{refusal}, and yet it changed: {:?}", self.machine));
                }
                return Err(refusal);
            }
        }
        Ok(())
    }

    /// Feeds the session what it has to take: a refusal fails the simulation.
    pub fn must<H: 'static>(&mut self, input: SessionInput, world: &mut World<'_, H>) {
        if let Err(refusal) = self.apply(input, world) {
            world.fail(refusal.to_string());
        }
    }

    /// Tells an event of the session's work.
    pub fn publish<H: 'static>(&mut self, kind: EventKind, world: &mut World<'_, H>) {
        world.publish(&mut self.numbers, kind);
    }

    /// The session as it is now.
    #[must_use]
    pub fn machine(&self) -> &SessionMachine {
        &self.machine
    }

    /// Its stream.
    #[must_use]
    pub fn stream(&self) -> &Stream {
        self.numbers.stream()
    }
}
