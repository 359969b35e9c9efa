//! Targets, order, limits, and the faults that only a graph finds.

use std::num::NonZeroU32;
use std::path::Path;

use holdpoint_core::event::{HoldMode, HoldScope};
use holdpoint_graph::EdgeKind;

use super::manifest;
use crate::error::PlanError;
use crate::plan::{Plan, Targets};

fn try_plan(text: &str, targets: &[&str], jobs: u32) -> Result<Plan, PlanError> {
    let targets = Targets::Named(targets.iter().map(|&target| target.to_owned()).collect());
    Plan::new(manifest(Path::new("/app"), text), &targets, NonZeroU32::new(jobs))
}

fn names(plan: &Plan) -> Vec<String> {
    plan.order().map(|task| plan.name(task).to_string()).collect()
}

/// The text of the faults, whose paths are those of `/app/holdpoint.yaml`.
fn faults(text: &str) -> String {
    match Plan::new(manifest(Path::new("/app"), text), &Targets::All, NonZeroU32::new(4)) {
        Err(error @ PlanError::Invalid(_)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_targets_the_default_is_meant() {
    let text =
        "{ default: [test], tasks: { build: make, test: { needs: build }, lint: make lint } }";
    assert_eq!(names(&try_plan(text, &[], 1).unwrap()), ["build", "test"]);
    let none = try_plan("tasks: { build: make }", &[], 1).unwrap_err();
    assert!(matches!(none, PlanError::NoTargets));
    let none = Plan::new(manifest(Path::new("/app"), "tasks: {}"), &Targets::All, None);
    assert!(matches!(none.unwrap_err(), PlanError::NoTargets));
}

#[test]
fn a_target_named_twice_is_one() {
    let plan = try_plan("tasks: { b: make, a: make }", &["b", "a", "b"], 1).unwrap();
    assert_eq!(plan.targets().iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["b", "a"]);
}

#[test]
fn an_unknown_target_has_its_nearest_task() {
    let error = try_plan("tasks: { build: make, deploy: make }", &["depoly"], 1).unwrap_err();
    let PlanError::UnknownTarget { target, nearest } = error else { panic!("{error}") };
    assert_eq!((target.as_str(), nearest.unwrap().as_str()), ("depoly", "deploy"));
}

#[test]
fn graph_003_tasks_are_listed_in_the_order_in_which_they_would_start() {
    let text = "
tasks:
  zoo: echo
  last: { needs: [b, zoo], run: echo }
  b: { after: [c], run: echo }
  c: echo
  a: { finally: [last], run: echo }
";
    assert_eq!(names(&try_plan(text, &["last"], 1).unwrap()), ["b", "zoo", "last", "a"]);
    assert_eq!(names(&try_plan(text, &["last", "c"], 1).unwrap()), ["c", "b", "zoo", "last", "a"]);
}

#[test]
fn edges_keep_their_kind_and_soft_ones_bind_only_who_is_there() {
    let text = "
tasks:
  build: make
  lint: make lint
  test: { needs: build, after: lint, run: make test }
  tidy: { finally: [test], run: make clean }
";
    let edges = |targets: &[&str]| {
        let plan = try_plan(text, targets, 1).unwrap();
        let topology = plan.topology();
        let mut edges: Vec<(String, String, EdgeKind)> = topology
            .tasks()
            .flat_map(|from| topology.successors(from).map(move |(to, kind)| (from, to, kind)))
            .map(|(from, to, kind)| (topology.name(from).into(), topology.name(to).into(), kind))
            .collect();
        edges.sort();
        edges
    };
    let hard = ("build".to_owned(), "test".to_owned(), EdgeKind::Hard);
    let soft = ("lint".to_owned(), "test".to_owned(), EdgeKind::Soft);
    let finally = ("test".to_owned(), "tidy".to_owned(), EdgeKind::Finally);
    assert_eq!(edges(&["test"]), [hard.clone(), finally.clone()]);
    assert_eq!(edges(&["test", "lint"]), [hard, soft, finally]);
}

#[test]
fn limits_come_from_the_manifest_and_jobs_from_the_caller_before() {
    let text =
        "{ limits: { jobs: 3, tags: { heavy: 2 } }, tasks: { a: { run: x, tags: [heavy] } } }";
    assert_eq!(try_plan(text, &["a"], 0).unwrap().limits().slots(), 3);
    assert_eq!(try_plan(text, &["a"], 7).unwrap().limits().slots(), 7);
    let auto = try_plan("tasks: { a: x }", &["a"], 0).unwrap();
    assert_eq!(*auto.limits(), holdpoint_graph::Limits::cores());
}

#[test]
fn holds_have_the_scope_of_their_project() {
    let text = "
limits: { holds: { gpu: 2 } }
tasks:
  a: { run: x, holds: [db, { name: '~:tmp', shared: true }, { name: gpu, units: 1 }] }
";
    let plan = try_plan(text, &["a"], 1).unwrap();
    let task = plan.topology().find("a").unwrap();
    let [db, tmp, gpu] = &plan.holds(task)[..] else { panic!() };
    assert_eq!(
        (&db.scope, db.name.as_str(), db.mode),
        (&HoldScope::Workspace, "db", HoldMode::Exclusive)
    );
    let HoldScope::Project { project } = &tmp.scope else { panic!() };
    assert_eq!((project.as_str(), tmp.mode), ("app", HoldMode::Shared));
    assert_eq!(gpu.mode, HoldMode::Counted { units: 1 });
    let holds: Vec<String> = plan.topology().holds(task).iter().map(ToString::to_string).collect();
    assert_eq!(holds, ["db", "app:tmp (shared)", "gpu ×1"]);
}

#[test]
fn graph_001_a_cycle_is_shown_by_name_at_its_first_edge() {
    let text = "\
tasks:
  other: echo
  test: { needs: [other, build], run: echo }
  pack: { finally: [test], run: echo }
  build:
    after: [pack]
    run: echo
";
    assert_eq!(
        faults(text),
        "\
/app/holdpoint.yaml:6:13: cycle: build -> pack -> test -> build
6 |     after: [pack]
  |             ^^^^
help: one of these must go: `build` comes after `pack` (line 6), `pack` comes finally after `test` \
         (line 4), `test` needs `build` (line 3)"
    );
}

#[test]
fn graph_001_every_cycle_is_a_fault_of_the_manifest_whatever_the_targets() {
    let text =
        "tasks: { a: { needs: b }, b: { needs: a }, c: { needs: d }, d: { needs: c }, e: x }";
    let PlanError::Invalid(faults) = try_plan(text, &["e"], 1).unwrap_err() else { panic!() };
    let cycles: Vec<&str> = faults.iter().map(|fault| fault.message.as_str()).collect();
    assert_eq!(cycles, ["cycle: a -> b -> a", "cycle: c -> d -> c"]);
}

#[test]
fn graph_001_a_long_cycle_is_named_without_the_list_of_its_edges() {
    let edges = (0..20).map(|n| format!("  t{n:02}: {{ needs: t{:02} }}\n", (n + 1) % 20));
    let text = format!("tasks:\n{}", edges.collect::<String>());
    let PlanError::Invalid(faults) = try_plan(&text, &["t03"], 1).unwrap_err() else { panic!() };
    assert!(faults[0].message.starts_with("cycle: t00 -> t01 -> ") && faults[0].help.is_none());
}

#[test]
fn graph_004_a_task_heavier_than_all_slots_is_refused_at_its_weight() {
    let text = "tasks:\n  a: { run: x, weight: 3 }\n  b: x\n";
    let error = try_plan(text, &["a"], 2).unwrap_err();
    assert_eq!(
        error.to_string(),
        "\
/app/holdpoint.yaml:2:24: `a` takes 3 slots, but there are 2: it could never start
2 |   a: { run: x, weight: 3 }
  |                        ^
help: give the run more slots with `-j 3`, or the task a lower `weight`"
    );
    assert!(try_plan(text, &["a"], 3).is_ok());
    // It is no part of this run.
    assert!(try_plan(text, &["b"], 2).is_ok());
}
