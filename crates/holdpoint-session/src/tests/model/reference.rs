//! What a registry is to do, said once more: sessions, their bodies, the processes that run them
//! and the store they share, as plain data that moves at once. It uses nothing of the registry.

use std::collections::{BTreeSet, VecDeque};

use super::script::{Act, AfterCancel, End, Op, Script};

/// The code and the words of a cancellation.
pub(crate) type Cause = (&'static str, String);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ev {
    Planned(u32),
    Started(u32),
    Paused,
    Question(u32),
    Answered(u32, String),
    Withdrawn(u32),
    Resumed(u32),
    CancelRequested(Cause),
    Suspended(&'static str),
    Progress(u32),
    Done,
    Failed(&'static str),
    Cancelled(Cause),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    Planned,
    Running,
    Paused(Vec<u32>),
    Suspended(&'static str),
    Done(Vec<String>),
    Failed(&'static str),
    Cancelled(Cause),
}

/// What a caller is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    None,
    Ok,
    Spawned(usize),
    StillOpen(Vec<u32>),
    NotOpen(Vec<u32>),
    NothingOpen(&'static str),
    AlreadyCancelled(Cause),
    Ended(&'static str),
    Owned,
    NotRetryable,
    CrashLoop,
    Gone,
    Collected(usize),
}

#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) script: Script,
    /// The how-manieth of its script it is.
    pub(crate) nth: usize,
    pub(crate) parent: Option<usize>,
    pub(crate) key: Option<u8>,
    pub(crate) state: State,
    pub(crate) cancel: Option<Cause>,
    pub(crate) attempt: u32,
    pub(crate) starts: u32,
    last_question: u32,
    pub(crate) events: Vec<Ev>,
    /// The process that runs it.
    pub(crate) owner: Option<usize>,
    /// That process has crashed.
    pub(crate) is_left: bool,
    /// The last process that ran it.
    home: usize,
    /// In which operation it was made, or its parent was about to take it.
    born: u64,
    session_limit: Option<u64>,
    pause_limit: Option<u64>,
    started_at: Option<u64>,
    session_due: Option<u64>,
    pause_due: Option<u64>,
    pub(crate) ended_at: u64,
    pub(crate) is_collected: bool,
    /// How often it was seen to be suspended.
    pub(crate) suspensions: u32,
    journal: u32,
    journal_at_start: u32,
    idle_starts: u32,
    /// Records that the body was not given yet.
    replay: VecDeque<Item>,
    offers: BTreeSet<u32>,
    done_steps: BTreeSet<u32>,
    children: BTreeSet<usize>,
    /// Children that its body has dropped. No record says so: whoever starts it stops them again.
    dropped: BTreeSet<usize>,
    /// It is about to be let go.
    is_frozen: bool,
    /// It is claimed, and its body has yet to be started.
    is_waiting: bool,
    body: Body,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    Done(Key, Res),
    Cancel(Cause),
}

/// Kind and ordinal.
type Key = (u8, u32);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Res {
    Ok(String),
    Failed,
    Cancelled,
}

#[derive(Debug, Clone, Default)]
struct Body {
    act: usize,
    lanes: Vec<Lane>,
    is_race: bool,
    is_cleaning: bool,
    is_over: bool,
    log: Vec<String>,
    called: [u32; 4],
    told: Option<Cause>,
    ready: VecDeque<Item>,
    dropped: Vec<Cur>,
    is_replaying: bool,
    held: Vec<u32>,
}

#[derive(Debug, Clone)]
struct Lane {
    ops: VecDeque<Op>,
    cur: Option<Cur>,
    said: Vec<String>,
    is_cancelled: bool,
    is_over: bool,
    is_shielded: bool,
}

#[derive(Debug, Clone)]
struct Cur {
    key: Key,
    what: What,
    is_fresh: bool,
    res: Option<Res>,
}

#[derive(Debug, Clone)]
enum What {
    Step { takes: u64, fails: bool, stage: Stage },
    Ask(Option<u32>),
    Sleep { takes: u64, due: Option<u64> },
    Child { script: Script, child: Option<usize> },
    Detach { script: Script, is_begun: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Called,
    Permitted,
    Runs(u64),
    Finished,
    Recorded,
}

#[derive(Debug, Clone)]
enum Agenda {
    Start(usize, Key),
    Detach(usize, Key, Script),
    Detached(usize, Key),
    Begin(usize),
    Watch(usize, Key),
    Stop(usize),
    Ended(usize),
}

/// Everything.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub(crate) is_durable: bool,
    /// How many events are kept in memory.
    pub(crate) keep: Option<usize>,
    pub(crate) now: u64,
    pub(crate) up: Vec<bool>,
    pub(crate) sessions: Vec<Session>,
    /// What the last caller is told.
    pub(crate) reply: Reply,
    /// The points of time that were passed in the last operation.
    pub(crate) moments: Vec<u64>,
    /// Two things happened to related sessions at one time: what comes of it is open.
    pub(crate) is_tied: bool,
    /// The questions that were open before the last answer, and its text.
    pub(crate) asked: Vec<u32>,
    pub(crate) text: String,
    /// Counts operations, and the points of time in them.
    pub(crate) turn: u64,
    tags: u32,
    answers: u32,
    agenda: VecDeque<Agenda>,
}

const PARENT: &str = "its parent does not wait for it any more";
const ORPHAN: &str = "its parent has ended";
const MAX_IDLE: u32 = 5;

impl State {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Running => "running",
            Self::Paused(_) => "paused",
            Self::Suspended(_) => "suspended",
            Self::Done(_) => "done",
            Self::Failed(_) => "failed",
            Self::Cancelled(_) => "cancelled",
        }
    }

    pub(crate) fn is_terminal(&self) -> bool {
        matches!(self, Self::Done(_) | Self::Failed(_) | Self::Cancelled(_))
    }
}

impl Session {
    /// As others see it.
    pub(crate) fn view(&self) -> State {
        if self.is_left && self.state == State::Running {
            return State::Suspended("interrupted");
        }
        self.state.clone()
    }

    /// Somebody alive runs it.
    pub(crate) fn is_live(&self) -> bool {
        self.owner.is_some() && !self.is_left
    }

    pub(crate) fn open(&self) -> Vec<u32> {
        match &self.state {
            State::Paused(open) => open.clone(),
            _ => Vec::new(),
        }
    }

    fn is_executing(&self) -> bool {
        let runs = |lane: &Lane| {
            matches!(&lane.cur, Some(Cur { what: What::Step { stage: Stage::Runs(_), .. }, .. }))
        };
        self.body.lanes.iter().any(runs)
    }
}

/// The rules of one session.
impl Model {
    fn tell(&mut self, s: usize, event: Ev) {
        self.sessions[s].events.push(event);
    }

    fn set_timers(&mut self, s: usize) {
        let now = self.now;
        let session = &mut self.sessions[s];
        let is_on = !session.state.is_terminal() && session.state != State::Planned;
        if !is_on || session.cancel.is_some() {
            (session.session_due, session.pause_due) = (None, None);
            return;
        }
        if session.session_due.is_none()
            && let (Some(limit), Some(started)) = (session.session_limit, session.started_at)
        {
            session.session_due = Some((started + limit).max(now));
        }
        if !matches!(session.state, State::Paused(_)) {
            session.pause_due = None;
        } else if session.pause_due.is_none() {
            session.pause_due = session.pause_limit.map(|limit| now + limit);
        }
    }

    fn ask(&mut self, s: usize) -> u32 {
        let session = &mut self.sessions[s];
        session.last_question += 1;
        let id = session.last_question;
        if let State::Paused(open) = &mut session.state {
            open.push(id);
        } else {
            session.state = State::Paused(vec![id]);
            session.events.push(Ev::Paused);
        }
        session.events.push(Ev::Question(id));
        self.set_timers(s);
        id
    }

    fn close(&mut self, s: usize, id: u32, event: Ev) {
        let session = &mut self.sessions[s];
        session.events.push(event);
        let State::Paused(open) = &mut session.state else { panic!("{id} is not open") };
        open.retain(|known| *known != id);
        if open.is_empty() {
            if session.is_live() {
                session.state = State::Running;
                session.events.push(Ev::Resumed(session.starts));
            } else {
                session.state = State::Suspended("answered");
                session.suspensions += 1;
                session.events.push(Ev::Suspended("answered"));
            }
        }
        self.set_timers(s);
    }

    fn withdraw_all(&mut self, s: usize, goes_on: bool) {
        for id in self.sessions[s].open() {
            self.tell(s, Ev::Withdrawn(id));
        }
        let session = &mut self.sessions[s];
        if goes_on && matches!(session.state, State::Paused(_)) {
            session.state = State::Running;
            session.events.push(Ev::Resumed(session.starts));
        }
    }

    fn request_cancel(&mut self, s: usize, cause: Cause) -> bool {
        if self.sessions[s].cancel.is_some() {
            return false;
        }
        self.tell(s, Ev::CancelRequested(cause.clone()));
        self.sessions[s].cancel = Some(cause);
        self.withdraw_all(s, true);
        self.set_timers(s);
        true
    }

    fn enter_end(&mut self, s: usize, end: State) {
        let now = self.now;
        let session = &mut self.sessions[s];
        session.events.push(match &end {
            State::Done(_) => Ev::Done,
            State::Failed(why) => Ev::Failed(why),
            State::Cancelled(cause) => Ev::Cancelled(cause.clone()),
            other => panic!("{other:?} is no end"),
        });
        session.state = end;
        (session.owner, session.is_left, session.cancel) = (None, false, None);
        session.ended_at = now;
        session.body.is_over = true;
        session.replay.clear();
        for child in std::mem::take(&mut self.sessions[s].children) {
            self.agenda.push_front(Agenda::Stop(child));
        }
        self.set_timers(s);
        self.agenda.push_back(Agenda::Ended(s));
    }

    fn cancelled(&self, s: usize, own: Cause) -> State {
        let cause = self.sessions[s].cancel.clone().unwrap_or(own);
        if cause.0 == "timeout" { State::Failed("timeout") } else { State::Cancelled(cause) }
    }

    /// What the body told of in replay.
    fn tell_held(&mut self, s: usize) {
        for number in std::mem::take(&mut self.sessions[s].body.held) {
            self.tell(s, Ev::Progress(number));
        }
    }

    /// The body is over.
    fn end(&mut self, s: usize, end: State) {
        self.tell_held(s);
        self.withdraw_all(s, true);
        self.enter_end(s, end);
    }
}

/// What bodies do.
impl Model {
    fn emit(&mut self, s: usize, number: u32) {
        if self.is_durable && self.sessions[s].body.is_replaying {
            self.sessions[s].body.held.push(number);
        } else {
            self.tell(s, Ev::Progress(number));
        }
    }

    fn poll(&mut self, s: usize) {
        loop {
            if self.sessions[s].body.is_over || self.sessions[s].is_waiting {
                return;
            }
            if self.sessions[s].body.lanes.is_empty() && !self.next_act(s) {
                continue;
            }
            let count = self.sessions[s].body.lanes.len();
            let is_race = self.sessions[s].body.is_race;
            for lane in 0..count {
                if !self.sessions[s].body.lanes[lane].is_over {
                    self.advance(s, lane);
                    if is_race && self.sessions[s].body.lanes[lane].is_over {
                        break;
                    }
                }
            }
            let mut over = self.sessions[s].body.lanes.iter().map(|lane| lane.is_over);
            if !(if is_race { over.any(|is| is) } else { over.all(|is| is) }) {
                return;
            }
            self.end_act(s);
        }
    }

    /// Begins the next act. Whether it has lanes.
    fn next_act(&mut self, s: usize) -> bool {
        let session = &mut self.sessions[s];
        let body = &mut session.body;
        let Some(act) = session.script.acts.get(body.act).cloned() else {
            let log = body.log.clone();
            let end = match session.script.end {
                End::Ok => State::Done(log),
                End::Fail => State::Failed("error"),
                End::Panic => State::Failed("panic"),
            };
            self.end(s, end);
            return false;
        };
        body.act += 1;
        match act {
            Act::Emit(number) => {
                self.emit(s, number);
                return false;
            }
            Act::All(lanes) => self.begin_lanes(s, lanes, false, false),
            Act::First(lanes) => self.begin_lanes(s, lanes, true, false),
        }
        true
    }

    fn begin_lanes(&mut self, s: usize, lanes: Vec<Vec<Op>>, is_race: bool, is_shielded: bool) {
        let body = &mut self.sessions[s].body;
        body.is_race = is_race;
        body.lanes = lanes
            .into_iter()
            .map(|ops| Lane {
                ops: ops.into(),
                cur: None,
                said: Vec::new(),
                is_cancelled: false,
                is_over: false,
                is_shielded,
            })
            .collect();
    }

    fn end_act(&mut self, s: usize) {
        let lanes = std::mem::take(&mut self.sessions[s].body.lanes);
        let mut is_cancelled = false;
        for lane in lanes {
            if lane.is_over {
                is_cancelled |= lane.is_cancelled;
                self.sessions[s].body.log.extend(lane.said);
            } else if let Some(cur) = lane.cur {
                self.drop_op(s, cur);
            }
        }
        let told = self.told(s).unwrap_or(("", String::new()));
        if self.sessions[s].body.is_cleaning {
            let end = self.cancelled(s, told);
            self.end(s, end);
            return;
        }
        if !is_cancelled {
            return;
        }
        match self.sessions[s].script.after_cancel.clone() {
            AfterCancel::Heed => {
                let end = self.cancelled(s, told);
                self.end(s, end);
            }
            AfterCancel::Finish => {
                let log = self.sessions[s].body.log.clone();
                self.end(s, State::Done(log));
            }
            AfterCancel::Fail => self.end(s, State::Failed("error")),
            AfterCancel::Clean(op) => {
                self.sessions[s].body.is_cleaning = true;
                self.begin_lanes(s, vec![vec![op]], false, true);
            }
        }
    }

    /// The body does not want an operation any more.
    fn drop_op(&mut self, s: usize, cur: Cur) {
        if self.is_durable {
            // Others may know of it from an earlier start.
            self.sessions[s].body.dropped.push(cur);
            return;
        }
        if cur.res.is_some() {
            return;
        }
        match cur.what {
            What::Ask(Some(id)) => self.close(s, id, Ev::Withdrawn(id)),
            What::Child { child: Some(child), .. } => self.agenda.push_front(Agenda::Stop(child)),
            What::Child { child: None, .. } => self.agenda.retain(
                |entry| !matches!(entry, Agenda::Start(parent, key) if (*parent, *key) == (s, cur.key)),
            ),
            _ => {}
        }
    }

    /// The cancellation as the body knows it.
    fn told(&self, s: usize) -> Option<Cause> {
        let session = &self.sessions[s];
        if self.is_durable { session.body.told.clone() } else { session.cancel.clone() }
    }

    fn advance(&mut self, s: usize, i: usize) {
        let now = self.now;
        loop {
            let lane = &mut self.sessions[s].body.lanes[i];
            let Some(cur) = &mut lane.cur else {
                match lane.ops.pop_front() {
                    Some(op) => self.open(s, i, op),
                    None => {
                        lane.is_over = true;
                        return;
                    }
                }
                continue;
            };
            match cur.res.clone() {
                Some(Res::Ok(said)) => lane.said.push(said),
                Some(Res::Failed) => {
                    let kind = ["step `s`", "question `q`", "sleep `sleep`", "child `script`"];
                    lane.said.push(format!("failed {}", kind[cur.key.0 as usize]));
                }
                Some(Res::Cancelled) => {
                    lane.said.push("cancelled".to_owned());
                    (lane.is_cancelled, lane.is_over) = (true, true);
                    if let Some(cur) = lane.cur.take()
                        && matches!(cur.what, What::Child { .. })
                        && self.is_durable
                    {
                        self.drop_op(s, cur);
                    }
                    return;
                }
                None => {
                    if let What::Step { takes, stage, .. } = &mut cur.what
                        && *stage == Stage::Permitted
                    {
                        *stage =
                            if *takes == 0 { Stage::Finished } else { Stage::Runs(now + *takes) };
                    }
                    return;
                }
            }
            lane.cur = None;
        }
    }

    /// The body calls an operation.
    fn open(&mut self, s: usize, i: usize, op: Op) {
        let kind = match op {
            Op::Step { .. } => 0,
            Op::Ask => 1,
            Op::Sleep(_) => 2,
            Op::Child(_) | Op::Detach(_) => 3,
        };
        let is_told = self.told(s).is_some();
        let now = self.now;
        let body = &mut self.sessions[s].body;
        let key = (kind, body.called[kind as usize]);
        body.called[kind as usize] += 1;
        let is_refused = is_told && !body.lanes[i].is_shielded;
        let what = match op {
            Op::Step { takes, fails } => What::Step { takes, fails, stage: Stage::Called },
            Op::Ask => What::Ask(None),
            Op::Sleep(takes) => What::Sleep { takes, due: None },
            Op::Child(script) => What::Child { script: *script, child: None },
            Op::Detach(script) => What::Detach { script: *script, is_begun: false },
        };
        let res = is_refused.then_some(Res::Cancelled);
        let is_fresh = self.is_durable && !is_refused;
        let mut cur = Cur { key, what, is_fresh, res };
        if !self.is_durable && !is_refused {
            match &mut cur.what {
                What::Step { takes: 0, fails, .. } => cur.res = Some(step_result(*fails)),
                What::Step { takes, stage, .. } => *stage = Stage::Runs(now + *takes),
                What::Ask(id) => *id = Some(self.ask(s)),
                What::Sleep { takes, due } => *due = Some(now + *takes),
                What::Child { .. } => self.agenda.push_back(Agenda::Start(s, key)),
                What::Detach { script, .. } => {
                    self.agenda.push_back(Agenda::Detach(s, key, script.clone()));
                }
            }
        }
        if is_refused {
            // Its child never was.
            cur.is_fresh = true;
        }
        self.sessions[s].body.lanes[i].cur = Some(cur);
    }

    /// Whether a detached child races with another: whether the body moves between what they bring
    /// is open.
    fn is_race_of_children(&self, s: usize) -> bool {
        let body = &self.sessions[s].body;
        let open = || {
            let curs = body.lanes.iter().filter_map(|lane| lane.cur.as_ref());
            curs.filter(|cur| cur.res.is_none()).map(|cur| &cur.what)
        };
        let is_child = |what: &&What| matches!(what, What::Child { .. } | What::Detach { .. });
        let is_detached = |what: &What| matches!(what, What::Detach { .. });
        self.is_durable
            && body.is_race
            && open().any(is_detached)
            && open().filter(is_child).count() > 1
    }

    fn cur(&mut self, s: usize, key: Key) -> Option<&mut Cur> {
        let lanes = self.sessions[s].body.lanes.iter_mut();
        lanes.filter_map(|lane| lane.cur.as_mut()).find(|cur| cur.key == key && cur.res.is_none())
    }
}

/// Bodies whose results are recorded.
impl Model {
    fn record(&mut self, s: usize, item: Item) {
        let session = &mut self.sessions[s];
        session.journal += 1;
        if let Item::Done((0, ordinal), Res::Ok(_)) = &item {
            session.done_steps.insert(*ordinal);
        }
        session.body.ready.push_back(item);
    }

    /// Gives the body a record. Whether it wanted it.
    fn give(&mut self, s: usize, item: Item) -> bool {
        match item {
            Item::Done(key, res) => {
                let Some(cur) = self.cur(s, key) else { return false };
                (cur.res, cur.is_fresh) = (Some(res), false);
                true
            }
            Item::Cancel(cause) => {
                let body = &mut self.sessions[s].body;
                body.told.get_or_insert(cause);
                cancel_lanes(&mut body.lanes);
                true
            }
        }
    }

    /// What is done after a poll.
    fn act(&mut self, s: usize) {
        for cur in std::mem::take(&mut self.sessions[s].body.dropped) {
            self.undo(s, &cur);
        }
        for key in self.keys_of(s, |cur| {
            matches!(&cur.what, What::Step { stage: Stage::Finished, .. }) && cur.res.is_none()
        }) {
            let Some(cur) = self.cur(s, key) else { continue };
            let What::Step { fails, stage, .. } = &mut cur.what else { continue };
            *stage = Stage::Recorded;
            let res = step_result(*fails);
            self.record(s, Item::Done(key, res));
        }
        for key in self.keys_of(s, |cur| cur.is_fresh && cur.res.is_none()) {
            self.begin(s, key);
        }
    }

    fn keys_of(&self, s: usize, which: impl Fn(&Cur) -> bool) -> Vec<Key> {
        let lanes = self.sessions[s].body.lanes.iter();
        let curs = lanes.filter_map(|lane| lane.cur.as_ref()).filter(|cur| which(cur));
        let mut keys: Vec<Key> = curs.map(|cur| cur.key).collect();
        keys.sort_unstable();
        keys
    }

    fn begin(&mut self, s: usize, key: Key) {
        let now = self.now;
        let session = &self.sessions[s];
        let may_ask = session.body.told.is_some() || session.cancel.is_none();
        let Some(cur) = self.cur(s, key) else { return };
        cur.is_fresh = false;
        match &mut cur.what {
            What::Step { stage, .. } => {
                if *stage != Stage::Called {
                    return;
                }
                *stage = Stage::Permitted;
                if self.sessions[s].offers.remove(&key.1) {
                    if let Some(Cur { what: What::Step { stage, .. }, .. }) = self.cur(s, key) {
                        *stage = Stage::Recorded;
                    }
                    self.record(s, Item::Done(key, step_result(false)));
                }
            }
            What::Ask(None) if may_ask => {
                let id = self.ask(s);
                self.sessions[s].journal += 1;
                if let Some(Cur { what: What::Ask(place), .. }) = self.cur(s, key) {
                    *place = Some(id);
                }
            }
            What::Ask(_) => {}
            What::Sleep { takes, due } => {
                if due.is_none() {
                    *due = Some(now + *takes);
                    self.sessions[s].journal += 1;
                }
            }
            What::Child { child: None, .. } => {
                self.sessions[s].journal += 1;
                self.agenda.push_back(Agenda::Start(s, key));
            }
            What::Child { child: Some(child), .. } => {
                let child = *child;
                if !self.sessions[child].is_live() {
                    // It is about to be taken.
                    self.sessions[child].born = self.turn;
                }
                self.agenda.push_back(Agenda::Watch(s, key));
            }
            What::Detach { script, is_begun } => {
                if !std::mem::replace(is_begun, true) {
                    let script = script.clone();
                    self.sessions[s].journal += 1;
                    self.agenda.push_back(Agenda::Detach(s, key, script));
                }
            }
        }
    }

    /// What the body dropped, and others know of.
    fn undo(&mut self, s: usize, cur: &Cur) {
        match &cur.what {
            What::Ask(Some(id)) if self.sessions[s].open().contains(id) => {
                self.close(s, *id, Ev::Withdrawn(*id));
            }
            What::Child { child: Some(child), .. } => {
                self.sessions[s].dropped.insert(*child);
                self.agenda.push_front(Agenda::Stop(*child));
            }
            _ => {}
        }
    }

    fn run(&mut self, s: usize) {
        while self.run_once(s) {}
    }

    /// Gives the body what comes next, and executes what it may. Whether there was anything.
    fn run_once(&mut self, s: usize) -> bool {
        let session = &self.sessions[s];
        if session.is_frozen || session.is_waiting || session.body.is_over {
            return false;
        }
        let mut is_given = false;
        while !is_given && let Some(item) = self.sessions[s].body.ready.pop_front() {
            is_given = self.give(s, item);
        }
        let permitted = |cur: &Cur| {
            cur.res.is_none() && matches!(&cur.what, What::Step { stage: Stage::Permitted, .. })
        };
        if !is_given && self.keys_of(s, permitted).is_empty() {
            return false;
        }
        self.poll(s);
        if !self.sessions[s].body.is_over {
            self.act(s);
        }
        true
    }

    /// The body of a session that was just claimed, over its journal.
    fn start_recorded(&mut self, s: usize) {
        self.sessions[s].is_waiting = false;
        let body = &mut self.sessions[s].body;
        body.is_replaying = true;
        for cur in body.lanes.iter_mut().filter_map(|lane| lane.cur.as_mut()) {
            cur.is_fresh = true;
            if let What::Step { stage, .. } = &mut cur.what
                && *stage != Stage::Recorded
            {
                *stage = Stage::Called;
            }
        }
        self.poll(s);
        let is_due = self.sessions[s].session_due.is_some_and(|due| due <= self.now);
        if is_due && !self.sessions[s].body.is_over {
            let cause = ("timeout", "session limit".to_owned());
            self.request_cancel(s, cause.clone());
            self.record(s, Item::Cancel(cause));
        }
        while let Some(item) = self.sessions[s].replay.pop_front() {
            if self.sessions[s].body.is_over {
                return;
            }
            if self.give(s, item) {
                self.poll(s);
            }
        }
        if self.sessions[s].body.is_over {
            return;
        }
        self.sessions[s].body.is_replaying = false;
        let again = self.sessions[s].dropped.clone();
        self.agenda.extend(again.into_iter().map(Agenda::Stop));
        let unwanted = std::mem::take(&mut self.sessions[s].body.dropped);
        self.tell_held(s);
        self.act(s);
        for cur in unwanted {
            self.undo(s, &cur);
        }
        // What came meanwhile is looked at after the first poll.
        self.run_once(s);
        if !self.sessions[s].body.is_over {
            self.fire_sleeps(s, |due, now| due <= now);
        }
        self.run(s);
    }

    /// Sleeps that are over.
    fn fire_sleeps(&mut self, s: usize, is_over: impl Fn(u64, u64) -> bool) {
        let now = self.now;
        let keys = self.keys_of(s, |cur| {
            let due = matches!(&cur.what, What::Sleep { due: Some(due), .. } if is_over(*due, now));
            due && cur.res.is_none()
        });
        let is_durable = self.is_durable;
        // Those that fell due while nobody was up come in the order in which they were due.
        let due = |cur: &Cur| match &cur.what {
            What::Sleep { due, .. } => *due,
            _ => None,
        };
        let mut keys: Vec<_> =
            keys.into_iter().map(|key| (self.cur(s, key).and_then(|cur| due(cur)), key)).collect();
        keys.sort_unstable();
        for (_, key) in keys {
            let Some(cur) = self.cur(s, key) else { continue };
            if is_durable {
                // Not fired again.
                cur.what = What::Sleep { takes: 0, due: Some(u64::MAX) };
                self.record(s, Item::Done(key, Res::Ok("slept".to_owned())));
            } else {
                cur.res = Some(Res::Ok("slept".to_owned()));
            }
        }
    }
}

/// Owners.
impl Model {
    /// The body is gone; what it was not given yet is in the journal.
    fn lose_body(&mut self, s: usize) {
        let session = &mut self.sessions[s];
        session.replay.extend(session.body.ready.drain(..));
        session.is_frozen = false;
        (session.session_due, session.pause_due) = (None, None);
    }

    /// The owner lets go.
    fn release(&mut self, s: usize, cause: &'static str) {
        let session = &mut self.sessions[s];
        session.owner = None;
        if cause == "shutdown" {
            session.idle_starts = session.idle_starts.saturating_sub(1);
        }
        if session.state == State::Running {
            session.state = State::Suspended(cause);
            session.suspensions += 1;
            session.events.push(Ev::Suspended(cause));
        }
        self.lose_body(s);
    }

    /// Its owner is dead, and somebody says so.
    fn interrupt(&mut self, s: usize) {
        let session = &mut self.sessions[s];
        if std::mem::take(&mut session.is_left) {
            session.owner = None;
            if session.state == State::Running {
                session.state = State::Suspended("interrupted");
                session.suspensions += 1;
                session.events.push(Ev::Suspended("interrupted"));
            }
        }
    }

    /// Takes a session and runs its body.
    fn claim(&mut self, s: usize, p: usize) -> Reply {
        let reply = self.take(s, p);
        if reply == Reply::Ok {
            self.begin_body(s);
        }
        reply
    }

    fn begin_body(&mut self, s: usize) {
        if self.is_durable {
            self.start_recorded(s);
        } else {
            self.sessions[s].is_waiting = false;
            self.sessions[s].body = Body::default();
            self.poll(s);
        }
    }

    fn take(&mut self, s: usize, p: usize) -> Reply {
        self.interrupt(s);
        let now = self.now;
        let is_durable = self.is_durable;
        let session = &mut self.sessions[s];
        if is_durable {
            if session.journal_at_start != session.journal {
                session.idle_starts = 0;
            }
            if session.idle_starts >= MAX_IDLE {
                self.withdraw_all(s, false);
                self.enter_end(s, State::Failed("crash_loop"));
                return Reply::CrashLoop;
            }
            session.idle_starts += 1;
            session.journal_at_start = session.journal;
        }
        (session.owner, session.home) = (Some(p), p);
        session.starts += 1;
        session.started_at.get_or_insert(now);
        match session.state {
            State::Planned => session.events.push(Ev::Started(session.starts)),
            State::Suspended(_) => session.events.push(Ev::Resumed(session.starts)),
            _ => {}
        }
        if !matches!(session.state, State::Paused(_)) {
            session.state = State::Running;
        }
        session.is_waiting = true;
        self.set_timers(s);
        Reply::Ok
    }

    fn make(&mut self, script: Script, parent: Option<usize>) -> usize {
        let nth = self.sessions.iter().filter(|known| known.script.tag == script.tag).count();
        self.sessions.push(Session {
            script,
            nth,
            parent,
            key: None,
            state: State::Planned,
            cancel: None,
            attempt: 1,
            starts: 0,
            last_question: 0,
            events: vec![Ev::Planned(1)],
            owner: None,
            is_left: false,
            home: 0,
            born: self.turn,
            session_limit: None,
            pause_limit: None,
            started_at: None,
            session_due: None,
            pause_due: None,
            ended_at: 0,
            is_collected: false,
            suspensions: 0,
            journal: 1,
            journal_at_start: 1,
            idle_starts: 0,
            replay: VecDeque::new(),
            offers: BTreeSet::new(),
            done_steps: BTreeSet::new(),
            children: BTreeSet::new(),
            dropped: BTreeSet::new(),
            is_frozen: false,
            is_waiting: false,
            body: Body::default(),
        });
        self.sessions.len() - 1
    }

    /// What a body is told of the end of a child.
    fn child_result(&self, child: usize) -> Res {
        match &self.sessions[child].state {
            State::Done(log) => Res::Ok(format!("child ({})", log.join(", "))),
            _ => Res::Failed,
        }
    }

    fn finish_child(&mut self, s: usize, key: Key, child: usize) {
        let res = self.child_result(child);
        self.sessions[s].children.remove(&child);
        if self.is_durable {
            if self.cur(s, key).is_some() {
                self.record(s, Item::Done(key, res));
                self.run(s);
            }
        } else if let Some(cur) = self.cur(s, key) {
            cur.res = Some(res);
            self.poll(s);
        }
    }

    /// Does what follows elsewhere.
    fn settle(&mut self) {
        loop {
            while let Some(next) = self.agenda.pop_front() {
                match next {
                    Agenda::Start(s, key) => {
                        let Some(Cur { what: What::Child { script, .. }, .. }) = self.cur(s, key)
                        else {
                            continue;
                        };
                        let script = script.clone();
                        self.is_tied |= self.is_race_of_children(s);
                        let child = self.make(script, Some(s));
                        if let Some(Cur { what: What::Child { child: place, .. }, .. }) =
                            self.cur(s, key)
                        {
                            *place = Some(child);
                        }
                        self.sessions[s].children.insert(child);
                        let Some(p) = self.sessions[s].owner else { continue };
                        self.take(child, p);
                        self.agenda.push_back(Agenda::Begin(child));
                    }
                    Agenda::Detach(s, key, script) => {
                        let p = self.sessions[s].home;
                        self.is_tied |= self.is_race_of_children(s);
                        let child = self.make(script, None);
                        self.take(child, p);
                        self.agenda.push_back(Agenda::Begin(child));
                        self.agenda.push_back(Agenda::Detached(s, key));
                    }
                    Agenda::Begin(s) => {
                        if self.sessions[s].is_waiting {
                            self.begin_body(s);
                        }
                    }
                    Agenda::Detached(s, key) => {
                        let res = Res::Ok("detached".to_owned());
                        if self.is_durable {
                            if self.cur(s, key).is_some() {
                                self.record(s, Item::Done(key, res));
                                self.run(s);
                            }
                        } else if let Some(cur) = self.cur(s, key) {
                            cur.res = Some(res);
                            self.poll(s);
                        }
                    }
                    Agenda::Watch(s, key) => {
                        let Some(Cur { what: What::Child { child: Some(child), .. }, .. }) =
                            self.cur(s, key)
                        else {
                            continue;
                        };
                        let child = *child;
                        self.sessions[s].children.insert(child);
                        if self.sessions[child].state.is_terminal() {
                            self.finish_child(s, key, child);
                        }
                    }
                    Agenda::Stop(child) => {
                        // Whether it has done something first is open.
                        self.is_tied |= self.sessions[child].born == self.turn;
                        self.cancel(child, ("parent", PARENT.to_owned()));
                    }
                    Agenda::Ended(child) => {
                        let waits = |session: &Session| {
                            session.body.lanes.iter().find_map(|lane| match &lane.cur {
                                Some(Cur {
                                    key,
                                    what: What::Child { child: Some(known), .. },
                                    res: None,
                                    ..
                                }) if *known == child => Some(*key),
                                _ => None,
                            })
                        };
                        let Some(parent) = self.sessions[child].parent else { continue };
                        // Else nothing records it.
                        if self.sessions[parent].is_live() {
                            self.sessions[parent].children.remove(&child);
                            if let Some(key) = waits(&self.sessions[parent]) {
                                self.finish_child(parent, key, child);
                            }
                        }
                    }
                }
            }
            // Who waits for a child that nobody runs takes it.
            let idle = (0..self.sessions.len()).find_map(|s| {
                let session = &self.sessions[s];
                let p = session.owner.filter(|_| session.is_live() && !session.is_frozen)?;
                let lanes = session.body.lanes.iter();
                lanes.filter_map(|lane| lane.cur.as_ref()).find_map(|cur| match cur {
                    Cur { what: What::Child { child: Some(child), .. }, res: None, .. }
                        if matches!(self.sessions[*child].view(), State::Suspended(_)) =>
                    {
                        Some((*child, p))
                    }
                    _ => None,
                })
            });
            let Some((child, p)) = idle else { return };
            self.claim(child, p);
        }
    }

    fn cancel(&mut self, s: usize, cause: Cause) -> Reply {
        match &self.sessions[s].state {
            State::Done(_) => return Reply::Ended("done"),
            State::Failed(_) => return Reply::Ended("failed"),
            State::Cancelled(_) => return Reply::Ok,
            _ => {}
        }
        if !self.sessions[s].is_live() {
            self.interrupt(s);
            self.withdraw_all(s, false);
            let end = self.cancelled(s, cause);
            self.enter_end(s, end);
            return Reply::Ok;
        }
        self.cancel_live(s, cause);
        Reply::Ok
    }

    fn cancel_live(&mut self, s: usize, cause: Cause) {
        if !self.request_cancel(s, cause.clone()) {
            return;
        }
        if self.is_durable {
            self.record(s, Item::Cancel(cause));
            self.run(s);
            return;
        }
        let lanes = &mut self.sessions[s].body.lanes;
        let children = cancel_lanes(lanes);
        children.into_iter().for_each(|child| self.agenda.push_front(Agenda::Stop(child)));
        self.poll(s);
    }
}

/// What callers do.
impl Model {
    pub(crate) fn new(is_durable: bool, keep: Option<usize>) -> Self {
        Self {
            is_durable,
            keep,
            now: 0,
            up: vec![true; if is_durable { 2 } else { 1 }],
            sessions: Vec::new(),
            reply: Reply::None,
            moments: Vec::new(),
            is_tied: false,
            asked: Vec::new(),
            text: String::new(),
            turn: 0,
            tags: 0,
            answers: 0,
            agenda: VecDeque::new(),
        }
    }

    fn name(&mut self, script: &mut Script) {
        self.tags += 1;
        script.tag = self.tags;
        let ops = script.acts.iter_mut().filter_map(|act| match act {
            Act::All(lanes) | Act::First(lanes) => Some(lanes.iter_mut().flatten()),
            Act::Emit(_) => None,
        });
        for op in ops.flatten() {
            if let Op::Child(script) | Op::Detach(script) = op {
                self.tags += 1;
                script.tag = self.tags;
            }
        }
    }

    pub(crate) fn spawn(
        &mut self,
        p: usize,
        mut script: Script,
        key: Option<u8>,
        limits: (Option<u64>, Option<u64>),
        starts: bool,
    ) -> Reply {
        let has = |session: &Session| session.key == key && !session.is_collected;
        if key.is_some()
            && let Some(found) = self.sessions.iter().position(has)
        {
            return Reply::Spawned(found);
        }
        self.name(&mut script);
        let s = self.make(script, None);
        let session = &mut self.sessions[s];
        session.key = key;
        (session.session_limit, session.pause_limit) = limits;
        if starts {
            self.claim(s, p);
        }
        self.settle();
        Reply::Spawned(s)
    }

    /// Somebody is about to answer.
    pub(crate) fn prepare_answer(&mut self, s: usize) {
        self.answers += 1;
        self.text = format!("a{}", self.answers);
        self.asked = self.sessions[s].open();
    }

    pub(crate) fn answer(&mut self, s: usize, ids: &[u32]) -> Reply {
        let text = &self.text.clone();
        let session = &self.sessions[s];
        if session.is_collected {
            return Reply::Gone;
        }
        if let State::Cancelled(cause) = &session.state {
            return Reply::AlreadyCancelled(cause.clone());
        }
        let State::Paused(open) = session.view() else {
            return Reply::NothingOpen(session.view().name());
        };
        let place = |id: &u32| ids.iter().position(|known| known == id);
        let refused = ids.iter().enumerate();
        let refused: Vec<u32> = refused
            .filter(|(i, id)| !open.contains(id) || place(id) != Some(*i))
            .map(|(_, id)| *id)
            .collect();
        if !refused.is_empty() {
            return Reply::NotOpen(refused);
        }
        let is_live = session.is_live();
        self.interrupt(s);
        for id in ids {
            self.close(s, *id, Ev::Answered(*id, text.clone()));
        }
        for id in ids {
            let lanes = self.sessions[s].body.lanes.iter();
            let asker = lanes.filter_map(|lane| lane.cur.as_ref()).find_map(|cur| match cur {
                Cur { key, what: What::Ask(Some(known)), res: None, .. } if known == id => {
                    Some(*key)
                }
                _ => None,
            });
            let res = Res::Ok(format!("answer {text}"));
            let Some(key) = asker else { continue };
            if !self.is_durable {
                if let Some(cur) = self.cur(s, key) {
                    cur.res = Some(res);
                }
            } else if is_live {
                self.record(s, Item::Done(key, res));
            } else {
                self.sessions[s].journal += 1;
                self.sessions[s].replay.push_back(Item::Done(key, res));
            }
        }
        let still_open = self.sessions[s].open();
        if is_live {
            if self.is_durable { self.run(s) } else { self.poll(s) }
        }
        self.settle();
        Reply::StillOpen(still_open)
    }

    pub(crate) fn ask_to_stop(&mut self, s: usize, cause: Cause) -> Reply {
        if self.sessions[s].is_collected {
            return Reply::Gone;
        }
        let reply = self.cancel(s, cause);
        self.settle();
        reply
    }

    pub(crate) fn resume(&mut self, p: usize, s: usize) -> Reply {
        let session = &self.sessions[s];
        if session.is_collected {
            return Reply::Gone;
        }
        if session.is_live() {
            return Reply::Owned;
        }
        if session.state.is_terminal() {
            return Reply::Ended(session.state.name());
        }
        let reply = self.claim(s, p);
        self.settle();
        reply
    }

    pub(crate) fn retry(&mut self, p: usize, s: usize) -> Reply {
        let is_durable = self.is_durable;
        let session = &mut self.sessions[s];
        if session.is_collected {
            return Reply::Gone;
        }
        if session.is_live() && is_durable && session.owner != Some(p) {
            return Reply::Owned;
        }
        if !matches!(session.state, State::Failed(_) | State::Cancelled(_)) {
            return Reply::NotRetryable;
        }
        let parent = session.parent;
        // The word of a parent that goes on without it may be on its way, and reach this attempt.
        self.is_tied |= parent.is_some_and(|parent| self.sessions[parent].dropped.contains(&s));
        let session = &mut self.sessions[s];
        session.attempt += 1;
        session.state = State::Planned;
        session.events.push(Ev::Planned(session.attempt));
        session.started_at = None;
        session.body = Body::default();
        session.replay.clear();
        session.dropped.clear();
        let done = std::mem::take(&mut session.done_steps);
        if is_durable {
            session.offers = done;
            session.idle_starts = 0;
            session.journal += 1;
            session.journal_at_start = session.journal;
        }
        self.set_timers(s);
        let reply = self.claim(s, p);
        self.settle();
        reply
    }

    pub(crate) fn pass(&mut self, millis: u64) {
        let target = self.now + millis;
        while let Some(due) = self.next_due()
            && due <= target
        {
            self.fire(due);
        }
        self.moments.push(target);
        self.now = target;
    }

    fn dues(&self, s: usize) -> Vec<u64> {
        let session = &self.sessions[s];
        if !session.is_live() {
            return Vec::new();
        }
        let lanes = session.body.lanes.iter().filter_map(|lane| lane.cur.as_ref());
        let curs = lanes.filter(|cur| cur.res.is_none()).filter_map(|cur| match &cur.what {
            What::Step { stage: Stage::Runs(due), .. } => Some(*due),
            What::Sleep { due, .. } => due.filter(|due| *due != u64::MAX),
            _ => None,
        });
        curs.chain(session.session_due).chain(session.pause_due).collect()
    }

    pub(crate) fn next_due(&self) -> Option<u64> {
        (0..self.sessions.len()).flat_map(|s| self.dues(s)).min()
    }

    fn family(&self, mut s: usize) -> usize {
        while let Some(parent) = self.sessions[s].parent {
            s = parent;
        }
        s
    }

    fn fire(&mut self, due: u64) {
        self.moments.push(due);
        self.turn += 1;
        self.now = due;
        let mut families = BTreeSet::new();
        let mut due_now = Vec::new();
        for s in 0..self.sessions.len() {
            for _ in self.dues(s).into_iter().filter(|at| *at == due) {
                self.is_tied |= !families.insert(self.family(s));
                due_now.push(s);
            }
        }
        for s in due_now {
            self.fire_one(s, due);
        }
        self.settle();
    }

    fn fire_one(&mut self, s: usize, due: u64) {
        let is_durable = self.is_durable;
        self.fire_sleeps(s, |at, _| at == due);
        for lane in &mut self.sessions[s].body.lanes {
            let Some(cur) = &mut lane.cur else { continue };
            let What::Step { fails, stage, .. } = &mut cur.what else { continue };
            if *stage == Stage::Runs(due) && cur.res.is_none() {
                *stage = Stage::Finished;
                if !is_durable {
                    cur.res = Some(step_result(*fails));
                }
            }
        }
        if is_durable {
            self.act(s);
            self.run(s);
        } else {
            self.poll(s);
        }
        let session = &self.sessions[s];
        let cause = if session.session_due == Some(due) {
            "session limit"
        } else if session.pause_due == Some(due) {
            "pause limit"
        } else {
            return;
        };
        self.cancel_live(s, ("timeout", cause.to_owned()));
    }

    pub(crate) fn crash(&mut self, p: usize) {
        self.up[p] = false;
        for s in self.owned(p) {
            self.sessions[s].is_left = true;
            self.lose_body(s);
            if self.sessions[s].state == State::Running {
                self.sessions[s].suspensions += 1;
            }
        }
        self.settle();
    }

    /// The runtime of a process is dropped.
    pub(crate) fn lose(&mut self, p: usize) {
        self.up[p] = false;
        for s in self.owned(p) {
            self.release(s, "interrupted");
        }
        self.settle();
    }

    /// A process goes down in order.
    pub(crate) fn stop(&mut self, p: usize, grace: u64) {
        self.up[p] = false;
        let until = self.now + grace;
        for s in self.owned(p) {
            self.sessions[s].is_frozen = true;
        }
        loop {
            for s in self.owned(p) {
                if !self.sessions[s].is_executing() {
                    self.release(s, "shutdown");
                }
            }
            self.settle();
            if self.owned(p).is_empty() {
                return;
            }
            match self.next_due() {
                Some(due) if due < until => self.fire(due),
                _ => break,
            }
        }
        self.moments.push(until);
        self.now = until;
        for s in self.owned(p) {
            self.release(s, "shutdown");
        }
        self.settle();
    }

    fn owned(&self, p: usize) -> Vec<usize> {
        let owns = |s: &usize| self.sessions[*s].owner == Some(p) && self.sessions[*s].is_live();
        (0..self.sessions.len()).filter(owns).collect()
    }

    /// A process begins, and takes up what was left.
    pub(crate) fn start(&mut self, p: usize) {
        self.up[p] = true;
        let mut taken = Vec::new();
        for s in 0..self.sessions.len() {
            let session = &self.sessions[s];
            if session.is_live() || session.state.is_terminal() || session.state == State::Planned {
                continue;
            }
            let parent = session.parent.map(|parent| &self.sessions[parent].state);
            if parent.is_some_and(State::is_terminal) {
                self.cancel(s, ("parent", ORPHAN.to_owned()));
            } else if self.take(s, p) == Reply::Ok {
                taken.push(s);
            }
        }
        // All are taken before any runs.
        for s in taken {
            if self.sessions[s].is_waiting {
                self.begin_body(s);
                self.settle();
            }
        }
        self.settle();
    }

    /// How many sessions ended so long ago, and are forgotten.
    pub(crate) fn collect(&mut self, ttl: u64) -> Reply {
        let mut count = 0;
        for session in &mut self.sessions {
            let is_due = session.state.is_terminal() && session.ended_at + ttl <= self.now;
            if is_due && !session.is_collected && !self.is_durable {
                session.is_collected = true;
                count += 1;
            }
        }
        Reply::Collected(count)
    }
}

fn step_result(fails: bool) -> Res {
    if fails { Res::Failed } else { Res::Ok("step".to_owned()) }
}

/// What waits and heeds it is cancelled. Says which children nobody waits for any more.
fn cancel_lanes(lanes: &mut [Lane]) -> Vec<usize> {
    let mut children = Vec::new();
    for lane in lanes {
        let Some(cur) = lane.cur.as_mut().filter(|cur| cur.res.is_none()) else { continue };
        let ends = match &cur.what {
            What::Ask(_) => true,
            What::Sleep { .. } => !lane.is_shielded,
            What::Child { child, .. } => {
                if !lane.is_shielded {
                    children.extend(*child);
                }
                !lane.is_shielded
            }
            What::Detach { .. } => !lane.is_shielded,
            What::Step { .. } => false,
        };
        if ends {
            cur.res = Some(Res::Cancelled);
        }
    }
    children
}
