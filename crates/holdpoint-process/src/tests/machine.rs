use std::time::Duration;

use proptest::prelude::*;

use crate::machine::{Effect, Finish, Input, Machine};
use crate::options::RunOptions;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn machine() -> Machine {
    Machine::new(RunOptions::default().grace(ms(1_000)).drain(ms(100)))
}

fn finished(leaky_output: bool) -> Option<Effect> {
    Some(Effect::Finish(Finish::Exited { leaky_output }))
}

#[test]
fn proc_004_ends_with_the_process_and_its_output_in_either_order() {
    let mut first = machine();
    assert_eq!(first.handle(ms(1), Input::OutputClosed), None);
    assert_eq!(first.next_deadline(), None, "output may close long before the end");
    assert_eq!(first.handle(ms(9_000), Input::Exited), finished(false));

    let mut second = machine();
    assert_eq!(second.handle(ms(1), Input::Exited), None);
    assert_eq!(second.handle(ms(2), Input::OutputClosed), finished(false));
    assert!(!second.interrupted());
}

#[test]
fn proc_004_ch_4_cd_8_output_held_open_is_waited_for_no_longer_than_the_drain() {
    let mut machine = machine();
    assert_eq!(machine.handle(ms(50), Input::Exited), None);
    assert_eq!(machine.next_deadline(), Some(ms(150)));
    assert_eq!(machine.handle(ms(149), Input::Tick), None);
    assert_eq!(machine.handle(ms(150), Input::Tick), finished(true));
    assert_eq!(machine.next_deadline(), None);

    let mut hasty = Machine::new(RunOptions::default().drain(ms(0)));
    assert_eq!(hasty.handle(ms(50), Input::Exited), finished(true));
}

#[test]
fn proc_004_cd_8_a_cancel_during_the_drain_is_observed_and_no_cancel_of_the_task() {
    let mut machine = machine();
    assert_eq!(machine.handle(ms(0), Input::Exited), None);
    assert_eq!(machine.handle(ms(10), Input::Cancelled), Some(Effect::Kill));
    assert_eq!(machine.handle(ms(10), Input::Tick), None);
    assert_eq!(machine.handle(ms(11), Input::OutputClosed), finished(false));
    assert!(!machine.interrupted(), "its end was its own");
}

#[test]
fn proc_003_ch_1_term_then_grace_then_kill() {
    let mut machine = machine();
    assert_eq!(machine.handle(ms(5), Input::Cancelled), Some(Effect::Terminate));
    assert_eq!(machine.next_deadline(), Some(ms(1_005)));
    assert_eq!(machine.handle(ms(1_004), Input::Tick), None);
    assert_eq!(machine.handle(ms(1_005), Input::Tick), Some(Effect::Kill));
    assert_eq!(machine.handle(ms(1_005), Input::Tick), None);
    assert_eq!(machine.handle(ms(1_006), Input::Exited), None);
    assert_eq!(machine.handle(ms(1_006), Input::OutputClosed), finished(false));
    assert!(machine.interrupted());
}

#[test]
fn proc_003_without_grace_it_is_killed_at_once() {
    let mut machine = Machine::new(RunOptions::default().grace(ms(0)));
    assert_eq!(machine.handle(ms(5), Input::Cancelled), Some(Effect::Kill));
    assert!(machine.interrupted());
}

#[test]
fn proc_003_the_grace_belongs_to_all_members_of_the_group() {
    let mut machine = machine();
    assert_eq!(machine.handle(ms(0), Input::Cancelled), Some(Effect::Terminate));
    assert_eq!(machine.handle(ms(1), Input::Exited), None);
    assert_eq!(machine.handle(ms(2), Input::OutputClosed), Some(Effect::LookForMembers));
    // Somebody is left: looks again, ever more rarely, until the grace is over.
    let mut looks = 0;
    let mut now = ms(2);
    let end = loop {
        assert_eq!(machine.handle(now, Input::Tick), None, "no second look at one time");
        now = machine.next_deadline().unwrap();
        match machine.handle(now, Input::Tick) {
            Some(Effect::LookForMembers) => looks += 1,
            other => break other,
        }
    };
    assert_eq!((now, end), (ms(1_000), Some(Effect::Kill)));
    assert!((10..20).contains(&looks), "{looks}");
    assert_eq!(machine.handle(now, Input::Tick), finished(false));
}

#[test]
fn proc_003_a_group_found_empty_ends_at_once() {
    let mut machine = machine();
    machine.handle(ms(0), Input::Cancelled);
    machine.handle(ms(1), Input::OutputClosed);
    assert_eq!(machine.handle(ms(2), Input::Exited), Some(Effect::LookForMembers));
    assert_eq!(machine.handle(ms(2), Input::GroupEmpty), Some(Effect::Kill));
    assert_eq!(machine.handle(ms(2), Input::Tick), finished(false));
}

