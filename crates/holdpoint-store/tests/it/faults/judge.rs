//! Looks at a store after a crash and says whether it is what it has to be.
//!
//! It holds what is there against the facts: all that was acknowledged, or seen by a later life, is
//! there with its exact content; nothing else than what was issued is; each append is there whole or
//! not at all, in all its streams; what a thread issued is there up to a point; what was
//! acknowledged before something that is there was issued is there as well.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use holdpoint_core::event::Stream;
use holdpoint_core::store::{Appended, Fence, Filter, Store, StoredEvent, StreamInfo, Write};
use holdpoint_store::{FileOptions, FileStore};

use super::facts::{self, Facts, Id, On};

/// Whether what was acknowledged has to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// Nothing of it may be lost.
    Nothing,
    /// The last of it may: with relaxed syncing, after a power cut.
    TheLast,
}

/// Judges the store in a folder. It must open as it is, twice with the same content, and can be
/// written to.
pub(super) fn judge(folder: &Path, facts: &Facts, loss: Loss) -> Result<(), String> {
    let first = look(folder, facts, loss, false)?;
    let second = look(folder, facts, loss, true).map_err(|error| format!("again: {error}"))?;
    if first != second {
        return Err(format!("opened twice it is not the same:\n{first}\n{second}"));
    }
    Ok(())
}

/// The same, once, of a copy: the folder stays as the crash left it.
pub(super) fn judge_copy(folder: &Path, facts: &Facts, loss: Loss) -> Result<(), String> {
    let copy = super::scratch();
    copy_store(folder, copy.path());
    judge(copy.path(), facts, loss)
}

/// Copies what a power cut would leave: everything but the memory that is shared.
pub(super) fn copy_store(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    let Ok(entries) = fs::read_dir(from) else { return };
    for entry in entries {
        let entry = entry.expect("an entry of a folder");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_store(&from, &to);
        } else if !from.to_string_lossy().ends_with("-shm") {
            fs::copy(&from, &to).expect("a copy");
        }
    }
}

/// Opens the store, holds it against the facts, and gives a picture of it. `writes`: then it is
/// written to, as well.
fn look(folder: &Path, facts: &Facts, loss: Loss, writes: bool) -> Result<String, String> {
    let store = FileStore::open(folder, FileOptions::new())
        .map_err(|error| format!("it does not open: {error}"))?;
    let report = store.check().map_err(|error| format!("it cannot be checked: {error}"))?;
    if !report.is_sound() {
        let faults: Vec<String> = report.faults.iter().map(ToString::to_string).collect();
        return Err(format!("the check finds: {}", faults.join("; ")));
    }
    let picture = Judge { store: &store, facts, loss, there: BTreeSet::new() }.judge()?;
    if writes {
        claim(&store)?;
    }
    Ok(picture)
}

struct Judge<'a> {
    store: &'a FileStore,
    facts: &'a Facts,
    loss: Loss,
    /// The steps that are there, by stream and place among the steps.
    there: BTreeSet<(Stream, usize)>,
}

