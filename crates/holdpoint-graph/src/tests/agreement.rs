//! The driver, inline and spread over threads, against what the rules say of each task's end:
//! random graphs whose outcomes are fixed beforehand, so that no schedule can change them.

use std::future::Future;
use std::sync::{Arc, Mutex};

use holdpoint_core::{Cancel, CancelCode};
use holdpoint_hold::Holds;
use proptest::prelude::*;
use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;

use super::audit::Audit;
use super::config;
use super::plan::{Delays, Plan, plans};
use crate::{
    EdgeKind, Gate, Lookup, OnFailure, Outcome, Report, RunOptions, SendTaskRunner, TaskContext,
    TaskEnd, TaskEvent, TaskFailure, TaskId, run, run_spawned,
};

/// How a task ends, apart from messages and roots: which of two failures came first is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Fresh,
    Hit,
    Failed,
    Errored,
    Skipped,
    Cancelled,
}

/// Decides by task and question alone, as if by a hash.
#[derive(Debug, Clone)]
struct Fate {
    seed: u64,
    /// Numbers of the tasks do not matter, names do.
    names: Arc<Vec<String>>,
}

impl Fate {
    fn draw(&self, task: usize, question: &str, attempt: u32) -> u64 {
        let text = format!("{} {question} {attempt} {}", self.names[task], self.seed);
        let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let mut hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, hash);
        hash ^= hash >> 29;
        hash.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33
    }

    fn gate(&self, task: usize) -> Gate {
        match self.draw(task, "gate", 0) % 8 {
            0 => Gate::Failed(TaskFailure::new("rejected")),
            1 => Gate::Skip("not today".into()),
            _ => Gate::Open,
        }
    }

    fn lookup(&self, task: usize) -> Lookup {
        match self.draw(task, "lookup", 0) % 8 {
            0 => Lookup::Errored(TaskFailure::new("disk")),
            1 => Lookup::Skip("unwanted".into()),
            2..4 => Lookup::Hit,
            _ => Lookup::Miss,
        }
    }

    fn attempt(&self, task: usize, attempt: u32) -> TaskEnd {
        match self.draw(task, "attempt", attempt) % 12 {
            0 | 1 => TaskEnd::Failed(TaskFailure::new("boom")),
            2 => TaskEnd::Failed(TaskFailure::new("boom").permanent()),
            3 => TaskEnd::Errored(TaskFailure::new("gone")),
            4 => TaskEnd::Cancelled,
            _ => TaskEnd::Succeeded,
        }
    }

    /// How every task ends in a run that keeps going.
    fn ends(&self, plan: &Plan) -> Vec<End> {
        let mut ends: Vec<Option<End>> = vec![None; plan.tasks.len()];
        while let Some(task) = (0..ends.len()).find(|&task| {
            let mut before = plan.tasks[task].after.iter();
            ends[task].is_none() && before.all(|&(before, _)| ends[before].is_some())
        }) {
            let good = |&(before, kind): &(usize, EdgeKind)| {
                let end = ends[before].expect("it is before");
                let allowed = plan.tasks[before].allow_failure;
                kind != EdgeKind::Hard
                    || matches!(end, End::Fresh | End::Hit)
                    || allowed && matches!(end, End::Failed | End::Errored)
            };
            let begins = plan.tasks[task].after.iter().all(good);
            ends[task] = Some(if begins { self.end(plan, task) } else { End::Skipped });
        }
        ends.into_iter().map(|end| end.expect("a graph without cycles")).collect()
    }

    fn end(&self, plan: &Plan, task: usize) -> End {
        let settings = &plan.tasks[task];
        match self.gate(task) {
            Gate::Failed(_) if settings.gated => return End::Failed,
            Gate::Skip(_) if settings.gated => return End::Skipped,
            _ => {}
        }
        match self.lookup(task) {
            Lookup::Hit if settings.lookup => return End::Hit,
            Lookup::Skip(_) if settings.lookup => return End::Skipped,
            Lookup::Errored(_) if settings.lookup => return End::Errored,
            _ => {}
        }
        let most = settings.retry.map_or(1, |(attempts, _)| attempts);
        for attempt in 1..=most {
            let last = attempt == most;
            match self.attempt(task, attempt) {
                TaskEnd::Succeeded => return End::Fresh,
                TaskEnd::Cancelled => return End::Cancelled,
                TaskEnd::Failed(failure) if last || failure.is_permanent() => return End::Failed,
                TaskEnd::Errored(_) if last => return End::Errored,
                TaskEnd::Failed(_) | TaskEnd::Errored(_) => {}
            }
        }
        unreachable!("the last attempt is an end")
    }
}

