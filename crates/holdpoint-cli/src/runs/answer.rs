//! `approve`, `reject` and `answer`.

use std::sync::Arc;

use holdpoint::run::{Ending, RunInfo};
use holdpoint::session::{
    AnswerError, Answers, Question, QuestionKind, SessionHandle, Sessions, StateName,
};
use serde_json::Value;

use crate::args::{AnswerArgs, ApproveArgs, Common, RejectArgs, RunName};
use crate::failure::Failure;
use crate::text::{plain, print};
use crate::workspace::Workspace;

use super::tasks::Story;

/// Answers with yes.
pub(crate) fn approve(common: &Common, args: &ApproveArgs) -> Result<Ending, Failure> {
    let reason = args.reason.as_deref();
    give(common, &args.name, args.question.as_deref(), "yes", reason)
}

/// Answers with no.
pub(crate) fn reject(common: &Common, args: &RejectArgs) -> Result<Ending, Failure> {
    let reason = args.reason.as_deref();
    give(common, &args.name, args.question.as_deref(), "no", reason)
}

/// Answers as is said.
pub(crate) fn answer(common: &Common, args: &AnswerArgs) -> Result<Ending, Failure> {
    let reason = args.reason.as_deref();
    give(common, &args.name, Some(&args.question), &args.value, reason)
}

fn give(
    common: &Common,
    name: &RunName,
    question: Option<&str>,
    value: &str,
    reason: Option<&str>,
) -> Result<Ending, Failure> {
    let workspace = Workspace::open(common)?;
    let run = workspace.find(name)?;
    let said = workspace.block_on(async {
        let sessions = Sessions::builder().store(workspace.store()).build();
        let handle = sessions.get(run.id).map_err(holdpoint::run::RunError::Get)?;
        let open = handle.questions().map_err(holdpoint::run::RunError::Get)?;
        let question = match choose(&run, &open, question) {
            Ok(question) => question,
            Err(wrong) => return Err(settled(&workspace, &run, question)?.unwrap_or(wrong)),
        };
        let value = read_answer(&question.kind, value)
            .map_err(|message| Failure::Answer { question: question.name.to_string(), message })?;
        let mut answers = Answers::new().answer(question.id, value).by(who());
        if let Some(reason) = reason {
            answers = answers.reason(reason);
        }
        match handle.answer_all(answers).await {
            Ok(left) => Ok(told(&run, question, left.len(), &handle, common)),
            Err(AnswerError::NotOpen { .. } | AnswerError::NothingOpen { .. }) => {
                let settled = settled(&workspace, &run, Some(&question.name))?;
                Err(settled.unwrap_or(Failure::NothingOpen { run: run.number, state: run.state }))
            }
            Err(error) => Err(Failure::Refused(error.into())),
        }
    })?;
    print(&said).map_err(Failure::Output)?;
    Ok(Ending::Succeeded)
}

/// What the answer has brought about, and what is left to do.
fn told(
    run: &RunInfo,
    question: &Question,
    left: usize,
    handle: &SessionHandle,
    common: &Common,
) -> String {
    let mut text = format!("answered `{}` of run #{}", question.name, run.number);
    if left > 0 {
        text += &format!("; {left} more {} open", if left == 1 { "is" } else { "are" });
    }
    let state = handle.state().map(|state| state.name());
    if matches!(state, Ok(StateName::Suspended)) || !run.is_owned && left > 0 {
        let command = common.again(&format!("resume {}", run.number));
        text += &format!("\nnobody runs it; go on with: {command}");
    }
    text + "\n"
}

