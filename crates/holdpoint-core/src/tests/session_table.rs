//! CORE-003 and CORE-004: all states by all inputs, against tables written from the rules.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::session_parts::{
    announced, answer, ask, cancel, claim, describe, end_cancelled, end_error, end_ok, end_panic,
    mismatch, names, suspend, suspend_word, withdraw,
};
use crate::CancelCode::{Timeout, User};
use crate::session::{SessionInput, SessionMachine, SuspendCause};

/// What is legal: from, input, to, events. `C` is each cause of a suspension in turn. What is
/// not here is refused.
const LEGAL: &str = "
planned                  claim          running                started
planned                  cancel_user    cancelled:user         cancelled
planned                  cancel_timeout failed:timeout         failed

running                  ask            paused1                paused question
running                  suspend_C      suspended:C            suspended
running                  cancel_user    running!user           cancel_requested
running                  cancel_timeout running!timeout        cancel_requested
running                  end_ok         done                   done
running                  end_cancelled  cancelled:internal     cancelled
running                  end_error      failed:error           failed
running                  end_panic      failed:panic           failed

running!user             ask            paused1!user           paused question
running!user             suspend_C      suspended:C!user       suspended
running!user             cancel_user    running!user
running!user             cancel_timeout running!user
running!user             end_ok         done                   done
running!user             end_cancelled  cancelled:user         cancelled
running!user             end_error      failed:error           failed
running!user             end_panic      failed:panic           failed

running!timeout          ask            paused1!timeout        paused question
running!timeout          suspend_C      suspended:C!timeout    suspended
running!timeout          cancel_user    running!timeout
running!timeout          cancel_timeout running!timeout
running!timeout          end_ok         done                   done
running!timeout          end_cancelled  failed:timeout         failed
running!timeout          end_error      failed:error           failed
running!timeout          end_panic      failed:panic           failed

paused1                  ask            paused2                question
paused1                  answer         running                answered resumed
paused1                  withdraw       running                question_withdrawn resumed
paused1                  suspend_C      waiting1
paused1                  cancel_user    running!user           cancel_requested question_withdrawn resumed
paused1                  cancel_timeout running!timeout        cancel_requested question_withdrawn resumed
paused1                  end_ok         done                   question_withdrawn resumed done
paused1                  end_cancelled  cancelled:internal     question_withdrawn resumed cancelled
paused1                  end_error      failed:error           question_withdrawn resumed failed
paused1                  end_panic      failed:panic           question_withdrawn resumed failed

paused2                  ask            paused3                question
paused2                  answer         paused1                answered
paused2                  withdraw       paused1                question_withdrawn
paused2                  suspend_C      waiting2
paused2                  cancel_user    running!user           cancel_requested question_withdrawn question_withdrawn resumed
paused2                  cancel_timeout running!timeout        cancel_requested question_withdrawn question_withdrawn resumed
paused2                  end_ok         done                   question_withdrawn question_withdrawn resumed done
paused2                  end_cancelled  cancelled:internal     question_withdrawn question_withdrawn resumed cancelled
paused2                  end_error      failed:error           question_withdrawn question_withdrawn resumed failed
paused2                  end_panic      failed:panic           question_withdrawn question_withdrawn resumed failed

paused1!user             ask            paused2!user           question
paused1!user             answer         running!user           answered resumed
paused1!user             withdraw       running!user           question_withdrawn resumed
paused1!user             suspend_C      waiting1!user
paused1!user             cancel_user    paused1!user
paused1!user             cancel_timeout paused1!user
paused1!user             end_ok         done                   question_withdrawn resumed done
paused1!user             end_cancelled  cancelled:user         question_withdrawn resumed cancelled
paused1!user             end_error      failed:error           question_withdrawn resumed failed
paused1!user             end_panic      failed:panic           question_withdrawn resumed failed

waiting1                 claim          paused1
waiting1                 answer         suspended:answered     answered suspended
waiting1                 withdraw       suspended:answered     question_withdrawn suspended
waiting1                 cancel_user    cancelled:user         question_withdrawn cancelled
waiting1                 cancel_timeout failed:timeout         question_withdrawn failed
waiting1                 crash_loop     failed:crash_loop      question_withdrawn failed

