//! The registry beside an independent model of it, whatever is done in whatever order.

pub(super) mod reference;
pub(super) mod script;
pub(super) mod world;

use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

use self::reference::{Model, Reply, State};
use self::script::{Act, AfterCancel, End, Op, Script};
use self::world::World;

/// What can be done. `p` is a process, `s` a session.
#[derive(Debug, Clone)]
pub(crate) enum Do {
    Spawn {
        p: usize,
        script: Script,
        key: Option<u8>,
        limits: (Option<u64>, Option<u64>),
        starts: bool,
    },
    Answer {
        p: usize,
        s: usize,
        how: How,
    },
    Cancel {
        p: usize,
        s: usize,
        code: &'static str,
    },
    Resume {
        p: usize,
        s: usize,
    },
    Retry {
        p: usize,
        s: usize,
    },
    Pass(u64),
    /// The process is killed.
    Crash(usize),
    /// Its runtime is dropped.
    Lose(usize),
    /// It goes down in order, with so much grace.
    Stop(usize, u64),
    Start(usize),
    Collect(u64),
    Wait {
        p: usize,
        s: usize,
        typed: bool,
    },
    Unwait(usize),
    Observe {
        p: usize,
        s: usize,
        since: u64,
    },
    Read(usize, usize),
    Unobserve(usize),
}

/// Which questions are answered.
#[derive(Debug, Clone, Copy)]
pub(crate) enum How {
    All,
    /// One of those that are open.
    One(usize),
    /// One that was never asked, beside one that is open.
    Unknown,
    /// One that is open, twice.
    Twice,
    /// The first that was ever asked, open or not.
    Late,
}

impl How {
    /// The questions, of those that are open.
    fn ids(self, open: &[u32]) -> Vec<u32> {
        match self {
            Self::All if open.is_empty() => vec![1],
            Self::All => open.to_vec(),
            Self::One(i) => vec![open.get(i % open.len().max(1)).copied().unwrap_or(1)],
            Self::Unknown => open.iter().copied().take(1).chain([1000]).collect(),
            Self::Twice => {
                let id = open.first().copied().unwrap_or(1);
                vec![id, id]
            }
            Self::Late => vec![1],
        }
    }
}

/// Does to the model what is done to the registry.
fn apply(model: &mut Model, what: &Do) {
    if model.is_tied {
        return;
    }
    model.moments.clear();
    model.turn += 1;
    model.reply = Reply::None;
    match what {
        Do::Spawn { p, script, key, limits, starts } => {
            model.reply = model.spawn(*p, script.clone(), *key, *limits, *starts);
        }
        Do::Answer { s, how, .. } => {
            model.prepare_answer(*s);
            model.reply = model.answer(*s, &how.ids(&model.asked));
        }
        Do::Cancel { p, s, code } => {
            model.reply = model.ask_to_stop(*s, (code, format!("cancelled by {p}")));
        }
        Do::Resume { p, s } => model.reply = model.resume(*p, *s),
        Do::Retry { p, s } => model.reply = model.retry(*p, *s),
        Do::Pass(millis) => model.pass(*millis),
        Do::Crash(p) => model.crash(*p),
        Do::Lose(p) => model.lose(*p),
        Do::Stop(p, grace) => model.stop(*p, *grace),
        Do::Start(p) => model.start(*p),
        Do::Collect(ttl) => model.reply = model.collect(*ttl),
        Do::Wait { .. } | Do::Unwait(_) => {}
        Do::Observe { .. } | Do::Read(..) | Do::Unobserve(_) => {}
    }
}

fn millis() -> impl Strategy<Value = u64> + Clone {
    // Odd, so that two things seldom happen at one time.
    prop_oneof![1..1000_u64, 1000..6000_u64]
}

fn op(depth: u32) -> BoxedStrategy<Op> {
    let step = (prop_oneof![2 => Just(0), 1 => millis()], prop::bool::weighted(0.15))
        .prop_map(|(takes, fails)| Op::Step { takes, fails });
    let sleep = millis().prop_map(Op::Sleep);
    if depth == 0 {
        return prop_oneof![4 => step, 3 => Just(Op::Ask), 2 => sleep].boxed();
    }
    let child = script(depth - 1).prop_map(|script| Op::Child(Box::new(script)));
    let detached = script(depth - 1).prop_map(|script| Op::Detach(Box::new(script)));
    prop_oneof![16 => step, 12 => Just(Op::Ask), 8 => sleep, 2 => child, 1 => detached].boxed()
}

