//! Some two hundred small manifests with the text each of them is answered with.
//!
//! A file of `corpus/` holds manifests separated by `--- # title`; the golden file beside it in
//! `snapshots/` repeats each of them with its answer, and is what one reads. For an accepted
//! manifest the answer is `ok` and what the manifest says, defaults left out.

use std::fmt::Write;

use crate::{Action, HoldMode, Jobs, Manifest, Retry, Task};

use super::parse;

macro_rules! golden {
    ($test:ident, $theme:literal) => {
        #[test]
        fn $test() {
            let cases = include_str!(concat!("corpus/", $theme, ".yaml"));
            insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
                insta::assert_snapshot!($theme, answered(cases));
            });
        }
    };
}

golden!(in_5_man_002_keys, "keys");
golden!(in_5_man_002_keys_of_later_versions, "later");
golden!(in_5_man_003_wrong_types, "types");
golden!(in_5_man_003_texts_are_what_is_written, "texts");
golden!(core_002_names, "names");
golden!(man_005_references, "references");
golden!(man_006_commands, "commands");
golden!(man_007_limits, "limits");
golden!(hold_001_hold_002_hold_009_ho_5_holds, "holds");
golden!(man_004_times, "times");
golden!(man_008_environment, "environment");
golden!(in_3_in_5_syntax, "yaml");
golden!(man_009_aliases, "aliases");
golden!(man_010_version, "version");

fn answered(cases: &str) -> String {
    let mut out = String::new();
    for case in cases.split("--- # ").skip(1) {
        let (title, text) = case.split_once('\n').unwrap();
        writeln!(out, "## {title}\n{}", text.trim_end()).unwrap();
        match parse(text) {
            Ok(manifest) => writeln!(out, "=> ok{}\n", said(&manifest)).unwrap(),
            Err(faults) => {
                let faults = faults.to_string().replace("\n\n", "\n");
                writeln!(out, "=>\n{faults}\n").unwrap();
            }
        }
    }
    out
}

/// What a manifest says, one line a task.
fn said(manifest: &Manifest) -> String {
    let mut out = String::new();
    let limits = manifest.limits();
    if let Jobs::Fixed(jobs) = limits.jobs {
        write!(out, "\njobs {jobs}").unwrap();
    }
    for (tag, cap) in &limits.tags {
        write!(out, "\ntag {tag}: {}", cap.value).unwrap();
    }
    for (hold, capacity) in &limits.holds {
        write!(out, "\nhold {hold}: {}", capacity.value).unwrap();
    }
    for target in manifest.default_targets() {
        write!(out, "\ndefault {}", target.value).unwrap();
    }
    for task in manifest.tasks() {
        write!(out, "\n{}:{}", task.name.value, keys(task)).unwrap();
    }
    out
}

fn keys(task: &Task) -> String {
    let mut out = String::new();
    match &task.action {
        Some(Action::Shell { script }) => write!(out, " run {script:?}").unwrap(),
        Some(Action::Exec { program, args }) => write!(out, " exec {program:?} {args:?}").unwrap(),
        None => out.push_str(" group"),
    }
    let lists = [
        ("needs", &task.needs),
        ("after", &task.after),
        ("finally", &task.finally),
        ("tags", &task.tags),
    ];
    for (key, names) in lists.into_iter().filter(|(_, names)| !names.is_empty()) {
        let names: Vec<_> = names.iter().map(|name| &name.value).collect();
        write!(out, ", {key} {names:?}").unwrap();
    }
    for (name, value) in &task.env {
        write!(out, ", {name}={:?}", value.value).unwrap();
    }
    for name in &task.pass_env {
        write!(out, ", pass {}", name.value).unwrap();
    }
    for hold in &task.holds {
        let mode = match hold.mode {
            HoldMode::Exclusive => "exclusive".into(),
            HoldMode::Shared => "shared".into(),
            HoldMode::Units(units) => format!("{units} units"),
        };
        write!(out, ", hold {} {mode}", hold.hold).unwrap();
    }
    if task.weight.value.get() != 1 {
        write!(out, ", weight {}", task.weight.value).unwrap();
    }
    if let Some(timeout) = task.timeout {
        write!(out, ", timeout {timeout:?}").unwrap();
    }
    if let Some(Retry { attempts, backoff }) = task.retry {
        let delays: Vec<_> = (1..=4).map(|streak| backoff.delay(streak, 0.0)).collect();
        write!(out, ", {attempts} attempts, delays {delays:?}").unwrap();
    }
    if let Some(dir) = &task.dir {
        write!(out, ", dir {}", dir.value.display()).unwrap();
    }
    if let Some(desc) = &task.desc {
        write!(out, ", desc {desc:?}").unwrap();
    }
    out
}
