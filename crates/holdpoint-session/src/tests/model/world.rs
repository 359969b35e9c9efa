//! The registry under test: one process in memory, or two over a virtual disk, and those who wait
//! for and look at its sessions. After every operation all of it is held against the reference.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use holdpoint_core::event::{Event, EventKind, Stream};
use holdpoint_core::session::{
    Failure, FailureCause, QuestionId, SessionState, StateName, SuspendCause,
};
use holdpoint_core::store::{Fence, Store, Write};
use holdpoint_core::{
    BatchId, CancelCode, CancelInfo, Clock, Monotonic, Now, SessionId, Timestamp,
};
use holdpoint_testkit::audit;
use holdpoint_testkit::store::{FaultyStore, VirtualDisk};
use tokio::runtime::Runtime;

use super::Do;
use super::reference::{Cause, Ev, Model, Reply, State};
use super::script::{Ground, Script, play};
use crate::{
    AnswerError, Answers, Body, CancelError, GetError, History, Observed, Observer, Outcome,
    ResumeError, RunError, SessionHandle, Sessions, Since,
};

/// A clock that all processes look at.
#[derive(Debug)]
pub(crate) struct Hands(Mutex<Now>);

impl Hands {
    pub(crate) fn new() -> Arc<Self> {
        let wall = Timestamp::from_micros(1_767_225_600_000_000);
        Arc::new(Self(Mutex::new(Now { wall, monotonic: Monotonic::ZERO })))
    }

    pub(crate) fn advance(&self, time: Duration) {
        let mut now = self.0.lock().unwrap();
        let micros = now.wall.as_micros() + time.as_micros() as u64;
        *now = Now { wall: Timestamp::from_micros(micros), monotonic: now.monotonic + time };
    }
}

impl Clock for Hands {
    fn now(&self) -> Now {
        *self.0.lock().unwrap()
    }
}

/// A runtime whose time stands still until it is told to go on.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

type Slot<T> = Arc<Mutex<Option<T>>>;

struct Process {
    runtime: Runtime,
    sessions: Sessions,
    body: Body<Script, Vec<String>>,
    store: Option<Arc<FaultyStore>>,
}

/// Somebody who waits for the end of a session.
struct Waiter {
    p: usize,
    s: usize,
    /// How often the session was suspended when it began to wait.
    suspensions: u32,
    task: tokio::task::JoinHandle<()>,
    said: Slot<Result<State, &'static str>>,
    is_checked: bool,
}

/// Somebody who looks at the events of a session.
struct Watcher {
    p: usize,
    s: usize,
    observer: Observer,
    next: u64,
    /// It began behind the last event there was.
    is_ahead: bool,
    is_over: bool,
}

pub(crate) struct World {
    clock: Arc<Hands>,
    now: u64,
    disk: Option<VirtualDisk>,
    reader: Option<Arc<FaultyStore>>,
    keep: Option<usize>,
    ground: Arc<Ground>,
    processes: Vec<Option<Process>>,
    ids: Vec<SessionId>,
    /// Held from the first, so that what was collected can still be read.
    held: Vec<SessionHandle>,
    waiters: Vec<Waiter>,
    watchers: Vec<Watcher>,
}

impl World {
    pub(crate) fn new(model: &Model) -> Self {
        let disk = model.is_durable.then(VirtualDisk::new);
        let mut world = Self {
            clock: Hands::new(),
            now: 0,
            reader: disk.as_ref().map(VirtualDisk::open),
            disk,
            keep: model.keep,
            ground: Arc::default(),
            processes: Vec::new(),
            ids: Vec::new(),
            held: Vec::new(),
            waiters: Vec::new(),
            watchers: Vec::new(),
        };
        for _ in &model.up {
            let process = world.process();
            world.processes.push(Some(process));
        }
        world
    }

