//! Which keys a mapping may have.

use crate::diagnostic::Kind;
use crate::faults::{listed, nearest, quoted};
use crate::location::Location;
use crate::node::{Node, Value};

use super::Reader;

/// The keys of one sort of mapping.
pub(super) struct Keys {
    /// What has these keys, for messages: "a task".
    pub(super) of: &'static str,
    pub(super) known: &'static [&'static str],
    /// Keys of later versions: they are told apart from misspelled ones.
    pub(super) later: &'static [&'static str],
}

/// The entries of a mapping that have a known key.
pub(super) struct Entries<'n, 'a> {
    /// The key, where it stands, the value.
    pub(super) entries: Vec<(&'static str, Location, &'n Node<'a>)>,
    /// Whether all keys were known. Where one was not, nothing is said about a key that is
    /// missing: most likely it is there, misspelled.
    pub(super) complete: bool,
}

impl Reader<'_> {
    /// The entries of a mapping with the keys of `keys`. Other keys are faults.
    pub(super) fn entries<'n, 'a>(
        &mut self,
        keys: &Keys,
        map: &'n [(Node<'a>, Node<'a>)],
    ) -> Entries<'n, 'a> {
        let mut entries = Vec::with_capacity(map.len());
        let before = self.faults.count();
        for (key, value) in map {
            let Some(text) = self.text("a key", key) else { continue };
            match keys.known.iter().find(|known| **known == text) {
                Some(known) => entries.push((*known, key.location, value)),
                None => self.unknown(keys, key, text),
            }
        }
        Entries { entries, complete: self.faults.count() == before }
    }

    fn unknown(&mut self, keys: &Keys, key: &Node<'_>, text: &str) {
        let shown = quoted(text);
        if keys.later.contains(&text) {
            let message = format!(
                "{shown} is a key of a later version of holdpoint: this one does not support it yet"
            );
            self.faults.add(Kind::Later, key.location, message, || None);
            return;
        }
        let message = format!("{} has no key {shown}", keys.of);
        self.faults.add(Kind::UnknownKey, key.location, message, || {
            if let Some(known) = nearest(text, keys.known.iter().copied()) {
                return Some(format!("did you mean `{known}`?"));
            }
            Some(match nearest(text, keys.later.iter().copied()) {
                Some(later) => format!("`{later}` is a key of a later version of holdpoint"),
                None => format!("its keys are {}", listed(keys.known.iter().copied())),
            })
        });
    }

    /// The entries of a mapping whose keys are names given by the user.
    pub(super) fn named_entries<'n, 'a>(
        &mut self,
        what: &str,
        takes: &str,
        node: &'n Node<'a>,
    ) -> &'n [(Node<'a>, Node<'a>)] {
        match &node.value {
            Value::Map(map) => map,
            _ => {
                self.wrong_type(what, takes, node);
                &[]
            }
        }
    }
}
