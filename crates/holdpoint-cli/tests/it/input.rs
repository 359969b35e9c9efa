//! Mistakes in the command and the manifest: each is told once, at its place, and nothing starts.

use crate::support::{Project, Ran};

/// What follows a manifest with a mistake. Were it run, it would leave a mark.
fn refuse(manifest: impl AsRef<[u8]>) -> Ran {
    let project = Project::empty();
    project.write("holdpoint.yaml", manifest);
    let ran = project.run(&["run", "mark"]).ends_with(2);
    let checked = project.run(&["check"]).ends_with(2);
    assert_eq!(checked.stderr, ran.stderr);
    assert_eq!(ran.stdout, "");
    assert!(!project.has("marked") && !project.has(".holdpoint"));
    ran
}

/// The one message of a manifest with one mistake, which begins with its place.
#[track_caller]
fn one(manifest: impl AsRef<[u8]>, first_line: &str) {
    let ran = refuse(manifest);
    let places: Vec<&str> =
        ran.stderr.lines().filter(|line| line.starts_with("holdpoint.yaml:")).collect();
    assert_eq!(places, [first_line], "{}", ran.stderr);
}

#[test]
fn graph_001_a_cycle_is_told_by_names() {
    let text = "\
tasks:
  mark: touch marked
  a: { needs: [b, d], run: x }
  b: { needs: [c], run: x }
  c: { needs: [d], run: x }
  d: { after: [a], run: x }
";
    one(text, "holdpoint.yaml:3:19: cycle: a -> d -> a");
    refuse(text)
        .says("help: one of these must go: `a` needs `d` (line 3), `d` comes after `a` (line 6)");
}

#[test]
fn man_005_a_task_that_names_itself_or_nobody_is_refused() {
    one(
        "tasks:\n  mark: touch marked\n  a: { needs: [a], run: x }\n",
        "holdpoint.yaml:3:16: `a` stands in its own `needs`",
    );
    let unknown = "tasks:\n  mark: touch marked\n  a: { needs: [nark], run: x }\n";
    one(unknown, "holdpoint.yaml:3:16: there is no task `nark`");
    refuse(unknown).says("help: did you mean `mark`?");
}

#[test]
fn in_5_a_key_that_is_twice_there_or_unknown_is_refused() {
    let twice = refuse("tasks:\n  mark: touch marked\n  mark: touch marked\n");
    twice.says("holdpoint.yaml:3:3: ").says("mark");
    let unknown = "tasks:\n  mark: { run: touch marked, neds: [] }\n";
    one(unknown, "holdpoint.yaml:2:30: a task has no key `neds`");
    refuse(unknown).says("help: did you mean `needs`?");
}

#[test]
fn in_5_a_wrong_type_is_refused() {
    let ran = refuse("tasks:\n  mark: { run: touch marked, timeout: 10 }\n");
    ran.says("holdpoint.yaml:2:39: ");
    refuse("tasks: [mark]\n").says("holdpoint.yaml:1:8: ");
    refuse("- tasks\n").says("holdpoint.yaml:1:1: ");
}

#[test]
fn in_5_what_an_editor_adds_is_taken_or_told() {
    // Line ends and a byte order mark mean nothing.
    for text in ["tasks:\r\n  mark: touch marked\r\n", "\u{feff}tasks:\n  mark: touch marked\n"] {
        let project = Project::new(text);
        project.run(&["run", "mark"]).ends_with(0);
        assert!(project.has("marked"), "{text:?}");
    }
    refuse("tasks:\n\tmark: touch marked\n").says("holdpoint.yaml:2:2: tabs");
    refuse("").says("holdpoint.yaml:1:1: the manifest is empty");
    refuse(b"tasks:\n  mark: touch \xff marked\n").says("holdpoint.yaml:2:15: ");
}

#[test]
fn in_1_an_alias_bomb_is_refused() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..=9 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    let ran = refuse(format!("{text}tasks: {{ mark: touch marked }}\n"));
    assert!(ran.stderr.starts_with("holdpoint.yaml:"), "{ran:#?}");
}