waiting2                 claim          paused2
waiting2                 answer         waiting1               answered
waiting2                 withdraw       waiting1               question_withdrawn
waiting2                 cancel_user    cancelled:user         question_withdrawn question_withdrawn cancelled
waiting2                 cancel_timeout failed:timeout         question_withdrawn question_withdrawn failed
waiting2                 crash_loop     failed:crash_loop      question_withdrawn question_withdrawn failed

waiting1!user            claim          paused1!user
waiting1!user            answer         suspended:answered!user answered suspended
waiting1!user            withdraw       suspended:answered!user question_withdrawn suspended
waiting1!user            cancel_user    cancelled:user         question_withdrawn cancelled
waiting1!user            cancel_timeout cancelled:user         question_withdrawn cancelled
waiting1!user            crash_loop     failed:crash_loop      question_withdrawn failed

suspended:interrupted    claim          running                resumed
suspended:interrupted    cancel_user    cancelled:user         cancelled
suspended:interrupted    cancel_timeout failed:timeout         failed
suspended:interrupted    crash_loop     failed:crash_loop      failed

suspended:mismatch!user  claim          running!user           resumed
suspended:mismatch!user  cancel_user    cancelled:user         cancelled
suspended:mismatch!user  cancel_timeout cancelled:user         cancelled
suspended:mismatch!user  crash_loop     failed:crash_loop      failed

failed:error             retry          planned                planned
cancelled:user           retry          planned                planned
cancelled:user           cancel_user    cancelled:user
cancelled:user           cancel_timeout cancelled:user
";

/// CORE-004, edge by edge: every change of state there is, with the cause where the rule
/// names it.
const EDGES: [&str; 24] = [
    "planned > running",
    "planned > cancelled",
    "planned > failed:timeout",
    "running > paused",
    "running > suspended:interrupted",
    "running > suspended:shutdown",
    "running > suspended:released",
    "running > suspended:mismatch",
    "running > done",
    "running > failed:error",
    "running > failed:panic",
    "running > failed:timeout",
    "running > cancelled",
    "paused > running",
    "paused > suspended:answered",
    "paused > failed:timeout",
    "paused > failed:crash_loop",
    "paused > cancelled",
    "suspended > running",
    "suspended > cancelled",
    "suspended > failed:timeout",
    "suspended > failed:crash_loop",
    "failed > planned",
    "cancelled > planned",
];

const CAUSES: [SuspendCause; 3] =
    [SuspendCause::Interrupted, SuspendCause::Shutdown, SuspendCause::Released];

/// A session for every row group of the table.
fn sessions() -> Vec<SessionMachine> {
    let (planned, _) = SessionMachine::plan();
    let then = |session: &SessionMachine, input| {
        let mut session = session.clone();
        let _ = session.apply(input).unwrap();
        session
    };
    let running = then(&planned, claim(1));
    let stopping = then(&running, cancel(User));
    let late = then(&running, cancel(Timeout));
    let paused1 = then(&running, ask(1));
    let paused2 = then(&paused1, ask(2));
    let cleaning = then(&stopping, ask(1));
    let waiting1 = then(&paused1, suspend());
    let waiting2 = then(&paused2, suspend());
    let abandoned = then(&cleaning, suspend());
    let suspended = then(&running, suspend());
    let mismatched = then(&stopping, SessionInput::Suspend(mismatch()));
    let done = then(&running, end_ok());
    let failed = then(&running, end_error());
    let cancelled = then(&suspended, cancel(User));
    vec![
        planned, running, stopping, late, paused1, paused2, cleaning, waiting1, waiting2,
        abandoned, suspended, mismatched, done, failed, cancelled,
    ]
}

