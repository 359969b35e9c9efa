//! The command without a name.

use crate::support::Project;

const TASKS: &str = "
default: [test]
tasks:
  zebra: echo z
  build: { desc: Build the program, run: make }
  test: { desc: \"Test\\e[31m it\", needs: [build], run: make test }
";

#[test]
fn tasks_are_listed_in_order_with_what_they_are_for() {
    let ran = Project::new(TASKS).run(&[]).ends_with(0);
    assert_eq!(
        ran.stdout,
        "  zebra
  build  Build the program
* test   Test\\x1b[31m it

`holdpoint run` runs *, `holdpoint run NAME` a task and what it needs
"
    );
    assert_eq!(ran.stderr, "");
}

#[test]
fn the_list_as_json_is_an_array() {
    let ran = Project::new(TASKS).run(&["--json"]).ends_with(0);
    let rows: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(rows[0], serde_json::json!({ "task": "zebra", "default": false }));
    assert_eq!(rows[2]["default"], true);
    assert_eq!(rows.as_array().unwrap().len(), 3);
}

#[test]
fn prog_001_without_a_manifest_the_way_to_one_is_shown() {
    let project = Project::empty();
    let ran = project.run(&[]).ends_with(2).says("no holdpoint.yaml in ").says("hello: echo hello");
    assert_eq!(ran.stdout, "");
    // What it shows is a manifest.
    let shown = ran.stderr.lines().skip_while(|line| !line.contains("# holdpoint.yaml"));
    let manifest: Vec<&str> =
        shown.take_while(|line| !line.is_empty()).map(|line| &line[2..]).collect();
    project.write("holdpoint.yaml", manifest.join("\n"));
    assert_eq!(project.run(&["run", "hello"]).ends_with(0).stdout, "hello\n");
}

#[test]
fn a_manifest_without_tasks_has_an_empty_list() {
    Project::new("tasks: {}").run(&[]).ends_with(0).says("there are no tasks yet");
}

#[test]
fn man_011_the_manifest_of_a_folder_above_is_found() {
    let project = Project::new("tasks: { hello: pwd }");
    std::fs::create_dir_all(project.path("a/b")).unwrap();
    let root = project.root().canonicalize().unwrap();
    let ran = project.run(&["run", "-C", "a/b", "hello"]).ends_with(0);
    assert_eq!(ran.stdout.trim_end(), root.display().to_string());
}

#[test]
fn a_folder_or_file_that_is_named_and_missing_is_told() {
    let project = Project::new("tasks: { hello: echo hello }");
    project.run(&["-C", "nowhere"]).ends_with(2).says("cannot start in nowhere");
    project.run(&["-C", "holdpoint.yaml"]).ends_with(2).says("cannot start in holdpoint.yaml");
    project.run(&["-f", "none.yaml"]).ends_with(2).says("cannot read none.yaml");
    // Below the folder of -C, and not of the caller.
    std::fs::create_dir(project.path("sub")).unwrap();
    project.write("sub/other.yaml", "tasks: { other: echo other }");
    project.run(&["-C", "sub", "-f", "other.yaml"]).ends_with(0).says("other");
}

#[test]
fn the_version_is_name_and_number() {
    let ran = Project::empty().run(&["--version"]).ends_with(0);
    assert_eq!(ran.stdout, format!("holdpoint {}\n", env!("CARGO_PKG_VERSION")));
}