    fn process(&self) -> Process {
        let runtime = runtime();
        let store = self.disk.as_ref().map(VirtualDisk::open);
        let history = self.keep.map_or(History::All, History::Last);
        let mut builder = Sessions::builder().clock(Arc::clone(&self.clock) as _).history(history);
        if let Some(store) = &store {
            builder = builder.store(Arc::clone(store) as _);
        }
        let ground = Arc::clone(&self.ground);
        let (sessions, body) = runtime.block_on(async {
            let sessions = builder.open().await.unwrap();
            let play = move |cx, script| play(Arc::clone(&ground), cx, script);
            let body = sessions.register("script", play).unwrap();
            (sessions, body)
        });
        Process { runtime, sessions, body, store }
    }

    fn at(&self, p: usize) -> &Process {
        self.processes[p].as_ref().expect("the process is up")
    }

    /// Lets everything happen that can happen at this time.
    fn settle(&self) {
        for _ in 0..3 {
            for process in self.processes.iter().flatten() {
                process.runtime.block_on(async {
                    for _ in 0..4 {
                        tokio::task::yield_now().await;
                    }
                });
            }
        }
    }

    /// Brings notes to the disk, and tells all who wait for news.
    fn flush(&self) {
        for process in self.processes.iter().flatten() {
            if let Some(store) = &process.store {
                let stream = Stream::Batch(BatchId::generate());
                let kind = EventKind::SessionPlanned { attempt: 1 };
                let event = [Event::new(1, Timestamp::default(), stream.clone(), kind)];
                drop(store.append(&[Write::new(&stream, Fence::New).events(&event)]).unwrap());
            }
        }
    }

