//! A YAML document as a tree of values with their places.
//!
//! The manifest is read from this tree and not straight into its types, because a typed reader
//! stops at its first fault; from the tree all faults of a file are reported at once.

use std::borrow::Cow;

use crate::location::Location;

/// A value and where it is written.
#[derive(Debug)]
pub(crate) struct Node<'a> {
    pub(crate) value: Value<'a>,
    /// Where the value is used: for the content of an alias, the place of the alias.
    pub(crate) location: Location,
    /// Bytes of the text that hold a scalar where it is defined: the start and the length.
    pub(crate) span: (u32, u32),
}

/// What a node is, by the core schema of YAML 1.2 with `true` and `false` as only booleans.
#[derive(Debug)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    /// Its value is read from the text as written, so that `010` and `1.50` stay what they are.
    Number,
    Text(Cow<'a, str>),
    List(Vec<Node<'a>>),
    /// Entries in the order written, keys unique; those of merge keys (`<<`) last.
    Map(Vec<(Node<'a>, Node<'a>)>),
}
