//! What a body asks, and which answers fit.

use std::sync::Arc;

use serde::de::IgnoredAny;

use super::port::OpName;
use crate::error::Retryable;
use crate::name::TaskName;
use crate::session::QuestionKind;

/// A question to be asked by [`SessionContext::ask`](super::SessionContext::ask).
///
/// Its name stands in the journal, its prompt does not: that one may change from start to start.
///
/// ```
/// use holdpoint_core::body::{Ask, BodyError, SessionContext};
///
/// async fn deploy(cx: SessionContext) -> Result<String, BodyError> {
///     let place: String = cx.ask(Ask::choice("place", "Where to?", ["staging", "production"])).await?;
///     let sure: bool = cx.ask(Ask::confirm("sure", format!("Deploy to {place}?"))).await?;
///     Ok(if sure { place } else { "nowhere".to_owned() })
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "it is asked by `SessionContext::ask`"]
pub struct Ask {
    pub(super) name: OpName,
    pub(super) kind: QuestionKind,
    pub(super) prompt: String,
    pub(super) task: Option<TaskName>,
}

/// A value is no answer to this kind of question.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WrongAnswer {
    /// It is no JSON text at all.
    #[error("the answer is no JSON value: {reason}")]
    NotJson {
        /// What the parser says.
        reason: String,
    },
    /// A text is wanted.
    #[error("the answer is a text: a JSON string")]
    NotText,
    /// A yes or no is wanted.
    #[error("the answer is `true` or `false`")]
    NotConfirm,
    /// It is none of the options.
    #[error("the answer is one of {}", list(.options))]
    NotOption {
        /// The accepted answers.
        options: Arc<[Arc<str>]>,
    },
}

impl Ask {
    /// Asks for any text: a `String`.
    pub fn text(name: impl Into<OpName>, prompt: impl Into<String>) -> Self {
        Self::of(QuestionKind::Text, name, prompt)
    }

    /// Asks for yes or no: a `bool`.
    pub fn confirm(name: impl Into<OpName>, prompt: impl Into<String>) -> Self {
        Self::of(QuestionKind::Confirm, name, prompt)
    }

    /// Asks for one of the options, shown in this order: a `String`, or an enum whose variants
    /// serialise as the options. Without options nothing can answer it.
    pub fn choice<O: Into<Arc<str>>>(
        name: impl Into<OpName>,
        prompt: impl Into<String>,
        options: impl IntoIterator<Item = O>,
    ) -> Self {
        let options = options.into_iter().map(Into::into).collect();
        Self::of(QuestionKind::Choice { options }, name, prompt)
    }

    /// Asks for a text that no event and no log shows: a `String`. A host that records keeps it,
    /// as it keeps every result.
    pub fn secret(name: impl Into<OpName>, prompt: impl Into<String>) -> Self {
        Self::of(QuestionKind::Secret, name, prompt)
    }

    /// Asks for any JSON value: whatever type deserialises from it.
    pub fn value(name: impl Into<OpName>, prompt: impl Into<String>) -> Self {
        Self::of(QuestionKind::Value, name, prompt)
    }

    /// Says for which task of a graph it is asked.
    pub fn of_task(mut self, task: TaskName) -> Self {
        self.task = Some(task);
        self
    }

    fn of(kind: QuestionKind, name: impl Into<OpName>, prompt: impl Into<String>) -> Self {
        Self { name: name.into(), kind, prompt: prompt.into(), task: None }
    }
}

impl QuestionKind {
    /// Whether `answer`, a JSON text, answers a question of this kind.
    ///
    /// # Errors
    /// A [`WrongAnswer`] that says what is accepted. It never shows the answer.
    ///
    /// ```
    /// use holdpoint_core::session::QuestionKind;
    ///
    /// assert!(QuestionKind::Confirm.check("true").is_ok());
    /// let error = QuestionKind::Confirm.check("\"yes\"").unwrap_err();
    /// assert_eq!(error.to_string(), "the answer is `true` or `false`");
    /// ```
    pub fn check(&self, answer: &str) -> Result<(), WrongAnswer> {
        if let Err(error) = serde_json::from_str::<IgnoredAny>(answer) {
            // Category and place only: the parser's words may repeat a part of a secret.
            let place = format!("line {}, column {}", error.line(), error.column());
            return Err(WrongAnswer::NotJson { reason: place });
        }
        let text = || serde_json::from_str::<String>(answer).ok();
        match self {
            Self::Text | Self::Secret => text().map(drop).ok_or(WrongAnswer::NotText),
            Self::Confirm => {
                serde_json::from_str::<bool>(answer).map(drop).map_err(|_| WrongAnswer::NotConfirm)
            }
            Self::Choice { options } => {
                let is_option = text().is_some_and(|text| options.iter().any(|o| **o == *text));
                is_option
                    .then_some(())
                    .ok_or_else(|| WrongAnswer::NotOption { options: Arc::clone(options) })
            }
            Self::Value => Ok(()),
        }
    }
}

impl Retryable for WrongAnswer {
    /// Never: the same answer is refused again.
    fn is_retryable(&self) -> bool {
        false
    }
}

fn list(options: &[Arc<str>]) -> String {
    if options.is_empty() {
        return "no options at all".to_owned();
    }
    options.iter().map(|option| format!("`{option}`")).collect::<Vec<_>>().join(", ")
}
