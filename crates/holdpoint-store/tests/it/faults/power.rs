//! Power cuts (ST-2, ST-3): a life is recorded call by call, and its files are built as a cut at any
//! moment may leave them.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use holdpoint_core::SessionId;
use holdpoint_core::event::Stream;
use holdpoint_core::store::{Appended, Fence, Store, Write};
use holdpoint_store::{FileOptions, FileStore};
use tempfile::TempDir;

use super::child::Plan;
use super::disk::{CALLS, Disk, Effect, Entry, Honest, Luck, Recording};
use super::facts::{self, Facts, Id};
use super::judge::{self, Loss};
use super::random::Random;
use super::{cuts, scratch, seed, strace, tell};

/// Images of one recorded life.
const IMAGES: u64 = 1_000;

/// A life on a disk that may have something already.
struct Life {
    recording: Recording,
    /// What was said before it.
    before: String,
}

/// What a cut has left, and what was said by then.
struct Left {
    folder: TempDir,
    facts: String,
}

impl Left {
    fn nothing() -> Self {
        Self { folder: scratch(), facts: String::new() }
    }
}

impl Life {
    /// Lives on with what is left.
    fn record(left: Left, number: u32, relaxed: bool, seed: u64) -> Self {
        let root = left.folder.path();
        let start = Disk::load(root);
        let aside = scratch();
        let (facts, log) = (aside.path().join("facts"), aside.path().join("log"));
        fs::write(&facts, &left.facts).expect("a file of facts");
        let plan = Plan { life: number, relaxed, ..Plan::new(&root.join("store"), &facts, seed) };
        let words = strace::record(&log, CALLS);
        let output = plan.command(&words).output().expect("strace");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "seed {seed}: {said}");
        let log = fs::read_to_string(&log).expect("a log");
        let recording = Recording::parse(&log, root, &facts, start);
        let life = Self { recording, before: left.facts };
        // The log tells everything: at its end the disk has what the folder has.
        life.is_complete(root).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        life
    }

    fn is_complete(&self, root: &Path) -> Result<(), String> {
        let mut disk = self.recording.disk();
        for event in &self.recording.events {
            disk.take(event, Honest::Always);
        }
        let copy = scratch();
        disk.image(copy.path(), Luck::All, &mut Random::new(0));
        for name in ["holdpoint.db", "holdpoint.db-wal"] {
            let read = |root: &Path| fs::read(root.join("store").join(name)).ok();
            if read(root) != read(copy.path()) {
                return Err(format!("the log of calls does not lead to {name}"));
            }
        }
        Ok(())
    }

    /// Where to cut: anywhere, more often around syncs and where the log is written back.
    fn moments(&self, count: u64, random: &mut Random) -> Vec<usize> {
        let events = &self.recording.events;
        let is_sync = |effect: &Effect| matches!(effect, Effect::Sync(_) | Effect::SyncFolder(_));
        let places = |is: &dyn Fn(&Effect) -> bool| -> Vec<usize> {
            (0..events.len()).filter(|place| is(&events[*place].effect)).collect()
        };
        let syncs = places(&is_sync);
        // A new log begins with its head, or with its being cut off.
        let turns = places(&|effect| {
            matches!(effect, Effect::Write(_, 0, _) | Effect::Size(..) | Effect::Rename(..))
                || matches!(effect, Effect::Name(..) | Effect::Remove(_))
        });
        let pick = |places: &[usize], random: &mut Random| {
            let place = places[random.below(places.len() as u64) as usize] as u64;
            ((place + random.below(6)).saturating_sub(2) as usize).min(events.len())
        };
        let one = |_| match random.below(8) {
            0..4 => pick(&syncs, random),
            4 => pick(&turns, random),
            _ => random.below(events.len() as u64 + 1) as usize,
        };
        (0..count).map(one).collect()
    }

    /// Builds the images of some cuts and gives each, with what was said by then, to `look`.
    fn cut(
        &self,
        moments: &[usize],
        honest: Honest,
        seed: u64,
        mut look: impl FnMut(Left, &Facts, &str),
    ) {
        let mut disk = self.recording.disk();
        let mut said = self.before.clone();
        let mut facts = Facts::parse(&said).expect("facts");
        let mut moments = moments.to_vec();
        moments.sort_unstable();
        let mut moments = moments.into_iter().peekable();
        for place in 0..=self.recording.events.len() {
            let mut number = 0;
            while moments.next_if_eq(&place).is_some() {
                number += 1;
                let mut random = Random::of(&[seed, place as u64, number]);
                let luck = match random.below(8) {
                    0 => Luck::None,
                    1 => Luck::All,
                    2 => Luck::AllBut(1 + random.below(3)),
                    3 => Luck::Before(disk.moment(&mut random)),
                    4 => Luck::Some(8),
                    5 => Luck::Some(248),
                    _ => Luck::Some(random.below(256)),
                };
                let folder = scratch();
                disk.image(folder.path(), luck, &mut random);
                let what = format!("cut {number} at event {place}, {luck:?}");
                look(Left { folder, facts: said.clone() }, &facts, &what);
            }
            let Some(event) = self.recording.events.get(place) else { break };
            disk.take(event, honest);
            if let Effect::Say(words) = &event.effect {
                said += words;
                for line in words.lines() {
                    facts.take(line).expect("a fact");
                }
            }
        }
    }

    /// Judges images of so many cuts, on two processors.
    fn judge(&self, count: u64, loss: Loss, what: &str, seed: u64) {
        let moments = self.moments(count, &mut Random::new(seed));
        let (half, other) = moments.split_at(moments.len() / 2);
        thread::scope(|scope| {
            for (moments, part) in [(half, 0), (other, 1)] {
                let seed = Random::of(&[seed, part]).next();
                scope.spawn(move || {
                    self.cut(moments, Honest::Always, seed, |left, facts, cut| {
                        let store = left.folder.path().join("store");
                        judge::judge(&store, facts, loss)
                            .unwrap_or_else(|error| panic!("{what}, {cut}: {error}"));
                    });
                });
            }
        });
    }

    /// One image of a cut after something was acknowledged.
    fn cut_once(&self, seed: u64) -> Left {
        let mut random = Random::new(seed);
        let events = &self.recording.events;
        let is_ack = |effect: &Effect| matches!(effect, Effect::Say(say) if say.starts_with("ack"));
        let first = events.iter().position(|event| is_ack(&event.effect)).expect("a success");
        let place = first + random.below((events.len() - first) as u64) as usize;
        let mut found = None;
        self.cut(&[place], Honest::Always, random.next(), |left, _, _| found = Some(left));
        found.expect("an image")
    }
}