    /// Calls something that needs no time.
    fn call<T: Send + 'static>(
        &self,
        p: usize,
        future: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let runtime = &self.at(p).runtime;
        let task = runtime.spawn(future);
        self.settle();
        assert!(task.is_finished(), "the call does not return");
        runtime.block_on(task).unwrap()
    }

    /// Goes through these points of time.
    fn pass(&mut self, moments: &[u64]) {
        for moment in moments {
            let time = Duration::from_millis(moment - self.now);
            self.now = *moment;
            self.clock.advance(time);
            for process in self.processes.iter().flatten() {
                process.runtime.block_on(tokio::time::advance(time));
            }
            self.settle();
            self.flush();
            self.settle();
        }
    }

    fn get(&self, p: usize, s: usize) -> Result<SessionHandle, GetError> {
        self.at(p).sessions.get(self.ids[s])
    }

    fn with<T, Fut>(&self, p: usize, s: usize, call: impl FnOnce(SessionHandle) -> Fut) -> Option<T>
    where
        T: Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
    {
        match self.get(p, s) {
            Ok(handle) => Some(self.call(p, call(handle))),
            Err(GetError::NotFound(_)) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Does one operation, and holds what comes of it against the model after it.
    pub(crate) fn apply(&mut self, what: &Do, model: &Model) {
        let reply = match what {
            Do::Spawn { p, key, limits, starts, .. } => {
                let Reply::Spawned(s) = model.reply else { panic!("{:?}", model.reply) };
                let script = model.sessions[s].script.clone();
                let body = &self.at(*p).body;
                let mut spawn = if *starts { body.spawn(script) } else { body.plan(script) };
                if let Some(key) = key {
                    spawn = spawn.key(format!("key {key}"));
                }
                if let Some(limit) = limits.0 {
                    spawn = spawn.timeout(Duration::from_millis(limit));
                }
                if let Some(limit) = limits.1 {
                    spawn = spawn.pause_timeout(Duration::from_millis(limit));
                }
                let run = self.call(*p, spawn).unwrap();
                let known = self.ids.iter().position(|id| *id == run.id());
                if known.is_none() {
                    self.ids.push(run.id());
                    self.held.push(run.handle());
                }
                Reply::Spawned(known.unwrap_or(self.ids.len() - 1))
            }
            Do::Answer { p, s, how } => {
                let (ids, text) = (how.ids(&model.asked), model.text.clone());
                let said = self.with(*p, *s, |handle| async move {
                    let answers = ids
                        .iter()
                        .fold(Answers::new(), |answers, id| answers.answer(QuestionId(*id), &text));
                    handle.answer_all(answers.by("somebody")).await
                });
                said.map_or(Reply::Gone, reply_to_answer)
            }
            Do::Cancel { p, s, code } => {
                let (code, text) = (code_of(code), format!("cancelled by {p}"));
                let said =
                    self.with(*p, *s, |handle| async move { handle.cancel_as(code, text).await });
                match said {
                    None => Reply::Gone,
                    Some(Ok(())) => Reply::Ok,
                    Some(Err(CancelError::Ended { state })) => Reply::Ended(name_of(state)),
                    Some(Err(error)) => panic!("{error}"),
                }
            }
            Do::Resume { p, s } => {
                let said = self.with(*p, *s, |handle| async move { handle.resume().await });
                said.map_or(Reply::Gone, reply_to_resume)
            }
            Do::Retry { p, s } => {
                if model.reply == Reply::Ok {
                    self.ground.forget(self.ids[*s]);
                }
                let said = self.with(*p, *s, |handle| async move { handle.retry().await });
                said.map_or(Reply::Gone, reply_to_resume)
            }
            Do::Pass(_) => {
                self.pass(&model.moments);
                Reply::None
            }
            Do::Crash(p) => {
                self.leave(*p);
                let process = self.processes[*p].take().unwrap();
                process.store.as_ref().unwrap().crash();
                drop(process.runtime);
                Reply::None
            }
            Do::Lose(p) => {
                self.leave(*p);
                let process = self.processes[*p].take().unwrap();
                drop(process.runtime);
                Reply::None
            }
            Do::Stop(p, grace) => {
                self.stop(*p, *grace, model);
                Reply::None
            }
            Do::Start(p) => {
                let process = self.process();
                self.processes[*p] = Some(process);
                Reply::None
            }
            Do::Collect(ttl) => {
                let ttl = Duration::from_millis(*ttl);
                let counts =
                    self.processes.iter().flatten().map(|process| process.sessions.collect(ttl));
                Reply::Collected(counts.sum())
            }
            Do::Wait { p, s, typed } => {
                self.wait(*p, *s, *typed, model);
                Reply::None
            }
            Do::Unwait(i) => {
                if !self.waiters.is_empty() {
                    let i = i % self.waiters.len();
                    let waiter = self.waiters.swap_remove(i);
                    waiter.task.abort();
                }
                Reply::None
            }
            Do::Observe { p, s, since } => {
                self.observe(*p, *s, *since);
                Reply::None
            }
            Do::Read(i, count) => {
                if !self.watchers.is_empty() {
                    let i = i % self.watchers.len();
                    self.read(i, *count, model);
                }
                Reply::None
            }
            Do::Unobserve(i) => {
                if !self.watchers.is_empty() {
                    let i = i % self.watchers.len();
                    self.watchers.swap_remove(i);
                }
                Reply::None
            }
        };
        // With a store what was collected is still there, and no reader sees a difference.
        if !(model.is_durable && matches!(reply, Reply::Collected(_))) {
            assert_eq!(reply, model.reply, "the reply to {what:?}");
        }
        self.settle();
        self.flush();
        self.settle();
        self.check(model);
    }

    /// Whoever waits or looks in this process goes with it.
    fn leave(&mut self, p: usize) {
        self.waiters.retain(|waiter| waiter.p != p);
        self.watchers.retain(|watcher| watcher.p != p);
    }

    fn stop(&mut self, p: usize, grace: u64, model: &Model) {
        self.waiters.retain(|waiter| waiter.p != p);
        let sessions = self.at(p).sessions.clone();
        let grace = Duration::from_millis(grace);
        let task = self.at(p).runtime.spawn(async move { sessions.shutdown(grace).await });
        self.settle();
        self.pass(&model.moments);
        assert!(task.is_finished(), "the shutdown does not return");
        let report = self.at(p).runtime.block_on(task).unwrap();
        assert_eq!(report.stuck, []);
        for i in 0..self.watchers.len() {
            if self.watchers[i].p == p {
                self.read(i, usize::MAX, model);
            }
        }
        self.leave(p);
        let process = self.processes[p].take().unwrap();
        drop((process.body, process.sessions));
        drop(process.runtime);
    }

    fn wait(&mut self, p: usize, s: usize, typed: bool, model: &Model) {
        let Ok(handle) = self.get(p, s) else { return };
        let said = Slot::default();
        let slot = Arc::clone(&said);
        let task = self.at(p).runtime.spawn(async move {
            let result = if typed {
                match handle.typed::<Vec<String>>().await {
                    Ok(log) => Ok(State::Done(log)),
                    Err(error) => state_of_error(&error),
                }
            } else {
                match handle.ended().await {
                    Ok(outcome) => Ok(state_of_outcome(&outcome)),
                    Err(error) => state_of_error(&error),
                }
            };
            *slot.lock().unwrap() = Some(result);
        });
        let suspensions = model.sessions[s].suspensions;
        self.waiters.push(Waiter { p, s, suspensions, task, said, is_checked: false });
    }

    fn observe(&mut self, p: usize, s: usize, since: u64) {
        let Ok(handle) = self.get(p, s) else { return };
        let last = handle.snapshot().unwrap().last_seq;
        let (since, next) = match since {
            0 => (Since::Beginning, 1),
            1 => (Since::Now, last + 1),
            n => (Since::After(n - 2), n - 1),
        };
        let observer = handle.observe(since).unwrap();
        let is_ahead = next > last + 1;
        self.watchers.push(Watcher { p, s, observer, next, is_ahead, is_over: false });
    }

    fn read(&mut self, i: usize, count: usize, model: &Model) {
        let watcher = &mut self.watchers[i];
        let events = &model.sessions[watcher.s].events;
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..count {
            if watcher.is_over {
                return;
            }
            match watcher.observer.poll_next(&mut cx) {
                Poll::Ready(Some(Observed::Event(event))) => {
                    assert_eq!(event.seq, watcher.next, "an event is missed or told twice");
                    let expected = events.get(event.seq as usize - 1);
                    assert_eq!(Some(&event_of(&event.kind)), expected, "event {}", event.seq);
                    watcher.next += 1;
                }
                Poll::Ready(Some(Observed::Gap { from, to })) => {
                    assert!(!model.is_durable, "a gap in what is stored");
                    assert!(self.keep.is_some(), "a gap in what is kept");
                    assert!(from == watcher.next && to >= from, "a gap from {from} to {to}");
                    let hides = events.get(to as usize - 1).is_some_and(is_terminal);
                    assert!(!hides || (to as usize) < events.len(), "the end is in the gap");
                    watcher.next = to + 1;
                }
                Poll::Ready(Some(Observed::Left)) => {
                    assert!(model.is_durable);
                    watcher.is_over = true;
                }
                Poll::Ready(None) => {
                    let last = watcher.next.checked_sub(2).and_then(|at| events.get(at as usize));
                    let is_end = last.is_none_or(is_terminal) || watcher.is_ahead;
                    assert!(is_end, "it ends after {last:?}");
                    watcher.is_over = true;
                }
                Poll::Pending => {
                    let seen = watcher.next as usize > events.len();
                    assert!(seen, "it waits for event {} of {}", watcher.next, events.len());
                    return;
                }
            }
        }
    }

    /// Everything that can be seen, beside what the model says.
    pub(crate) fn check(&mut self, model: &Model) {
        assert_eq!(self.ground.wrong(), Vec::<String>::new());
        for s in self.ids.len()..model.sessions.len() {
            let session = &model.sessions[s];
            let id = self.ground.id(session.script.tag, session.nth);
            let id = id.unwrap_or_else(|| panic!("session {s} is not there"));
            let handle =
                self.processes.iter().flatten().find_map(|process| process.sessions.get(id).ok());
            self.ids.push(id);
            self.held.push(handle.expect("a process is up where a session begins"));
        }
        for s in 0..model.sessions.len() {
            for p in 0..self.processes.len() {
                if self.processes[p].is_some() {
                    self.check_session(p, s, model);
                }
            }
        }
        if let Some(reader) = &self.reader {
            for (s, session) in model.sessions.iter().enumerate() {
                let stream = Stream::Session(self.ids[s]);
                let events = reader.events(&stream, 0, usize::MAX).unwrap();
                let events: Vec<_> =
                    events.iter().map(|event| event_of(&event.event().unwrap().kind)).collect();
                assert_eq!(events, session.events, "what is stored of session {s}");
            }
            let stored: BTreeSet<_> = self
                .processes
                .iter()
                .flatten()
                .take(1)
                .flat_map(|process| process.sessions.list_stored(0, usize::MAX).unwrap())
                .collect();
            if self.processes.iter().any(Option::is_some) {
                assert_eq!(stored, self.ids.iter().copied().collect());
            }
        } else {
            let list = self.at(0).sessions.list();
            let list: BTreeSet<_> = list.iter().map(|snapshot| snapshot.id).collect();
            let known = self.ids.iter().zip(&model.sessions);
            let known = known.filter(|(_, session)| !session.is_collected);
            assert_eq!(list, known.map(|(id, _)| *id).collect(), "the list");
            assert_eq!(self.at(0).sessions.len(), list.len());
        }
        self.check_waiters(model);
    }

    fn check_session(&self, p: usize, s: usize, model: &Model) {
        let session = &model.sessions[s];
        let found = self.get(p, s);
        let handle = match found {
            Ok(handle) => {
                assert!(!session.is_collected || model.is_durable, "session {s} is collected");
                handle
            }
            Err(error) => {
                assert!(session.is_collected && !model.is_durable, "session {s}: {error}");
                self.held[s].clone()
            }
        };
        let snapshot = handle.snapshot().unwrap();
        let at = format!("session {s} at process {p}: {:?}", session.script);
        let mut state = state_of(&snapshot.state);
        if let State::Done(log) = &mut state {
            let mut run = handle.typed::<Vec<String>>();
            match std::pin::Pin::new(&mut run).poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(output)) => *log = output,
                other => panic!("{other:?} of {at}"),
            }
        }
        assert_eq!(state, session.view(), "{at}");
        let cancel = snapshot.cancel_requested.as_ref().map(cause_of);
        assert_eq!(cancel, session.cancel, "{at}");
        assert_eq!(snapshot.attempt, session.attempt, "{at}");
        assert_eq!(snapshot.starts, session.starts, "{at}");
        assert_eq!(snapshot.last_seq, session.events.len() as u64, "{at}");
        let questions = handle.questions().unwrap();
        let questions: Vec<u32> = questions.iter().map(|question| question.id.0).collect();
        match session.view() {
            State::Paused(open) => assert_eq!(questions, open, "{at}"),
            _ => assert!(questions.is_empty(), "{at}"),
        }
        let outcome = handle.outcome().unwrap();
        assert_eq!(outcome.is_some(), session.state.is_terminal(), "{at}");
        let mut observer = handle.observe(Since::Beginning).unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        let mut events = Vec::new();
        let mut missed = 0;
        loop {
            match observer.poll_next(&mut cx) {
                Poll::Ready(Some(Observed::Event(event))) => events.push(event_of(&event.kind)),
                Poll::Ready(Some(Observed::Gap { from: 1, to })) if events.is_empty() => {
                    missed = to as usize;
                }
                Poll::Ready(None) | Poll::Pending => break,
                other => panic!("{other:?} of {at}"),
            }
        }
        let kept = if model.is_durable { usize::MAX } else { self.keep.unwrap_or(usize::MAX) };
        assert_eq!(events, session.events[missed..], "the events of {at}");
        let least = kept.max(usize::from(session.state.is_terminal())).min(session.events.len());
        assert!(events.len() >= least, "{missed} events of {at} are gone");
    }

    fn check_waiters(&mut self, model: &Model) {
        for waiter in &mut self.waiters {
            let session = &model.sessions[waiter.s];
            let said = waiter.said.lock().unwrap();
            match &*said {
                None => assert!(
                    !session.state.is_terminal(),
                    "somebody waits at process {} for session {}, which is {:?}",
                    waiter.p,
                    waiter.s,
                    session.state
                ),
                Some(_) if waiter.is_checked => continue,
                Some(Ok(State::Done(log))) if log.is_empty() => {
                    assert!(matches!(session.state, State::Done(_)), "{said:?} of {session:?}");
                }
                Some(Ok(state)) => assert_eq!(*state, session.state, "what a waiter is told"),
                Some(Err("suspended")) => {
                    let was = session.suspensions > waiter.suspensions
                        || matches!(session.view(), State::Suspended(_));
                    assert!(was, "a waiter is told of a suspension of {session:?}");
                }
                Some(Err(error)) => panic!("a waiter is told {error} of {session:?}"),
            }
            waiter.is_checked = said.is_some();
        }
    }

    /// All is over: nobody waits, nobody looks, and no event breaks a rule.
    pub(crate) fn end(mut self, model: &Model) {
        self.check(model);
        for session in &model.sessions {
            assert!(session.state.is_terminal(), "{session:?} does not end");
        }
        assert!(self.waiters.iter().all(|waiter| waiter.said.lock().unwrap().is_some()));
        for i in 0..self.watchers.len() {
            self.read(i, usize::MAX, model);
            assert!(self.watchers[i].is_over, "an observer does not end");
        }
        let mut events: Vec<Event> = Vec::new();
        match &self.reader {
            Some(reader) => {
                let all = reader.all_events(0, usize::MAX).unwrap();
                let all = all.iter().map(|event| event.event().unwrap());
                events.extend(all.filter(|event| matches!(event.stream, Stream::Session(_))));
            }
            None if self.keep.is_none() => {
                for handle in &self.held {
                    let mut observer = handle.observe(Since::Beginning).unwrap();
                    let mut cx = Context::from_waker(Waker::noop());
                    while let Poll::Ready(Some(Observed::Event(event))) =
                        observer.poll_next(&mut cx)
                    {
                        events.push(event);
                    }
                }
            }
            None => {}
        }
        assert_eq!(audit(&events), []);
        for p in 0..self.processes.len() {
            let sessions = self.at(p).sessions.clone();
            let report = self.call(p, async move { sessions.shutdown(Duration::ZERO).await });
            assert!(report.is_clean(), "{report:?}");
        }
    }
}