impl Judge<'_> {
    fn judge(mut self) -> Result<String, String> {
        let infos = self.store.list(&Filter::default()).map_err(|error| error.to_string())?;
        let mut picture = String::new();
        let mut events = Vec::new();
        for info in &infos {
            let stream = &info.stream;
            self.stream(info, &mut events).map_err(|error| format!("{stream}: {error}"))?;
            picture += &format!("{info:?} {:?}\n", self.store.snapshot(stream).map(drop));
        }
        let there: BTreeSet<&Stream> = infos.iter().map(|info| &info.stream).collect();
        self.order(events)?;
        self.steps(&there)?;
        self.pruned(&infos)?;
        Ok(picture)
    }

    /// A stream has what its first steps wrote, and nothing else.
    fn stream(&mut self, info: &StreamInfo, all: &mut Vec<StoredEvent>) -> Result<(), String> {
        let (facts, stream) = (self.facts, &info.stream);
        if facts.gone.contains(stream) {
            return Err("it came back after it was deleted".to_owned());
        }
        let steps = facts.streams.get(stream).ok_or("nobody made it")?;
        let found = (info.last_seq, info.last_entry, info.epoch);
        let count =
            facts.count_at(stream, found).ok_or_else(|| format!("part of a step: {info:?}"))?;
        let known = facts.known(stream, count);
        let owner = info.owner.map(|owner| owner.instance);
        if (owner, info.state) != (known.owner, known.state) {
            return Err(format!("{known:?} became {info:?}"));
        }
        if let Some(owner) = info.owner
            && self.store.is_alive(owner)
        {
            return Err(format!("its owner {owner:?} is dead and counts as alive"));
        }
        let (id, has_key) = known.created_by.ok_or("it has no beginning")?;
        let key = has_key.then(|| facts::key(id));
        if info.key.as_deref() != key.as_deref() || *info.label != *facts::label(id) {
            return Err(format!("it was made by {id} and became {info:?}"));
        }
        let events = self.store.events(stream, 0, usize::MAX).map_err(|e| e.to_string())?;
        if events.len() != known.events.len() {
            return Err(format!("{} events instead of {}", events.len(), known.events.len()));
        }
        for (stored, (seq, (id, ends))) in events.iter().zip((1..).zip(&known.events)) {
            let expected = facts::event(stream, *id, seq, *ends);
            let event = stored.event().map_err(|error| error.to_string())?;
            if event != expected || stored.seq != seq {
                return Err(format!("event {seq} of {id}: {event:?}"));
            }
        }
        let entries = self.store.journal(stream, 0, usize::MAX).map_err(|e| e.to_string())?;
        let expected = known.journal.iter().zip(1..).map(|(id, n)| (n, facts::entry(*id, n)));
        if !entries.iter().map(|e| (e.number, e.data.to_vec())).eq(expected) {
            return Err("its journal is another".to_owned());
        }
        let snapshot = self.store.snapshot(stream).map_err(|error| error.to_string())?;
        let is_right = match (&snapshot, known.snapshot) {
            (None, None) => true,
            (Some(stored), Some(id)) => {
                *stored.data == *facts::snapshot(id) && stored.state == known.state
            }
            _ => false,
        };
        if !is_right {
            return Err(format!("its snapshot is not the one of {:?}", known.snapshot));
        }
        for place in &steps[..count] {
            let step = &facts.steps[*place];
            // It is told a position that is not before its last event.
            let part = step.parts.iter().find(|part| part.stream == *stream).expect("its part");
            if let (Some((_, pos)), Some(last)) = (step.ack, part.count.checked_sub(1)) {
                let last = &events[(part.first + last - 1) as usize];
                if last.pos > pos {
                    return Err(format!("{} was told {pos}, and lies at {}", step.id, last.pos));
                }
            }
            self.there.insert((stream.clone(), *place));
        }
        all.extend(events);
        Ok(())
    }

    /// The events of all streams, each once, by rising positions.
    fn order(&self, mut events: Vec<StoredEvent>) -> Result<(), String> {
        events.sort_by_key(|event| event.pos);
        let place = |event: &StoredEvent| (event.pos, event.stream.clone(), event.seq);
        let expected: Vec<_> = events.iter().map(place).collect();
        if expected.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
            return Err("two events have one position".to_owned());
        }
        let (mut after, mut found) = (0, Vec::new());
        loop {
            let page = self.store.all_events(after, 500).map_err(|error| error.to_string())?;
            let Some(last) = page.last() else { break };
            after = last.pos;
            found.extend(page.iter().map(place));
        }
        if found != expected {
            return Err("the order of all events is another".to_owned());
        }
        Ok(())
    }

    /// Each step is there whole or not at all, and all are there that have to be.
    fn steps(&self, streams: &BTreeSet<&Stream>) -> Result<(), String> {
        let facts = self.facts;
        let mut latest = 0;
        let mut missing: Vec<(usize, Id)> = Vec::new();
        for (place, step) in facts.steps.iter().enumerate() {
            // A stream that was deleted says nothing.
            let parts = step.parts.iter().filter(|part| {
                let stream = &part.stream;
                let is_live = |steps: &Vec<usize>| steps.contains(&place);
                facts.streams.get(stream).is_some_and(is_live)
                    && (streams.contains(stream) || !facts.may_be_pruned(stream))
            });
            let there: BTreeSet<bool> =
                parts.map(|part| self.there.contains(&(part.stream.clone(), place))).collect();
            match (there.contains(&true), there.contains(&false)) {
                (true, true) => return Err(format!("a part of {} is there", step.id)),
                (true, false) => latest = latest.max(step.line),
                (false, true) => missing.push((place, step.id)),
                (false, false) => {}
            }
        }
        for (place, id) in missing {
            let step = &facts.steps[place];
            if step.is_due() && self.loss == Loss::Nothing {
                return Err(format!("{id} was acknowledged and is lost"));
            }
            if step.ack.is_some_and(|(line, _)| line < latest)
                || (step.seen && latest > 0 && {
                    // What a later life saw was there before anything of that life.
                    facts.steps.iter().any(|s| s.line == latest && s.id.life > id.life)
                })
            {
                return Err(format!("{id} is lost, and something later is there"));
            }
            let has_later = facts.steps[place + 1..].iter().zip(place + 1..).any(|(later, at)| {
                later.thread == step.thread
                    && later.id.life == id.life
                    && later.parts.iter().any(|p| self.there.contains(&(p.stream.clone(), at)))
            });
            if has_later && step.failed.is_none() {
                return Err(format!("{id} is lost, and a later step of its thread is there"));
            }
        }
        // After the first failure nothing is acknowledged any more.
        let first_failure = facts.steps.iter().filter(|step| step.failed.is_some());
        for failed in first_failure {
            let later = facts.steps.iter().find(|step| {
                step.id.life == failed.id.life && step.line > failed.line && step.ack.is_some()
            });
            let is_known_late = later.filter(|later| later.thread == failed.thread);
            if let Some(later) = is_known_late {
                return Err(format!("{} was acknowledged after {} failed", later.id, failed.id));
            }
        }
        Ok(())
    }

    /// A deletion that was reported left only what it was to leave.
    fn pruned(&self, infos: &[StreamInfo]) -> Result<(), String> {
        let Some(prune) = self.facts.prunes.iter().rev().find(|prune| prune.done) else {
            return Ok(());
        };
        let is_old = |stream: &Stream| {
            let end = self.facts.end_of(stream).map(|end| &self.facts.steps[end]);
            end.is_some_and(|end| end.line < prune.line)
        };
        let left = infos.iter().filter(|info| is_old(&info.stream)).count() as u64;
        if left > prune.keep && self.loss == Loss::Nothing {
            return Err(format!("{left} streams are left of a deletion that keeps {}", prune.keep));
        }
        Ok(())
    }
}

