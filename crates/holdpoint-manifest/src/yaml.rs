//! YAML text to [`Node`]s. The only file that knows which YAML library there is.
//!
//! What is refused here, with a place: what is not YAML, more than one document, a key twice in
//! one mapping, custom tags, nesting deeper than 16, and aliases that grow out of proportion to
//! the text that holds them.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::granit_parser::ErrorKind;
use serde_yaml::options::{AliasLimits, NonFiniteFloatPolicy};
use serde_yaml::{
    Budget, Error, ExternalMessageSource, MessageFormatter, Options, Spanned, UserMessageFormatter,
};

use crate::diagnostic::{Diagnostic, Kind};
use crate::faults::quoted;
use crate::location::Location;
use crate::node::{Node, Value};
use crate::source::Source;

/// The deepest nesting of lists and mappings. No key of a manifest needs more than six; the reader
/// is recursive, and without optimisation takes some 40 KiB of stack a level.
const MAX_DEPTH: usize = 16;

/// The most values in a manifest, those that come through aliases included. A task takes about
/// ten, so this is room for 400,000 of them, and bounds the memory of a hostile file.
const MAX_NODES: usize = 4_000_000;

/// The document in `source`; an empty text is a [`Value::Null`].
pub(crate) fn parse(source: &Arc<Source>) -> Result<Node<'_>, Diagnostic> {
    serde_yaml::from_str_with_options(&source.text, options(source.text.len()))
        .map_err(|error| diagnostic(source, &error))
}

fn options(bytes: usize) -> Options {
    // What aliases add is bounded by the size of the text that holds them: ten thousand tasks may
    // merge common settings, and a few lines cannot stand for billions of values.
    let alias_events = 100_000 + 4 * bytes;
    let limits: AliasLimits = serde_yaml::alias_limits! { max_total_replayed_events: alias_events };
    // Every other count is bounded by the file's size or by `MAX_NODES`; the ratio would refuse
    // one anchor that a hundred tasks use.
    let budget: Option<Budget> = serde_yaml::budget! {
        max_depth: MAX_DEPTH,
        flow_nesting_limit: MAX_DEPTH,
        max_nodes: MAX_NODES,
        max_events: usize::MAX,
        max_aliases: usize::MAX,
        max_anchors: usize::MAX,
        max_merge_keys: usize::MAX,
        max_recorded_anchor_events: alias_events,
        enforce_alias_anchor_ratio: false,
    };
    serde_yaml::options! {
        budget: budget,
        alias_limits: limits,
        strict_booleans: true,
        reject_unsupported_tags: true,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
    }
}

impl<'de> Deserialize<'de> for Node<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, referenced, defined } =
            Spanned::<Value<'de>>::deserialize(deserializer)?;
        let span = defined.span();
        let bytes = (span.byte_offset().unwrap_or(0), span.byte_len().unwrap_or(0));
        Ok(Self {
            value,
            location: location(referenced),
            span: (saturate(bytes.0), saturate(bytes.1)),
        })
    }
}

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value<'de>, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value<'de>, E> {
        Ok(Value::Number)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Value<'de>, E> {
        Ok(Value::Number)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value<'de>, E> {
        Ok(Value::Number)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value<'de>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value<'de>, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Value::Map(map))
    }
}

fn location(place: serde_yaml::Location) -> Location {
    // The library counts from 1 and says 0 where it does not know.
    Location::new(saturate(place.line()).max(1), saturate(place.column()).max(1))
        .with_width(saturate(place.span().len()))
}

fn saturate(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The library's error in our words where its own speak of its options, or can be helped.
fn diagnostic(source: &Arc<Source>, error: &Error) -> Diagnostic {
    let place = error.location().map_or(Location::new(1, 1), location);
    let (message, help) = match innermost(error) {
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            (format!("the key {} stands twice in this mapping", quoted(key)), None)
        }
        Error::DuplicateMappingKey { .. } => ("this key stands twice in its mapping".into(), None),
        Error::MultipleDocuments { .. } => {
            ("a manifest is one YAML document; here a second one begins".into(), None)
        }
        Error::Budget { breach: serde_yaml::budget::BudgetBreach::Depth { .. }, .. } => too_deep(),
        Error::Budget { breach: serde_yaml::budget::BudgetBreach::Nodes { .. }, .. } => {
            (format!("a manifest has at most {MAX_NODES} values"), None)
        }
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::AliasReplayCounterOverflow { .. } => {
            ("aliases expand to more than this file has room for".into(), None)
        }
        Error::UnknownAnchor { .. } => {
            ("this alias names an anchor that is not defined above it".into(), None)
        }
        Error::RecursiveReferencesRequireWeakTypes { .. } => {
            ("this alias contains itself".into(), None)
        }
        Error::UnsupportedTag { tag, .. } => {
            (format!("the tag {} has no meaning here", quoted(tag)), None)
        }
        Error::InvalidScalar { .. }
        | Error::InvalidBooleanStrict { .. }
        | Error::InvalidBinaryBase64 { .. }
        | Error::BinaryNotUtf8 { .. }
        | Error::TaggedScalarCannotDeserializeIntoString { .. } => {
            ("this value is not what its tag says".into(), None)
        }
        Error::MergeValueNotMapOrSeqOfMaps { .. } => {
            ("`<<` takes a mapping or a list of mappings".into(), None)
        }
        Error::ExternalMessage { source, msg, .. } => match source.as_ref() {
            ExternalMessageSource::Parser(error) => syntax(error.kind(), msg),
            _ => (msg.clone(), None),
        },
        other => (UserMessageFormatter.format_message(other).into_owned(), None),
    };
    Diagnostic::new(source, Kind::Syntax, place, message, help.map(str::to_owned))
}

type Wording = (String, Option<&'static str>);

fn too_deep() -> Wording {
    (format!("lists and mappings are nested more than {MAX_DEPTH} deep"), None)
}

fn syntax(kind: &ErrorKind, message: &str) -> Wording {
    let help = match kind {
        ErrorKind::RecursionLimitExceeded => return too_deep(),
        ErrorKind::UnexpectedCharacter { character } if character.is_control() => {
            return (
                format!("the control character {} is not allowed", character.escape_unicode()),
                None,
            );
        }
        ErrorKind::UnexpectedCharacter { character } => {
            let message = format!("a text without quotes cannot begin with {character:?}");
            return (message, Some("put the text in quotes if it is meant literally"));
        }
        ErrorKind::ExpectedDocumentStart => {
            return ("here a document would have to begin, with `---`".into(), None);
        }
        ErrorKind::MappingValueNotAllowed => Some(
            "a colon and a space make a mapping: put the text in quotes if it is meant literally",
        ),
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation => Some("YAML is indented by spaces only"),
        ErrorKind::ExpectedBlockMappingKey | ErrorKind::InvalidIndentation => {
            Some("the keys of one mapping begin in the same column")
        }
        _ => None,
    };
    (message.to_owned(), help)
}

fn innermost(error: &Error) -> &Error {
    match error {
        Error::AliasError { error, .. } | Error::WithSnippet { error, .. } => innermost(error),
        other => other,
    }
}
