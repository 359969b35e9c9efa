//! `cargo xtask soak [MINUTES]`: the tests of what must outlast crashes, far longer than in `ci`.
//!
//! Without MINUTES they run once, with as many cases as anybody ever asked for, which takes hours.
//! With MINUTES they run again and again with the cases of `ci --deep`, from another seed each time,
//! until the time is over; a round that has begun is finished.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use crate::console::{Style, seconds};
use crate::steps::DEEP;
use crate::workspace;

/// The crates whose tests are worth it.
const CRATES: [&str; 1] = ["holdpoint-store"];

/// How many cases there are in the one long run.
const LONG: [(&str, &str); 4] = [
    ("HOLDPOINT_KILLS", "10000"),
    ("HOLDPOINT_CUTS", "100000"),
    ("HOLDPOINT_CASES", "20000"),
    ("HOLDPOINT_ROUNDS", "1000"),
];

/// Runs the tests once, or until the time is over, and ends at the first round that fails.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode, String> {
    let time = time(arguments)?;
    let cases = if time.is_none() { LONG } else { DEEP };
    let style = Style::detect();
    let started = Instant::now();
    let mut rounds = 0;
    let passed = loop {
        rounds += 1;
        let passed = round(&cases)?;
        if !passed || time.is_none_or(|time| started.elapsed() >= time) {
            break passed;
        }
    };
    let rounds = if rounds == 1 { "1 round".to_owned() } else { format!("{rounds} rounds") };
    let result = if passed { style.green("ok") } else { style.red("FAILED") };
    let cases = words(&cases);
    println!("\nsoak: {result}, {rounds} of {cases} in {}", seconds(started.elapsed()));
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// For how long; none where nothing is said of it.
fn time(arguments: &[String]) -> Result<Option<Duration>, String> {
    match arguments {
        [] => Ok(None),
        [minutes] => match minutes.parse::<u32>() {
            Ok(minutes) => Ok(Some(Duration::from_secs(60 * u64::from(minutes)))),
            Err(_) => Err(format!("`{minutes}` is no number of minutes")),
        },
        _ => Err("soak takes a number of minutes, or nothing".to_owned()),
    }
}

/// All tests once. Whether they passed.
fn round(cases: &[(&str, &str)]) -> Result<bool, String> {
    let mut arguments = vec!["test", "--all-features", "--no-fail-fast", "--tests"];
    arguments.extend(CRATES.iter().flat_map(|name| ["-p", name]));
    println!("$ {} cargo {}", words(cases), arguments.join(" "));
    let mut command = Command::new(workspace::cargo());
    command.args(&arguments).current_dir(workspace::root()).envs(cases.iter().copied());
    let status = command.status().map_err(|error| format!("cargo test: {error}"))?;
    Ok(status.success())
}

fn words(cases: &[(&str, &str)]) -> String {
    let words: Vec<_> = cases.iter().map(|(name, value)| format!("{name}={value}")).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_a_number_of_minutes_or_left_out() {
        let time = |arguments: &[&str]| {
            time(&arguments.iter().map(|&argument| argument.to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(time(&[]), Ok(None));
        assert_eq!(time(&["90"]), Ok(Some(Duration::from_secs(5400))));
        assert!(time(&["long"]).unwrap_err().contains("`long`"));
        time(&["1", "2"]).unwrap_err();
    }

    #[test]
    fn the_long_run_has_the_cases_of_the_deep_one_and_more() {
        for ((long, many), (deep, fewer)) in LONG.into_iter().zip(DEEP) {
            let number = |text: &str| text.parse::<u64>().unwrap();
            assert_eq!(long, deep);
            assert!(number(many) > number(fewer));
        }
    }
}