/// Every kind of input, by the name the table has for it, made to fit `session` as far as ids
/// and epochs go; those with a name of their own never fit.
fn inputs(session: &SessionMachine) -> Vec<(String, SessionInput)> {
    let next = session.next_question().0;
    // The oldest that is open, and where none is, one that never was.
    let open = match session.state() {
        crate::SessionState::Paused(open) => open.iter().next().unwrap().id.0,
        _ => next,
    };
    let mut inputs = vec![
        ("claim", claim(session.epoch() + 1)),
        ("claim_again", claim(session.epoch())),
        ("ask", ask(next)),
        ("ask_again", ask(next - 1)),
        ("answer", answer(open)),
        ("answer_unknown", answer(next)),
        ("answer_none", answer(0)),
        ("withdraw", withdraw(open)),
        ("withdraw_unknown", withdraw(next)),
        ("end_ok", end_ok()),
        ("end_cancelled", end_cancelled()),
        ("end_error", end_error()),
        ("end_panic", end_panic()),
        ("suspend_answered", SessionInput::Suspend(SuspendCause::Answered)),
        ("suspend_mismatch", SessionInput::Suspend(mismatch())),
        ("cancel_user", cancel(User)),
        ("cancel_timeout", cancel(Timeout)),
        ("crash_loop", SessionInput::CrashLoop { starts: 5 }),
        ("retry", SessionInput::Retry),
    ]
    .into_iter()
    .map(|(name, input)| (name.to_owned(), input))
    .collect::<Vec<_>>();
    for cause in CAUSES {
        inputs.push((format!("suspend_{}", suspend_word(&cause)), SessionInput::Suspend(cause)));
    }
    inputs
}

fn legal() -> BTreeMap<(String, String), (String, String)> {
    let mut rows = BTreeMap::new();
    for line in LEGAL.lines().filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let causes: &[&str] = match words[1] {
            "suspend_C" => &["interrupted", "shutdown", "released", "mismatch"],
            _ => &[""],
        };
        for cause in causes {
            let [from, input, to] = [words[0], words[1], words[2]].map(|word| {
                word.replace("suspend_C", &format!("suspend_{cause}"))
                    .replace(":C", &format!(":{cause}"))
            });
            let row = rows.insert((from, input), (to, words[3..].join(" ")));
            assert!(row.is_none(), "twice: {line}");
        }
    }
    rows
}

#[test]
fn core_003_core_004_every_state_takes_what_the_table_says_and_refuses_the_rest_unchanged() {
    let mut legal = legal();
    for session in sessions() {
        let from = describe(&session);
        for (name, input) in inputs(&session) {
            let mut changed = session.clone();
            let (state, kind) = (session.state().name(), input.name());
            let result = changed.apply(input);
            match (result, legal.remove(&(from.clone(), name.clone()))) {
                (Ok(events), Some((to, expected))) => {
                    assert_eq!(describe(&changed), to, "{from}, {name}");
                    assert_eq!(names(events).join(" "), expected, "{from}, {name}");
                }
                (Err(error), None) => {
                    assert_eq!(changed, session, "{from}, {name}");
                    assert_eq!((error.state, error.input), (state, kind), "{from}, {name}");
                }
                (Ok(_), None) => panic!("{from} took {name}"),
                (Err(error), Some(_)) => panic!("{from} refused {name}: {error}"),
            }
        }
    }
    assert!(legal.is_empty(), "no session for {legal:?}");
}

#[test]
fn core_004_s1_the_changes_of_state_that_can_happen_are_exactly_those_of_the_rule() {
    let (planned, _) = SessionMachine::plan();
    let mut seen = BTreeSet::from([describe(&planned)]);
    let mut waiting = VecDeque::from([planned]);
    let mut edges = BTreeSet::new();
    while let Some(session) = waiting.pop_front() {
        for (_, input) in inputs(&session) {
            let mut next = session.clone();
            let Ok(events) = next.apply(input) else { continue };
            let mut from = session.state().name().to_string();
            for to in events.events().filter_map(announced) {
                edges.insert(format!("{from} > {to}"));
                to.split(':').next().unwrap_or_default().clone_into(&mut from);
            }
            assert_eq!(from, next.state().name().to_string(), "a change of state without event");
            // Four questions are as good as any number.
            if next.next_question().0 <= 5 && seen.insert(describe(&next)) {
                waiting.push_back(next);
            }
        }
    }
    assert_eq!(edges, EDGES.map(str::to_owned).into());
}