fn reply_to_answer(said: Result<Vec<QuestionId>, AnswerError>) -> Reply {
    let numbers = |ids: Vec<QuestionId>| ids.into_iter().map(|id| id.0).collect();
    match said {
        Ok(open) => Reply::StillOpen(numbers(open)),
        Err(AnswerError::NotOpen { questions }) => Reply::NotOpen(numbers(questions)),
        Err(AnswerError::NothingOpen { state }) => Reply::NothingOpen(name_of(state)),
        Err(AnswerError::AlreadyCancelled(cause)) => Reply::AlreadyCancelled(cause_of(&cause)),
        Err(error) => panic!("{error}"),
    }
}

fn reply_to_resume(said: Result<(), ResumeError>) -> Reply {
    match said {
        Ok(()) => Reply::Ok,
        Err(ResumeError::Owned { .. }) => Reply::Owned,
        Err(ResumeError::Ended { state }) => Reply::Ended(name_of(state)),
        Err(ResumeError::NotRetryable { .. }) => Reply::NotRetryable,
        Err(ResumeError::CrashLoop { .. }) => Reply::CrashLoop,
        Err(error) => panic!("{error}"),
    }
}

fn name_of(state: StateName) -> &'static str {
    match state {
        StateName::Planned => "planned",
        StateName::Running => "running",
        StateName::Paused => "paused",
        StateName::Suspended => "suspended",
        StateName::Done => "done",
        StateName::Failed => "failed",
        StateName::Cancelled => "cancelled",
    }
}

