//! Which tasks are part of a run.

use std::collections::HashMap;

use holdpoint_manifest::Manifest;

/// Marks, for each position in [`Manifest::tasks`], whether a run of `targets` has that task: the
/// targets, whatever they need, and each `finally` task of a task that is in, with what it needs.
/// `after` brings nothing in. Without recursion, in O(tasks + edges).
pub(crate) fn select(manifest: &Manifest, targets: impl IntoIterator<Item = usize>) -> Vec<bool> {
    let joins = joins(manifest);
    let mut selected = vec![false; manifest.tasks().len()];
    let mut open: Vec<usize> = targets.into_iter().collect();
    while let Some(position) = open.pop() {
        if std::mem::replace(&mut selected[position], true) {
            continue;
        }
        let task = &manifest.tasks()[position];
        open.extend(task.needs.iter().filter_map(|need| manifest.position(need.value.as_str())));
        open.extend(joins.get(&position).into_iter().flatten());
    }
    selected
}

/// For each task that has any, the `finally` tasks that join it.
fn joins(manifest: &Manifest) -> HashMap<usize, Vec<usize>> {
    let mut joins: HashMap<usize, Vec<usize>> = HashMap::new();
    for (position, task) in manifest.tasks().iter().enumerate() {
        for of in task.finally.iter().filter_map(|of| manifest.position(of.value.as_str())) {
            joins.entry(of).or_default().push(position);
        }
    }
    joins
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASKS: &str = "
tasks:
  build: make
  test: { needs: build, run: make test }
  lint: make lint
  deploy: { needs: test, after: lint, run: make deploy }
  login: make login
  notify: { finally: [deploy, lint], needs: login, run: ./notify }
  archive: { finally: notify, run: ./archive }
";

    fn selected(target: &str) -> Vec<String> {
        let manifest = Manifest::parse("holdpoint.yaml", TASKS).unwrap();
        let selected = select(&manifest, manifest.position(target));
        let names = manifest.tasks().iter().zip(selected);
        names.filter(|(_, is_in)| *is_in).map(|(task, _)| task.name.value.to_string()).collect()
    }

    #[test]
    fn prog_007_a_run_has_its_targets_and_what_they_need() {
        assert_eq!(selected("build"), ["build"]);
        assert_eq!(selected("test"), ["build", "test"]);
    }

    #[test]
    fn prog_007_a_finally_task_joins_with_its_needs_and_its_own_finally_tasks() {
        assert_eq!(selected("lint"), ["lint", "login", "notify", "archive"]);
    }

    #[test]
    fn prog_007_a_soft_edge_brings_nothing_in() {
        let deploy = selected("deploy");
        assert_eq!(deploy, ["build", "test", "deploy", "login", "notify", "archive"]);
    }

    #[test]
    fn a_finally_task_alone_brings_in_none_of_what_it_follows() {
        assert_eq!(selected("notify"), ["login", "notify", "archive"]);
    }
}
