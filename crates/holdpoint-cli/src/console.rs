//! What a person sees of a run: output as it comes or in blocks, a row for each end, a summary.
//!
//! Reading order: `look` (what is shown, and how), `Console` (who is told what happens), `live`
//! (the output of one attempt), `summary`, `writer` (the thread that writes).

mod live;
mod look;
mod summary;
mod writer;

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use holdpoint::event::{CacheSource, EventKind, SkipCause};
use holdpoint::graph::Hold;
use holdpoint::manifest::Task;
use holdpoint::process::{Tail, write_block};
use holdpoint::run::{Attempt, AttemptOutput, Plan, TaskOutput};
use holdpoint::session::Question;
use holdpoint::{Event, EventSink, TaskName};

use crate::check::command;
use crate::text::{plain, short, tasks, took};

use live::Live;
pub(crate) use look::{Look, colours_on};
use look::{State, Style};
pub(crate) use writer::{Target, Writer};

/// Shows a run to a person.
pub(crate) struct Console {
    plan: Plan,
    look: Look,
    out: Arc<Writer>,
    /// Only one task has a process: its output needs no name, and its end no row.
    alone: bool,
    /// The characters of the longest name.
    width: usize,
    board: Arc<Mutex<Board>>,
}

/// What is remembered of tasks between two events.
#[derive(Default)]
struct Board {
    began: HashMap<TaskName, Instant>,
    /// Of the last attempt that has ended, until its task ends or is tried again.
    closed: HashMap<TaskName, Output>,
    /// The first tasks that failed, in that order, with their output where there is any.
    failed: Vec<(TaskName, Option<Output>)>,
}

/// The output of an attempt that has ended.
struct Output {
    log: PathBuf,
    tail: Tail,
    is_leaky: bool,
}

impl Console {
    pub(crate) fn new(plan: Plan, mut look: Look, out: Arc<Writer>) -> Self {
        let commands = plan.order().filter(|id| plan.task(*id).action.is_some());
        let alone = commands.count() == 1;
        if alone && look.style == Style::Grouped {
            // It is one block as it comes, and needs no title.
            look.style = Style::Stream;
        }
        let widths = plan.order().map(|id| plan.name(id).to_string().len());
        let width = widths.max().unwrap_or_default();
        Self { plan, look, out, alone, width, board: Arc::default() }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        lock(&self.board)
    }

    fn task(&self, name: &TaskName) -> Option<&Task> {
        self.plan.manifest().task(name.task().as_str())
    }

    /// A row on standard error.
    pub(crate) fn say(&self, text: &str) {
        self.out.write(Target::Stderr, format!("{text}\n").into_bytes());
    }

    /// A row about a task.
    fn row(&self, task: &TaskName, state: State, detail: &str) {
        let name = format!("{task:width$}", width = self.width);
        let row = format!("  {name}  {}  {}", self.look.word(state, WORD), plain(detail));
        self.say(row.trim_end());
    }

    fn began(&self, task: &TaskName) {
        self.board().began.insert(task.clone(), Instant::now());
        if self.look.verbose {
            let does = self.task(task).and_then(command).unwrap_or_else(|| "(a group)".into());
            self.row(task, State::Started, &does);
        }
    }

    fn tried(&self, task: &TaskName, attempt: u32, delay_ms: u64, message: &str) {
        let of = self
            .task(task)
            .and_then(|task| task.retry)
            .map_or(attempt, |retry| retry.attempts.get());
        let delay = took(Duration::from_millis(delay_ms));
        let message = short(message, DETAIL);
        let detail = format!("{message}; attempt {attempt} of {of}, the next in {delay}");
        let output = self.board().closed.remove(task);
        self.tell(task, State::Retry, &detail, output.as_ref());
    }

    fn ended(&self, task: &TaskName, state: State, detail: &str) {
        let (began, output) = {
            let mut board = self.board();
            (board.began.remove(task), board.closed.remove(task))
        };
        let leak = output.as_ref().filter(|output| output.is_leaky).map(|_| LEAK.to_owned());
        if leak.is_some() || self.is_worth_a_row(task, state, began.is_some()) {
            let detail = Some(short(detail, DETAIL)).filter(|detail| !detail.is_empty());
            let time = began.map(|began| took(began.elapsed()));
            let parts: Vec<String> = [detail, time, leak].into_iter().flatten().collect();
            self.tell(task, state, &parts.join(", "), output.as_ref());
        }
        if matches!(state, State::Failed | State::Errored) {
            let mut board = self.board();
            if board.failed.len() < TOLD {
                board.failed.push((task.clone(), output));
            }
        }
    }

