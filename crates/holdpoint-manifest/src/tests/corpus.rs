//! Some two hundred small manifests with the text each of them is answered with.
//!
//! A file of `corpus/` holds manifests separated by `--- # title`; the golden file beside it in
//! `snapshots/` repeats each of them with its answer, and is what one reads. For an accepted
//! manifest the answer is `ok` and what the manifest says, defaults left out.

use std::fmt::Write;

use crate::{Action, Approval, HoldMode, HookAction, Jobs, Manifest, Retry, Task};

use super::parse;

#[test]
fn in_5_man_002_keys() {
    golden("keys", include_str!("corpus/keys.yaml"));
}

#[test]
fn in_5_man_002_keys_of_later_versions() {
    golden("later", include_str!("corpus/later.yaml"));
}

#[test]
fn in_5_man_003_wrong_types() {
    golden("types", include_str!("corpus/types.yaml"));
}

#[test]
fn in_5_man_003_texts_are_what_is_written() {
    golden("texts", include_str!("corpus/texts.yaml"));
}

#[test]
fn core_002_names() {
    golden("names", include_str!("corpus/names.yaml"));
}

#[test]
fn man_005_references() {
    golden("references", include_str!("corpus/references.yaml"));
}

#[test]
fn man_006_commands() {
    golden("commands", include_str!("corpus/commands.yaml"));
}

#[test]
fn man_007_limits() {
    golden("limits", include_str!("corpus/limits.yaml"));
}

#[test]
fn hold_001_hold_002_hold_009_ho_5_holds() {
    golden("holds", include_str!("corpus/holds.yaml"));
}

#[test]
fn man_004_times() {
    golden("times", include_str!("corpus/times.yaml"));
}

#[test]
fn man_008_environment() {
    golden("environment", include_str!("corpus/environment.yaml"));
}

#[test]
fn in_3_in_5_syntax() {
    golden("yaml", include_str!("corpus/yaml.yaml"));
}

#[test]
fn man_012_approvals() {
    golden("approvals", include_str!("corpus/approvals.yaml"));
}

#[test]
fn man_013_hooks() {
    golden("hooks", include_str!("corpus/hooks.yaml"));
}

#[test]
fn man_009_aliases() {
    golden("aliases", include_str!("corpus/aliases.yaml"));
}

#[test]
fn man_010_version() {
    golden("version", include_str!("corpus/version.yaml"));
}

fn golden(theme: &str, cases: &str) {
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(theme, answered(cases));
    });
}

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
    let hooks = manifest.hooks();
    for (key, hook) in [
        ("failure", &hooks.failure),
        ("success", &hooks.success),
        ("paused", &hooks.paused),
        ("tripped", &hooks.tripped),
    ] {
        let Some(hook) = hook else { continue };
        write!(out, "\non {key}:").unwrap();
        match &hook.what {
            HookAction::Command(action) => command(&mut out, action),
            HookAction::Webhook { url, secret_env } => {
                write!(out, " post to {url}").unwrap();
                if let Some(name) = secret_env {
                    write!(out, ", key in {name}").unwrap();
                }
            }
        }
        if let Some(timeout) = hook.timeout {
            write!(out, ", timeout {timeout:?}").unwrap();
        }
    }
    out
}

fn command(out: &mut String, action: &Action) {
    match action {
        Action::Shell { script } => write!(out, " run {script:?}").unwrap(),
        Action::Exec { program, args } => write!(out, " exec {program:?} {args:?}").unwrap(),
    }
}

fn keys(task: &Task) -> String {
    let mut out = String::new();
    match &task.action {
        Some(action) => command(&mut out, action),
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
    if let Some(Approval { prompt, timeout, on_timeout }) = &task.approval {
        write!(out, ", asks {prompt:?}").unwrap();
        if let Some(timeout) = timeout {
            write!(out, " for {timeout:?}, then {on_timeout:?}").unwrap();
        }
    }
    out
}
