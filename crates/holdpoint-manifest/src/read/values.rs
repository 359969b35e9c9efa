//! Single values: texts, names, numbers, lists of them.

use std::collections::HashSet;
use std::fmt::Display;
use std::hash::Hash;
use std::num::NonZeroU32;

use holdpoint_core::{Name, NameError, TaskName};

use crate::diagnostic::Kind;
use crate::faults::quoted;
use crate::location::Located;
use crate::node::{Node, Value};

use super::Reader;

impl<'s> Reader<'s> {
    /// A fault: `what` ("`desc`", "the name of a tag") is not what it must be.
    pub(super) fn wrong_type(&mut self, what: &str, takes: &str, node: &Node<'_>) {
        let message = self.of_wrong_type(what, takes, node);
        self.faults.add(Kind::WrongType, node.location, message, || None);
    }

    /// The words of [`wrong_type`](Self::wrong_type), for those who can help.
    pub(super) fn of_wrong_type(&self, what: &str, takes: &str, node: &Node<'_>) -> String {
        match node.value {
            Value::Null => format!("{what} has no value: it takes {takes}"),
            _ => format!("{what} takes {takes}, not {}", self.described(node)),
        }
    }

    fn described(&self, node: &Node<'_>) -> String {
        match &node.value {
            Value::Null => "nothing".into(),
            Value::Bool(_) => quoted(self.written(node)),
            Value::Number => format!("the number {}", quoted(self.written(node))),
            Value::Text(text) => format!("the text {}", quoted(text)),
            Value::List(_) => "a list".into(),
            Value::Map(_) => "a mapping".into(),
        }
    }

    /// A plain scalar as it is written.
    fn written(&self, node: &Node<'_>) -> &'s str {
        let start = node.span.0 as usize;
        let text = self.source.text.get(start..start + node.span.1 as usize).unwrap_or_default();
        // Quotes stand around a number only where a tag makes it one: `!!int "7"`.
        text.trim_matches(['"', '\''])
    }

    /// A text. Numbers and booleans count as the text that is written, so that `[sleep, 010]`
    /// and the command `true` need no quotes.
    pub(super) fn text<'n>(&mut self, what: &str, node: &'n Node<'_>) -> Option<&'n str>
    where
        's: 'n,
    {
        let text = match &node.value {
            Value::Text(text) => text.as_ref(),
            Value::Bool(_) | Value::Number => self.written(node),
            Value::Null | Value::List(_) | Value::Map(_) => {
                self.wrong_type(what, "a text", node);
                return None;
            }
        };
        if text.contains('\0') {
            let message = format!("{what} has a NUL character, which no process can be given");
            self.faults.invalid(node.location, message);
            return None;
        }
        Some(text)
    }

    /// A text that is not empty.
    pub(super) fn some_text<'n>(&mut self, what: &str, node: &'n Node<'_>) -> Option<&'n str>
    where
        's: 'n,
    {
        let text = self.text(what, node)?;
        if text.trim().is_empty() {
            self.faults.invalid(node.location, format!("{what} is empty"));
            return None;
        }
        Some(text)
    }

    /// The items of a list; a single text counts as a list of one.
    pub(super) fn items<'n, 'a>(
        &mut self,
        what: &str,
        takes: &str,
        node: &'n Node<'a>,
    ) -> &'n [Node<'a>] {
        match &node.value {
            Value::List(items) => items,
            Value::Text(_) | Value::Bool(_) | Value::Number => std::slice::from_ref(node),
            Value::Null | Value::Map(_) => {
                self.wrong_type(what, takes, node);
                &[]
            }
        }
    }

    /// A name (CORE-002).
    pub(super) fn name(&mut self, what: &str, node: &Node<'_>) -> Option<Located<Name>> {
        let text = self.text(what, node)?;
        match text.parse() {
            Ok(name) => Some(Located::new(name, node.location)),
            Err(error) => {
                self.bad_name(what, node, text, &error);
                None
            }
        }
    }

    pub(super) fn bad_name(&mut self, what: &str, node: &Node<'_>, text: &str, error: &NameError) {
        let message = match error {
            NameError::Empty => format!("{what} is empty"),
            error => format!("{} is not {what}: {error}", quoted(text)),
        };
        self.faults.invalid(node.location, message);
    }

    /// The name of a task of this manifest, where one is referred to.
    pub(super) fn task_name(&mut self, node: &Node<'_>) -> Option<Located<Name>> {
        let text = self.text("the name of a task", node)?;
        match text.parse::<TaskName>() {
            Ok(name) if name.project().is_none() => {
                Some(Located::new(name.task().clone(), node.location))
            }
            Ok(_) => {
                let message = format!(
                    "{} is a task of another project: this version of holdpoint does not \
                     support projects yet",
                    quoted(text)
                );
                self.faults.add(Kind::Later, node.location, message, || None);
                None
            }
            Err(error) => {
                self.bad_name("the name of a task", node, text, &error);
                None
            }
        }
    }

    /// The items of a list, each read by `read`, none twice.
    pub(super) fn distinct<T: Clone + Eq + Hash + Display>(
        &mut self,
        key: &str,
        takes: &str,
        node: &Node<'_>,
        read: fn(&mut Self, &Node<'_>) -> Option<Located<T>>,
    ) -> Vec<Located<T>> {
        let mut items = Vec::new();
        let mut seen = HashSet::new();
        for item in self.items(&format!("`{key}`"), takes, node) {
            let Some(item) = read(self, item) else { continue };
            if seen.insert(item.value.clone()) {
                items.push(item);
            } else {
                let message =
                    format!("{} stands twice in `{key}`", quoted(&item.value.to_string()));
                self.faults.invalid(item.location, message);
            }
        }
        items
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, what: &str, node: &Node<'_>) -> Option<bool> {
        match node.value {
            Value::Bool(value) => Some(value),
            _ => {
                self.wrong_type(what, "`true` or `false`", node);
                None
            }
        }
    }

    /// A whole number from 1 to 4294967295 in decimal digits.
    pub(super) fn positive(&mut self, what: &str, node: &Node<'_>) -> Option<NonZeroU32> {
        let Value::Number = node.value else {
            self.wrong_type(what, "a whole number", node);
            return None;
        };
        let text = self.written(node);
        if text == "0" {
            self.faults.invalid(node.location, format!("{what} is at least 1"));
            return None;
        }
        // Only what everyone reads alike: `010`, `0x10` and `1_000` differ from reader to reader.
        let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
        match text.parse() {
            Ok(number) if plain => Some(number),
            Err(_) if plain => {
                self.faults.invalid(node.location, format!("{what} is at most {}", u32::MAX));
                None
            }
            _ => {
                self.wrong_type(what, "a whole number in decimal digits", node);
                None
            }
        }
    }

    /// A decimal number.
    pub(super) fn number(&mut self, what: &str, node: &Node<'_>) -> Option<f64> {
        let number = match node.value {
            Value::Number => {
                self.written(node).parse().ok().filter(|number: &f64| number.is_finite())
            }
            _ => None,
        };
        if number.is_none() {
            self.wrong_type(what, "a decimal number", node);
        }
        number
    }
}