#[test]
fn in_2_deep_nesting_is_refused() {
    for text in ["[".repeat(100_000), "- ".repeat(100_000), "{a: ".repeat(100_000)] {
        let ran = refuse(text);
        assert!(
            ran.stderr.starts_with("holdpoint.yaml:1:"),
            "{}",
            &ran.stderr[..200.min(ran.stderr.len())]
        );
    }
}

#[test]
fn in_4_a_file_that_is_too_large_or_none_is_refused() {
    let large = format!("tasks: {{ mark: touch marked }}\n#{}\n", "x".repeat(16 << 20));
    refuse(large).says("a manifest has at most 16777216 bytes");
    let project = Project::empty();
    std::fs::create_dir(project.path("holdpoint.yaml")).unwrap();
    project.run(&[]).ends_with(2).says("it is a folder, not a file");
    project.run(&["-f", "/dev/zero"]).ends_with(2).says("it is a device, not a file");
}

#[test]
fn core_002_bad_names_are_refused() {
    for (name, index) in [("'a b'", 3), ("\"\"", 3), ("-a", 3), ("a/b", 3), ("'..'", 3)] {
        let ran = refuse(format!("tasks:\n  {name}: touch marked\n  mark: touch marked\n"));
        ran.says(&format!("holdpoint.yaml:2:{index}: "));
    }
    let long = "x".repeat(65);
    refuse(format!("tasks:\n  {long}: touch marked\n  mark: x\n")).says("this one has 65");
}

#[test]
fn man_007_a_limit_of_nothing_is_refused() {
    for limits in ["jobs: 0", "tags: { net: 0 }", "holds: { gpu: 0 }"] {
        let ran = refuse(format!("limits: {{ {limits} }}\ntasks: {{ mark: touch marked }}\n"));
        ran.says("holdpoint.yaml:1:");
    }
}

#[test]
fn ho_5_a_hold_that_is_named_twice_is_refused() {
    let ran = refuse(
        "tasks:\n  mark:\n    run: touch marked\n    holds: [db, { name: db, shared: true }]\n",
    );
    ran.says("holdpoint.yaml:4:25: ").says("`mark` names the hold `db` twice");
}

#[test]
fn every_mistake_of_a_manifest_is_told_at_once() {
    let ran = refuse(
        "tasks:\n  mark: { run: touch marked, needs: [one] }\n  b: { needs: [two], run: x }\n",
    );
    ran.says("holdpoint.yaml:2:38: there is no task `one`")
        .says("holdpoint.yaml:3:16: there is no task `two`");
}

#[test]
fn prog_001_mistakes_of_the_command_start_nothing() {
    let project = Project::new("tasks: { mark: touch marked, lint: touch marked }");
    project.run(&["run", "mrak"]).ends_with(2).says("did you mean `mark`?");
    project.run(&["run", "mark", "deploy"]).ends_with(2).says("`holdpoint` lists the tasks");
    for jobs in ["0", "-1", "many", "4294967296"] {
        project.run(&["run", "mark", &format!("-j={jobs}")]).ends_with(2);
    }
    project.run(&["run", "mark", "-j", "0"]).ends_with(2).says("the least is 1");
    project.run(&["run", "--all", "mark"]).ends_with(2).says("exclude each other");
    project.run(&["run", "mark", "-k", "--fail-fast"]).ends_with(2).says("exclude each other");
    assert!(!project.has("marked"));
}

#[test]
fn messages_name_the_file_as_seen_from_where_one_is() {
    let project = Project::empty();
    std::fs::create_dir_all(project.path("sub/deep")).unwrap();
    project.write("sub/holdpoint.yaml", "tasks: { a: { needs: [b], run: x } }");
    for (arguments, shown) in [
        (&["-C", "sub", "check"][..], "sub/holdpoint.yaml:1:23: "),
        (&["-C", "sub/deep", "check"], "sub/holdpoint.yaml:1:23: "),
        (&["-f", "./sub/holdpoint.yaml", "check"], "./sub/holdpoint.yaml:1:23: "),
        (&["-C", "sub", "-f", "holdpoint.yaml", "check"], "sub/holdpoint.yaml:1:23: "),
    ] {
        let ran = project.run(arguments).ends_with(2);
        assert!(ran.stderr.starts_with(shown), "{arguments:?}: {}", ran.stderr);
    }
}
