//! `stats`: how long tasks take, and how often they fail, over the runs that are kept.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use holdpoint::run::{Ending, list_runs};
use holdpoint::store::OpenError;
use serde::Serialize;

use crate::args::{Common, StatsArgs};
use crate::failure::Failure;
use crate::list::json;
use crate::text::{print, took};
use crate::workspace::Workspace;

use super::show::lasted;
use super::tasks::{Row, Story, TaskState};

/// What is known of one task.
#[derive(Debug, Default)]
struct Known {
    /// How long it took, where it was executed and succeeded.
    times: Vec<Duration>,
    /// How often it was executed to its end.
    ended: u64,
    failed: u64,
    /// How often it succeeded only after it had failed in the same run.
    flaky: u64,
    cached: u64,
}

/// Tells of tasks.
pub(crate) fn stats(common: &Common, args: &StatsArgs) -> Result<Ending, Failure> {
    let mut tasks: BTreeMap<String, Known> = BTreeMap::new();
    match Workspace::open_to_read(common) {
        Ok(workspace) => {
            let store = workspace.store();
            let mut runs = list_runs(&*store, 0).map_err(Failure::Read)?;
            let first = runs.len().saturating_sub(args.last);
            for run in runs.drain(first..) {
                let story = Story::read(&*store, run.id).map_err(Failure::Read)?;
                for (name, row) in &story.tasks {
                    tasks.entry(name.to_string()).or_default().take_in(row);
                }
            }
        }
        // Nothing has ever been run here.
        Err(Failure::Open(OpenError::Missing { .. })) => {}
        Err(failure) => return Err(failure),
    }
    if let Some(task) = &args.task {
        tasks.retain(|name, _| name == task);
        if tasks.is_empty() {
            return Err(Failure::NoSuchThing(task.clone()));
        }
    }
    tasks.retain(|_, known| known.ended + known.cached > 0);
    let text = if args.json { as_json(&mut tasks) } else { as_text(&mut tasks) };
    print(&text).map_err(Failure::Output)?;
    Ok(Ending::Succeeded)
}

impl Known {
    fn take_in(&mut self, row: &Row) {
        match row.state {
            TaskState::Succeeded if row.is_cached => self.cached += 1,
            TaskState::Succeeded => {
                self.ended += 1;
                self.flaky += u64::from(row.attempt > 1);
                // What was kept of an earlier attempt of the run took no time in this one.
                self.times.extend(lasted(row));
            }
            TaskState::Failed | TaskState::Errored => {
                self.ended += 1;
                self.failed += 1;
            }
            _ => {}
        }
    }

    /// The time within which so many of a hundred were done.
    fn percentile(&mut self, percent: usize) -> Option<Duration> {
        self.times.sort_unstable();
        let last = self.times.len().checked_sub(1)?;
        self.times.get((last * percent).div_ceil(100)).copied()
    }
}

#[derive(Serialize)]
struct Answer<'a> {
    task: &'a str,
    executed: u64,
    failed: u64,
    flaky: u64,
    cached: u64,
    p50_ms: Option<f64>,
    p95_ms: Option<f64>,
}

fn as_json(tasks: &mut BTreeMap<String, Known>) -> String {
    let millis = |duration: Option<Duration>| duration.map(|time| time.as_secs_f64() * 1000.0);
    let rows = tasks.iter_mut().map(|(task, known)| Answer {
        task,
        executed: known.ended,
        failed: known.failed,
        flaky: known.flaky,
        cached: known.cached,
        p50_ms: millis(known.percentile(50)),
        p95_ms: millis(known.percentile(95)),
    });
    json(&rows.collect::<Vec<_>>())
}

fn as_text(tasks: &mut BTreeMap<String, Known>) -> String {
    if tasks.is_empty() {
        return "no task has been run to its end yet\n".to_owned();
    }
    let width = tasks.keys().map(String::len).max().unwrap_or_default().max(4);
    let mut text = format!(
        "{:width$}  {:>8}  {:>9}  {:>9}  {:>6}  {:>5}\n",
        "task", "executed", "p50", "p95", "failed", "flaky"
    );
    for (name, known) in tasks {
        let time = |time: Option<Duration>| time.map_or_else(|| "-".to_owned(), took);
        let (median, slow) = (time(known.percentile(50)), time(known.percentile(95)));
        let _ = writeln!(
            text,
            "{name:width$}  {:>8}  {median:>9}  {slow:>9}  {:>6}  {:>5}",
            known.ended,
            share(known.failed, known.ended),
            share(known.flaky, known.ended - known.failed)
        );
    }
    text
}

/// `12 %`; a share of nothing is a dash.
fn share(part: u64, whole: u64) -> String {
    if whole == 0 { "-".to_owned() } else { format!("{} %", (100 * part).div_ceil(whole)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let times = |count: u64| (1..=count).map(Duration::from_millis).collect();
        let mut known = Known { times: times(100), ..Known::default() };
        assert_eq!(known.percentile(50), Some(Duration::from_millis(51)));
        assert_eq!(known.percentile(95), Some(Duration::from_millis(96)));
        let mut one = Known { times: times(1), ..Known::default() };
        assert_eq!(one.percentile(95), Some(Duration::from_millis(1)));
        assert_eq!(Known::default().percentile(50), None);
    }

    #[test]
    fn shares_are_of_something() {
        assert_eq!((share(0, 0).as_str(), share(1, 3).as_str()), ("-", "34 %"));
    }
}
