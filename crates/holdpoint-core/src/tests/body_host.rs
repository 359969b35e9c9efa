//! Two hosts for tests, each as small as can be: one calls and keeps nothing, one records in a list.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::body::{
    CancelWhen, Delivery, Execution, Fresh, Kind, OpError, OpEvent, OpId, OpKey, OpName, OpTable,
    Open, Payload, SessionContext, SessionPort, TableEvent, poll_body,
};
use crate::cancel::{CancelCode, CancelInfo};
use crate::clock::Timestamp;
use crate::id::SessionId;

/// What a recording host writes down.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Record {
    Op(OpKey, Result<Payload, OpError>),
    Cancel(CancelInfo),
}

/// How a recorded life goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Life {
    /// Of the order in which things happen.
    pub(super) seed: u64,
    /// Which start it is.
    pub(super) start: u32,
    /// How many records are given to the body between two polls. Any but 1 is wrong.
    pub(super) records_a_turn: usize,
    /// The session is asked to stop when so much is recorded.
    pub(super) cancel_at: Option<usize>,
    /// Whether delays pass before anything else happens.
    pub(super) hurries: bool,
}

impl Life {
    pub(super) const fn new(seed: u64) -> Self {
        Self { seed, start: 1, records_a_turn: 1, cancel_at: None, hurries: false }
    }
}

pub(super) fn cause() -> CancelInfo {
    CancelInfo::new(CancelCode::User, "changed my mind", Timestamp::from_micros(7))
}

/// The answer of the world to what is no step.
pub(super) fn answer(name: &str, open: &Open) -> Payload {
    match open {
        Open::Ask { .. } => format!("\"{name}!\""),
        Open::Sleep(_) => "null".to_owned(),
        Open::Child(child) if child.is_detached => format!("\"{}\"", SessionId::generate()),
        Open::Child(child) => child.input.clone(),
        other => panic!("nobody answers {other:?}"),
    }
}

/// A sequence of numbers that look random.
#[derive(Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }
}

/// The port of both hosts; what is executed and recorded is theirs to say.
pub(super) struct Port {
    id: SessionId,
    start: u32,
    is_recorded: bool,
    state: Mutex<State>,
}

struct State {
    table: OpTable,
    dice: Dice,
    given: u64,
    requested: Option<CancelInfo>,
    emitted: Vec<Payload>,
    opened: usize,
}

impl Port {
    pub(super) fn new(is_recorded: bool, start: u32) -> Arc<Self> {
        let state = State {
            table: OpTable::new(),
            dice: Dice::new(42),
            given: 0,
            requested: None,
            emitted: Vec::new(),
            opened: 0,
        };
        Arc::new(Self {
            id: "018f4c5e-7a2b-7c3d-8e4f-0123456789ab".parse().unwrap(),
            start,
            is_recorded,
            state: Mutex::new(state),
        })
    }

    /// A context for it.
    pub(super) fn context(self: &Arc<Self>) -> SessionContext {
        SessionContext::new(Arc::clone(self) as Arc<dyn SessionPort>)
    }

    /// Asks for the end without telling the body.
    pub(super) fn request_cancel(&self) {
        self.state().requested = Some(cause());
    }

