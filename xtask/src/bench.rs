//! `cargo xtask bench`: runs the benchmarks and puts each contestant beside its raw limit.
//!
//! Criterion measures and keeps its figures under `target/criterion`. This file reads them back and
//! prints what is asked of them: per group and size the time of one element for each contestant,
//! how many times that of `raw` it is, and how the total grows with the size.
//!
//! Contestants are told by their ids: `holdpoint/1000`, `raw/1000`, `raw_spawn/1000`. The first one
//! of a group whose name starts with `raw` is what the others are compared with. Figures are
//! medians, which one disturbed sample does not move.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::SystemTime;

use serde_json::Value;

use crate::workspace;

/// Runs the groups whose names start with one of `arguments`, or all of them, and prints the table.
/// `--saved` only prints what was measured before.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode, String> {
    let root = workspace::root();
    let target = workspace::target_directory(&workspace::metadata(&root)?)?;
    let saved = arguments.iter().any(|argument| argument == "--saved");
    let groups: Vec<_> = arguments.iter().filter(|argument| *argument != "--saved").collect();
    if let Some(flag) = groups.iter().find(|group| group.starts_with('-')) {
        return Err(format!("bench does not know {flag}"));
    }

    let started = SystemTime::now();
    if !saved {
        let mut command = Command::new(workspace::cargo());
        command.args(["bench", "--workspace", "--bench", "*"]).current_dir(&root);
        if !groups.is_empty() {
            let names: Vec<_> = groups.iter().map(|group| group.as_str()).collect();
            command.args(["--", &format!("^({})", names.join("|"))]);
        }
        let status = command.status().map_err(|error| format!("cargo bench: {error}"))?;
        if !status.success() {
            return Err(format!("cargo bench ended with {status}"));
        }
    }
    let mut measurements = Vec::new();
    for folder in result_folders(&target.join("criterion")) {
        let is_new = modified(&folder).is_some_and(|time| time >= started);
        let measurement = Measurement::read(&folder)?;
        let is_wanted =
            groups.is_empty() || groups.iter().any(|group| measurement.group.starts_with(*group));
        if is_wanted && (saved || is_new) {
            measurements.push(measurement);
        }
    }
    if measurements.is_empty() {
        return Err("nothing was measured".to_owned());
    }
    print!("{}", table(&measurements));
    Ok(ExitCode::SUCCESS)
}

/// Every `new` folder with results below criterion's.
fn result_folders(criterion: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![criterion.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.ends_with("new") && path.join("estimates.json").is_file() {
                found.push(path);
            } else if path.is_dir() {
                folders.push(path);
            }
        }
    }
    found.sort();
    found
}

fn modified(folder: &Path) -> Option<SystemTime> {
    fs::metadata(folder.join("estimates.json")).ok()?.modified().ok()
}

/// One contestant at one size.
#[derive(Debug)]
struct Measurement {
    group: String,
    contestant: String,
    /// The number in the id; 1 where there is none.
    size: f64,
    /// Elements of one iteration: the throughput where it was declared, else the size.
    elements: f64,
    /// Median nanoseconds of one iteration.
    nanoseconds: f64,
}

impl Measurement {
    fn read(folder: &Path) -> Result<Self, String> {
        let json = |name: &str| -> Result<Value, String> {
            let file = folder.join(name);
            let text = fs::read_to_string(&file);
            let text = text.map_err(|error| format!("{}: {error}", file.display()))?;
            serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))
        };
        Self::parse(&json("benchmark.json")?, &json("estimates.json")?)
            .ok_or_else(|| format!("{}: not what criterion writes", folder.display()))
    }

    fn parse(benchmark: &Value, estimates: &Value) -> Option<Self> {
        let group = benchmark["group_id"].as_str()?.to_owned();
        // Without a size the group's name is all there is to the id.
        let contestant = benchmark["function_id"].as_str().unwrap_or(&group).to_owned();
        let size = benchmark["value_str"].as_str().and_then(|value| value.parse().ok());
        let size = size.unwrap_or(1.0);
        let elements = benchmark["throughput"]["Elements"].as_f64().unwrap_or(size);
        let nanoseconds = estimates["median"]["point_estimate"].as_f64()?;
        Some(Self { group, contestant, size, elements, nanoseconds })
    }

    fn per_element(&self) -> f64 {
        self.nanoseconds / self.elements
    }
}