impl SendTaskRunner for Fate {
    async fn gate(&self, cx: TaskContext) -> Gate {
        self.take_time(&cx, "gate").await;
        self.gate(cx.task().index())
    }

    async fn lookup(&self, cx: TaskContext) -> Lookup {
        self.take_time(&cx, "lookup").await;
        self.lookup(cx.task().index())
    }

    async fn execute(&self, cx: TaskContext) -> TaskEnd {
        self.take_time(&cx, "execute").await;
        self.attempt(cx.task().index(), cx.attempt())
    }
}

impl Fate {
    fn take_time(&self, cx: &TaskContext, what: &'static str) -> impl Future<Output = ()> + use<> {
        let yields = self.draw(cx.task().index(), what, cx.attempt()) % 4;
        async move {
            for _ in 0..yields {
                yield_now().await;
            }
        }
    }
}

/// A plan that does not depend on time, and what happens in it.
fn fates() -> impl Strategy<Value = (Plan, Fate)> {
    (plans(30), any::<u64>()).prop_map(|(mut plan, seed)| {
        for task in &mut plan.tasks {
            task.timeout = None;
            task.retry = task.retry.map(|(attempts, _)| (attempts, Delays::Fixed(0)));
        }
        let names = Arc::new(plan.tasks.iter().map(|task| task.full_name()).collect());
        (plan, Fate { seed, names })
    })
}

fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime")
}

fn two_threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_time().build().expect("a runtime")
}

/// Runs a plan, inline or spread; its events are audited and no hold is left.
async fn ran(plan: &Plan, fate: &Fate, cancel: Cancel, spread: bool) -> Report {
    let (topology, holds) = (plan.topology(), Holds::new());
    let mut audit = Audit::new(&topology);
    let observer = |event: &TaskEvent| audit.take(event);
    let options = RunOptions::default().limits(plan.limits()).on_failure(plan.on_failure);
    let options = options.holds(holds.clone()).cancel(cancel).observer(observer);
    let report = if spread {
        run_spawned(&topology, Arc::new(fate.clone()), options).await
    } else {
        run(&topology, fate, options).await
    };
    let report = report.expect("a good run");
    assert_eq!(report.observer_panic(), None, "the audit found something");
    audit.compare(&report);
    assert!(holds.is_empty());
    report
}

/// A run that keeps what it does over several lives.
#[derive(Clone)]
struct Lives {
    fate: Fate,
    recorded: Arc<Mutex<Vec<(TaskId, TaskEnd)>>>,
}

impl Lives {
    fn known(&self) -> Vec<(TaskId, TaskEnd)> {
        self.recorded.lock().expect("nobody panics").clone()
    }

    /// One more life, which begins with what is recorded.
    async fn live(&self, plan: &Plan, spread: bool) -> Report {
        let known = self.known();
        let topology = plan.topology();
        let mut audit = Audit::new(&topology);
        known.iter().for_each(|(task, _)| audit.knows(*task));
        let observer = |event: &TaskEvent| audit.take(event);
        let options = RunOptions::default().limits(plan.limits()).on_failure(plan.on_failure);
        let options = options.recorded(true).known(known).observer(observer);
        let report = if spread {
            run_spawned(&topology, Arc::new(self.clone()), options).await
        } else {
            run(&topology, self, options).await
        };
        let report = report.expect("a good run");
        assert_eq!(report.observer_panic(), None, "the audit found something");
        audit.compare(&report);
        report
    }
}

impl SendTaskRunner for Lives {
    async fn gate(&self, cx: TaskContext) -> Gate {
        SendTaskRunner::gate(&self.fate, cx).await
    }

    async fn lookup(&self, cx: TaskContext) -> Lookup {
        SendTaskRunner::lookup(&self.fate, cx).await
    }