fn act(depth: u32) -> BoxedStrategy<Act> {
    let lanes = |most| prop::collection::vec(prop::collection::vec(op(depth), 1..3), 1..=most);
    prop_oneof![
        5 => op(depth).prop_map(|op| Act::All(vec![vec![op]])),
        2 => lanes(3).prop_map(Act::All),
        2 => lanes(3).prop_map(Act::First),
        1 => (1..3_usize).prop_map(|count| Act::All(vec![vec![Op::Ask]; count])),
        1 => (0..1000_u32).prop_map(Act::Emit),
    ]
    .boxed()
}

fn script(depth: u32) -> BoxedStrategy<Script> {
    let clean = op(0).prop_map(AfterCancel::Clean);
    let after_cancel = prop_oneof![
        4 => Just(AfterCancel::Heed),
        1 => Just(AfterCancel::Finish),
        1 => Just(AfterCancel::Fail),
        3 => clean,
    ];
    let end = prop_oneof![4 => Just(End::Ok), 1 => Just(End::Fail), 1 => Just(End::Panic)];
    (prop::collection::vec(act(depth), 0..5), after_cancel, end)
        .prop_map(|(acts, after_cancel, end)| Script { tag: 0, acts, after_cancel, end })
        .boxed()
}

fn limit() -> BoxedStrategy<Option<u64>> {
    prop_oneof![4 => Just(None), 1 => millis().prop_map(Some)].boxed()
}

/// What can be done at this moment.
fn next(model: &Model) -> BoxedStrategy<Do> {
    let up: Vec<usize> = (0..model.up.len()).filter(|p| model.up[*p]).collect();
    let down: Vec<usize> = (0..model.up.len()).filter(|p| !model.up[*p]).collect();
    let time = prop_oneof![3 => millis(), 1 => Just(0), 1 => 10_000..100_000_u64];
    let mut all: Vec<(u32, BoxedStrategy<Do>)> = vec![(4, time.clone().prop_map(Do::Pass).boxed())];
    if !down.is_empty() {
        all.push((
            if up.is_empty() { 12 } else { 5 },
            prop::sample::select(down).prop_map(Do::Start).boxed(),
        ));
    }
    if up.is_empty() {
        return prop::strategy::Union::new_weighted(all).boxed();
    }
    let p = prop::sample::select(up);
    if model.sessions.len() < 8 {
        let key = prop_oneof![3 => Just(None), 1 => (0..2_u8).prop_map(Some)];
        let spawn = (p.clone(), script(1), key, (limit(), limit()), prop::bool::weighted(0.9));
        all.push((
            6,
            spawn
                .prop_map(|(p, script, key, limits, starts)| Do::Spawn {
                    p,
                    script,
                    key,
                    limits,
                    starts,
                })
                .boxed(),
        ));
    }
    all.push((2, time.prop_map(Do::Collect).boxed()));
    if model.is_durable {
        all.push((2, p.clone().prop_map(Do::Crash).boxed()));
        all.push((1, p.clone().prop_map(Do::Lose).boxed()));
        let grace = prop_oneof![Just(0), Just(10_000)];
        all.push((1, (p.clone(), grace).prop_map(|(p, grace)| Do::Stop(p, grace)).boxed()));
    }
    let i = 0..8_usize;
    all.push((1, i.clone().prop_map(Do::Unwait).boxed()));
    all.push((3, (i.clone(), 1..6_usize).prop_map(|(i, count)| Do::Read(i, count)).boxed()));
    all.push((1, i.prop_map(Do::Unobserve).boxed()));
    if !model.sessions.is_empty() {
        let at = (p, 0..model.sessions.len());
        let how = prop_oneof![
            4 => Just(How::All),
            4 => (0..4_usize).prop_map(How::One),
            1 => Just(How::Unknown),
            1 => Just(How::Twice),
            1 => Just(How::Late),
        ];
        let code = prop::sample::select(vec!["user", "user", "timeout", "internal"]);
        let answer = (at.clone(), how).prop_map(|((p, s), how)| Do::Answer { p, s, how });
        all.push((12, answer.boxed()));
        let cancel = (at.clone(), code).prop_map(|((p, s), code)| Do::Cancel { p, s, code });
        all.push((3, cancel.boxed()));
        all.push((3, at.clone().prop_map(|(p, s)| Do::Resume { p, s }).boxed()));
        all.push((2, at.clone().prop_map(|(p, s)| Do::Retry { p, s }).boxed()));
        let wait = (at.clone(), any::<bool>()).prop_map(|((p, s), typed)| Do::Wait { p, s, typed });
        all.push((3, wait.boxed()));
        let observe = (at, 0..8_u64).prop_map(|((p, s), since)| Do::Observe { p, s, since });
        all.push((3, observe.boxed()));
    }
    prop::strategy::Union::new_weighted(all).boxed()
}

