//! `holds:` of a task, and the names of holds.

use crate::faults::quoted;
use crate::location::{Located, Location};
use crate::model::{HoldMode, HoldName, HoldScope, HoldUse};
use crate::node::{Node, Value};

use super::Reader;
use super::keys::{Entries, Keys};

const HOLD: Keys = Keys { of: "a hold", known: &["name", "shared", "units"], later: &[] };

const HOLD_NAME: &str = "the name of a hold";

impl Reader<'_> {
    /// The uses of a task. That none stands twice is checked with all else about holds.
    pub(super) fn holds(&mut self, node: &Node<'_>) -> Vec<HoldUse> {
        let items = self.items("`holds`", "a list of holds", node);
        items.iter().filter_map(|item| self.hold_use(item)).collect()
    }

    fn hold_use(&mut self, node: &Node<'_>) -> Option<HoldUse> {
        match &node.value {
            Value::Map(map) => self.hold_entries(node.location, map),
            Value::Null | Value::List(_) => {
                self.wrong_type("a hold", "a name or a mapping", node);
                None
            }
            Value::Text(_) | Value::Bool(_) | Value::Number => {
                let Located { value: hold, location } = self.hold_name(node)?;
                Some(HoldUse { hold, mode: HoldMode::Exclusive, location })
            }
        }
    }

    fn hold_entries(&mut self, at: Location, map: &[(Node<'_>, Node<'_>)]) -> Option<HoldUse> {
        let (mut name, mut shared, mut units) = (None, None, None);
        let Entries { entries, complete } = self.entries(&HOLD, map);
        if complete && !entries.iter().any(|(key, ..)| *key == "name") {
            self.faults.invalid(at, "a hold needs a `name`");
        }
        for (key, _, value) in entries {
            match key {
                "name" => name = self.hold_name(value),
                "shared" => shared = self.boolean("`shared`", value),
                _ => {
                    let read = self.positive("`units`", value);
                    units = read.map(|units| Located::new(units, value.location));
                }
            }
        }
        let name = name?;
        let mode = match (shared, units) {
            (Some(true), Some(units)) => {
                self.faults
                    .invalid(units.location, "a hold is taken `shared` or in `units`, not both");
                return None;
            }
            (_, Some(units)) => HoldMode::Units(units.value),
            (Some(true), None) => HoldMode::Shared,
            (_, None) => HoldMode::Exclusive,
        };
        Some(HoldUse { hold: name.value, mode, location: name.location })
    }

    /// `name` or `~:name` (HOLD-001).
    pub(super) fn hold_name(&mut self, node: &Node<'_>) -> Option<Located<HoldName>> {
        let text = self.text(HOLD_NAME, node)?;
        let (scope, name) = match text.split_once(':') {
            None => (HoldScope::Workspace, text),
            Some(("~", name)) => (HoldScope::Project, name),
            Some(_) => {
                let message =
                    format!("{HOLD_NAME} is written `name` or `~:name`, not {}", quoted(text));
                self.faults.invalid(node.location, message);
                return None;
            }
        };
        match name.parse() {
            Ok(name) => Some(Located::new(HoldName { scope, name }, node.location)),
            Err(error) => {
                self.bad_name(HOLD_NAME, node, name, &error);
                None
            }
        }
    }
}
