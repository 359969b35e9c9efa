//! The rules of HOLD-006 said once more, as plainly as possible: a list of requests in the order
//! of their arrival, scanned again after every step until nobody else is due.

use holdpoint_core::Name;
use proptest::prelude::*;
use proptest_state_machine::ReferenceStateMachine;

use crate::hold::{Hold, Mode, Scope};

/// The names in play: name, project, capacity where counted. Two differ by scope alone.
const NAMES: [(&str, Option<&str>, Option<u32>); 5] = [
    ("db", None, None),
    ("db", Some("app"), None),
    ("log", None, None),
    ("gpu", None, Some(3)),
    ("net", Some("app"), Some(2)),
];

/// Who makes a request. Engines have clients, of which there are two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum User {
    Client(usize),
    Future,
}

#[derive(Debug, Clone)]
pub(super) struct Request {
    /// Number of arrival, from 0.
    pub(super) id: u32,
    pub(super) user: User,
    wants: Vec<(usize, Mode)>,
    pub(super) granted: bool,
    /// The step that granted it, where it had to wait for it.
    pub(super) granted_later: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    pub(super) next_id: u32,
    /// In order of arrival; those that ended are gone.
    pub(super) live: Vec<Request>,
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    /// A request is made.
    Ask { user: User, wants: Vec<(usize, Mode)> },
    /// The n-th live request ends: a hold is released, or a waiting request withdrawn.
    End { nth: usize },
    /// A client asks which of its requests are due, until there are no more.
    Read { client: usize },
}

impl Model {
    pub(super) fn ask(&mut self, user: User, wants: &[(usize, Mode)]) {
        let id = self.next_id;
        self.next_id += 1;
        let wants = wants.to_vec();
        self.live.push(Request { id, user, wants, granted: false, granted_later: false });
        self.grant();
        let last = self.live.last_mut().expect("just pushed");
        last.granted_later = false;
    }

    pub(super) fn end(&mut self, nth: usize) {
        self.live.remove(nth);
        self.grant();
    }

    pub(super) fn find(&self, id: u32) -> Option<&Request> {
        self.live.iter().find(|request| request.id == id)
    }

    pub(super) fn waiting(&self) -> impl Iterator<Item = &Request> {
        self.live.iter().filter(|request| !request.granted)
    }

    /// Grants whoever is due, and then whoever is due by that.
    fn grant(&mut self) {
        while let Some(nth) = (0..self.live.len()).find(|&nth| self.is_due(nth)) {
            self.live[nth].granted = true;
            self.live[nth].granted_later = true;
        }
    }

    fn is_due(&self, nth: usize) -> bool {
        let request = &self.live[nth];
        !request.granted && request.wants.iter().all(|&want| self.is_free(nth, want))
    }

    /// Whether neither a holder nor an earlier request that waits stands in the way on one name.
    fn is_free(&self, nth: usize, (name, mode): (usize, Mode)) -> bool {
        let others = self.live.iter().enumerate().filter(|&(i, other)| other.granted || i < nth);
        let mut modes = others.filter(|&(i, _)| i != nth).flat_map(|(_, other)| {
            other.wants.iter().filter(|&&(wanted, _)| wanted == name).map(|&(_, mode)| mode)
        });
        match mode {
            Mode::Exclusive => modes.next().is_none(),
            Mode::Shared => modes.all(|other| other == Mode::Shared),
            Mode::Units(own) => {
                let capacity = NAMES[name].2.expect("units of a counted name");
                let taken: u32 = modes.map(|other| units(other, capacity)).sum();
                taken + own <= capacity
            }
        }
    }
}

impl Request {
    /// The same as the crate takes it.
    pub(super) fn holds(&self) -> Vec<Hold> {
        self.wants.iter().map(|&(name, mode)| hold(name, mode)).collect()
    }