/// Power cuts again and again: a life on an empty disk, and others on what the cut before has left.
fn cut_lives(count: u64, is_relaxed: bool, what: &str) {
    // The last of them is strict.
    let lives = if count > IMAGES { 4 } else { 2 };
    let first_seed = seed();
    let mut random = Random::new(first_seed);
    let (mut rest, mut left, mut life) = (count, Left::nothing(), 0);
    let share = count.div_ceil(lives.into()).min(IMAGES);
    while rest > 0 {
        let images = share.min(rest);
        rest -= images;
        life += 1;
        let (is_relaxed, seed) = (is_relaxed && life < lives, random.next());
        let own = Life::record(left, life, is_relaxed, seed);
        let loss = if is_relaxed { Loss::TheLast } else { Loss::Nothing };
        own.judge(images, loss, &format!("seed {first_seed}, life {life}"), random.next());
        if life == lives {
            (left, life) = (Left::nothing(), 0);
        } else {
            left = own.cut_once(random.next());
            if is_relaxed {
                left.facts = untold(&left.facts);
            }
        }
    }
    tell(&format!("{count} power cuts, {what}"));
}

/// Facts without what a relaxed store says too early.
fn untold(facts: &str) -> String {
    let is_kept = |line: &&str| !line.starts_with("ack") && *line != "pruned";
    facts.lines().filter(is_kept).map(|line| format!("{line}\n")).collect()
}

#[test]
fn store_002_st_2_after_a_power_cut_at_any_moment_nothing_acknowledged_is_lost() {
    if strace::is_there("power cuts") {
        cut_lives(cuts(), false, "each commit brought to the disk");
    }
}

/// Only the last commits may be missing; and a store that was used so can be used strictly again.
#[test]
fn store_002_st_2_with_relaxed_syncing_a_power_cut_takes_the_last_commits_and_no_part_of_one() {
    if strace::is_there("power cuts with relaxed syncing") {
        cut_lives(cuts() / 3, true, "relaxed");
    }
}

/// The images are worth something: with a disk that lies about syncs most of them are bad.
#[test]
fn store_002_st_2_a_disk_that_ignores_syncs_is_found_out() {
    if !strace::is_there("power cuts of a disk that lies") {
        return;
    }
    let seed = seed();
    let life = Life::record(Left::nothing(), 1, false, seed);
    for (honest, share) in [(Honest::Never, 2), (Honest::WithNames, 4), (Honest::WithContent, 4)] {
        let moments = life.moments(cuts().min(1_000) / 10 + 5, &mut Random::new(seed));
        let (all, bad) = (AtomicU64::new(0), AtomicU64::new(0));
        life.cut(&moments, honest, seed, |left, facts, _| {
            if facts.acks() > 0 {
                let store = left.folder.path().join("store");
                let is_bad = judge::judge(&store, facts, Loss::Nothing).is_err();
                all.fetch_add(1, Ordering::Relaxed);
                bad.fetch_add(is_bad.into(), Ordering::Relaxed);
            }
        });
        let (all, bad) = (all.into_inner(), bad.into_inner());
        tell(&format!("{bad} of {all} power cuts are found bad, with a disk honest {honest:?}"));
        assert!(bad * share >= all && bad > 0, "seed {seed}, honest {honest:?}: {bad} of {all}");
    }
}

