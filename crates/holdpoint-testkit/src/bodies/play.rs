//! The outside of a case: what it does, and what it finds in the end.

use holdpoint_core::SessionId;
use serde_json::Value;

use super::{Act, Asked, Case, End, Host, Ledger, TICK, When};

/// After so many ticks a session does not end any more.
const PATIENCE: u32 = 2_000;

/// Plays a case on a host whose bodies tell this ledger. Gives what is wrong: nothing, where the
/// host is a good one.
pub async fn play<H: Host>(host: &mut H, case: &Case, ledger: &Ledger) -> Vec<String> {
    let session = host.start(case.body, case.input.clone()).await;
    // What was opened by the outside of an earlier process is open, and what came before is over.
    let is_open = |act: &Act| matches!(act, Act::Open(gate) if ledger.is_open(gate));
    let begun = case.acts.iter().rposition(is_open).map_or(0, |place| place + 1);
    let mut outside = Outside { case, ledger, session, begun };
    for _ in 0..PATIENCE {
        ledger.tick();
        host.pass(TICK).await;
        outside.act(host).await;
        if let Some(ends) = outside.ends(host).await {
            return outside.judge(host, ends).await;
        }
    }
    let mut faults = ledger.faults();
    let act = case.acts.get(outside.begun);
    faults.push(format!("it never ends: {:?}, before {act:?}", host.questions().await));
    faults
}

struct Outside<'a> {
    case: &'a Case,
    ledger: &'a Ledger,
    session: SessionId,
    /// How many acts are over.
    begun: usize,
}

/// How the session ended, and the others.
type Ends = (End, Vec<Vec<Option<End>>>);

impl Outside<'_> {
    /// Does what can be done.
    async fn act<H: Host>(&mut self, host: &mut H) {
        let questions = host.questions().await;
        for act in &self.case.acts {
            // Sooner or later, so that nothing comes in the same order each time.
            match act {
                Act::Answer(name, value) if self.ledger.below(2) == 0 => {
                    self.answer(host, &questions, name, Some(value)).await;
                }
                Act::Echo(name) if self.ledger.below(2) == 0 => {
                    self.answer(host, &questions, name, None).await;
                }
                Act::Maybe(name) if self.ledger.below(3) == 0 => {
                    self.answer(host, &questions, name, Some(&Value::Bool(true))).await;
                }
                _ => {}
            }
        }
        while let Some(act) = self.case.acts.get(self.begun) {
            match act {
                Act::Cancel(when, text) => {
                    let is_time = match when {
                        When::Asked(name) => questions.iter().any(|asked| asked.name == *name),
                        When::Running(steps) => self.ledger.are_running(steps),
                    };
                    if !is_time || !host.cancel(self.session, text).await {
                        return;
                    }
                }
                Act::Open(gate) => self.ledger.open(gate),
                Act::Answer(..) | Act::Echo(_) | Act::Maybe(_) => {}
            }
            self.begun += 1;
        }
    }

    /// Answers an open question of a name by a value, or some of them by their prompts.
    async fn answer<H: Host>(
        &self,
        host: &mut H,
        questions: &[Asked],
        name: &str,
        value: Option<&Value>,
    ) {
        let mut open: Vec<&Asked> = questions.iter().filter(|asked| asked.name == name).collect();
        let Some(first) = open.first() else { return };
        let session = first.session;
        open.retain(|asked| asked.session == session);
        let count = if value.is_some() { 1 } else { 1 + self.ledger.below(open.len() as u64) };
        let mut answers = Vec::new();
        for _ in 0..count {
            let place = usize::try_from(self.ledger.below(open.len() as u64)).unwrap_or(0);
            let asked = open.swap_remove(place);
            let value = value.cloned().unwrap_or_else(|| asked.prompt.clone().into());
            answers.push((asked.id, value));
        }
        host.answer(session, answers).await;
    }

    /// How all ended; none while they have not.
    async fn ends<H: Host>(&self, host: &mut H) -> Option<Ends> {
        let end = host.end(self.session).await?;
        let mut others = Vec::new();
        for (body, _) in &self.case.others {
            let mut ends = Vec::new();
            for other in self.ledger.sessions_of(body) {
                ends.push(host.end(other).await);
            }
            if ends.is_empty() || ends.contains(&None) {
                return None;
            }
            others.push(ends);
        }
        Some((end, others))
    }

    /// What is wrong.
    async fn judge<H: Host>(&self, host: &mut H, (end, others): Ends) -> Vec<String> {
        let mut faults = self.ledger.faults();
        if end != self.case.end {
            faults.push(format!("it ended as {end:?}, not as {:?}", self.case.end));
        }
        for ((body, expected), ends) in self.case.others.iter().zip(others) {
            let [Some(end)] = &ends[..] else {
                faults.push(format!("{} sessions of `{body}`, not one", ends.len()));
                continue;
            };
            if !is_like(end, expected) {
                faults.push(format!("`{body}` ended as {end:?}, not as {expected:?}"));
            }
        }
        if !matches!(end, End::Stuck(_))
            && let Some(told) = host.progress(self.session).await
            && told != self.case.progress
        {
            faults.push(format!("it told {told:?}, not {:?}", self.case.progress));
        }
        let mine = self.ledger.sessions_of(self.case.body);
        if mine != [self.session] {
            faults.push(format!("{mine:?} ran, and {} was started", self.session));
        }
        faults
    }
}

fn is_like(end: &End, expected: &End) -> bool {
    match (end, expected) {
        (End::Cancelled { code, .. }, End::Cancelled { code: other, text }) if text.is_empty() => {
            code == other
        }
        _ => end == expected,
    }
}
