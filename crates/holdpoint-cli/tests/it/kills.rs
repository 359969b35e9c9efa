//! Runs of random graphs whose program is killed with SIGKILL, and that are resumed until they
//! have come to their end.
//!
//! What they are judged by is what their tasks did: each writes to a journal when it begins and
//! when it ends, under which start and attempt. `HOLDPOINT_KILLS` says how often the program is
//! killed, `HOLDPOINT_SEED` where the seeds of the graphs begin: a failure names the seed of its
//! graph.

mod judge;
mod made;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::random::{Dice, setting};
use crate::support::{Project, Ran, Running, wait_until};

use judge::{Line, Moment};
use made::{Made, SCRIPT};

/// Whether what a killed start left has to be gone before the next one begins anything.
const ORPHANS_ARE_GONE: bool = true;
/// Kills without a new record in between; more would be a crash loop (SESS-018).
const IN_A_ROW: u32 = 3;
/// The log of the store, which grows with each commit.
const LOG: &str = ".holdpoint/holdpoint.db-wal";
const ENDS: [&str; 5] =
    ["task_succeeded", "task_failed", "task_errored", "task_skipped", "task_cancelled"];

fn kills() -> u64 {
    setting("HOLDPOINT_KILLS").unwrap_or(20)
}

/// When the program is killed.
#[derive(Debug)]
enum When {
    /// So long after its start.
    After(Duration),
    /// When its tasks have written so many lines, and a little later.
    Lines(usize, Duration),
    /// When the log of its store has grown so many times.
    Commits(usize),
    /// At its n-th call of a kind, by `strace`.
    Call(&'static str, usize),
}

impl When {
    fn by_chance(dice: &mut Dice) -> Self {
        let micros = |dice: &mut Dice, most: usize| Duration::from_micros(dice.below(most) as u64);
        match dice.below(10) {
            0 | 1 => Self::After(micros(dice, 12_000)),
            2..=4 => Self::After(micros(dice, 250_000)),
            5..=7 => Self::Lines(1 + dice.below(12), micros(dice, 4_000)),
            _ => Self::Commits(1 + dice.below(12)),
        }
    }
}

/// A run from its beginning to its end, over as many lives of the program as it takes.
struct Story {
    seed: u64,
    made: Made,
    project: Project,
    dice: Dice,
    lives: usize,
    kills: u64,
    /// Kills since there was a new record.
    idle: u32,
    entries: u64,
    moments: Vec<Moment>,
    faults: Vec<String>,
    /// Answers that were acknowledged, by task.
    answered: Vec<(String, bool)>,
    said: String,
    is_judged: Cell<bool>,
}

impl Story {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let made = Made::up(&mut dice);
        let project = Project::new(&made.manifest());
        project.write("task.sh", SCRIPT);
        Self {
            seed,
            made,
            project,
            dice,
            lives: 0,
            kills: 0,
            idle: 0,
            entries: 0,
            moments: Vec::new(),
            faults: Vec::new(),
            answered: Vec::new(),
            said: String::new(),
            is_judged: Cell::new(false),
        }
    }

    fn fault(&mut self, text: impl Into<String>) {
        let text = format!("in life {}: {}", self.lives, text.into());
        self.faults.push(text);
    }

