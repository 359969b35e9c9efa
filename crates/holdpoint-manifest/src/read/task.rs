//! One task: a command, or a mapping with the keys of a task.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::num::NonZeroU32;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use holdpoint_core::{Backoff, Name};

use crate::faults::quoted;
use crate::location::{Located, Location};
use crate::model::{Action, Retry, Task};
use crate::node::{Node, Value};

use super::Reader;
use super::keys::{Entries, Keys};

const TASK: Keys = Keys {
    of: "a task",
    known: &[
        "desc",
        "run",
        "exec",
        "dir",
        "needs",
        "after",
        "finally",
        "env",
        "pass_env",
        "holds",
        "tags",
        "weight",
        "timeout",
        "retry",
        "allow_failure",
        "if",
        "approval",
    ],
    later: &["inputs", "outputs", "cache", "hash_env", "inherit_env", "secrets", "params", "tty"],
};

const RETRY: Keys = Keys {
    of: "`retry`",
    known: &["attempts", "initial", "multiplier", "max", "jitter"],
    later: &[],
};

/// How long a task waits after its first failure, where the manifest does not say.
const FIRST_DELAY: Duration = Duration::from_secs(1);

/// How long it waits at most, where the manifest does not say.
const LONGEST_DELAY: Duration = Duration::from_secs(300);

/// Names of variables that the program itself gives to tasks begin with this.
const RESERVED: &str = "HOLDPOINT_";

