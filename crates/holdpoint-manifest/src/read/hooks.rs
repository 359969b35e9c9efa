//! `on:` what is done when something has happened to a run: a command, or a message to an address.

use crate::faults::quoted;
use crate::location::Location;
use crate::model::{Hook, HookAction, Hooks};
use crate::node::{Node, Value};

use super::Reader;
use super::keys::{Entries, Keys};
use super::url;

const ON: Keys =
    Keys { of: "`on`", known: &["failure", "success", "paused", "tripped"], later: &[] };

const HOOK: Keys =
    Keys { of: "a hook", known: &["run", "exec", "webhook", "secret_env", "timeout"], later: &[] };

impl Reader<'_> {
    /// The hooks of a manifest.
    pub(super) fn hooks(&mut self, node: &Node<'_>) -> Hooks {
        let mut hooks = Hooks::default();
        let takes = "a mapping with `failure`, `success`, `paused`, `tripped`";
        let entries = self.named_entries("`on`", takes, node);
        for (key, at, value) in self.entries(&ON, entries).entries {
            let hook = self.hook(key, at, value);
            match key {
                "failure" => hooks.failure = hook,
                "success" => hooks.success = hook,
                "paused" => hooks.paused = hook,
                _ => hooks.tripped = hook,
            }
        }
        hooks
    }

    fn hook(&mut self, key: &str, at: Location, node: &Node<'_>) -> Option<Hook> {
        let what = format!("`{key}`");
        match &node.value {
            Value::Map(map) => self.hook_entries(&what, at, map),
            Value::Null => {
                self.wrong_type(&what, "a command or a mapping", node);
                None
            }
            Value::Text(_) | Value::Bool(_) | Value::Number | Value::List(_) => {
                let command = self.run(&what, node)?;
                Some(Hook { what: HookAction::Command(command), timeout: None, location: at })
            }
        }
    }

    fn hook_entries(
        &mut self,
        what: &str,
        location: Location,
        map: &[(Node<'_>, Node<'_>)],
    ) -> Option<Hook> {
        let Entries { entries, complete } = self.entries(&HOOK, map);
        let does = |key: &str| matches!(key, "run" | "exec" | "webhook");
        let mut deeds = entries.iter().filter(|(key, ..)| does(key));
        match (deeds.next(), deeds.next()) {
            (None, _) if complete => {
                let help = "give it `run`, `exec` or `webhook`";
                self.faults.invalid_but(location, format!("{what} does nothing"), help);
            }
            (Some(_), Some(&(_, second, _))) => {
                self.faults.invalid(second, "a hook has one of `run`, `exec` and `webhook`");
            }
            _ => {}
        }
        let posts = entries.iter().any(|(key, ..)| *key == "webhook");
        let (mut action, mut secret, mut timeout) = (None, None, None);
        for (key, at, value) in entries {
            match key {
                "run" => action = self.run("`run`", value).map(HookAction::Command),
                "exec" => action = self.exec(value).map(HookAction::Command),
                "webhook" => {
                    let url = self.url(value);
                    action = url.map(|url| HookAction::Webhook { url, secret_env: None });
                }
                "secret_env" => {
                    secret = self.secret_env(value);
                    if complete && !posts {
                        let message =
                            "`secret_env` signs what a `webhook` posts, and there is none";
                        let help = "leave it out, or post to a `webhook`";
                        self.faults.invalid_but(at, message, help);
                    }
                }
                _ => timeout = self.some_duration("`timeout`", value),
            }
        }
        let mut what = action?;
        if let HookAction::Webhook { secret_env, .. } = &mut what {
            *secret_env = secret;
        }
        Some(Hook { what, timeout, location })
    }

    fn url(&mut self, node: &Node<'_>) -> Option<String> {
        let text = self.some_text("`webhook`", node)?;
        match url::check(text) {
            Ok(()) => Some(text.to_owned()),
            Err(refusal) => {
                let message = format!("{} is no address for a webhook: {refusal}", quoted(text));
                match refusal.help() {
                    Some(help) => self.faults.invalid_but(node.location, message, help),
                    None => self.faults.invalid(node.location, message),
                }
                None
            }
        }
    }

    /// The name of a variable. That is narrower than for tasks: `$KEY`, or the key itself, would
    /// pass for a name there, and the mistake would show only when something is to be told.
    fn secret_env(&mut self, node: &Node<'_>) -> Option<String> {
        let name = self.text("`secret_env`", node)?;
        let begins = !name.starts_with(|c: char| c.is_ascii_digit());
        if begins && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return self.variable(node).map(|name| name.value);
        }
        let message = "`secret_env` takes the name of a variable: letters, digits and `_`";
        let help = match name.trim_matches(['$', '{', '}']) {
            bare if bare.len() < name.len() => format!("write the name alone: `{bare}`"),
            _ => "it names the variable that holds the key, and is not the key itself".into(),
        };
        self.faults.invalid_but(node.location, message, help);
        None
    }
}
