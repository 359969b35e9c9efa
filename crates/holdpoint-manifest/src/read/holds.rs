//! `holds:` of a task, and the names of holds.

use crate::faults::quoted;
use crate::location::Located;
use crate::model::{HoldMode, HoldName, HoldScope, HoldUse};
use crate::node::{Node, Value};

use super::Reader;
use super::keys::Keys;

const HOLD: Keys = Keys { of: "a hold", known: &["name", "shared", "units"], later: &[] };

impl Reader<'_> {
    /// The uses of a task. That none stands twice is checked with all else about holds.
    pub(super) fn holds(&mut self, node: &Node<'_>) -> Vec<HoldUse> {
        let items = self.items("`holds`", "a list of holds", node);
        items.iter().filter_map(|item| self.hold_use(item)).collect()
    }

    fn hold_use(&mut self, node: &Node<'_>) -> Option<HoldUse> {
        let Value::Map(map) = &node.value else {
            let hold = self.hold_name("a hold", node)?;
            return Some(HoldUse {
                hold: hold.value,
                mode: HoldMode::Exclusive,
                location: hold.location,
            });
        };
        let (mut name, mut shared, mut units) = (None, None, None);
        let mut named = false;
        for (key, _, value) in self.entries(&HOLD, map) {
            match key {
                "name" => (named, name) = (true, self.hold_name("`name`", value)),
                "shared" => shared = self.boolean("`shared`", value),
                _ => units = Some((self.positive("`units`", value)?, value.location)),
            }
        }
        if !named {
            self.faults.invalid(node.location, "a hold needs a `name`");
        }
        let name = name?;
        let mode = match (shared, units) {
            (Some(true), Some((_, location))) => {
                self.faults.invalid(location, "a hold is taken `shared` or in `units`, not both");
                return None;
            }
            (_, Some((units, _))) => HoldMode::Units(units),
            (Some(true), None) => HoldMode::Shared,
            (_, None) => HoldMode::Exclusive,
        };
        Some(HoldUse { hold: name.value, mode, location: name.location })
    }

    /// `name` or `~:name` (HOLD-001).
    pub(super) fn hold_name(&mut self, key: &str, node: &Node<'_>) -> Option<Located<HoldName>> {
        let text = self.text(key, node)?;
        let (scope, name) = match text.split_once(':') {
            None => (HoldScope::Workspace, text),
            Some(("~", name)) => (HoldScope::Project, name),
            Some(_) => {
                let message = format!("{key} is written `name` or `~:name`, not {}", quoted(text));
                self.faults.invalid(node.location, message);
                return None;
            }
        };
        match name.parse() {
            Ok(name) => Some(Located::new(HoldName { scope, name }, node.location)),
            Err(error) => {
                self.bad_name(key, node, name, &error);
                None
            }
        }
    }
}
