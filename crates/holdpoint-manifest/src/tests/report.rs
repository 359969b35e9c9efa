//! How faults are told (MAN-001).

use insta::assert_snapshot;

use super::{parse, refused};
use crate::{Diagnostics, Hook, Kind, Location};

#[test]
fn man_001_all_faults_of_a_file_are_told_in_the_order_of_their_places() {
    assert_snapshot!(
        refused(
            "default: [tset]
limits: { jobs: 2 }
tasks:
  build:
    run: make
    weight: 3
    timeout: 10
    needs: [build, fetch]
  fetch: { rnu: curl }
  test: { needs: biuld, secrets: [KEY] }
"
        ),
        @"
    holdpoint.yaml:1:11: there is no task `tset`
    1 | default: [tset]
      |           ^^^^
    help: did you mean `test`?

    holdpoint.yaml:6:13: `build` takes 3 slots, but `limits.jobs` is 2: it could never start
    6 |     weight: 3
      |             ^

    holdpoint.yaml:7:14: `timeout` is a duration: `10` has no unit
    7 |     timeout: 10
      |              ^^
    help: write `10s` for seconds or `10m` for minutes

    holdpoint.yaml:8:13: `build` stands in its own `needs`
    8 |     needs: [build, fetch]
      |             ^^^^^

    holdpoint.yaml:9:12: a task has no key `rnu`
    9 |   fetch: { rnu: curl }
      |            ^^^
    help: did you mean `run`?

    holdpoint.yaml:10:18: there is no task `biuld`
    10 |   test: { needs: biuld, secrets: [KEY] }
       |                  ^^^^^
    help: did you mean `build`?

    holdpoint.yaml:10:25: `secrets` is a key of a later version of holdpoint: this one does not support it yet
    10 |   test: { needs: biuld, secrets: [KEY] }
       |                         ^^^^^^^
    "
    );
}

#[test]
fn man_001_what_is_not_yaml_is_told_alone() {
    assert_eq!(parse("tasks: { a: { rnu: x }, b: [ }").unwrap_err().iter().count(), 1);
}

#[test]
fn man_001_kinds_tell_faults_apart() {
    let text = "shedules: 1\nschedules: 1\nlimits: { jobs: [], tags: { x: 0 } }\ntasks: {}\n";
    let kinds: Vec<Kind> = parse(text).unwrap_err().iter().map(|fault| fault.kind).collect();
    assert_eq!(kinds, [Kind::UnknownKey, Kind::Later, Kind::WrongType, Kind::Invalid]);
    assert_eq!(parse("[").unwrap_err().first().kind, Kind::Syntax);
}

#[test]
fn man_001_of_very_many_faults_the_rest_is_counted() {
    let text: String = (0..1_000).map(|task| format!("  t{task}: {{ rnu: x }}\n")).collect();
    let faults = parse(&format!("tasks:\n{text}")).unwrap_err();
    assert_eq!((faults.iter().count(), faults.left_out()), (Diagnostics::MAX, 900));
    assert!(faults.to_string().ends_with("\n\nand 900 more"));
}