impl Reader<'_> {
    /// What is readable of a task; the rest is reported.
    pub(super) fn task(&mut self, name: Located<Name>, node: &Node<'_>) -> Task {
        let mut task = Task {
            weight: Located::new(NonZeroU32::MIN, name.location),
            name,
            desc: None,
            action: None,
            dir: None,
            needs: Vec::new(),
            after: Vec::new(),
            finally: Vec::new(),
            env: BTreeMap::new(),
            pass_env: Vec::new(),
            holds: Vec::new(),
            tags: Vec::new(),
            timeout: None,
            retry: None,
            allow_failure: false,
            condition: None,
            approval: None,
        };
        match &node.value {
            Value::Map(map) => self.task_entries(&mut task, map),
            Value::Text(_) | Value::Bool(_) | Value::Number => {
                task.action = self.script("a command", node);
            }
            Value::Null | Value::List(_) => {
                let what = format!("task `{}`", task.name.value);
                self.wrong_type(&what, "a command or a mapping", node);
            }
        }
        task
    }

    fn task_entries(&mut self, task: &mut Task, map: &[(Node<'_>, Node<'_>)]) {
        let (mut run, mut exec) = (None, None);
        let Entries { entries, complete } = self.entries(&TASK, map);
        if complete {
            self.does_something(task, &entries);
        }
        for (key, at, value) in entries {
            match key {
                "desc" => task.desc = self.text("`desc`", value).map(str::to_owned),
                "run" => run = Some((at, self.run("`run`", value))),
                "exec" => exec = Some((at, self.exec(value))),
                "dir" => task.dir = self.dir(value),
                "needs" => task.needs = self.tasks_of(key, value),
                "after" => task.after = self.tasks_of(key, value),
                "finally" => task.finally = self.tasks_of(key, value),
                "env" => task.env = self.env(value),
                "pass_env" => {
                    task.pass_env =
                        self.distinct(key, "a list of variables", value, Self::variable);
                }
                "holds" => task.holds = self.holds(value),
                "tags" => {
                    task.tags = self.distinct(key, "a list of tags", value, Self::tag);
                }
                "weight" => {
                    if let Some(weight) = self.positive("`weight`", value) {
                        task.weight = Located::new(weight, value.location);
                    }
                }
                "timeout" => task.timeout = self.some_duration("`timeout`", value),
                "retry" => task.retry = self.retry(value),
                "allow_failure" => {
                    task.allow_failure = self.boolean("`allow_failure`", value).unwrap_or(false);
                }
                "if" => task.condition = self.some_text("`if`", value).map(str::to_owned),
                _ => task.approval = self.approval(value),
            }
        }
        self.variables_given_once(task);
        task.action = match (run, exec) {
            (Some((run, _)), Some((exec, _))) => {
                self.faults.invalid(run.max(exec), "a task has `run` or `exec`, not both");
                None
            }
            (run, exec) => run.or(exec).and_then(|(_, action)| action),
        };
    }

    /// A task without a command is a group, and a group has members or asks whether to go on.
    fn does_something(&mut self, task: &Task, entries: &[(&str, Location, &Node<'_>)]) {
        let empty = |node: &Node<'_>| matches!(&node.value, Value::List(items) if items.is_empty());
        let does = entries.iter().any(|(key, _, value)| match *key {
            "run" | "exec" | "approval" => true,
            "needs" | "after" | "finally" => !empty(value),
            _ => false,
        });
        if !does {
            let message = format!("task `{}` does nothing", task.name.value);
            let help = "give it `run` or `exec`, or make it a group with `needs`";
            self.faults.invalid_but(task.name.location, message, help);
        }
    }

    /// `run`: a script, or its lines.
    pub(super) fn run(&mut self, what: &str, node: &Node<'_>) -> Option<Action> {
        let Value::List(lines) = &node.value else { return self.script(what, node) };
        let mut script = String::new();
        for line in lines {
            script.push_str(self.text(&format!("a line of {what}"), line)?);
            script.push('\n');
        }
        if script.trim().is_empty() {
            self.faults.invalid(node.location, format!("{what} is empty"));
            return None;
        }
        script.pop();
        Some(Action::Shell { script })
    }

    fn script(&mut self, what: &str, node: &Node<'_>) -> Option<Action> {
        self.some_text(what, node).map(|script| Action::Shell { script: script.to_owned() })
    }

    /// `exec`: a program and its arguments.
    pub(super) fn exec(&mut self, node: &Node<'_>) -> Option<Action> {
        let Value::List(words) = &node.value else {
            self.wrong_type("`exec`", "a list: a program and its arguments", node);
            return None;
        };
        let Some((program, args)) = words.split_first() else {
            self.faults.invalid(node.location, "`exec` names no program");
            return None;
        };
        let program = self.some_text("the program of `exec`", program);
        let args = args
            .iter()
            .filter_map(|arg| self.text("an argument of `exec`", arg).map(str::to_owned))
            .collect();
        Some(Action::Exec { program: program?.to_owned(), args })
    }

    /// `dir`: a folder within that of the manifest.
    fn dir(&mut self, node: &Node<'_>) -> Option<Located<PathBuf>> {
        let text = self.some_text("`dir`", node)?;
        let mut dir = PathBuf::new();
        for part in Path::new(text).components() {
            let inside = match part {
                Component::CurDir => true,
                Component::Normal(name) => {
                    dir.push(name);
                    true
                }
                Component::ParentDir => dir.pop(),
                Component::RootDir | Component::Prefix(_) => false,
            };
            if !inside {
                let message = format!("`dir` leaves the manifest's folder: {}", quoted(text));
                let help = "name a folder within it, relative to it";
                self.faults.invalid_but(node.location, message, help);
                return None;
            }
        }
        // The folder of the manifest itself is where a task runs anyway.
        (!dir.as_os_str().is_empty()).then(|| Located::new(dir, node.location))
    }

    fn tasks_of(&mut self, key: &str, node: &Node<'_>) -> Vec<Located<Name>> {
        self.distinct(key, "a list of tasks", node, Self::task_name)
    }

    pub(super) fn tag(&mut self, node: &Node<'_>) -> Option<Located<Name>> {
        self.name("the name of a tag", node)
    }

    fn env(&mut self, node: &Node<'_>) -> BTreeMap<String, Located<String>> {
        let mut env = BTreeMap::new();
        for (key, value) in self.named_entries("`env`", "a mapping of variables", node) {
            let name = self.variable(key);
            let what = match &name {
                Some(name) => format!("variable {}", quoted(&name.value)),
                None => "a variable".into(),
            };
            let value = self.text(&what, value).map(str::to_owned);
            let (Some(name), Some(value)) = (name, value) else { continue };
            match env.entry(name.value) {
                Entry::Vacant(entry) => {
                    entry.insert(Located::new(value, name.location));
                }
                Entry::Occupied(entry) => {
                    let message = format!("{} stands twice in `env`", quoted(entry.key()));
                    self.faults.invalid(name.location, message);
                }
            }
        }
        env
    }

    /// The name of an environment variable.
    pub(super) fn variable(&mut self, node: &Node<'_>) -> Option<Located<String>> {
        let name = self.text("the name of a variable", node)?;
        let fault = if name.is_empty() {
            "the name of a variable is empty".to_owned()
        } else if name.contains('=') {
            format!("{} is not the name of a variable: it has a `=`", quoted(name))
        } else if name.starts_with(RESERVED) {
            format!("{} is not free: holdpoint itself sets `{RESERVED}` variables", quoted(name))
        } else {
            return Some(Located::new(name.to_owned(), node.location));
        };
        self.faults.invalid(node.location, fault);
        None
    }

    fn variables_given_once(&mut self, task: &Task) {
        for name in task.pass_env.iter().filter(|name| task.env.contains_key(&name.value)) {
            let message =
                format!("{} is set by `env` and cannot be passed too", quoted(&name.value));
            self.faults.invalid(name.location, message);
        }
    }

    fn retry(&mut self, node: &Node<'_>) -> Option<Retry> {
        let Value::Map(map) = &node.value else {
            self.wrong_type("`retry`", "a mapping such as `{ attempts: 3 }`", node);
            return None;
        };
        let (mut attempts, mut initial, mut longest) = (None, None, None);
        let (mut multiplier, mut jitter) = (None, None);
        let Entries { entries, complete } = self.entries(&RETRY, map);
        if complete && !entries.iter().any(|(key, ..)| *key == "attempts") {
            let help = "as in `{ attempts: 3 }`; the first one counts";
            self.faults.invalid_but(node.location, "`retry` needs `attempts`", help);
        }
        for (key, _, value) in entries {
            let at = value.location;
            match key {
                "attempts" => attempts = self.positive("`attempts`", value),
                "initial" => initial = self.duration("`initial`", value),
                "max" => longest = self.duration("`max`", value).map(|max| Located::new(max, at)),
                "multiplier" => {
                    multiplier = self.number("`multiplier`", value).map(|n| Located::new(n, at));
                }
                _ => jitter = self.number("`jitter`", value).map(|n| Located::new(n, at)),
            }
        }
        let mut backoff = Backoff::exponential(initial.unwrap_or(FIRST_DELAY))
            .max(initial.map_or(LONGEST_DELAY, |initial| initial.max(LONGEST_DELAY)));
        if let Some(Located { value: longest, location }) = longest {
            if initial.is_some_and(|initial| longest < initial) {
                self.faults.invalid(location, "`max` is shorter than `initial`");
            }
            backoff = backoff.max(longest);
        }
        if let Some(Located { value, location }) = multiplier {
            backoff = self.checked(location, backoff.multiplier(value)).unwrap_or(backoff);
        }
        if let Some(Located { value, location }) = jitter {
            backoff = self.checked(location, backoff.jitter(value)).unwrap_or(backoff);
        }
        attempts.map(|attempts| Retry { attempts, backoff })
    }

    fn checked<T, E: std::error::Error>(
        &mut self,
        at: Location,
        result: Result<T, E>,
    ) -> Option<T> {
        result.map_err(|error| self.faults.invalid(at, error.to_string())).ok()
    }
}