    /// Tells the body of it.
    pub(super) fn tell_cancel(&self) {
        self.request_cancel();
        let wakers = self.table(|table| table.deliver_cancel(cause()));
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(super) fn emitted(&self) -> Vec<Payload> {
        self.state().emitted.clone()
    }

    /// How many operations and delays the port heard of.
    pub(super) fn opened(&self) -> usize {
        self.state().opened
    }

    pub(super) fn table<R>(&self, look: impl FnOnce(&mut OpTable) -> R) -> R {
        look(&mut self.state().table)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionPort for Port {
    fn is_recorded(&self) -> bool {
        self.is_recorded
    }

    fn open(&self, name: OpName, op: Open, when: CancelWhen) -> OpId {
        let mut state = self.state();
        state.opened += 1;
        state.table.open(name, op, when)
    }

    fn poll(&self, op: OpId, cx: &mut Context<'_>) -> Poll<OpEvent> {
        let (event, _replaced) = self.table(|table| table.poll(op, cx.waker()));
        event.map(|event| match event {
            TableEvent::Execute { ordinal } => {
                OpEvent::Execute(Execution { session: self.id, start: self.start, ordinal })
            }
            TableEvent::Done(result) => OpEvent::Done(result),
        })
    }

    fn finish(&self, op: OpId, outcome: Result<Payload, OpError>) {
        assert!(self.is_recorded, "nothing is recorded here");
        self.table(|table| table.finish(op, outcome));
    }

    fn close(&self, op: OpId) {
        let _waker = self.table(|table| table.close(op));
    }

    fn emit(&self, progress: Payload) {
        self.state().emitted.push(progress);
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.state().given)
    }

    fn random(&self) -> u64 {
        self.state().dice.next()
    }

    fn session(&self) -> SessionId {
        self.id
    }

    fn cancel(&self) -> Option<CancelInfo> {
        self.table(|table| table.cancel().cloned())
    }

    fn poll_cancel_requested(&self, _: &mut Context<'_>) -> Poll<CancelInfo> {
        self.state().requested.clone().map_or(Poll::Pending, Poll::Ready)
    }
}

/// Runs a body that nobody records. Everything happens at once, oldest first.
pub(super) fn call<O, Fut: Future<Output = O>>(body: impl FnOnce(SessionContext) -> Fut) -> O {
    call_on(&Port::new(false, 1), body)
}

pub(super) fn call_on<O, Fut: Future<Output = O>>(
    port: &Arc<Port>,
    body: impl FnOnce(SessionContext) -> Fut,
) -> O {
    let mut body = pin!(body(port.context()));
    for _ in 0..1000 {
        if let Poll::Ready(output) = poll_once(port, body.as_mut()) {
            return output;
        }
        for Fresh { id, key, open } in port.table(OpTable::take_fresh) {
            let waker = match key {
                None => port.table(|table| table.deliver_delay(id)),
                Some(key) if key.kind == Kind::Step => port.table(|table| table.permit(id)),
                Some(key) => {
                    let result = Ok(answer(&key.name, &open));
                    match port.table(|table| table.deliver(&key, result)) {
                        Delivery::Delivered(waker) => waker,
                        other => panic!("{key}: {other:?}"),
                    }
                }
            };
            waker.into_iter().for_each(Waker::wake);
        }
        let _closed = port.table(OpTable::take_closed);
    }
    panic!("the body waits for what nobody brings");
}

/// One poll of a body, as its host does it.
pub(super) fn poll_once<Fut: Future + ?Sized>(
    port: &Arc<Port>,
    body: Pin<&mut Fut>,
) -> Poll<Fut::Output> {
    poll_body(&**port, || body.poll(&mut Context::from_waker(Waker::noop())))
}

/// Runs a body that is recorded, from what was recorded already to its end. The error says where
/// the body does not match.
pub(super) fn record<O, Fut: Future<Output = O>>(
    body: impl FnOnce(SessionContext) -> Fut,
    recorded: &[Record],
    life: Life,
) -> Result<(O, Vec<Record>), String> {
    let port = Port::new(true, life.start);
    let mut body = pin!(body(port.context()));
    let mut turn = || poll_once(&port, body.as_mut());
    let mut output = turn();
    for record in recorded {
        if output.is_ready() {
            return Err(format!("it ended before {record:?}"));
        }
        give(&port, record)?;
        output = turn();
    }

    let mut journal = recorded.to_vec();
    let mut dice = Dice::new(life.seed);
    // What could be recorded next, and delays that could pass.
    let mut next: Vec<(OpKey, Result<Payload, OpError>)> = Vec::new();
    let mut delays: Vec<OpId> = Vec::new();
    for _ in 0..10_000 {
        if let Poll::Ready(output) = output {
            return Ok((output, journal));
        }
        for closed in port.table(OpTable::take_closed) {
            next.retain(|(key, _)| Some(key) != closed.key.as_ref());
            delays.retain(|id| *id != closed.id);
        }
        next.extend(port.table(OpTable::take_finished).into_iter().map(|(_, key, out)| (key, out)));
        for Fresh { id, key, open } in port.table(OpTable::take_fresh) {
            match key {
                None => delays.push(id),
                Some(key) if key.kind == Kind::Step => {
                    port.table(|table| table.permit(id)).into_iter().for_each(Waker::wake);
                }
                Some(key) => {
                    let result = answer(&key.name, &open);
                    next.push((key, Ok(result)));
                }
            }
        }
        if life.cancel_at == Some(journal.len()) {
            journal.push(Record::Cancel(cause()));
            give(&port, journal.last().unwrap())?;
        } else if !delays.is_empty() && (life.hurries || dice.below(2) == 0) {
            let id = delays.swap_remove(dice.below(delays.len()));
            port.table(|table| table.deliver_delay(id)).into_iter().for_each(Waker::wake);
        } else if dice.below(2) == 0 {
            for _ in 0..life.records_a_turn.min(next.len()) {
                let (key, result) = next.swap_remove(dice.below(next.len()));
                journal.push(Record::Op(key, result));
                give(&port, journal.last().unwrap())?;
            }
        }
        output = turn();
    }
    panic!("the body waits for what nobody brings");
}

fn give(port: &Port, record: &Record) -> Result<(), String> {
    let mut state = port.state();
    state.given += 1;
    let wakers = match record {
        Record::Cancel(cause) => {
            state.requested = Some(cause.clone());
            state.table.deliver_cancel(cause.clone())
        }
        Record::Op(key, result) => match state.table.deliver(key, result.clone()) {
            Delivery::Delivered(waker) => waker.into_iter().collect(),
            Delivery::Abandoned => Vec::new(),
            Delivery::Unknown => {
                let open: Vec<String> = state.table.outstanding().map(OpKey::to_string).collect();
                return Err(format!("recorded is `{key}`, open are {open:?}"));
            }
        },
    };
    drop(state);
    wakers.into_iter().for_each(Waker::wake);
    Ok(())
}
