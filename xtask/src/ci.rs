//! `cargo xtask ci`: everything that must hold before a change goes in, in one command.
//!
//! This file is the frame: which steps there are, in which order, what they print and how they are
//! summed up. What the steps do is in [`crate::steps`]. A step that fails does not stop the others,
//! so that one run shows all there is to mend; only steps that need its result are skipped.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use crate::console::{Style, seconds};
use crate::steps::STEPS;
use crate::workspace;

/// One check.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// Steps that must have passed before, run first where they were not chosen.
    pub(crate) needs: &'static [&'static str],
    /// Only run when asked for, by name or by `--deep`.
    pub(crate) deep: bool,
    pub(crate) run: fn(&mut Ci) -> Result<(), String>,
}

/// Runs the chosen steps, or all of them, and prints a summary.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode, String> {
    let chosen = choose(arguments)?;
    let mut ci = Ci::new()?;
    let style = ci.style;
    let started = Instant::now();
    let mut rows: Vec<Row> = Vec::new();
    for (index, step) in chosen.iter().enumerate() {
        let heading = format!("==> [{}/{}] {}", index + 1, chosen.len(), step.name);
        println!("\n{}: {}", style.bold(&heading), step.about);
        let step_started = Instant::now();
        ci.step = step.name;
        let unmet = step.needs.iter().find(|need| {
            !rows.iter().any(|row| row.name == **need && row.result == Outcome::Passed)
        });
        let result = match unmet {
            Some(need) => {
                ci.note(format!("`{need}` did not pass"));
                Outcome::Skipped
            }
            None => match (step.run)(&mut ci) {
                Ok(()) => Outcome::Passed,
                Err(message) => {
                    println!("{}: {message}", style.red("error"));
                    Outcome::Failed
                }
            },
        };
        let time = step_started.elapsed();
        println!("{} {} after {}", style.bold("<=="), result.words(step, style), seconds(time));
        rows.push(Row { name: step.name, result, time, notes: std::mem::take(&mut ci.notes) });
    }
    print_summary(&rows, &ci.commands, started.elapsed(), style);
    let all_passed = rows.iter().all(|row| row.result == Outcome::Passed);
    Ok(if all_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the steps share.
pub(crate) struct Ci {
    pub(crate) root: PathBuf,
    /// Where cargo builds.
    pub(crate) target: PathBuf,
    pub(crate) metadata: serde_json::Value,
    /// Names of the tests that passed in this run; none where the tests were not run.
    pub(crate) passed_tests: Option<BTreeSet<String>>,
    style: Style,
    step: &'static str,
    notes: Vec<String>,
    commands: Vec<(&'static str, String, Duration)>,
}

impl Ci {
    fn new() -> Result<Self, String> {
        let root = workspace::root();
        let metadata = workspace::metadata(&root)?;
        Ok(Self {
            target: workspace::target_directory(&metadata)?,
            root,
            metadata,
            passed_tests: None,
            style: Style::detect(),
            step: "",
            notes: Vec::new(),
            commands: Vec::new(),
        })
    }

    /// Whether output is to have no colours.
    pub(crate) fn is_plain(&self) -> bool {
        self.style.cargo().is_some()
    }

    /// Says something that the summary should repeat, such as a part that was left out.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        println!("{}: {note}", self.style.yellow("note"));
        self.notes.push(note);
    }

    /// A cargo command in the root, its output passed through.
    pub(crate) fn cargo(&mut self, arguments: &[&str]) -> Result<(), String> {
        self.cargo_with(arguments, &[])
    }

    /// The same with more environment.
    pub(crate) fn cargo_with(
        &mut self,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<(), String> {
        let mut command = self.cargo_command(arguments);
        command.envs(environment.iter().copied());
        let words: Vec<_> =
            environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
        self.status(&mut command, &[words, vec!["cargo".to_owned()]].concat(), arguments)
    }

    /// A cargo command whose output is passed through and returned.
    pub(crate) fn cargo_output(&mut self, arguments: &[&str]) -> Result<String, String> {
        let mut command = self.cargo_command(arguments);
        self.output(&mut command, &["cargo".to_owned()], arguments)
    }

    /// A program in the root, its output passed through and returned.
    pub(crate) fn program_output(
        &mut self,
        program: &str,
        arguments: &[&str],
    ) -> Result<String, String> {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.root).stdin(Stdio::null());
        self.output(&mut command, &[program.to_owned()], arguments)
    }

    fn cargo_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(workspace::cargo());
        command.args(arguments).current_dir(&self.root).stdin(Stdio::null());
        if let Some(colour) = self.style.cargo() {
            command.env("CARGO_TERM_COLOR", colour);
        }
        command
    }

    fn status(
        &mut self,
        command: &mut Command,
        program: &[String],
        arguments: &[&str],
    ) -> Result<(), String> {
        self.timed(program, arguments, |line| {
            let status = command.status().map_err(|error| format!("{line}: {error}"))?;
            if status.success() { Ok(()) } else { Err(format!("`{line}` ended with {status}")) }
        })
    }

    fn output(
        &mut self,
        command: &mut Command,
        program: &[String],
        arguments: &[&str],
    ) -> Result<String, String> {
        self.timed(program, arguments, |line| {
            let fail = |error: io::Error| format!("{line}: {error}");
            let mut child = command.stdout(Stdio::piped()).spawn().map_err(fail)?;
            let mut copy = Vec::new();
            if let Some(stdout) = child.stdout.take() {
                let mut reader = BufReader::new(stdout);
                let mut start = 0;
                while reader.read_until(b'\n', &mut copy).map_err(fail)? > 0 {
                    io::stdout().write_all(&copy[start..]).map_err(fail)?;
                    start = copy.len();
                }
            }
            let status = child.wait().map_err(fail)?;
            let copy = String::from_utf8_lossy(&copy).into_owned();
            if status.success() { Ok(copy) } else { Err(format!("`{line}` ended with {status}")) }
        })
    }

    /// Prints the command, runs it, and keeps its time for the summary.
    fn timed<T>(
        &mut self,
        program: &[String],
        arguments: &[&str],
        run: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, String> {
        let words = program.iter().map(String::as_str).chain(arguments.iter().copied());
        let line = words.collect::<Vec<_>>().join(" ");
        println!("$ {line}");
        let started = Instant::now();
        let result = run(&line);
        self.commands.push((self.step, line, started.elapsed()));
        result
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Outcome {
    Passed,
    Failed,
    Skipped,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Self::Passed => "ok",
            Self::Failed => "FAILED",
            Self::Skipped => "skipped",
        }
    }

    fn words(self, step: &Step, style: Style) -> String {
        self.painted(style, &format!("{} {}", step.name, self.word()))
    }

    fn painted(self, style: Style, text: &str) -> String {
        match self {
            Self::Passed => style.green(text),
            Self::Failed => style.red(text),
            Self::Skipped => style.yellow(text),
        }
    }
}

struct Row {
    name: &'static str,
    result: Outcome,
    time: Duration,
    notes: Vec<String>,
}

/// The steps that the arguments name, what they need included, in the order of [`STEPS`].
fn choose(arguments: &[String]) -> Result<Vec<&'static Step>, String> {
    let mut deep = false;
    let mut names = BTreeSet::new();
    for argument in arguments {
        match argument.as_str() {
            "--deep" => deep = true,
            name if STEPS.iter().any(|step| step.name == name) => drop(names.insert(name)),
            other => {
                let known: Vec<_> = STEPS.iter().map(|step| step.name).collect();
                return Err(format!("no step `{other}`; there are: {}", known.join(" ")));
            }
        }
    }
    let every = names.is_empty();
    let mut chosen: BTreeSet<&str> = STEPS
        .iter()
        .filter(|step| {
            if step.deep {
                deep || names.contains(step.name)
            } else {
                every || names.contains(step.name)
            }
        })
        .map(|step| step.name)
        .collect();
    // Needs come before what needs them, so one pass from the end finds them all.
    for step in STEPS.iter().rev() {
        if chosen.contains(step.name) {
            chosen.extend(step.needs);
        }
    }
    Ok(STEPS.iter().filter(|step| chosen.contains(step.name)).collect())
}