/// Per group one line for each contestant and size, then the growth of each contestant.
fn table(measurements: &[Measurement]) -> String {
    let mut groups: BTreeMap<&str, Vec<&Measurement>> = BTreeMap::new();
    for measurement in measurements {
        groups.entry(&measurement.group).or_default().push(measurement);
    }
    let mut text = String::new();
    for (group, mut rows) in groups {
        rows.sort_by(|a, b| {
            a.size.total_cmp(&b.size).then_with(|| a.contestant.cmp(&b.contestant))
        });
        let contestants: BTreeSet<_> = rows.iter().map(|row| row.contestant.as_str()).collect();
        let raw = contestants.iter().find(|name| name.starts_with("raw")).copied();
        let _ = writeln!(
            text,
            "\n{group}\n{:>12}  {:<24}{:>16}{:>10}",
            "N",
            "contestant",
            "an element",
            raw.map_or_else(String::new, |raw| format!("x {raw}"))
        );
        for row in &rows {
            let same_size = |other: &&&Measurement| {
                Some(other.contestant.as_str()) == raw && other.size == row.size
            };
            let ratio = rows.iter().find(same_size).map_or_else(String::new, |raw| {
                format!("{:.2}", row.per_element() / raw.per_element())
            });
            let time = time(row.per_element());
            let _ = writeln!(text, "{:>12}  {:<24}{time:>16}{ratio:>10}", row.size, row.contestant);
        }
        for name in contestants {
            let points: Vec<_> = rows
                .iter()
                .filter(|row| row.contestant == name)
                .map(|row| (row.size, row.nanoseconds))
                .collect();
            if let Some(exponent) = growth(&points) {
                let _ = writeln!(text, "{:>12}  {name:<24}{exponent:>16.3}", "growth");
            }
        }
    }
    text
}

/// The exponent of `time = c * size^exponent` that fits best; none for a single size.
fn growth(points: &[(f64, f64)]) -> Option<f64> {
    let logs: Vec<_> = points.iter().map(|(size, time)| (size.ln(), time.ln())).collect();
    let count = logs.len() as f64;
    let mean_x = logs.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = logs.iter().map(|(_, y)| y).sum::<f64>() / count;
    let spread: f64 = logs.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    let slope: f64 = logs.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    (spread > 0.0).then(|| slope / spread)
}

fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        n if n < 1e3 => format!("{n:.1} ns"),
        n if n < 1e6 => format!("{:.2} µs", n / 1e3),
        n if n < 1e9 => format!("{:.2} ms", n / 1e6),
        n => format!("{:.2} s", n / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn measurement(contestant: &str, size: f64, nanoseconds: f64) -> Measurement {
        let (group, contestant) = ("graph/wide".to_owned(), contestant.to_owned());
        Measurement { group, contestant, size, elements: size, nanoseconds }
    }

    #[test]
    fn results_of_criterion_are_read() {
        let benchmark = json!({
            "group_id": "g", "function_id": "raw", "value_str": "10", "throughput": {"Elements": 20}
        });
        let estimates = json!({"median": {"point_estimate": 50.0}, "slope": null});
        let read = Measurement::parse(&benchmark, &estimates).unwrap();
        assert_eq!((read.group.as_str(), read.contestant.as_str()), ("g", "raw"));
        assert_eq!((read.size, read.per_element()), (10.0, 2.5));

        let without_throughput =
            json!({"group_id": "g", "function_id": "raw", "value_str": "10", "throughput": null});
        assert_eq!(Measurement::parse(&without_throughput, &estimates).unwrap().elements, 10.0);
        assert!(Measurement::parse(&json!({}), &estimates).is_none());
    }

    #[test]
    fn sizes_are_told_apart_whatever_the_throughput() {
        let one_name = Measurement { elements: 1.0, ..measurement("raw", 1.0, 10.0) };
        let eight_names = Measurement { elements: 1.0, ..measurement("raw", 8.0, 80.0) };
        let other = Measurement { elements: 1.0, ..measurement("holdpoint", 8.0, 160.0) };
        let table = table(&[one_name, eight_names, other]);
        let line = table.lines().find(|line| line.contains("holdpoint")).unwrap();
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!(words, ["8", "holdpoint", "160.0", "ns", "2.00"]);
    }

    #[test]
    fn the_table_shows_ratios_to_raw_and_growth() {
        let measurements = [
            measurement("raw", 1000.0, 1e6),
            measurement("holdpoint", 1000.0, 2.5e6),
            measurement("holdpoint", 10_000.0, 25e6),
            measurement("raw", 10_000.0, 10e6),
        ];
        let table = table(&measurements);
        let lines: Vec<_> = table
            .lines()
            .skip(2)
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            lines,
            [
                "N contestant an element x raw",
                "1000 holdpoint 2.50 µs 2.50",
                "1000 raw 1.00 µs 1.00",
                "10000 holdpoint 2.50 µs 2.50",
                "10000 raw 1.00 µs 1.00",
                "growth holdpoint 1.000",
                "growth raw 1.000",
            ]
        );
    }

    #[test]
    fn growth_is_the_exponent_over_the_sizes() {
        let quadratic = [(10.0, 100.0), (100.0, 10_000.0), (1000.0, 1e6)];
        assert!((growth(&quadratic).unwrap() - 2.0).abs() < 1e-9);
        assert_eq!(growth(&[(10.0, 100.0)]), None);
        assert_eq!(growth(&[]), None);
    }

    #[test]
    fn times_have_a_unit() {
        assert_eq!(time(12.34), "12.3 ns");
        assert_eq!(time(1_234.0), "1.23 µs");
        assert_eq!(time(3_700_000.0), "3.70 ms");
    }
}
