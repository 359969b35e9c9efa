//! The top of a manifest: version, default targets, limits, tasks, hooks.

use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroU32;

use holdpoint_core::Name;

use crate::diagnostic::Kind;
use crate::faults::quoted;
use crate::location::{Located, Location};
use crate::model::{Hooks, Jobs, Limits, Task};
use crate::node::{Node, Value};

use super::Reader;
use super::keys::{Entries, Keys};

/// The version of the manifest's form that this program reads.
const VERSION: u32 = 1;

const TOP: Keys = Keys {
    of: "a manifest",
    known: &["version", "default", "limits", "tasks", "on"],
    later: &["name", "projects", "params", "dotenv", "env", "tags", "schedules"],
};

const LIMITS: Keys = Keys { of: "`limits`", known: &["jobs", "tags", "holds"], later: &[] };

/// What could be read of a manifest, its parts not yet checked against each other.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    pub(crate) default: Vec<Located<Name>>,
    pub(crate) limits: Limits,
    pub(crate) tasks: Vec<Task>,
    pub(crate) hooks: Hooks,
}

impl Reader<'_> {
    /// What is readable of a manifest; the rest is reported.
    pub(crate) fn manifest(&mut self, root: &Node<'_>) -> Draft {
        let mut draft = Draft::default();
        let map = match &root.value {
            Value::Map(map) => map,
            Value::Null => {
                let start = Location::new(1, 1);
                self.faults.add(Kind::Invalid, start, "the manifest is empty", || {
                    Some("the least it needs is `tasks: { hello: echo hello }`".into())
                });
                return draft;
            }
            _ => {
                self.wrong_type("a manifest", "a mapping with `tasks`", root);
                return draft;
            }
        };
        if !self.version_is_ours(map) {
            return draft;
        }
        let Entries { entries, complete } = self.entries(&TOP, map);
        if complete && !entries.iter().any(|(key, ..)| *key == "tasks") {
            self.faults.invalid(root.location, "a manifest needs `tasks`");
        }
        for (key, _, value) in entries {
            match key {
                "version" => {}
                "default" => {
                    draft.default = self.distinct(key, "a list of tasks", value, Self::task_name);
                }
                "limits" => draft.limits = self.limits(value),
                "tasks" => draft.tasks = self.tasks(value),
                _ => draft.hooks = self.hooks(value),
            }
        }
        draft
    }

    /// Looked at first: in a manifest of another version every key may mean something else, and
    /// no further fault would be worth reading.
    fn version_is_ours(&mut self, map: &[(Node<'_>, Node<'_>)]) -> bool {
        let is_version =
            |key: &Node<'_>| matches!(&key.value, Value::Text(key) if key == "version");
        let Some((_, node)) = map.iter().find(|(key, _)| is_version(key)) else { return true };
        match self.positive("`version`", node) {
            Some(version) if version.get() != VERSION => {
                let message = format!(
                    "this manifest is of version {version}; this holdpoint reads version {VERSION}"
                );
                self.faults.invalid(node.location, message);
                false
            }
            _ => true,
        }
    }

    fn tasks(&mut self, node: &Node<'_>) -> Vec<Task> {
        let entries = self.named_entries("`tasks`", "a mapping of tasks by name", node);
        let mut tasks = Vec::with_capacity(entries.len());
        let mut seen = HashSet::with_capacity(entries.len());
        for (key, value) in entries {
            let Some(name) = self.name("the name of a task", key) else { continue };
            if !seen.insert(name.value.clone()) {
                self.stands_twice(name.value.as_str(), key, "`tasks`");
                continue;
            }
            tasks.push(self.task(name, value));
        }
        tasks
    }

    fn limits(&mut self, node: &Node<'_>) -> Limits {
        let mut limits = Limits::default();
        let entries =
            self.named_entries("`limits`", "a mapping with `jobs`, `tags`, `holds`", node);
        for (key, _, value) in self.entries(&LIMITS, entries).entries {
            match key {
                "jobs" => limits.jobs = self.jobs(value),
                "tags" => {
                    let takes = "a mapping of tags to their slots";
                    limits.tags = self.caps("`tags`", takes, value, Self::tag);
                }
                _ => {
                    let takes = "a mapping of holds to their units";
                    limits.holds = self.caps("`holds`", takes, value, Self::hold_name);
                }
            }
        }
        limits
    }

    fn jobs(&mut self, node: &Node<'_>) -> Jobs {
        match &node.value {
            Value::Text(text) if text == "auto" => Jobs::Auto,
            Value::Number => self.positive("`jobs`", node).map_or(Jobs::Auto, Jobs::Fixed),
            _ => {
                self.wrong_type("`jobs`", "`auto` or a whole number", node);
                Jobs::Auto
            }
        }
    }

    fn caps<K: Ord + ToString>(
        &mut self,
        key: &str,
        takes: &str,
        node: &Node<'_>,
        name: fn(&mut Self, &Node<'_>) -> Option<Located<K>>,
    ) -> BTreeMap<K, Located<NonZeroU32>> {
        let mut caps = BTreeMap::new();
        for (at, value) in self.named_entries(key, takes, node) {
            let name = name(self, at);
            let what = name.as_ref().map_or("a limit".into(), |name| {
                format!("the limit of {}", quoted(&name.value.to_string()))
            });
            let cap = self.positive(&what, value);
            let (Some(name), Some(cap)) = (name, cap) else { continue };
            if caps.contains_key(&name.value) {
                self.stands_twice(&name.value.to_string(), at, key);
            }
            caps.insert(name.value, Located::new(cap, name.location));
        }
        caps
    }

    /// YAML itself refuses equal keys, but to it `1` and `"1"` differ; as names they do not.
    fn stands_twice(&mut self, name: &str, key: &Node<'_>, mapping: &str) {
        self.faults.invalid(key.location, format!("{} stands twice in {mapping}", quoted(name)));
    }
}