#[test]
fn proc_003_cd_8_what_outlives_sigkill_is_given_up_within_the_second() {
    let mut machine = machine();
    machine.handle(ms(0), Input::Cancelled);
    machine.handle(ms(1_000), Input::Tick);
    let until = machine.next_deadline().unwrap();
    assert!(until < ms(2_000));
    assert_eq!(machine.handle(until, Input::Tick), Some(Effect::Finish(Finish::Unkillable)));
}

/// A process and its group as the driver would see them, with times at which things happen.
#[derive(Debug, Clone)]
struct World {
    exits: Option<u64>,
    closes: Option<u64>,
    cancel: Option<u64>,
    /// When the group is empty but for its leader.
    empty: Option<u64>,
    /// Whether SIGTERM, or only SIGKILL, ends what is left.
    heeds: bool,
    /// Whether SIGKILL closes the output; else somebody outside the group holds it.
    kill_closes: bool,
    grace: u64,
    drain: u64,
}

fn worlds() -> impl Strategy<Value = World> {
    let at = || prop::option::weighted(0.7, 0..3_000_u64);
    let switches = (any::<bool>(), any::<bool>());
    (at(), at(), at(), at(), switches, 0..1_500_u64, 0..5_000_u64).prop_map(
        |(exits, closes, cancel, empty, (heeds, kill_closes), grace, drain)| World {
            // What never ends and is never cancelled may run for ever.
            exits: exits.or(cancel.is_none().then_some(2_999)),
            closes,
            cancel,
            empty,
            heeds,
            kill_closes,
            grace,
            drain,
        },
    )
}

proptest! {
    #![proptest_config(super::cases())]

    /// Plays a world millisecond by millisecond and checks the machine's invariants.
    #[test]
    fn proc_003_proc_004_every_world_ends_in_time_and_signals_only_after_a_cancel(world in worlds()) {
        let mut world = world;
        let options = RunOptions::default().grace(ms(world.grace)).drain(ms(world.drain));
        let mut machine = Machine::new(options);
        let mut effects = Vec::new();
        let mut seen = [false; 3];
        let mut now = 0;
        let (end, finish) = 'world: loop {
            prop_assert!(now <= 3_000 + world.grace + world.drain + 1_000, "no end: {effects:?}");
            let happens = [
                (world.cancel, Input::Cancelled),
                (world.exits, Input::Exited),
                (world.closes, Input::OutputClosed),
            ];
            let mut inputs = Vec::new();
            for (number, (at, input)) in happens.into_iter().enumerate() {
                if at.is_some_and(|at| at <= now) && !seen[number] {
                    seen[number] = true;
                    inputs.push(input);
                }
            }
            if machine.next_deadline().is_some_and(|at| at <= ms(now)) {
                inputs.push(Input::Tick);
            }
            for mut input in inputs {
                while let Some(effect) = machine.handle(ms(now), input) {
                    effects.push((now, effect));
                    input = Input::Tick;
                    match effect {
                        Effect::Terminate | Effect::Kill => {
                            if effect == Effect::Kill || world.heeds {
                                let soon = now + 1;
                                world.exits = Some(world.exits.map_or(soon, |at| at.min(soon)));
                                world.empty = Some(world.empty.map_or(soon, |at| at.min(soon)));
                                if world.kill_closes {
                                    world.closes = Some(world.closes.map_or(soon, |at| at.min(soon)));
                                }
                            }
                        }
                        Effect::LookForMembers if world.empty.is_some_and(|at| at <= now) => {
                            input = Input::GroupEmpty;
                        }
                        Effect::LookForMembers => {}
                        Effect::Finish(finish) => break 'world (now, finish),
                    }
                }
            }
            now += 1;
        };

        let signals: Vec<_> = effects
            .iter()
            .filter(|(_, effect)| matches!(effect, Effect::Terminate | Effect::Kill))
            .collect();
        if let Some((first, _)) = signals.first() {
            prop_assert!(world.cancel.is_some_and(|at| at <= *first), "signal before a cancel");
            let in_time = world.cancel.unwrap() + world.grace + 1_000;
            prop_assert!(end <= in_time, "{end} > {in_time}");
        }
        if machine.interrupted() {
            let kills = effects.iter().filter(|(_, effect)| *effect == Effect::Kill).count();
            prop_assert_eq!(kills, 1, "a cancelled group is killed once: {:?}", effects);
        }
        prop_assert_eq!(finish, Finish::Exited { leaky_output: !seen[2] });
        prop_assert!(seen[1], "never over before the process has ended");
        for input in [Input::Exited, Input::OutputClosed, Input::Cancelled, Input::Tick] {
            prop_assert_eq!(machine.handle(ms(end + 1), input), None, "nothing after the end");
        }
        prop_assert_eq!(machine.next_deadline(), None);
    }
}