    async fn execute(&self, cx: TaskContext) -> TaskEnd {
        SendTaskRunner::execute(&self.fate, cx).await
    }

    async fn record(&self, cx: TaskContext, outcome: Outcome) {
        self.fate.take_time(&cx, "record").await;
        let end = match outcome {
            Outcome::Succeeded(crate::Source::Fresh) => TaskEnd::Succeeded,
            Outcome::Failed { failure, .. } => TaskEnd::Failed(failure),
            Outcome::Errored { failure, .. } => TaskEnd::Errored(failure),
            other => panic!("{other:?} is not recorded"),
        };
        self.recorded.lock().expect("nobody panics").push((cx.task(), end));
    }
}

fn ends(plan: &Plan, report: &Report) -> Vec<End> {
    let end = |task: &super::plan::Task| {
        let id = report.topology().find(&task.full_name()).expect("a task");
        match report.outcome(id) {
            Outcome::Succeeded(crate::Source::Fresh) => End::Fresh,
            Outcome::Succeeded(crate::Source::Cache) => End::Hit,
            Outcome::Failed { .. } => End::Failed,
            Outcome::Errored { .. } => End::Errored,
            Outcome::Skipped(_) => End::Skipped,
            Outcome::Cancelled { .. } => End::Cancelled,
        }
    };
    plan.tasks.iter().map(end).collect()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn graph_008_graph_015_gr_1_gr_3_inline_and_spread_end_as_the_rules_say(
        (mut plan, fate) in fates()
    ) {
        plan.on_failure = OnFailure::KeepGoing;
        let expected = fate.ends(&plan);
        let inline = one_thread().block_on(ran(&plan, &fate, Cancel::new(), false));
        prop_assert_eq!(&ends(&plan, &inline), &expected);
        let spread = two_threads().block_on(ran(&plan, &fate, Cancel::new(), true));
        prop_assert_eq!(ends(&plan, &spread), expected);
    }

    /// Two crashes at any moment, and then a life to the end: the ends are those of a run without
    /// a crash, what was recorded does not do anything again, and whatever executed is recorded.
    #[test]
    fn graph_008_graph_009_store_011_gr_1_gr_3_a_run_goes_on_after_crashes(
        (mut plan, fate) in fates(), moments in any::<[u8; 2]>(), spread in any::<bool>()
    ) {
        plan.on_failure = OnFailure::KeepGoing;
        let expected = fate.ends(&plan);
        let lives = Lives { fate, recorded: Arc::default() };
        let runtime = || if spread { two_threads() } else { one_thread() };
        for moment in moments {
            runtime().block_on(async {
                let crash = async {
                    for _ in 0..moment % 40 {
                        yield_now().await;
                    }
                };
                tokio::select! {
                    _ = lives.live(&plan, spread) => {}
                    () = crash => {}
                }
            });
        }
        let report = runtime().block_on(lives.live(&plan, spread));
        prop_assert_eq!(ends(&plan, &report), expected);
        let mut recorded: Vec<TaskId> = lives.known().into_iter().map(|(task, _)| task).collect();
        recorded.sort_unstable();
        let count = recorded.len();
        recorded.dedup();
        prop_assert_eq!(recorded.len(), count, "recorded twice");
        for task in report.topology().tasks().filter(|&task| report.row(task).attempts > 0) {
            let cancelled = matches!(report.outcome(task), Outcome::Cancelled { .. });
            prop_assert_eq!(recorded.contains(&task), !cancelled);
        }
    }

    /// A cancel at any moment, in every mode: no task without its one end, no hold left.
    #[test]
    fn graph_009_graph_008_gr_3_ho_3_a_cancel_at_any_moment_ends_the_run(
        (plan, fate) in fates(), moment in 0..40_u32, spread in any::<bool>()
    ) {
        let cancel = Cancel::new();
        let run = async {
            let other = async {
                for _ in 0..moment {
                    yield_now().await;
                }
                cancel.cancel(CancelCode::User, "enough");
            };
            tokio::join!(ran(&plan, &fate, cancel.clone(), spread), other).0
        };
        let runtime = if spread { two_threads() } else { one_thread() };
        let report = runtime.block_on(run);
        prop_assert_eq!(report.rows().len(), plan.tasks.len());
    }
}