/// The question that is meant: by its number, its task, or because there is no other.
fn choose<'q>(
    run: &RunInfo,
    open: &'q [Arc<Question>],
    wanted: Option<&str>,
) -> Result<&'q Question, Failure> {
    let names = || open.iter().map(|question| question.name.to_string()).collect();
    match (wanted, open) {
        (None, [one]) => Ok(one),
        (_, []) => Err(Failure::NothingOpen { run: run.number, state: run.state }),
        (None, _) => Err(Failure::WhichQuestion { run: run.number, open: names() }),
        (Some(wanted), _) => {
            let is_meant = |question: &&Arc<Question>| {
                *question.name == *wanted || question.id.to_string() == wanted
            };
            open.iter().find(is_meant).map(|question| &**question).ok_or_else(|| {
                Failure::NoQuestion { run: run.number, wanted: wanted.to_owned(), open: names() }
            })
        }
    }
}

/// What became of a question that is not open any more: of the one that is meant, or of the last.
fn settled(
    workspace: &Workspace,
    run: &RunInfo,
    wanted: Option<&str>,
) -> Result<Option<Failure>, Failure> {
    let story = Story::read(&*workspace.store(), run.id).map_err(Failure::Read)?;
    let asked = match wanted {
        Some(wanted) => story.question(wanted),
        None if story.open().next().is_none() => story.questions.last(),
        None => None,
    };
    let asked = asked.filter(|asked| asked.answered_at.is_some() || asked.is_withdrawn);
    Ok(asked.map(|asked| Failure::Settled {
        run: run.number,
        question: asked.question.name.to_string(),
        how: if asked.is_withdrawn { "withdrawn".to_owned() } else { asked.how() },
    }))
}

/// The value that a word on the command line stands for (RUN-001).
pub(crate) fn read_answer(kind: &QuestionKind, word: &str) -> Result<Value, String> {
    match kind {
        QuestionKind::Confirm => match word.to_ascii_lowercase().as_str() {
            "yes" | "approve" | "true" => Ok(Value::Bool(true)),
            "no" | "reject" | "false" => Ok(Value::Bool(false)),
            _ => Err(format!(
                "`{}` is neither yes nor no; say `yes`, `approve` or `true`, or `no`, `reject` or \
                 `false`",
                plain(word)
            )),
        },
        QuestionKind::Value => serde_json::from_str(word)
            .map_err(|error| format!("`{}` is no JSON value: {error}", plain(word))),
        kind => {
            let value = Value::String(word.to_owned());
            kind.check(&value.to_string()).map_err(|wrong| wrong.to_string())?;
            Ok(value)
        }
    }
}

/// Which words are taken, for a prompt.
pub(crate) fn accepted(kind: &QuestionKind) -> String {
    match kind {
        QuestionKind::Confirm => "yes/no".to_owned(),
        QuestionKind::Choice { options } => options.join("/"),
        QuestionKind::Value => "JSON".to_owned(),
        _ => "text".to_owned(),
    }
}

/// Who answers: the user of this process.
pub(crate) fn who() -> String {
    let name = ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    let name = name.filter(|name| !name.is_empty());
    name.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_001_yes_and_no_have_three_words_each_and_all_else_is_refused_with_them() {
        for (word, value) in [
            ("yes", true),
            ("Approve", true),
            ("TRUE", true),
            ("no", false),
            ("reject", false),
            ("false", false),
        ] {
            assert_eq!(read_answer(&QuestionKind::Confirm, word), Ok(Value::Bool(value)));
        }
        for word in ["", "y", "ok", "1", "maybe\x1b[31m"] {
            let error = read_answer(&QuestionKind::Confirm, word).unwrap_err();
            assert!(error.contains("`approve`") && error.contains("`reject`"), "{error}");
            assert!(!error.contains('\x1b'), "{error:?}");
        }
    }

    #[test]
    fn an_option_is_one_of_those_that_there_are() {
        let kind = QuestionKind::Choice { options: Arc::new(["staging".into(), "live".into()]) };
        assert_eq!(read_answer(&kind, "live"), Ok("live".into()));
        assert!(read_answer(&kind, "dead").unwrap_err().contains("staging"));
        assert_eq!(accepted(&kind), "staging/live");
    }
}