/// The order of calls, without chance.
#[test]
fn store_002_st_3_names_are_on_the_disk_before_the_first_acknowledgement() {
    if !strace::is_there("the order of syncs") {
        return;
    }
    for relaxed in [false, true] {
        let life = Life::record(Left::nothing(), 1, relaxed, seed());
        let mut disk = life.recording.disk();
        let names = ["store", "store/holdpoint.db", "store/holdpoint.db-wal"].map(Path::new);
        let mark = Path::new("store/relaxed");
        let (mut acks, mut log, mut is_marked) = (0, None, false);
        for event in &life.recording.events {
            match &event.effect {
                Effect::Say(words) if words.starts_with("ack") => {
                    acks += 1;
                    for name in names {
                        assert!(disk.is_certain(name), "{} may vanish", name.display());
                    }
                }
                Effect::Name(path, entry) if path == names[2] => log = Some(*entry),
                // Where the log may have gaps that is known before it has any.
                Effect::Write(file, ..) if log == Some(Entry::File(*file)) && relaxed => {
                    is_marked |= disk.is_certain(mark);
                    assert!(is_marked, "the log is written before the mark is certain");
                }
                _ => {}
            }
            disk.take(event, Honest::Always);
        }
        assert!(acks > 50, "{acks} successes");
        assert_eq!(disk.certain(mark).is_some(), relaxed);
    }
}

/// What a first cut left of a commit does not make a second cut look like damage.
#[test]
fn store_002_st_2_two_cuts_in_two_commits_are_no_damage() {
    let append = |store: &FileStore, entry: &[u8]| {
        let stream = Stream::Session(SessionId::generate());
        let event = facts::event(&stream, Id { life: 1, number: 1 }, 1, false);
        let write = Write::new(&stream, Fence::New).events(std::slice::from_ref(&event));
        let done = store.append(&[write.journal(&[entry])]).and_then(Appended::wait);
        done.expect("an append");
        stream
    };
    // One commit that stays, and one of which the first sectors never reached the disk.
    let cut = |store: &FileStore, second: &[u8]| {
        let first = append(store, b"stays");
        let log = store.folder().join("holdpoint.db-wal");
        let end = last_commit(&log);
        append(store, second);
        let image = scratch();
        judge::copy_store(store.folder(), image.path());
        let log = image.path().join("holdpoint.db-wal");
        let mut bytes = fs::read(&log).expect("a log");
        bytes[end..end + 512].fill(0);
        fs::write(&log, bytes).expect("a log");
        (image, first)
    };
    let folder = scratch();
    let store = FileStore::open(folder.path(), FileOptions::new()).expect("a store");
    let (image, first) = cut(&store, &[7; 400_000]);
    let again = FileStore::open(image.path(), FileOptions::new()).expect("after one cut");
    assert!(again.check().expect("a report").unacknowledged > 0);
    let (image, second) = cut(&again, b"small");
    let last = FileStore::open(image.path(), FileOptions::new()).expect("after two cuts");
    assert!(last.check().expect("a report").is_sound());
    for stream in [first, second] {
        assert_eq!(last.info(&stream).expect("a stream").last_entry, 1);
    }
}

/// Where the last commit of a log ends that SQLite would take: what is behind it is of another round
/// or of a commit that was cut.
fn last_commit(log: &Path) -> usize {
    let bytes = fs::read(log).expect("a log");
    let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("a word"));
    let sums = |mut sum: (u32, u32), bytes: &[u8]| {
        for pair in bytes.chunks_exact(8) {
            let word = |at| u32::from_le_bytes(pair[at..at + 4].try_into().expect("a word"));
            sum.0 = sum.0.wrapping_add(word(0)).wrapping_add(sum.1);
            sum.1 = sum.1.wrapping_add(word(4)).wrapping_add(sum.0);
        }
        sum
    };
    let (mut sum, mut at, mut end) = ((word(24), word(28)), 32, 32);
    while at + 24 + 4096 <= bytes.len() {
        sum = sums(sums(sum, &bytes[at..at + 8]), &bytes[at + 24..at + 24 + 4096]);
        if (word(at + 16), word(at + 20)) != sum {
            break;
        }
        let is_commit = word(at + 4) != 0;
        at += 24 + 4096;
        end = if is_commit { at } else { end };
    }
    end
}

/// The log that may have gaps is gone for certain before the mark that says so goes.
#[test]
fn store_002_st_3_a_log_with_gaps_goes_before_its_mark() {
    if !strace::is_there("the order in which relaxed syncing ends") {
        return;
    }
    let seed = seed();
    let left = Life::record(Left::nothing(), 1, true, seed).cut_once(seed);
    let left = Left { facts: untold(&left.facts), ..left };
    let (log, mark) = (Path::new("store/holdpoint.db-wal"), Path::new("store/relaxed"));
    let life = Life::record(left, 2, false, seed);
    let mut disk = life.recording.disk();
    assert!(disk.certain(log).is_some() && disk.certain(mark).is_some(), "seed {seed}");
    let mut is_over = false;
    for event in &life.recording.events {
        if matches!(&event.effect, Effect::Remove(path) if path == mark) {
            is_over = true;
            assert!(disk.certain(log).is_none(), "seed {seed}: the log may outlast its mark");
        }
        disk.take(event, Honest::Always);
    }
    assert!(is_over, "seed {seed}: the mark stays");
}