    /// The program as it is asked to look, which always can.
    fn look(&self, arguments: &[&str]) -> Ran {
        self.project.run(arguments).ends_with(0)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.look(arguments).stdout).unwrap()
    }

    /// Whether the run is in the store: else it has to begin.
    fn is_there(&self) -> bool {
        let runs = self.json(&["ps", "--all", "--json"]);
        assert!(runs.as_array().unwrap().len() <= 1, "{runs}");
        runs[0]["run"] == 1
    }

    fn journal(&self) -> Vec<Line> {
        self.project.lines("journal").iter().filter_map(|line| Line::parse(line)).collect()
    }

    /// Lets the program live until it ends or is killed. None where it was.
    fn live(&mut self, when: Option<&When>) -> Option<Ran> {
        self.lives += 1;
        let events = format!("events-{}", self.lives);
        let mut arguments = self.made.arguments(self.is_there());
        arguments.extend(["-o", "none", "--events", &events]);
        let command = self.project.command(&arguments);
        let mut running = match when {
            Some(When::Call(call, nth)) => Running::start(traced(&command, call, *nth)),
            _ => Running::start(command),
        };
        let is_over = match when {
            None | Some(When::Call(..)) => true,
            Some(When::After(delay)) => {
                thread::sleep(*delay);
                false
            }
            Some(When::Lines(lines, delay)) => {
                let until = self.project.lines("journal").len() + lines;
                let is_over =
                    self.follow(&mut running, || self.project.lines("journal").len() >= until);
                thread::sleep(*delay);
                is_over
            }
            Some(When::Commits(times)) => {
                let length = || fs::metadata(self.project.path(LOG)).map_or(0, |about| about.len());
                let (last, grown) = (Cell::new(length()), Cell::new(0));
                self.follow(&mut running, || {
                    if length() != last.replace(length()) {
                        grown.set(grown.get() + 1);
                    }
                    grown.get() >= *times
                })
            }
        };
        if !is_over {
            self.nobody_is_beside_the_newest_start();
            let _ = running.child.kill();
        }
        let ran = running.wait();
        self.said += &format!("\n-- {arguments:?}, {when:?}: {}\n{}", ran.status, ran.said());
        if ran.stderr.contains("panicked") {
            self.fault("it panicked");
        }
        let was_killed = ran.status.signal() == Some(9);
        self.kills += u64::from(was_killed);
        (!was_killed).then_some(ran)
    }

    /// Waits until it is so; says whether the program has ended before.
    fn follow(&self, running: &mut Running, is_so: impl Fn() -> bool) -> bool {
        while !is_so() {
            if running.child.try_wait().unwrap().is_some() {
                return true;
            }
            thread::sleep(Duration::from_micros(50));
        }
        false
    }

    /// PROC-007.
    fn nobody_is_beside_the_newest_start(&mut self) {
        let newest = self.journal().iter().map(|line| line.start).max().unwrap_or(0);
        let root = self.project.root().to_owned();
        for (pid, start, task) in tasks_in(&root).into_iter().filter(|(_, at, _)| *at < newest) {
            if ORPHANS_ARE_GONE {
                self.fault(format!(
                    "process {pid} of {task} of start {start} is alive beside start {newest}"
                ));
            }
        }
    }

    /// After each life: what was told is in the store, what was is still there, and nobody runs it.
    fn look_around(&mut self) {
        let lines = self.journal().len();
        let export = self.look_at_export();
        let entries = export.first().and_then(|about| about["entries"].as_u64()).unwrap_or(0);
        self.idle = if entries == self.entries { self.idle + 1 } else { 0 };
        self.entries = entries;
        let mut recorded = ended(export.iter().map(|line| &line["event"]));
        let told = self.project.lines(&format!("events-{}", self.lives));
        // The last line may have been cut off by the kill.
        let told: Vec<Value> =
            told.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
        for task in ended(told.iter()).difference(&recorded) {
            self.faults.push(format!("the end of {task} was told and is not recorded"));
        }
        if let Some(before) = self.moments.last() {
            for task in before.recorded.difference(&recorded) {
                self.faults.push(format!("the end of {task} is not recorded any more"));
            }
        }
        if lines > 0 && export.is_empty() {
            self.fault("tasks began before there was a run");
        }
        for (task, _) in &self.answered {
            recorded.remove(task);
        }
        self.moments.push(Moment { lines, recorded });
        let runs = self.json(&["ps", "--json"]);
        if runs.as_array().unwrap().iter().any(|run| run["state"] == "running") {
            self.fault(format!("nobody runs it: {runs}"));
        }
    }

    fn look_at_export(&self) -> Vec<Value> {
        if !self.project.has(".holdpoint/holdpoint.db") {
            return Vec::new();
        }
        let ran = self.project.run(&["store", "export", "-"]);
        if ran.code() == 2 {
            // It was killed while it made the store.
            assert!(!self.is_there(), "{ran:#?}");
            return Vec::new();
        }
        let ran = ran.ends_with(0);
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Answers one open question, where there is one; sometimes who answers is killed.
    fn answer(&mut self) {
        if !self.is_there() {
            return;
        }
        let shown = self.json(&["show", "1", "--json"]);
        let is_open = |asked: &&Value| asked["answered_at"].is_null() && asked["withdrawn"] != true;
        let open: Vec<&Value> =
            shown["questions"].as_array().unwrap().iter().filter(is_open).collect();
        if open.is_empty() {
            return;
        }
        let task = open[self.dice.below(open.len())]["task"].as_str().unwrap().to_owned();
        let asks = |made: &Made| made.tasks.iter().find(|other| other.name == task)?.asks;
        let yes = asks(&self.made).unwrap();
        let word = if yes { "approve" } else { "reject" };
        let mut running = Running::start(self.project.command(&[word, "1", &task]));
        if self.dice.percent(20) {
            thread::sleep(Duration::from_micros(self.dice.below(12_000) as u64));
            let _ = running.child.kill();
        }
        let ran = running.wait();
        self.said += &format!("\n-- {word} {task}: {}\n{}", ran.status, ran.said());
        if ran.status.success() {
            self.answered.push((task, yes));
        } else if ran.status.signal().is_none() && ran.code() != 1 {
            self.fault(format!("the answer failed otherwise than by coming late: {ran:#?}"));
        }
    }

    /// RUN-002: whoever has its answer has made use of it.
    fn nothing_else_can_go_on(&mut self, shown: &Value) {
        let questions = shown["questions"].as_array().unwrap();
        for asked in questions.iter().filter(|asked| asked["answered_at"].is_string()) {
            let mut tasks = shown["tasks"].as_array().unwrap().iter();
            let task = tasks.find(|task| task["task"] == asked["task"]).unwrap();
            if ["pending", "waiting", "running"].iter().any(|state| task["state"] == *state) {
                self.fault(format!("it could go on: {asked}, {task}"));
            }
        }
    }

    /// Lives until the end, killed as said, and is judged.
    fn play(mut self, whens: Vec<When>) -> u64 {
        let mut whens = whens.into_iter();
        loop {
            let when = if self.idle < IN_A_ROW { whens.next() } else { None };
            let ended = self.live(when.as_ref());
            self.look_around();
            let shown = self.is_there().then(|| self.json(&["show", "1", "--json"]));
            let state = shown.as_ref().map_or("", |shown| shown["state"].as_str().unwrap());
            let is_over = matches!(state, "done" | "failed" | "cancelled");
            match ended.map(|ran| ran.code()) {
                None if is_over => break,
                None => {
                    if self.dice.percent(30) {
                        self.answer();
                    }
                }
                Some(3) if state == "paused" && !self.made.says_yes => {
                    self.idle = 0;
                    self.nothing_else_can_go_on(&shown.unwrap_or_default());
                    self.answer();
                }
                Some(code) => {
                    let expected = if self.made.fails() { (1, "failed") } else { (0, "done") };
                    if (code, state) != expected {
                        self.fault(format!("ended with {code}, {state} and not {expected:?}"));
                    }
                    break;
                }
            }
        }
        self.judge();
        self.kills
    }

    fn judge(&mut self) {
        self.faults.extend(judge::judge(&self.made, &self.journal(), &self.moments));
        let root = self.project.root().to_owned();
        if ORPHANS_ARE_GONE {
            for (pid, start, task) in tasks_in(&root) {
                self.fault(format!("process {pid} of {task} of start {start} is left"));
            }
        }
        wait_until("the last process", || tasks_in(&root).is_empty());

        let shown = self.json(&["show", "1", "--json"]);
        let mut ends = self.made.expected();
        for task in shown["tasks"].as_array().unwrap() {
            let name = task["task"].as_str().unwrap();
            let may = ends.remove(name).unwrap_or_default();
            if !may.contains(&task["state"].as_str().unwrap()) {
                self.faults.push(format!("{task}, and not {may:?}"));
            }
        }
        if !ends.is_empty() {
            self.faults.push(format!("these are not shown: {ends:?}"));
        }
        let state = if self.made.fails() { "failed" } else { "done" };
        if shown["state"] != state {
            self.faults.push(format!("it is {}, and not {state}", shown["state"]));
        }
        let questions = shown["questions"].as_array().unwrap();
        let mut asked = BTreeSet::new();
        for question in questions {
            if !asked.insert(question["task"].as_str().unwrap()) {
                self.faults.push(format!("asked twice: {question}"));
            }
        }
        for (task, yes) in &self.answered {
            let is_this = |question: &&Value| question["task"] == **task;
            let answer = questions.iter().find(is_this).map(|question| &question["answer"]);
            if answer.and_then(Value::as_str) != Some(if *yes { "true" } else { "false" }) {
                self.faults.push(format!("{task} was answered {yes}, and has {answer:?}"));
            }
        }

        // Each task's end is told once, whatever start told it. Only where a failure stops the run
        // another start may find that another failure keeps a task from running.
        let export = self.look_at_export();
        let mut told = BTreeMap::new();
        for event in export.iter().map(|line| &line["event"]) {
            let Some(kind) = ENDS.iter().find(|kind| event["kind"] == **kind) else { continue };
            let before = told.insert(event["task"].as_str().unwrap().to_owned(), kind);
            if before.is_some_and(|before| before == kind || !self.made.stops()) {
                self.faults.push(format!("told twice: {event}"));
            }
        }
        if told.len() != self.made.tasks.len() {
            self.faults.push(format!("only of these an end is told: {told:?}"));
        }
        let left = self.look(&["ps", "--json"]).stdout;
        if left.trim() != "[]" {
            self.faults.push(format!("these have not ended: {left}"));
        }
        let check = self.project.run(&["store", "check"]);
        if check.code() != 0 || !check.stdout.contains("sound") {
            self.faults.push(format!("{check:#?}"));
        }
        self.is_judged.set(true);
        assert!(self.faults.is_empty(), "HOLDPOINT_SEED={}\n{}", self.seed, self.faults.join("\n"));
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        let Self { seed, faults, said, .. } = self;
        eprintln!("HOLDPOINT_SEED={seed}\n{}\n{said}\n{}", faults.join("\n"), self.made.manifest());
        eprintln!("{:?}\n{}", self.made.mode, self.project.read("journal"));
        let export = self.project.run(&["store", "export", "-"]);
        eprintln!("{}", export.said());
    }
}

