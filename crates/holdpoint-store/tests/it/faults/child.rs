//! The process that is killed, starved and lied to: this test binary again, told what to do.
//!
//! It lives one life of a store: opens it, tells what it found, goes on with the streams that others
//! left behind, writes from several threads, has an idle moment in which streams are merged, deletes
//! what has ended, writes again, and closes. What it issues and what is acknowledged goes to the
//! file of facts.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use holdpoint_core::event::{Event, Stream};
use holdpoint_core::session::StateName;
use holdpoint_core::store::{AppendError, Appended, Fence, Filter, Snapshot, Store, Write};
use holdpoint_core::{BatchId, SessionId};
use holdpoint_store::{FileOptions, FileStore, Retention, Sync};

use super::facts::{self, Id, On, Part};
use super::random::Random;

const PLAN: &str = "HOLDPOINT_FAULTS_PLAN";

/// What a child is to do.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) folder: PathBuf,
    pub(super) facts: PathBuf,
    /// Which life this is: no two of one store have the same number.
    pub(super) life: u32,
    pub(super) seed: u64,
    /// Steps of each thread, before and after the idle moment.
    pub(super) steps: u32,
    pub(super) threads: u32,
    pub(super) relaxed: bool,
    /// Whether it tells what it found, and deletes what has ended; where others write meanwhile the
    /// facts would not tell what came of it.
    pub(super) looks: bool,
    /// Whether it waits, before it ends, until its input ends.
    pub(super) holds: bool,
    /// Whether it goes down, without closing anything, before the idle moment.
    pub(super) drops_dead: bool,
}

impl Plan {
    pub(super) fn new(folder: &Path, facts: &Path, seed: u64) -> Self {
        Self {
            folder: folder.to_owned(),
            facts: facts.to_owned(),
            life: 1,
            seed,
            steps: 30,
            threads: 3,
            relaxed: false,
            looks: true,
            holds: false,
            drops_dead: false,
        }
    }

    /// The command that carries it out, after the words in front: `strace ..`.
    pub(super) fn command(&self, before: &[String]) -> Command {
        let mut command = part("faults::child::play", before);
        command.env(PLAN, self.to_text());
        command
    }

    fn to_text(&self) -> String {
        let Self { life, seed, steps, threads, relaxed, looks, holds, drops_dead, .. } = self;
        let (folder, facts) = (self.folder.display(), self.facts.display());
        format!(
            "{folder}\n{facts}\n{life}\n{seed}\n{steps}\n{threads}\n{relaxed}\n{looks}\n{holds}\n\
             {drops_dead}"
        )
    }

    fn from_text(text: &str) -> Self {
        let mut lines = text.lines();
        let mut next = || lines.next().expect("a whole plan");
        let number = |text: &str| text.parse::<u64>().expect("a number");
        Self {
            folder: next().into(),
            facts: next().into(),
            life: number(next()) as u32,
            seed: number(next()),
            steps: number(next()) as u32,
            threads: number(next()) as u32,
            relaxed: next() == "true",
            looks: next() == "true",
            holds: next() == "true",
            drops_dead: next() == "true",
        }
    }
}