/// What the dead left behind can be claimed and gone on with, all of it at once.
fn claim(store: &FileStore) -> Result<(), String> {
    let id = Id { life: 9999, number: 1 };
    let infos = store.list(&Filter::default()).map_err(|error| error.to_string())?;
    let live: Vec<_> = infos.into_iter().filter(|info| !info.state.is_terminal()).collect();
    for round in 1..=2 {
        let event =
            |info: &StreamInfo| [facts::event(&info.stream, id, info.last_seq + round, false)];
        let events: Vec<_> = live.iter().map(event).collect();
        let mut writes = Vec::new();
        for (info, event) in live.iter().zip(&events) {
            let fence = match round {
                1 => Fence::Claim { epoch: info.epoch },
                _ => Fence::Owned { epoch: info.epoch + 1 },
            };
            writes.push(Write::new(&info.stream, fence).events(event));
        }
        if !writes.is_empty() {
            let done = store.append(&writes).and_then(Appended::wait);
            done.map_err(|error| format!("round {round} of claims: {error}"))?;
        }
    }
    Ok(())
}

/// Whether a facts file has what a test needs to be worth something.
pub(super) fn is_rich(facts: &Facts) -> bool {
    let has = |f: fn(&facts::Step) -> bool| facts.steps.iter().any(f);
    has(|step| step.is_note)
        && has(|step| step.parts.len() > 1)
        && has(|step| step.parts.iter().any(|part| part.on == On::Claim))
        && has(|step| step.parts.iter().any(|part| part.release))
        && facts.prunes.iter().any(|prune| prune.done)
}