/// The tasks that were executed and whose end is among these events.
fn ended<'e>(events: impl Iterator<Item = &'e Value>) -> BTreeSet<String> {
    let is_end = |event: &&Value| ENDS[..3].iter().any(|kind| event["kind"] == *kind);
    events.filter(is_end).map(|event| event["task"].as_str().unwrap().to_owned()).collect()
}

/// The processes of tasks in this folder: id, start and task.
fn tasks_in(folder: &Path) -> Vec<(u32, u32, String)> {
    let folder = fs::canonicalize(folder).unwrap();
    let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_here =
        |pid: &u32| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|place| place == folder);
    let task = |pid: u32| {
        let bytes = fs::read(format!("/proc/{pid}/environ")).ok()?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let of = |name: &str| text.split('\0').find_map(|pair| pair.strip_prefix(name));
        Some((pid, of("HOLDPOINT_START=")?.parse().ok()?, of("HOLDPOINT_TASK=")?.to_owned()))
    };
    pids.filter(is_here).filter_map(task).collect()
}

/// The same command, killed at its n-th call of a kind.
fn traced(command: &Command, call: &str, nth: usize) -> Command {
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")])
        .args(["-e", &format!("inject={call}:signal=SIGKILL:when={nth}")])
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(command.get_current_dir().unwrap())
        .env_clear()
        .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    strace
}