/// This binary, which runs one test and nothing else.
pub(super) fn part(test: &str, before: &[String]) -> Command {
    let program = std::env::current_exe().expect("this program");
    let mut words = before.iter().map(std::ffi::OsString::from).collect::<Vec<_>>();
    words.push(program.into());
    let mut command = Command::new(&words[0]);
    command
        .args(&words[1..])
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// No test, but the child's whole life, where a plan says so.
#[test]
fn play() {
    if let Ok(text) = std::env::var(PLAN) {
        Player::new(Plan::from_text(&text)).live();
    }
}

/// A stream that this life owns, or may own.
#[derive(Debug, Clone)]
struct Live {
    stream: Stream,
    seq: u64,
    entries: u64,
    epoch: u64,
    is_owned: bool,
}

struct Player {
    plan: Plan,
    facts: File,
    last_id: AtomicU32,
    has_failed: AtomicBool,
}

impl Player {
    fn new(plan: Plan) -> Self {
        let facts = OpenOptions::new().create(true).append(true).open(&plan.facts);
        let facts = facts.expect("the file of facts");
        Self { plan, facts, last_id: AtomicU32::new(0), has_failed: AtomicBool::new(false) }
    }

    fn live(&self) {
        let sync = if self.plan.relaxed { Sync::Relaxed } else { Sync::Full };
        let store = match FileStore::open(&self.plan.folder, FileOptions::new().sync(sync)) {
            Ok(store) => store,
            Err(error) => return self.say(&format!("refused {error}")),
        };
        self.say(&format!("open {} {}", self.plan.life, store.instance()));
        let found = self.look(&store);
        let streams = self.work(&store, 0, found);
        if self.plan.drops_dead {
            std::process::exit(0);
        }
        if !self.has_failed.load(Ordering::Acquire) {
            // An idle moment, in which the writer merges what has ended.
            thread::sleep(Duration::from_millis(60));
            if self.plan.looks {
                self.prune(&store);
            }
            self.work(&store, 1, streams);
        }
        if self.has_failed.load(Ordering::Acquire) {
            self.look_back(&store);
        }
        if self.plan.holds {
            self.say("holds");
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
        }
        match store.close().wait() {
            Ok(()) => self.say("closed"),
            Err(error) => self.say(&format!("closed with {error}")),
        }
    }

    /// One fact, or several at once, in one call.
    fn say(&self, line: &str) {
        (&self.facts).write_all(format!("{line}\n").as_bytes()).expect("the file of facts");
    }

    /// Tells what is there, and gives what can be gone on with.
    fn look(&self, store: &FileStore) -> Vec<Live> {
        if !self.plan.looks {
            return Vec::new();
        }
        let infos = store.list(&Filter::default()).expect("a readable store");
        let mut lines = "seen begin\n".to_owned();
        for info in &infos {
            let stream = facts::stream_text(&info.stream);
            let (seq, entries, epoch) = (info.last_seq, info.last_entry, info.epoch);
            lines += &format!("seen {stream} {seq} {entries} {epoch}\n");
        }
        self.say(&(lines + "seen end"));
        let live = infos.into_iter().filter(|info| !info.state.is_terminal());
        live.map(|info| Live {
            seq: info.last_seq,
            entries: info.last_entry,
            epoch: info.epoch,
            is_owned: false,
            stream: info.stream,
        })
        .collect()
    }

    /// Everybody writes for a while, each to streams of its own.
    fn work(&self, store: &FileStore, phase: u64, streams: Vec<Live>) -> Vec<Live> {
        let threads = self.plan.threads.max(1) as usize;
        let mut shares = vec![Vec::new(); threads];
        for (index, stream) in streams.into_iter().enumerate() {
            shares[index % threads].push(stream);
        }
        let seeds = [self.plan.seed, self.plan.life.into(), phase];
        thread::scope(|scope| {
            let workers = shares.into_iter().zip(0..).map(|(share, thread)| {
                let random = Random::of(&[seeds[0], seeds[1], seeds[2], thread]);
                let mut worker = Worker {
                    player: self,
                    store,
                    thread: thread as u32,
                    random,
                    streams: share,
                    waiting: VecDeque::new(),
                };
                scope.spawn(move || {
                    worker.work();
                    worker.streams
                })
            });
            let workers: Vec<_> = workers.collect();
            workers.into_iter().flat_map(|worker| worker.join().expect("a worker")).collect()
        })
    }

    fn prune(&self, store: &FileStore) {
        let keep = 1;
        self.say(&format!("prune {keep}"));
        let retention = Retention::new().age(Duration::ZERO).keep_last(keep);
        match store.prune(retention).and_then(|ticket| ticket.wait()) {
            Ok(_) => self.say("pruned"),
            Err(error) => {
                self.say(&format!("prune failed {error}"));
                self.has_failed.store(true, Ordering::Release);
            }
        }
    }

    /// After a failure: reads go on, writes and notes are refused.
    fn look_back(&self, store: &FileStore) {
        let mut events = 0;
        for info in store.list(&Filter::default()).expect("a readable store") {
            let read = store.events(&info.stream, 0, usize::MAX).expect("a readable stream");
            assert_eq!(read.len() as u64, info.last_seq);
            events += read.len();
        }
        let stream = Stream::Session(SessionId::generate());
        let id = Id { life: self.plan.life, number: 0 };
        let event = facts::event(&stream, id, 1, false);
        let write = Write::new(&stream, Fence::New).events(std::slice::from_ref(&event));
        let late = store.append(&[write]).and_then(Appended::wait).expect_err("it is poisoned");
        assert!(matches!(late, AppendError::Poisoned { .. }), "{late:?}");
        let late = store.note(&stream, 1, &[event]).expect_err("it is poisoned");
        assert!(matches!(late, AppendError::Poisoned { .. }), "{late:?}");
        let late = store.claim_schedules().map(drop).expect_err("it is poisoned");
        assert!(matches!(late, AppendError::Poisoned { .. }), "{late:?}");
        self.say(&format!("poisoned, {events} events read"));
    }
}

struct Worker<'a> {
    player: &'a Player,
    store: &'a FileStore,
    thread: u32,
    random: Random,
    streams: Vec<Live>,
    waiting: VecDeque<(Id, Appended)>,
}

