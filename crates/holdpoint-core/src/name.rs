//! Names of tasks, projects, holds, tags and schedules (CORE-002).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::Retryable;

/// The longest name, in bytes.
pub const MAX_NAME_LEN: usize = 64;

/// A checked name: 1 to 64 bytes, first an ASCII letter or digit, then `[A-Za-z0-9_.-]`.
///
/// Cloning shares the text, so that events and reports can carry names at no cost.
///
/// ```
/// use holdpoint_core::{Name, NameError};
///
/// let name: Name = "build-x86_64".parse()?;
/// assert_eq!(name.as_str(), "build-x86_64");
/// assert_eq!("a b".parse::<Name>(), Err(NameError::BadCharacter { index: 1, found: ' ' }));
/// # Ok::<(), NameError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// Why a text is not a [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The text has no characters.
    #[error("a name cannot be empty")]
    Empty,
    /// The text is longer than [`MAX_NAME_LEN`] bytes.
    #[error("a name has at most {MAX_NAME_LEN} bytes, this one has {len}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The first character is neither an ASCII letter nor a digit.
    #[error("a name begins with a letter or a digit, not with {found:?}")]
    BadFirst {
        /// The character found.
        found: char,
    },
    /// A later character is not one of `[A-Za-z0-9_.-]`.
    #[error("{found:?} at position {index} is not one of A-Z a-z 0-9 _ . -")]
    BadCharacter {
        /// Its byte index in the text.
        index: usize,
        /// The character found.
        found: char,
    },
    /// The text of a [`TaskName`] has more than one colon.
    #[error("a task is written `task` or `project:task`, with at most one colon")]
    TooManyColons,
}

impl Retryable for NameError {
    fn is_retryable(&self) -> bool {
        false
    }
}

impl Name {
    /// Checks `text` without keeping it.
    ///
    /// # Errors
    /// As for [`Name::new`].
    pub fn check(text: &str) -> Result<(), NameError> {
        check(text)
    }

    /// Checks `text` and keeps a copy of it.
    ///
    /// # Errors
    /// A [`NameError`] that says which rule is broken, and where.
    pub fn new(text: &str) -> Result<Self, NameError> {
        check(text)?;
        Ok(Self(Arc::from(text)))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check(text: &str) -> Result<(), NameError> {
    let mut chars = text.char_indices();
    let Some((_, first)) = chars.next() else { return Err(NameError::Empty) };
    if text.len() > MAX_NAME_LEN {
        return Err(NameError::TooLong { len: text.len() });
    }
    if !first.is_ascii_alphanumeric() {
        return Err(NameError::BadFirst { found: first });
    }
    match chars.find(|(_, c)| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))) {
        Some((index, found)) => Err(NameError::BadCharacter { index, found }),
        None => Ok(()),
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl TryFrom<&str> for Name {
    type Error = NameError;

    fn try_from(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// A task's name: `project:task`, or `task` where there is one project only.
///
/// Ordered by project, then task: the canonical order of GRAPH-003.
///
/// ```
/// use holdpoint_core::TaskName;
///
/// let full: TaskName = "app:build".parse()?;
/// let short: TaskName = "build".parse()?;
/// assert_eq!(full.project().unwrap().as_str(), "app");
/// assert!(short.project().is_none() && short < full);
/// # Ok::<(), holdpoint_core::NameError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskName {
    project: Option<Name>,
    task: Name,
}

impl TaskName {
    /// A task of `project`.
    #[must_use]
    pub fn in_project(project: Name, task: Name) -> Self {
        Self { project: Some(project), task }
    }

    /// Checks `text`, as `task` or `project:task`, without keeping it.
    ///
    /// # Errors
    /// A [`NameError`] that says which rule is broken, and where.
    pub fn check(text: &str) -> Result<(), NameError> {
        match text.split_once(':') {
            None => check(text),
            Some((_, rest)) if rest.contains(':') => Err(NameError::TooManyColons),
            Some((project, task)) => check(project).and_then(|()| check(task)),
        }
    }

    /// The project, where one is named.
    #[must_use]
    pub fn project(&self) -> Option<&Name> {
        self.project.as_ref()
    }

    /// The name within the project.
    #[must_use]
    pub fn task(&self) -> &Name {
        &self.task
    }
}

impl From<Name> for TaskName {
    fn from(task: Name) -> Self {
        Self { project: None, task }
    }
}

impl FromStr for TaskName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.split_once(':') {
            None => Ok(Name::new(text)?.into()),
            Some((_, rest)) if rest.contains(':') => Err(NameError::TooManyColons),
            Some((project, task)) => Ok(Self::in_project(Name::new(project)?, Name::new(task)?)),
        }
    }
}

impl fmt::Display for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.project {
            None => f.pad(self.task.as_str()),
            // `pad` needs the whole text; without a width there is nothing to pad.
            Some(project) if f.width().is_none() => write!(f, "{project}:{}", self.task),
            Some(project) => f.pad(&format!("{project}:{}", self.task)),
        }
    }
}

impl fmt::Debug for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(feature = "serde")]
mod serde_impls {
    use super::{Name, TaskName};
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    impl Serialize for Name {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_str(self.as_str())
        }
    }

    impl<'de> Deserialize<'de> for Name {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
        }
    }

    impl Serialize for TaskName {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(self)
        }
    }

    impl<'de> Deserialize<'de> for TaskName {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
        }
    }
}
