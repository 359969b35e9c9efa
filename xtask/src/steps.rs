//! What the steps of `cargo xtask ci` do. Each is a short list of commands and what to look at.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::ci::{Ci, Step};
use crate::{contract, examples, layers};

/// All steps, in the order in which they run.
pub(crate) const STEPS: &[Step] = &[
    step("fmt", "the code is formatted", &[], fmt),
    step("clippy", "no warnings, in any target, with all features", &[], clippy),
    step("test", "unit, integration and documentation tests", &[], test),
    Step { deep: true, ..step("deep", "the tests again, with far more cases", &[], deep) },
    step("doc", "the documentation builds without warnings", &[], doc),
    step("layers", "crates keep to their floors, machines are pure", &[], layers),
    step("contract", "every rule has a test, every test names rules that exist", &[], contract),
    step("features", "every crate compiles alone, with each feature alone", &[], features),
    step("build", "the program", &[], build),
    step("examples", "the examples run and give the right results", &["build"], examples::run),
    step("readme", "the README's first commands do what they say", &["build"], examples::readme),
    step("bench", "every benchmark runs once", &[], bench),
];

const fn step(
    name: &'static str,
    about: &'static str,
    needs: &'static [&'static str],
    run: fn(&mut Ci) -> Result<(), String>,
) -> Step {
    Step { name, about, needs, deep: false, run }
}

fn fmt(ci: &mut Ci) -> Result<(), String> {
    // Left to itself rustfmt colours its differences in a log, too.
    let plain: &[&str] = if ci.is_plain() { &["--", "--color", "never"] } else { &[] };
    ci.cargo(&[&["fmt", "--all", "--check"], plain].concat())
}

fn clippy(ci: &mut Ci) -> Result<(), String> {
    let all = ["clippy", "--workspace", "--all-targets", "--all-features"];
    ci.cargo(&[&all[..], &["--", "-D", "warnings"]].concat())
}

fn test(ci: &mut Ci) -> Result<(), String> {
    // The names of tests that passed are the evidence of the step `contract`.
    let output = ci.cargo_output(&["test", "--workspace", "--all-features", "--no-fail-fast"])?;
    ci.passed_tests = Some(passed_tests(&output));
    Ok(())
}

/// The names, without their modules, of the tests that a `cargo test` said were ok.
fn passed_tests(output: &str) -> BTreeSet<String> {
    output
        .lines()
        .filter_map(|line| {
            let (_, test) = line.strip_suffix(" ... ok")?.rsplit_once("test ")?;
            let path = test.split(" - ").next()?;
            path.rsplit("::").next().map(str::to_owned)
        })
        .collect()
}

/// How many cases the tests try in the deep step.
pub(crate) const DEEP: [(&str, &str); 4] = [
    ("HOLDPOINT_KILLS", "500"),
    ("HOLDPOINT_CUTS", "2000"),
    ("HOLDPOINT_CASES", "2000"),
    ("HOLDPOINT_ROUNDS", "100"),
];

fn deep(ci: &mut Ci) -> Result<(), String> {
    ci.cargo_with(&["test", "--workspace", "--all-features", "--no-fail-fast", "--tests"], &DEEP)
}

fn doc(ci: &mut Ci) -> Result<(), String> {
    ci.cargo_with(
        &["doc", "--workspace", "--no-deps", "--all-features"],
        &[("RUSTDOCFLAGS", "-D warnings")],
    )
}

fn layers(ci: &mut Ci) -> Result<(), String> {
    layers::check(&ci.root)
}

fn contract(ci: &mut Ci) -> Result<(), String> {
    if ci.passed_tests.is_none() {
        ci.note("no test results in this run: looked only for tests that are written");
    }
    contract::check(&ci.root, ci.passed_tests.as_ref())
}

/// The whole workspace at once hides what a crate alone lacks, because cargo adds up the features
/// that its crates ask for.
fn features(ci: &mut Ci) -> Result<(), String> {
    let mut failed = Vec::new();
    let mut check = |ci: &mut Ci, arguments: &[&str]| {
        let check = ["check", "--quiet", "--no-default-features"];
        if let Err(error) = ci.cargo(&[&check[..], arguments].concat()) {
            failed.push(error);
        }
    };
    for (package, features) in features_by_package(ci) {
        check(ci, &["-p", &package]);
        for feature in features.iter().filter(|feature| *feature != "default") {
            check(ci, &["-p", &package, "--features", feature]);
        }
    }
    // The pure parts run anywhere; the browser's target is the one that has nothing to lean on.
    if is_installed(WASM, &ci.root) {
        for package in ["holdpoint-core", "holdpoint-hold", "holdpoint-graph", "holdpoint-session"]
        {
            check(ci, &["-p", package, "--target", WASM]);
        }
    } else {
        ci.note(format!("{WASM} is not installed: the pure parts were not checked on it"));
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}

const WASM: &str = "wasm32-unknown-unknown";

fn features_by_package(ci: &Ci) -> Vec<(String, Vec<String>)> {
    let packages = ci.metadata["packages"].as_array().into_iter().flatten();
    packages
        // What is not published is never built alone.
        .filter(|package| !package["publish"].is_array())
        .map(|package| {
            let name = package["name"].as_str().unwrap_or_default().to_owned();
            let features = package["features"].as_object();
            (name, features.into_iter().flat_map(|features| features.keys().cloned()).collect())
        })
        .collect()
}

fn is_installed(target: &str, root: &Path) -> bool {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", target]).current_dir(root);
    rustc.output().is_ok_and(|output| {
        let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success() && Path::new(&folder).is_dir()
    })
}

fn build(ci: &mut Ci) -> Result<(), String> {
    ci.cargo(&["build", "-p", "holdpoint-cli"])
}

fn bench(ci: &mut Ci) -> Result<(), String> {
    let packages = ci.metadata["packages"].as_array().into_iter().flatten();
    let mut targets = packages.flat_map(|package| package["targets"].as_array()).flatten();
    if !targets.any(|target| target["kind"][0] == "bench") {
        ci.note("there are no benchmarks");
        return Ok(());
    }
    // Under `cargo test` criterion runs each function once, and nothing is built a second time with
    // optimisations.
    ci.cargo(&["test", "--workspace", "--all-features", "--bench", "*"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tests_that_passed_are_evidence() {
        let output = "\nrunning 4 tests\n\
            test hold_set::tests::hold_001_scope ... ok\n\
            test hold_002_modes - should panic ... ok\n\
            from a child: test it::hold_003_interleaved ... ok\n\
            test hold_004_broken ... FAILED\n\
            test hold_005_slow ... ignored\n\
            test result: ok. 3 passed; 1 failed\n";
        let passed: Vec<_> = passed_tests(output).into_iter().collect();
        assert_eq!(passed, ["hold_001_scope", "hold_002_modes", "hold_003_interleaved"]);
    }
}