    /// What happened to a task, with the whole output of its attempt where that is the style.
    fn tell(&self, task: &TaskName, state: State, detail: &str, output: Option<&Output>) {
        let block = output.filter(|_| self.look.style == Style::Grouped);
        // A silent process has left no file.
        let Some(log) = block.and_then(|output| File::open(&output.log).ok()) else {
            return self.row(task, state, detail);
        };
        let title = format!("{task}: {}, {detail}", state.name());
        let target = self.look.stdout;
        let mut to = self.out.stream(target);
        if let Err(error) = write_block(&mut to, &title, log, self.look.rendering(target)) {
            self.row(task, state, &format!("{detail}, and its output cannot be read: {error}"));
        }
    }

    fn is_worth_a_row(&self, task: &TaskName, state: State, has_begun: bool) -> bool {
        let is_group = || self.task(task).is_some_and(|task| task.action.is_none());
        let says_something = match state {
            State::Ok => !self.alone && !is_group() && self.look.style != Style::None,
            // The summary says it, and nothing stands in between.
            State::Failed | State::Errored => !self.alone,
            State::Cancelled => has_begun,
            _ => true,
        };
        says_something || self.look.verbose
    }

    fn skipped(&self, task: &TaskName, cause: SkipCause, upstream: Option<&TaskName>, why: &str) {
        if cause == SkipCause::Condition {
            return self.ended(task, State::Skipped, why);
        }
        // The root of it has a row; those behind it are counted at the end.
        if !self.look.verbose {
            return;
        }
        let root = upstream.map(ToString::to_string).unwrap_or_default();
        let why = match cause {
            SkipCause::UpstreamFailed => format!("{root} failed"),
            SkipCause::UpstreamErrored => format!("{root} could not be done"),
            SkipCause::UpstreamSkipped => format!("{root} was skipped"),
            SkipCause::UpstreamCancelled => format!("{root} was cancelled"),
            _ => format!("the run stopped when {root} failed"),
        };
        self.row(task, State::Skipped, &why);
    }

    /// The first signal, or another reason to let go of the run.
    pub(crate) fn stopping(&self, why: &str) {
        let running = self.board().began.len();
        self.say(&format!(
            "{}: ending {}; a second signal ends everything at once",
            plain(why),
            tasks(running)
        ));
    }

    /// Somebody wants the run to end for good.
    fn cancel_requested(&self, why: &str) {
        let running = self.board().began.len();
        self.say(&format!("cancelled, {}: ending {}", plain(why), tasks(running)));
    }

    /// A task waits for an answer.
    fn asked(&self, question: &Question) {
        if let Some(task) = &question.task {
            self.row(task, State::Waiting, &format!("\"{}\"", plain(&question.prompt)));
        }
    }
}

/// The characters of the longest state.
const WORD: usize = 9;

/// Failed tasks that the summary tells of one by one; others are only named.
const TOLD: usize = 5;

/// How much of a message stands in a row; the summary has all of it.
const DETAIL: usize = 60;

/// What is said of a task whose output is still open after its end.
const LEAK: &str = "a process it left behind still holds its output";

impl EventSink for Console {
    fn event(&self, event: &Event) {
        match &event.kind {
            EventKind::TaskStarted { task } => self.began(task),
            EventKind::TaskRetry { task, attempt, delay_ms, message } => {
                self.tried(task, *attempt, *delay_ms, message);
            }
            EventKind::HoldWaiting { task: Some(task), .. } if self.look.verbose => {
                let holds = self.plan.topology().find(&task.to_string());
                let holds = holds.map(|id| self.plan.topology().holds(id)).unwrap_or_default();
                let names: Vec<String> = holds.iter().map(Hold::to_string).collect();
                self.row(task, State::Waiting, &format!("for {}", names.join(", ")));
            }
            EventKind::TaskSucceeded { task, source } => {
                // Of a task that has not begun here: another attempt of the run has done it.
                let has_begun = self.board().began.contains_key(task);
                let is_kept = !has_begun && *source == CacheSource::Fresh;
                self.ended(task, State::Ok, if is_kept { "as before" } else { "" });
            }
            EventKind::TaskFailed { task, message, allowed, .. } => {
                self.ended(task, State::Failed.or_allowed(*allowed), message);
            }
            EventKind::TaskErrored { task, message, allowed } => {
                self.ended(task, State::Errored.or_allowed(*allowed), message);
            }
            EventKind::TaskSkipped { task, cause, upstream, message } => {
                let why = message.as_deref().unwrap_or_default();
                self.skipped(task, *cause, upstream.as_ref(), why);
            }
            EventKind::TaskCancelled { task, text, .. } => {
                self.ended(task, State::Cancelled, text.as_deref().unwrap_or_default());
            }
            EventKind::SessionQuestion(question) => self.asked(question),
            EventKind::SessionCancelRequested(cause) => self.cancel_requested(&cause.text),
            _ => {}
        }
    }
}

impl TaskOutput for Console {
    fn open(&self, attempt: &Attempt<'_>) -> Box<dyn AttemptOutput> {
        Box::new(Live::new(self, attempt))
    }
}

fn lock(board: &Mutex<Board>) -> MutexGuard<'_, Board> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}
