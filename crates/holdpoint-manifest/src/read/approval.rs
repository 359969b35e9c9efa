//! `approval:` of a task: the question, or a mapping with it.

use crate::diagnostic::Kind;
use crate::faults::did_you_mean;
use crate::location::Location;
use crate::model::{Approval, OnTimeout};
use crate::node::{Node, Value};

use super::Reader;
use super::keys::{Entries, Keys};

const APPROVAL: Keys =
    Keys { of: "`approval`", known: &["prompt", "timeout", "on_timeout"], later: &[] };

/// The longest question in bytes: far more than anybody reads, far less than can be asked.
const MAX_PROMPT: usize = 64 << 10;

const TAKES: &str = "a question or a mapping with `prompt`";

impl Reader<'_> {
    /// What is asked before a task runs. A value that switches something on or off is no
    /// question, whatever its type is.
    pub(super) fn approval(&mut self, node: &Node<'_>) -> Option<Approval> {
        match &node.value {
            Value::Map(map) => self.approval_entries(node.location, map),
            Value::Bool(on) => {
                self.is_no_switch(*on, node);
                None
            }
            Value::Text(text) => {
                if let Some(on) = switch(text) {
                    self.is_no_switch(on, node);
                    return None;
                }
                let prompt = self.prompt("`approval`", node)?;
                Some(Approval { prompt, timeout: None, on_timeout: OnTimeout::default() })
            }
            Value::Null | Value::Number | Value::List(_) => {
                self.wrong_type("`approval`", TAKES, node);
                None
            }
        }
    }

    fn is_no_switch(&mut self, on: bool, node: &Node<'_>) {
        let help = if on {
            "write what is asked, as in `approval: \"Deploy to production?\"`"
        } else {
            "leave `approval` out where nobody is asked"
        };
        let message = self.of_wrong_type("`approval`", TAKES, node);
        self.faults.add(Kind::WrongType, node.location, message, || Some(help.into()));
    }

    fn approval_entries(&mut self, at: Location, map: &[(Node<'_>, Node<'_>)]) -> Option<Approval> {
        let (mut prompt, mut timeout, mut on_timeout) = (None, None, None);
        let Entries { entries, complete } = self.entries(&APPROVAL, map);
        let has = |key| entries.iter().any(|(other, ..)| *other == key);
        if complete && !has("prompt") {
            let help = "as in `{ prompt: \"Deploy to production?\" }`";
            self.faults.invalid_but(at, "`approval` needs a `prompt`", help);
        }
        let waits_for_ever = complete && !has("timeout");
        for (key, at, value) in entries {
            match key {
                "prompt" => prompt = self.prompt("`prompt`", value),
                "timeout" => timeout = self.some_duration("`timeout`", value),
                _ => {
                    if waits_for_ever {
                        let message =
                            "`on_timeout` says what follows a `timeout`, and there is none";
                        let help =
                            "add one, as in `timeout: 24h`: without it the question waits for ever";
                        self.faults.invalid_but(at, message, help);
                    }
                    on_timeout = self.on_timeout(value);
                }
            }
        }
        Some(Approval { prompt: prompt?, timeout, on_timeout: on_timeout.unwrap_or_default() })
    }

    fn prompt(&mut self, what: &str, node: &Node<'_>) -> Option<String> {
        let prompt = self.some_text(what, node)?;
        if prompt.len() > MAX_PROMPT {
            let message = format!("{what} has {} bytes, and at most {MAX_PROMPT}", prompt.len());
            self.faults.invalid(node.location, message);
            return None;
        }
        Some(prompt.to_owned())
    }

    fn on_timeout(&mut self, node: &Node<'_>) -> Option<OnTimeout> {
        let text = match &node.value {
            Value::Text(text) => text.as_ref(),
            _ => "",
        };
        match text {
            "fail" => Some(OnTimeout::Fail),
            "reject" => Some(OnTimeout::Reject),
            _ => {
                let message = self.of_wrong_type("`on_timeout`", "`fail` or `reject`", node);
                self.faults.add(Kind::WrongType, node.location, message, || {
                    did_you_mean(text, ["fail", "reject"].into_iter())
                });
                None
            }
        }
    }
}

/// Whether a text is what other readers of YAML take for a boolean.
fn switch(text: &str) -> Option<bool> {
    let is = |words: [&str; 3]| words.iter().any(|word| text.trim().eq_ignore_ascii_case(word));
    if is(["true", "yes", "on"]) { Some(true) } else { is(["false", "no", "off"]).then_some(false) }
}