    /// Whether the two exclude each other on some name, taken alone.
    pub(super) fn conflicts_with(&self, other: &Self) -> bool {
        self.wants.iter().any(|&(name, mode)| {
            let theirs = other.wants.iter().find(|&&(wanted, _)| wanted == name);
            theirs.is_some_and(|&(_, theirs)| match NAMES[name].2 {
                None => mode == Mode::Exclusive || theirs == Mode::Exclusive,
                Some(capacity) => units(mode, capacity) + units(theirs, capacity) > capacity,
            })
        })
    }
}

/// The counted names, to be declared before the first step.
pub(super) fn counted() -> impl Iterator<Item = (Scope, &'static str, u32)> {
    NAMES.iter().filter_map(|&(name, project, capacity)| Some((scope(project), name, capacity?)))
}

/// Whether, on every name, the granted requests go together: no exclusive one beside another,
/// and no more units than there are.
pub(super) fn go_together<'a>(granted: impl Iterator<Item = &'a Request> + Clone) -> bool {
    NAMES.iter().enumerate().all(|(name, &(_, _, capacity))| {
        let wants = granted.clone().flat_map(|request| request.wants.iter());
        let modes: Vec<Mode> =
            wants.filter(|&&(wanted, _)| wanted == name).map(|&(_, mode)| mode).collect();
        let alone = modes.len() <= 1 || !modes.contains(&Mode::Exclusive);
        let sum: u32 = modes.iter().map(|&mode| units(mode, capacity.unwrap_or(0))).sum();
        alone && capacity.is_none_or(|capacity| sum <= capacity)
    })
}

fn units(mode: Mode, capacity: u32) -> u32 {
    match mode {
        Mode::Units(units) => units,
        Mode::Exclusive => capacity,
        Mode::Shared => 0,
    }
}

fn scope(project: Option<&str>) -> Scope {
    project.map_or(Scope::Workspace, |name| Scope::Project(Name::new(name).expect("a name")))
}

fn hold(name: usize, mode: Mode) -> Hold {
    let (text, project, _) = NAMES[name];
    let hold = match mode {
        Mode::Shared => Hold::shared(text),
        Mode::Exclusive => Hold::exclusive(text),
        Mode::Units(units) => Hold::units(text, units),
    };
    match scope(project) {
        Scope::Workspace => hold,
        Scope::Project(project) => hold.in_project(project),
    }
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self::default()).boxed()
    }

    fn transitions(state: &Self) -> BoxedStrategy<Step> {
        let user = prop_oneof![Just(User::Client(0)), Just(User::Client(1)), Just(User::Future)];
        let ask = (user, wants()).prop_map(|(user, wants)| Step::Ask { user, wants });
        let read = (0..2_usize).prop_map(|client| Step::Read { client });
        match state.live.len() {
            0 => ask.boxed(),
            live => {
                let end = (0..live).prop_map(|nth| Step::End { nth });
                // About as many ends as requests once some twelve are there.
                let end_weight = u32::try_from(live).unwrap_or(12).min(12);
                prop_oneof![12 => ask, end_weight => end, 4 => read].boxed()
            }
        }
    }

    fn preconditions(state: &Self, step: &Step) -> bool {
        !matches!(step, Step::End { nth } if *nth >= state.live.len())
    }

    fn apply(mut state: Self, step: &Step) -> Self {
        match step {
            Step::Ask { user, wants } => state.ask(*user, wants),
            Step::End { nth } => state.end(*nth),
            Step::Read { .. } => {}
        }
        state
    }
}

/// No to four different names, each in a mode that it allows.
fn wants() -> impl Strategy<Value = Vec<(usize, Mode)>> {
    let names = prop::sample::subsequence((0..NAMES.len()).collect::<Vec<_>>(), 0..=4);
    names.prop_flat_map(|names| {
        let modes = |name: usize| match NAMES[name].2 {
            None => prop_oneof![Just(Mode::Shared), Just(Mode::Exclusive)].boxed(),
            Some(capacity) => prop_oneof![
                3 => (1..=capacity).prop_map(Mode::Units),
                1 => Just(Mode::Exclusive)
            ]
            .boxed(),
        };
        names.into_iter().map(|name| (Just(name), modes(name))).collect::<Vec<_>>()
    })
}