fn code_of(code: &str) -> CancelCode {
    match code {
        "user" => CancelCode::User,
        "timeout" => CancelCode::Timeout,
        _ => CancelCode::Internal,
    }
}

pub(crate) fn cause_of(cause: &CancelInfo) -> Cause {
    let code = match cause.code {
        CancelCode::User => "user",
        CancelCode::Timeout => "timeout",
        CancelCode::Parent => "parent",
        CancelCode::Shutdown => "shutdown",
        _ => "internal",
    };
    let text = match &*cause.text {
        text if text.starts_with("the session's limit of ") => "session limit",
        text if text.starts_with("no answer within ") => "pause limit",
        text => text,
    };
    (code, text.to_owned())
}

fn why(failure: &Failure) -> &'static str {
    match failure.cause() {
        FailureCause::Error => "error",
        FailureCause::Panic => "panic",
        FailureCause::Timeout { .. } => "timeout",
        FailureCause::CrashLoop { .. } => "crash_loop",
        _ => "unknown",
    }
}

fn suspended_by(cause: &SuspendCause) -> &'static str {
    match cause {
        SuspendCause::Interrupted => "interrupted",
        SuspendCause::Shutdown => "shutdown",
        SuspendCause::Answered => "answered",
        SuspendCause::Released => "released",
        _ => "mismatch",
    }
}