/// Whether there is a strace that may trace; else says so.
fn has_strace() -> bool {
    let mut probe = Command::new("strace");
    probe.args(["-f", "-qq", "-o", "/dev/null", "-e", "inject=fdatasync:error=EIO", "true"]);
    let probe = probe.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let may_trace = probe.is_ok_and(|status| status.success());
    if !may_trace {
        println!("skipped: there is no strace that may trace");
    }
    may_trace
}

#[test]
fn run_001_sess_018_store_011_proc_007_se_7_se_8_killed_runs_come_to_what_they_come_to_unharmed() {
    let first = setting("HOLDPOINT_SEED").unwrap_or(1);
    println!("HOLDPOINT_SEED={first}");
    let (mut killed, mut seed) = (0, first);
    while killed < kills() {
        let mut dice = Dice(!seed);
        let whens = (0..1 + dice.below(6)).map(|_| When::by_chance(&mut dice)).collect();
        killed += Story::new(seed).play(whens);
        seed += 1;
    }
    println!("{killed} kills in {} runs", seed - first);
}

#[test]
fn sess_018_store_011_se_7_se_8_runs_killed_at_a_write_go_on() {
    if !has_strace() {
        return;
    }
    let first = setting("HOLDPOINT_SEED").unwrap_or(1);
    println!("HOLDPOINT_SEED={first}");
    let (mut killed, mut seed) = (0, first);
    while killed < kills().div_ceil(5) {
        let mut dice = Dice(!seed);
        // Fewer and fewer of the calls are reached; those at the beginning make the store.
        let whens = (0..1 + dice.below(4)).map(|_| match dice.below(2) {
            0 => When::Call("fdatasync", 1 + dice.below(25)),
            _ => When::Call("pwrite64", 1 + dice.below(140)),
        });
        let whens = whens.collect();
        killed += Story::new(seed).play(whens);
        seed += 1;
    }
    println!("{killed} kills at single writes in {} runs", seed - first);
}

/// The answer that is known comes when the run has already said that it waits for both.
#[test]
fn run_002_a_run_with_one_question_rejected_and_one_open_is_paused_again() {
    let project = Project::new(
        "tasks: { one: { approval: Now? }, two: { approval: And now? }, \
         last: { needs: [one], run: touch last } }",
    );
    project.run(&["run", "--all", "-k"]).ends_with(3);
    project.run(&["reject", "1", "one"]).ends_with(0);
    project.run(&["resume", "1"]).ends_with(3).says("waits for an answer: two");
    project.run(&["approve", "1"]).ends_with(0);
    project.run(&["resume", "1"]).ends_with(1);
    assert!(!project.has("last"));
}
