//! Questions of a run that are answered where it runs: by `--yes`, or by whoever sits at the
//! terminal.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::sync::Arc;

use holdpoint::run::Run;
use holdpoint::session::{AnswerError, Answers, GetError, Question, QuestionId};

use crate::args::How;
use crate::runs::answer::{accepted, read_answer, who};
use crate::text::plain;

/// Who answers here.
pub(crate) struct Prompt {
    run: Run,
    by: By,
}

enum By {
    Nobody,
    Yes,
    Terminal,
}

impl Prompt {
    pub(crate) fn of(run: &Run, how: &How) -> Self {
        let by = if how.yes {
            By::Yes
        } else if io::stdin().is_terminal() && io::stderr().is_terminal() {
            By::Terminal
        } else {
            By::Nobody
        };
        Self { run: run.clone(), by }
    }

    /// Answers what is asked, until the run asks nothing more or nobody is there to answer.
    pub(crate) async fn answers(self) {
        // One that is answered may be shown as open for a moment longer.
        let mut last: Option<QuestionId> = None;
        while let Ok(Some(question)) = self.next(last).await {
            last = Some(question.id);
            let value = match self.by {
                By::Nobody => return,
                By::Yes => Some(serde_json::Value::Bool(true)),
                By::Terminal => ask(question.clone()).await,
            };
            let Some(value) = value else { return };
            let by = match self.by {
                By::Yes => format!("{} by --yes", who()),
                _ => who(),
            };
            let answers = Answers::new().answer(question.id, value).by(by);
            match self.run.handle().answer_all(answers).await {
                Ok(_) => {}
                // Withdrawn, as where the run stops, or answered by somebody else.
                Err(AnswerError::NotOpen { .. } | AnswerError::NothingOpen { .. }) => {
                    if let By::Terminal = self.by {
                        let _ = writeln!(io::stderr(), "it is not asked any more");
                    }
                }
                Err(error) => {
                    let _ = writeln!(io::stderr(), "the answer is not taken: {error}");
                }
            }
        }
    }

    async fn next(&self, last: Option<QuestionId>) -> Result<Option<Arc<Question>>, GetError> {
        match (&self.by, last) {
            (By::Nobody, _) => Ok(None),
            (_, None) => self.run.handle().next_question().await,
            (_, Some(last)) => self.run.handle().next_question_after(last).await,
        }
    }
}

/// Asks at the terminal. None where it is closed.
async fn ask(question: Arc<Question>) -> Option<serde_json::Value> {
    tokio::task::spawn_blocking(move || {
        loop {
            let _ = write!(
                io::stderr(),
                "{}: {} [{}] ",
                question.name,
                plain(&question.prompt),
                accepted(&question.kind)
            );
            let mut line = String::new();
            if io::stdin().lock().read_line(&mut line).is_ok_and(|read| read > 0) {
                match read_answer(&question.kind, line.trim()) {
                    Ok(value) => return Some(value),
                    Err(message) => {
                        let _ = writeln!(io::stderr(), "{message}");
                    }
                }
            } else {
                let _ = writeln!(io::stderr());
                return None;
            }
        }
    })
    .await
    .ok()
    .flatten()
}