pub(crate) fn event_of(kind: &EventKind) -> Ev {
    match kind {
        EventKind::SessionPlanned { attempt } => Ev::Planned(*attempt),
        EventKind::SessionStarted { start } => Ev::Started(*start),
        EventKind::SessionPaused => Ev::Paused,
        EventKind::SessionQuestion(question) => Ev::Question(question.id.0),
        EventKind::SessionAnswered { question, answer, .. } => {
            Ev::Answered(question.0, answer.as_deref().unwrap_or("").to_owned())
        }
        EventKind::SessionQuestionWithdrawn { question } => Ev::Withdrawn(question.0),
        EventKind::SessionResumed { start } => Ev::Resumed(*start),
        EventKind::SessionCancelRequested(cause) => Ev::CancelRequested(cause_of(cause)),
        EventKind::SessionSuspended(cause) => Ev::Suspended(suspended_by(cause)),
        EventKind::SessionProgress { progress } => Ev::Progress(progress.parse().unwrap()),
        EventKind::SessionDone { .. } => Ev::Done,
        EventKind::SessionFailed(failure) => Ev::Failed(why(failure)),
        EventKind::SessionCancelled(cause) => Ev::Cancelled(cause_of(cause)),
        other => panic!("{other:?} is no event of a session"),
    }
}