fn print_summary(
    rows: &[Row],
    commands: &[(&str, String, Duration)],
    total: Duration,
    style: Style,
) {
    println!("\n{}", style.bold(&format!("{:<10} {:<8} {:>12}  note", "step", "result", "time")));
    for row in rows {
        let result = row.result.painted(style, &format!("{:<8}", row.result.word()));
        let line = format!(
            "{:<10} {result} {:>12}  {}",
            row.name,
            seconds(row.time),
            row.notes.join("; ")
        );
        println!("{}", line.trim_end());
    }
    println!("{:<10} {:<8} {:>12}", "all", "", seconds(total));

    if commands.is_empty() {
        return;
    }
    println!("\n{}", style.bold("where the time went"));
    let mut slowest: Vec<_> = commands.iter().collect();
    slowest.sort_by_key(|(_, _, time)| std::cmp::Reverse(*time));
    for (step, command, time) in slowest.into_iter().take(8) {
        let share = 100.0 * time.as_secs_f64() / total.as_secs_f64().max(f64::MIN_POSITIVE);
        println!("{share:>4.0} % {:>12}  {step}: {command}", seconds(*time));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(arguments: &[&str]) -> Result<Vec<&'static str>, String> {
        let arguments: Vec<_> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Ok(choose(&arguments)?.iter().map(|step| step.name).collect())
    }

    #[test]
    fn without_names_every_step_but_the_deep_one_is_chosen() {
        let all = names(&[]).unwrap();
        assert_eq!(all.len(), STEPS.len() - 1);
        assert!(!all.contains(&"deep"));
        assert_eq!(names(&["--deep"]).unwrap().len(), STEPS.len());
    }

    #[test]
    fn named_steps_come_in_order_and_bring_what_they_need() {
        assert_eq!(names(&["clippy", "fmt"]).unwrap(), ["fmt", "clippy"]);
        assert_eq!(names(&["readme"]).unwrap(), ["build", "readme"]);
        assert_eq!(names(&["fmt", "--deep"]).unwrap(), ["fmt", "deep"]);
    }

    #[test]
    fn an_unknown_step_is_refused_with_the_known_ones() {
        let error = names(&["fmmt"]).unwrap_err();
        assert!(error.starts_with("no step `fmmt`; there are: fmt clippy"), "{error}");
    }

    #[test]
    fn needs_stand_before_what_needs_them() {
        for (index, step) in STEPS.iter().enumerate() {
            for need in step.needs {
                assert!(STEPS[..index].iter().any(|earlier| earlier.name == *need), "{need}");
            }
        }
    }
}
