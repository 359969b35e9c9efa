//! The accounting against the model: after every step the same requests are granted, and the
//! properties of a hold set are true of what is granted, whatever the model says.

use std::collections::BTreeMap;

use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

use super::config;
use super::model::{Model, Request, Step, counted, go_together};
use crate::hold_set::{HoldSet, Ticket};

struct Sut {
    set: HoldSet,
    tickets: BTreeMap<u32, Ticket>,
}

impl Sut {
    fn end(&mut self, id: u32) {
        let ticket = self.tickets.remove(&id).expect("a live request has a ticket");
        self.set.release(ticket);
    }

    /// Who was told to be due since the last call.
    fn told(&mut self) -> Vec<u32> {
        std::iter::from_fn(|| self.set.next_granted())
            .map(|owner| u32::try_from(owner).expect("owners are ids"))
            .collect()
    }

    fn check_against(&self, model: &Model) {
        assert_eq!(self.set.len(), model.live.len());
        assert_eq!(self.set.is_empty(), model.live.is_empty());
        for request in &model.live {
            let ticket = &self.tickets[&request.id];
            assert_eq!(self.set.is_granted(ticket), request.granted, "{request:?}");
            let blockers: Vec<_> = self.set.blockers(ticket).collect();
            // H5: nobody waits without somebody in the way; and those came earlier or hold.
            assert_eq!(blockers.is_empty(), request.granted, "{request:?}: {blockers:?}");
            for blocker in blockers {
                let id = u32::try_from(blocker.owner).expect("owners are ids");
                let other = model.find(id).expect("only live requests stand in the way");
                assert_eq!(blocker.holding, other.granted);
                assert!(id < request.id, "{other:?} blocks the earlier {request:?}");
                assert!(self.set.order(&self.tickets[&id]) < self.set.order(ticket));
            }
        }
    }

    /// H1 to H3 on the grants of the set itself.
    fn check_properties(&self, model: &Model) {
        let is_granted = |it: &&Request| self.set.is_granted(&self.tickets[&it.id]);
        assert!(go_together(model.live.iter().filter(is_granted)), "H1 in {model:?}");
        for (i, early) in model.live.iter().enumerate().filter(|(_, it)| !is_granted(it)) {
            for late in model.live[i + 1..].iter().filter(is_granted) {
                assert!(!late.conflicts_with(early), "H3: {late:?} passed {early:?}");
            }
        }
    }
}

impl StateMachineTest for Sut {
    type SystemUnderTest = Self;
    type Reference = Model;

    fn init_test(_: &Model) -> Self {
        let mut set = HoldSet::new();
        for (scope, name, capacity) in counted() {
            set.declare(&scope, name, capacity).expect("a good capacity");
        }
        Self { set, tickets: BTreeMap::new() }
    }

    fn apply(mut sut: Self, model: &Model, step: Step) -> Self {
        match step {
            Step::Ask { .. } => {
                let request = model.live.last().expect("the model has it");
                let claims = sut.set.claims(&request.holds()).expect("good holds");
                let ticket = sut.set.request(&claims, u64::from(request.id));
                sut.tickets.insert(request.id, ticket);
                assert!(sut.told().is_empty(), "a new request makes nobody due later");
            }
            Step::End { .. } => {
                let gone = sut.tickets.keys().find(|&&id| model.find(id).is_none());
                let gone = *gone.expect("one request has ended");
                let waited: Vec<u32> = sut.waiting().collect();
                sut.end(gone);
                let mut told = sut.told();
                told.sort_unstable();
                let due = model.live.iter().filter(|it| it.granted && waited.contains(&it.id));
                assert_eq!(told, due.map(|it| it.id).collect::<Vec<_>>());
            }
            Step::Read { .. } => assert!(sut.told().is_empty()),
        }
        sut.check_against(model);
        sut
    }

    fn check_invariants(sut: &Self, model: &Model) {
        sut.check_properties(model);
    }

    /// H4 and H7: when holders go on releasing, everybody gets their turn, no later than after
    /// one round for each request before it.
    fn teardown(mut sut: Self, model: Model) {
        let mut left = model;
        let earlier: BTreeMap<u32, usize> =
            left.live.iter().enumerate().map(|(before, it)| (it.id, before)).collect();
        for round in 0.. {
            for request in left.waiting() {
                assert!(round < earlier[&request.id], "round {round}: {request:?} waits");
            }
            let holders: Vec<u32> =
                left.live.iter().filter(|it| it.granted).map(|it| it.id).collect();
            if holders.is_empty() {
                break;
            }
            for id in holders {
                sut.end(id);
                let nth = left.live.iter().position(|it| it.id == id).expect("it is live");
                left = Model::apply(left, &Step::End { nth });
            }
            sut.check_against(&left);
        }
        assert!(left.live.is_empty() && sut.set.is_empty());
    }
}

impl Sut {
    fn waiting(&self) -> impl Iterator<Item = u32> {
        self.tickets.iter().filter(|(_, it)| !self.set.is_granted(it)).map(|(&id, _)| id)
    }
}

prop_state_machine! {
    #![proptest_config(config())]

    #[test]
    fn hold_006_ho_1_ho_2_ho_4_same_grants_as_the_model(sequential 1..80 => Sut);
}
