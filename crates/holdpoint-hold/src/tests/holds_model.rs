//! The handles against the model: two clients, any number of futures, dropped at any moment.
//! Whoever becomes due is woken, by that step and no other; cookies come once, in order, and
//! never for what was dropped.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use proptest_state_machine::{StateMachineTest, prop_state_machine};

use super::config;
use super::model::{Model, Request, Step, User, counted};
use crate::{ClaimError, HoldClient, HoldGuard, HoldTicket, Holds};

type Acquiring = Pin<Box<dyn Future<Output = Result<HoldGuard, ClaimError>> + Send>>;

struct Sut {
    holds: Holds,
    clients: [(HoldClient, Arc<Flag>); 2],
    live: BTreeMap<u32, Handle>,
    /// The step in which a request became due that had to wait.
    due: BTreeMap<u32, u32>,
    /// Due requests of clients that were not read yet, and those dropped before they were.
    unread: [Vec<u32>; 2],
    /// Whether something of a client became due since it last saw that there is nothing.
    news: [bool; 2],
    steps: u32,
}

enum Handle {
    Ticket(HoldTicket),
    Waiting(Acquiring, Arc<Flag>),
    Guard(#[expect(dead_code, reason = "kept for its drop")] HoldGuard),
}

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Flag {
    fn is_woken(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    fn clear(&self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl Sut {
    fn ask(&mut self, request: &Request) {
        let holds = request.holds();
        let handle = match request.user {
            User::Client(client) => {
                let client = &self.clients[client].0;
                let claims = client.claims(&holds).expect("good holds");
                Handle::Ticket(client.request(&claims, request.id))
            }
            User::Future => {
                let set = self.holds.clone();
                poll(Box::pin(async move { set.acquire(&holds).await }), Arc::default())
            }
        };
        self.live.insert(request.id, handle);
    }

    /// Reads all cookies of a client, and polls all futures.
    fn read(&mut self, client: usize) {
        let (reader, flag) = &mut self.clients[client];
        flag.clear();
        self.news[client] = false;
        let waker = Waker::from(Arc::clone(flag));
        let mut cx = Context::from_waker(&waker);
        let mut cookies = Vec::new();
        while let Poll::Ready(cookie) = reader.poll_granted(&mut cx) {
            cookies.push(cookie);
        }
        assert!(cookies.is_sorted_by_key(|id| self.due[id]), "{cookies:?} of {:?}", self.due);
        cookies.sort_unstable();
        let mut expected = std::mem::take(&mut self.unread[client]);
        expected.retain(|id| self.live.contains_key(id));
        expected.sort_unstable();
        assert_eq!(cookies, expected);

        for (id, handle) in std::mem::take(&mut self.live) {
            let handle = match handle {
                Handle::Waiting(future, flag) => poll(future, flag),
                other => other,
            };
            self.live.insert(id, handle);
        }
    }

    fn note_due(&mut self, model: &Model) {
        self.steps += 1;
        for request in model.live.iter().filter(|it| it.granted_later) {
            if self.due.contains_key(&request.id) {
                continue;
            }
            self.due.insert(request.id, self.steps);
            if let User::Client(client) = request.user {
                self.unread[client].push(request.id);
                self.news[client] = true;
            }
        }
    }
}

fn poll(mut future: Acquiring, flag: Arc<Flag>) -> Handle {
    let waker = Waker::from(Arc::clone(&flag));
    match future.as_mut().poll(&mut Context::from_waker(&waker)) {
        Poll::Ready(guard) => Handle::Guard(guard.expect("good holds")),
        Poll::Pending => Handle::Waiting(future, flag),
    }
}

impl StateMachineTest for Sut {
    type SystemUnderTest = Self;
    type Reference = Model;

    fn init_test(_: &Model) -> Self {
        let holds = Holds::new();
        for (scope, name, capacity) in counted() {
            holds.declare_in(&scope, name, capacity).expect("a good capacity");
        }
        let mut sut = Self {
            clients: [(holds.client("one"), Arc::default()), (holds.client("two"), Arc::default())],
            holds,
            live: BTreeMap::new(),
            due: BTreeMap::new(),
            unread: [Vec::new(), Vec::new()],
            news: [false, false],
            steps: 0,
        };
        sut.read(0);
        sut.read(1);
        sut
    }

    fn apply(mut sut: Self, model: &Model, step: Step) -> Self {
        match step {
            Step::Ask { .. } => sut.ask(model.live.last().expect("the model has it")),
            Step::End { .. } => sut.live.retain(|&id, _| model.find(id).is_some()),
            Step::Read { client } => sut.read(client),
        }
        sut.note_due(model);
        sut
    }

    fn check_invariants(sut: &Self, model: &Model) {
        assert_eq!(sut.holds.len(), model.live.len());
        for (id, handle) in &sut.live {
            let request = model.find(*id).expect("it is live");
            match handle {
                Handle::Ticket(ticket) => assert_eq!(ticket.is_granted(), request.granted),
                Handle::Guard(_) => assert!(request.granted),
                Handle::Waiting(_, flag) => assert_eq!(flag.is_woken(), request.granted),
            }
        }
        for ((_, flag), news) in sut.clients.iter().zip(sut.news) {
            assert_eq!(flag.is_woken(), news);
        }
    }

    fn teardown(sut: Self, _: Model) {
        let Self { holds, live, clients, .. } = sut;
        drop(clients);
        drop(live);
        assert!(holds.is_empty());
        assert_eq!(holds.users_and_sleepers(), (1, 0), "nothing is left of any of them");
    }
}

prop_state_machine! {
    #![proptest_config(config())]

    #[test]
    fn hold_008_ho_4_whoever_is_due_is_woken_and_no_one_else(sequential 1..80 => Sut);
}