impl Worker<'_> {
    fn work(&mut self) {
        for _ in 0..self.player.plan.steps {
            self.step();
            let most = self.random.below(4) as usize;
            while self.waiting.len() > most {
                self.wait();
            }
            if self.player.has_failed.load(Ordering::Acquire) {
                break;
            }
        }
        while !self.waiting.is_empty() {
            self.wait();
        }
    }

    fn step(&mut self) {
        let chance = self.random.below(100);
        if self.streams.is_empty() || (chance < 12 && self.streams.len() < 12) {
            let part = self.new_part();
            return self.issue(vec![part], false);
        }
        match chance {
            12..60 => {
                let part = self.next_part(0);
                self.issue(vec![part], false);
            }
            60..72 => self.note(),
            72..84 => self.several(),
            84..92 => {
                let mut part = self.next_part(1);
                part.snapshot = Some(StateName::Done);
                part.release = false;
                let stream = part.stream.clone();
                self.issue(vec![part], false);
                self.streams.retain(|live| live.stream != stream);
            }
            _ => {
                let mut part = self.next_part(1);
                part.release = true;
                self.issue(vec![part], false);
            }
        }
    }

    /// Several streams in one append, a new one among them or not.
    fn several(&mut self) {
        let count = (2 + self.random.below(2) as usize).min(self.streams.len());
        let mut parts: Vec<Part> = Vec::new();
        for _ in 0..count {
            let part = self.next_part(0);
            if parts.iter().all(|other| other.stream != part.stream) {
                parts.push(part);
            }
        }
        if self.random.one_in(2) {
            parts.push(self.new_part());
        }
        self.issue(parts, false);
    }

    fn note(&mut self) {
        let Some(live) = self.streams.iter().find(|live| live.is_owned) else { return };
        let part = Part {
            stream: live.stream.clone(),
            on: On::Owned,
            release: false,
            first: live.seq + 1,
            count: 1 + self.random.below(3),
            first_entry: live.entries + 1,
            entries: 0,
            snapshot: None,
            has_key: false,
        };
        self.issue(vec![part], true);
    }

    /// The beginning of a stream.
    fn new_part(&mut self) -> Part {
        let is_batch = self.random.one_in(5);
        let stream = if is_batch {
            Stream::Batch(BatchId::generate())
        } else {
            Stream::Session(SessionId::generate())
        };
        Part {
            stream,
            on: if self.random.one_in(3) { On::New } else { On::NewOwned },
            release: false,
            first: 1,
            count: 1 + self.random.below(3),
            first_entry: 1,
            entries: self.random.below(2),
            snapshot: self.random.one_in(2).then_some(StateName::Running),
            has_key: !is_batch && self.random.one_in(2),
        }
    }

    /// Something of a stream that is there, with at least so many events.
    fn next_part(&mut self, events: u64) -> Part {
        let place = self.random.below(self.streams.len() as u64) as usize;
        let (count, entries) = (events + self.random.below(3), self.random.below(3));
        let live = &self.streams[place];
        Part {
            stream: live.stream.clone(),
            on: if live.is_owned { On::Owned } else { On::Claim },
            release: false,
            first: live.seq + 1,
            count: if count + entries == 0 { 1 } else { count },
            first_entry: live.entries + 1,
            entries,
            snapshot: self.random.one_in(2).then_some(StateName::Running),
            has_key: false,
        }
    }

    fn issue(&mut self, parts: Vec<Part>, is_note: bool) {
        let player = self.player;
        let number = player.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let id = Id { life: player.plan.life, number };
        let kind = if is_note { "note" } else { "record" };
        let text: Vec<String> = parts.iter().map(Part::to_string).collect();
        player.say(&format!("issue {id} {} {kind} {}", self.thread, text.join(";")));
        let contents: Vec<Content> = parts.iter().map(|part| Content::of(id, part)).collect();
        let journals: Vec<Vec<&[u8]>> = contents.iter().map(Content::journal).collect();
        let both = contents.iter().zip(&journals);
        let writes: Vec<Write<'_>> =
            parts.iter().zip(both).map(|(part, content)| self.write(part, content)).collect();
        if is_note {
            let (epoch, part) = (self.epoch(&parts[0]), &parts[0]);
            if let Err(error) = self.store.note(&part.stream, epoch, &contents[0].events) {
                self.failed(id, &error);
            }
        } else {
            match self.store.append(&writes) {
                Ok(appended) => self.waiting.push_back((id, appended)),
                Err(error) => self.failed(id, &error),
            }
        }
        for part in parts {
            self.go_on(part);
        }
    }

    /// What the port is given for a part.
    fn write<'a>(
        &self,
        part: &'a Part,
        (content, journal): (&'a Content, &'a Vec<&'a [u8]>),
    ) -> Write<'a> {
        let epoch = self.epoch(part);
        let fence = match part.on {
            On::New => Fence::New,
            On::NewOwned => Fence::NewOwned,
            On::Claim => Fence::Claim { epoch },
            On::Owned => Fence::Owned { epoch },
        };
        let mut write = Write::new(&part.stream, fence)
            .events(&content.events)
            .journal(journal)
            .label(&content.label);
        if let Some(state) = part.snapshot {
            write = write.snapshot(Snapshot { state, data: &content.snapshot });
        }
        if part.has_key {
            write = write.key(&content.key);
        }
        if part.release { write.release() } else { write }
    }

    fn epoch(&self, part: &Part) -> u64 {
        self.streams.iter().find(|live| live.stream == part.stream).map_or(0, |live| live.epoch)
    }

    /// Remembers the stream as it is when all goes well.
    fn go_on(&mut self, part: Part) {
        let place = self.streams.iter().position(|live| live.stream == part.stream);
        let place = place.unwrap_or_else(|| {
            let (seq, entries, epoch) = (0, 0, 0);
            let stream = part.stream.clone();
            self.streams.push(Live { stream, seq, entries, epoch, is_owned: false });
            self.streams.len() - 1
        });
        let live = &mut self.streams[place];
        live.seq += part.count;
        live.entries += part.entries;
        if matches!(part.on, On::NewOwned | On::Claim) {
            live.epoch += 1;
            live.is_owned = true;
        }
        live.is_owned &= !part.release;
    }

    fn wait(&mut self) {
        let Some((id, appended)) = self.waiting.pop_front() else { return };
        match appended.wait() {
            Ok(commit) => self.player.say(&format!("ack {id} {}", commit.pos)),
            Err(error) => self.failed(id, &error),
        }
    }

    fn failed(&self, id: Id, error: &AppendError) {
        // First the word, so that what is issued later stands behind it.
        self.player.say(&format!("fail {id} {error:?}"));
        self.player.has_failed.store(true, Ordering::Release);
    }
}

/// What a part consists of, kept while it is written.
struct Content {
    events: Vec<Event>,
    entries: Vec<Vec<u8>>,
    snapshot: Vec<u8>,
    key: String,
    label: String,
}

impl Content {
    fn of(id: Id, part: &Part) -> Self {
        let ends = part.snapshot.is_some_and(StateName::is_terminal);
        let numbers = part.first..part.first + part.count;
        let last = numbers.end - 1;
        let event = |seq| facts::event(&part.stream, id, seq, ends && seq == last);
        let entries = part.first_entry..part.first_entry + part.entries;
        Self {
            events: numbers.map(event).collect(),
            entries: entries.map(|number| facts::entry(id, number)).collect(),
            snapshot: part.snapshot.map_or_else(Vec::new, |_| facts::snapshot(id)),
            key: facts::key(id),
            label: facts::label(id),
        }
    }

    fn journal(&self) -> Vec<&[u8]> {
        self.entries.iter().map(Vec::as_slice).collect()
    }
}