fn is_terminal(event: &Ev) -> bool {
    matches!(event, Ev::Done | Ev::Failed(_) | Ev::Cancelled(_))
}

/// A Done one without what its body returned.
fn state_of(state: &SessionState) -> State {
    match state {
        SessionState::Planned => State::Planned,
        SessionState::Running => State::Running,
        SessionState::Paused(open) => {
            State::Paused(open.iter().map(|question| question.id.0).collect())
        }
        SessionState::Suspended(cause) => State::Suspended(suspended_by(cause)),
        SessionState::Done(_) => State::Done(Vec::new()),
        SessionState::Failed(failure) => State::Failed(why(failure)),
        SessionState::Cancelled(cause) => State::Cancelled(cause_of(cause)),
    }
}

fn state_of_outcome(outcome: &Outcome) -> State {
    match outcome {
        Outcome::Done(_) => State::Done(Vec::new()),
        Outcome::Failed(failure) => State::Failed(why(failure)),
        Outcome::Cancelled(cause) => State::Cancelled(cause_of(cause)),
    }
}

fn state_of_error(error: &RunError) -> Result<State, &'static str> {
    match error {
        RunError::Failed(failure) => Ok(State::Failed(why(failure))),
        RunError::Cancelled(cause) => Ok(State::Cancelled(cause_of(cause))),
        RunError::Suspended(_) => Err("suspended"),
        RunError::Lost(_) => Err("lost"),
        RunError::Get(_) => Err("nothing"),
        RunError::Output { .. } => Err("another output"),
    }
}