/// Whether it can still be done, where earlier operations were left out.
fn is_possible(model: &Model, what: &Do) -> bool {
    let is_up = |p: &usize| model.up[*p];
    match what {
        Do::Spawn { p, .. } | Do::Crash(p) | Do::Lose(p) | Do::Stop(p, _) => is_up(p),
        Do::Answer { p, s, .. }
        | Do::Cancel { p, s, .. }
        | Do::Resume { p, s }
        | Do::Retry { p, s }
        | Do::Wait { p, s, .. }
        | Do::Observe { p, s, .. } => is_up(p) && *s < model.sessions.len(),
        Do::Start(p) => !is_up(p),
        Do::Pass(_) | Do::Collect(_) | Do::Unwait(_) | Do::Read(..) | Do::Unobserve(_) => true,
    }
}

/// What brings everything to its end: all that nobody runs is resumed, all that is asked is
/// answered, and in the end all is cancelled.
fn endgame(model: &Model, round: u32) -> Option<Do> {
    if let Some(p) = model.up.iter().position(|is_up| !is_up) {
        return Some(Do::Start(p));
    }
    let open = model.sessions.iter().position(|session| !session.state.is_terminal());
    let s = open?;
    let session = &model.sessions[s];
    let p = round as usize % model.up.len();
    Some(match session.view() {
        State::Paused(_) if round % 3 != 2 => Do::Answer { p, s, how: How::All },
        State::Planned | State::Suspended(_) => Do::Resume { p, s },
        _ if !session.is_live() => Do::Resume { p, s },
        _ if round > 40 && round.is_multiple_of(5) => Do::Cancel { p, s, code: "user" },
        _ => Do::Pass(10_000),
    })
}

struct Memory;
struct Durable;

/// The model, and the registry where it is under test.
struct Sut {
    world: Option<World>,
}

macro_rules! machine {
    ($name:ident, $is_durable:literal) => {
        impl ReferenceStateMachine for $name {
            type State = Model;
            type Transition = Do;

            fn init_state() -> BoxedStrategy<Model> {
                let keep = prop_oneof![2 => Just(None), 1 => Just(Some(4)), 1 => Just(Some(0))];
                keep.prop_map(|keep| Model::new($is_durable, keep)).boxed()
            }

            fn transitions(model: &Model) -> BoxedStrategy<Do> {
                next(model)
            }

            fn apply(mut model: Model, what: &Do) -> Model {
                apply(&mut model, what);
                model
            }

            fn preconditions(model: &Model, what: &Do) -> bool {
                is_possible(model, what)
            }
        }

        impl StateMachineTest for $name {
            type SystemUnderTest = Sut;
            type Reference = Self;

            fn init_test(model: &Model) -> Sut {
                Sut { world: Some(World::new(model)) }
            }

            fn apply(mut sut: Sut, model: &Model, what: Do) -> Sut {
                if model.is_tied {
                    sut.world = None;
                }
                if let Some(world) = &mut sut.world {
                    world.apply(&what, model);
                }
                sut
            }

            fn teardown(sut: Sut, mut model: Model) {
                let Some(mut world) = sut.world else { return };
                for round in 0.. {
                    let Some(what) = endgame(&model, round) else { break };
                    assert!(round < 400, "it does not come to an end: {model:#?}");
                    apply(&mut model, &what);
                    if model.is_tied {
                        return;
                    }
                    world.apply(&what, &model);
                }
                world.end(&model);
            }
        }
    };
}

machine!(Memory, false);
machine!(Durable, true);

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: super::cases(),
        failure_persistence: None,
        max_shrink_iters: 4000,
        ..ProptestConfig::default()
    }
}

prop_state_machine! {
    #![proptest_config(config())]

    #[test]
    fn sess_004_se_1_se_5_se_6_se_9_any_order_in_memory_goes_as_the_model_says(sequential 1..40 => Memory);

    #[test]
    fn sess_018_se_1_se_2_se_7_se_8_any_order_over_a_store_goes_as_the_model_says(sequential 1..40 => Durable);
}
