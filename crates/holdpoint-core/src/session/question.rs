//! Questions of a session and the set of those that are open (SESS-003).

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::name::TaskName;

/// A question's number within its session. A number is never given twice, so that a late
/// answer cannot hit a later question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct QuestionId(pub u32);

impl fmt::Display for QuestionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What kind of answer a question expects.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(tag = "expects", rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum QuestionKind {
    /// Any text.
    Text,
    /// One of the options.
    Choice {
        /// The accepted answers, in the order to show them.
        options: Arc<[Arc<str>]>,
    },
    /// Yes or no.
    Confirm,
    /// A text that no event and no log may show.
    Secret,
    /// Any value, as JSON: for answers that programs give.
    Value,
}

/// Something a session asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Question {
    /// Its number in the session.
    #[cfg_attr(feature = "serde", serde(rename = "question"))]
    pub id: QuestionId,
    /// The name under which the body asked.
    pub name: Arc<str>,
    /// What kind of answer is expected.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub kind: QuestionKind,
    /// What to show to whom is asked.
    pub prompt: Arc<str>,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// The task that waits for the answer, where it is one of a graph.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub task: Option<TaskName>,
}

/// The answer to an open question.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Answer {
    /// The question.
    pub question: QuestionId,
    /// The answer as text, to be shown in the event; never shown for a secret. The value that
    /// the body receives takes another way.
    pub text: Option<Arc<str>>,
    /// Who answered, where known.
    pub by: Option<Arc<str>>,
    /// Why, where a reason was given.
    pub reason: Option<Arc<str>>,
}

impl Answer {
    /// An answer of which no text is shown.
    #[must_use]
    pub fn to(question: QuestionId) -> Self {
        Self { question, text: None, by: None, reason: None }
    }
}

/// The open questions of a paused session, in the order of their ids. Never empty.
///
/// One question, by far the most common case, needs no list.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "wire::OpenQuestions", into = "wire::OpenQuestions")
)]
pub struct OpenQuestions {
    first: Arc<Question>,
    more: Vec<Arc<Question>>,
}

impl OpenQuestions {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> NonZeroUsize {
        NonZeroUsize::MIN.saturating_add(self.more.len())
    }

    /// The questions, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<Question>> + Clone {
        std::iter::once(&self.first).chain(&self.more)
    }

    /// The question `id`, where it is open.
    #[must_use]
    pub fn get(&self, id: QuestionId) -> Option<&Arc<Question>> {
        if self.first.id == id {
            return Some(&self.first);
        }
        self.more.get(self.place(id)?)
    }

    pub(super) fn new(first: Arc<Question>) -> Self {
        Self { first, more: Vec::new() }
    }

    /// Adds a question. Its id must be above those already here.
    pub(super) fn push(&mut self, question: Arc<Question>) {
        debug_assert!(self.iter().next_back().is_some_and(|open| open.id < question.id));
        self.more.push(question);
    }

    /// Takes `id` out where others remain. Returns whether it did.
    pub(super) fn remove(&mut self, id: QuestionId) -> bool {
        if self.more.is_empty() {
            return false;
        }
        if self.first.id == id {
            self.first = self.more.remove(0);
            return true;
        }
        self.place(id).map(|index| self.more.remove(index)).is_some()
    }

    /// Where it stands among those after the first: ids rise.
    fn place(&self, id: QuestionId) -> Option<usize> {
        self.more.binary_search_by_key(&id, |question| question.id).ok()
    }
}

#[cfg(feature = "serde")]
mod wire {
    use std::sync::Arc;

    use super::Question;

    #[derive(Clone, serde::Serialize, serde::Deserialize)]
    pub(super) struct OpenQuestions {
        questions: Vec<Arc<Question>>,
    }

    impl From<super::OpenQuestions> for OpenQuestions {
        fn from(open: super::OpenQuestions) -> Self {
            Self { questions: open.iter().cloned().collect() }
        }
    }

    impl TryFrom<OpenQuestions> for super::OpenQuestions {
        type Error = &'static str;

        fn try_from(wire: OpenQuestions) -> Result<Self, Self::Error> {
            if !wire.questions.is_sorted_by(|one, next| one.id < next.id) {
                return Err("the ids of open questions rise");
            }
            let mut questions = wire.questions.into_iter();
            let first = questions.next().ok_or("a paused session has an open question")?;
            Ok(Self { first, more: questions.collect() })
        }
    }
}