#[test]
fn man_001_long_lines_are_cut_around_the_place() {
    let tasks: String = (0..40).map(|task| format!("t{task}: echo, ")).collect();
    let more = tasks.replace('t', "u");
    assert_snapshot!(refused(&format!("tasks: {{ {tasks}bad: {{ rnu: x }}, {more} }}")), @"
    holdpoint.yaml:1:447: a task has no key `rnu`
    1 | …ho, t38: echo, t39: echo, bad: { rnu: x }, u0: echo, u1: echo, u2: echo, u3: echo, u4: echo, u5: ech…
      |                                   ^^^
    help: did you mean `run`?
    ");
    assert_snapshot!(refused(&format!("tasks: {{ {tasks}bad: {{ rnu: x }} }}")), @"
    holdpoint.yaml:1:447: a task has no key `rnu`
    1 | …echo, t33: echo, t34: echo, t35: echo, t36: echo, t37: echo, t38: echo, t39: echo, bad: { rnu: x } }
      |                                                                                            ^^^
    help: did you mean `run`?
    ");
}

#[test]
fn man_001_what_steers_a_terminal_is_escaped() {
    let text = "tasks: { \"a\u{200b}\": echo\t, \"b\\x9b31m\\e[31m\": echo }";
    assert_snapshot!(refused(text), @r#"
    holdpoint.yaml:1:10: `a\u{200b}` is not the name of a task: '\u{200b}' at position 1 is not one of A-Z a-z 0-9 _ . -
    1 | tasks: { "a\u{200b}": echo , "b\x9b31m\e[31m": echo }
      |          ^^^^^^^^^^^

    holdpoint.yaml:1:23: `b\u{9b}31m\u{1b}[31m` is not the name of a task: '\u{9b}' at position 1 is not one of A-Z a-z 0-9 _ . -
    1 | tasks: { "a\u{200b}": echo , "b\x9b31m\e[31m": echo }
      |                              ^^^^^^^^^^^^^^^^
    "#);
}

#[test]
fn man_001_others_report_faults_in_the_same_form() {
    let manifest =
        parse("tasks:\n  a: { run: echo, needs: [b] }\n  b: { run: echo, needs: [a] }\n").unwrap();
    let edge = &manifest.task("a").unwrap().needs[0];
    let fault = manifest.diagnostic(edge.location, "`a` waits for itself", Some("cut it".into()));
    assert_eq!(fault.file().to_str(), Some("holdpoint.yaml"));
    assert_snapshot!(fault, @"
    holdpoint.yaml:2:27: `a` waits for itself
    2 |   a: { run: echo, needs: [b] }
      |                           ^
    help: cut it
    ");
    // A place outside the text has no line to show.
    let nowhere = manifest.diagnostic(Location::new(99, 7), "lost", None);
    assert_eq!(nowhere.to_string(), "holdpoint.yaml:99:7: lost");
}

#[test]
fn man_001_places_are_those_of_the_entries() {
    let manifest = parse(
        "limits: { tags: { heavy: 1 }, holds: { gpu: 2 } }
tasks:
  a:
    run: echo
    needs:
      - b
      - c
    finally: [d]
    holds: [x, { name: gpu, units: 1 }]
    weight: 2
  b: echo
  c: echo
  d: echo
",
    )
    .unwrap();
    let a = manifest.task("a").unwrap();
    let place = |location: Location| (location.line, location.column);
    assert_eq!(place(a.name.location), (3, 3));
    assert_eq!(place(a.needs[1].location), (7, 9));
    assert_eq!(place(a.finally[0].location), (8, 15));
    assert_eq!(place(a.holds[0].location), (9, 13));
    assert_eq!(place(a.holds[1].location), (9, 24));
    assert_eq!(place(a.weight.location), (10, 13));
    assert_eq!(place(manifest.limits().tags["heavy"].location), (1, 19));
    // Where no weight is written, it is the task's.
    assert_eq!(place(manifest.task("b").unwrap().weight.location), (11, 3));
}

#[test]
fn man_001_man_013_the_place_of_a_hook_is_its_key() {
    let text = "tasks: {}\non:\n  failure: ./tell.sh\n  paused:\n    webhook: http://a/\n";
    let manifest = parse(text).unwrap();
    let place = |hook: &Option<Hook>| hook.as_ref().map(|hook| hook.location.to_string());
    let hooks = manifest.hooks();
    assert_eq!(place(&hooks.failure).as_deref(), Some("3:3"));
    assert_eq!(place(&hooks.paused).as_deref(), Some("4:3"));
    assert!(hooks.success.is_none() && hooks.tripped.is_none());
}

#[test]
fn man_001_tasks_are_there_as_declared_and_by_name() {
    let manifest = parse("tasks: { c: echo, a: echo, b: echo }").unwrap();
    let declared: Vec<_> = manifest.tasks().iter().map(|task| task.name.value.as_str()).collect();
    let sorted: Vec<_> = manifest.tasks_by_name().map(|task| task.name.value.as_str()).collect();
    assert_eq!((declared, sorted), (vec!["c", "a", "b"], vec!["a", "b", "c"]));
    assert_eq!(manifest.position("b"), Some(2));
    assert!(manifest.task("d").is_none());
}
