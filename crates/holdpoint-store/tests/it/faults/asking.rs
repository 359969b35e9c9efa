//! Processes that decide about one thing together (STORE-009): the owner decides, the others ask it,
//! and where nobody alive owns it somebody claims it. They are killed and stopped meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use holdpoint_core::event::Stream;
use holdpoint_core::store::{
    AppendError, Appended, Fence, Reply, RequestError, Responder, Store, Write,
};
use holdpoint_core::{Retryable, SessionId, SystemClock};
use holdpoint_store::{FileOptions, FileStore};
use holdpoint_testkit::store::counter::{Answer, AskError, Decider, Input, Ledger, block_on};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use super::facts::{self, Id};
use super::random::Random;
use super::{kills, scratch, seed, tell};

const PART: &str = "HOLDPOINT_ASKING_PART";

/// What begins a line that is meant for the parent, among what the test harness prints.
const MARK: &str = "child: ";

/// How long other processes may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Requests of one process have numbers of their own.
const REQUESTS: u64 = 1 << 32;

/// A process that plays a part until its input ends; killed when dropped.
struct Other {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Other {
    fn start(part: &[&str]) -> Self {
        let mut process = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "faults::asking::play", "--nocapture", "--test-threads=1"])
            .env(PART, part.join("\n"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let output = BufReader::new(process.stdout.take().expect("its output"));
        Self { process, output }
    }

    /// The next line that it says.
    fn line(&mut self) -> String {
        loop {
            let mut line = String::new();
            let length = self.output.read_line(&mut line).expect("a line");
            assert!(length > 0, "it ended without a word");
            if let Some((_, said)) = line.split_once(MARK) {
                return said.trim_end().to_owned();
            }
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    fn kill(mut self) {
        self.process.kill().expect("it can be killed");
        let _ = self.process.wait();
    }

    /// Lets it end in peace.
    fn end(mut self) {
        drop(self.process.stdin.take());
        assert!(self.process.wait().expect("its end").success());
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// No test, but what another process does where it is told so.
#[test]
fn play() {
    let Ok(part) = std::env::var(PART) else { return };
    match part.split('\n').collect::<Vec<_>>()[..] {
        ["own", folder] => own(folder.as_ref()),
        ["add", folder, facts, stream, number] => Adder {
            store: Arc::new(open(folder.as_ref())),
            facts: OpenOptions::new().append(true).open(facts).expect("the file of facts"),
            stream: stream_of(stream),
            number: number.parse().expect("a number"),
        }
        .add(),
        ref other => panic!("no part {other:?}"),
    }
}

fn open(folder: &Path) -> FileStore {
    FileStore::open(folder, FileOptions::new()).expect("the store opens")
}

fn stream_of(id: &str) -> Stream {
    Stream::Session(id.parse().expect("an id"))
}

/// Waits until the parent has no more to say.
fn wait_for_end() {
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

struct Echo;

impl Responder for Echo {
    fn request(&self, _: &Stream, request: &[u8], reply: Reply) {
        reply.send(request.to_vec());
    }
}

/// Owns a new session and answers for it.
fn own(folder: &Path) {
    let store = open(folder);
    store.respond(Arc::new(Echo)).expect("a socket");
    let id = SessionId::generate();
    let stream = Stream::Session(id);
    let event = facts::event(&stream, Id { life: 1, number: 1 }, 1, false);
    let write = Write::new(&stream, Fence::NewOwned).events(std::slice::from_ref(&event));
    store.append(&[write]).and_then(Appended::wait).expect("a new session");
    println!("{MARK}{id}");
    wait_for_end();
}

#[test]
fn store_009_an_owner_that_is_stopped_stays_the_owner_and_answers_when_it_goes_on() {
    let folder = scratch();
    let mut owner = Other::start(&["own", &folder.path().display().to_string()]);
    let stream = stream_of(&owner.line());
    let store = open(folder.path());
    let ask = || store.request(&stream, b"well?").and_then(|ticket| ticket.wait());
    assert_eq!(ask().expect("an answer"), b"well?");

    kill_process(owner.pid(), Signal::STOP).expect("it can be stopped");
    waitpid(Some(owner.pid()), WaitOptions::UNTRACED).expect("it stands");
    let begin = Instant::now();
    let error = ask().expect_err("it stands");
    let took = begin.elapsed();
    let pid = owner.process.id();
    assert!(
        matches!(&error, RequestError::Silent { pid: found, .. } if *found == Some(pid)),
        "{error:?}"
    );
    let text = error.to_string();
    let says = [format!("process {pid}"), "may be stopped".to_owned()];
    assert!(says.iter().all(|part| text.contains(part)), "{text}");
    assert!(took >= Duration::from_millis(1_900) && took < PATIENCE, "{took:?}");
    // Whoever takes it for dead is refused.
    let claim = Write::new(&stream, Fence::Claim { epoch: 1 });
    let refused = store.append(&[claim]).and_then(Appended::wait).expect_err("it has an owner");
    assert!(matches!(refused, AppendError::Owned { .. }), "{refused:?}");

    kill_process(owner.pid(), Signal::CONT).expect("it can go on");
    assert_eq!(ask().expect("an answer"), b"well?");
    owner.end();
}

/// Adds to a counter again and again, and owns it now and then.
struct Adder {
    store: Arc<FileStore>,
    facts: File,
    stream: Stream,
    number: u64,
}

impl Adder {
    fn add(self) {
        let store: Arc<dyn Store> = Arc::<FileStore>::clone(&self.store);
        let clock = Arc::new(SystemClock::new());
        let decider = Decider::new(store, self.stream.clone(), clock).expect("a socket");
        let is_over = Arc::new(AtomicBool::new(false));
        thread::spawn({
            let is_over = Arc::clone(&is_over);
            move || {
                wait_for_end();
                is_over.store(true, Ordering::Release);
            }
        });
        let mut random = Random::new(self.number);
        let mut rest = 0;
        for count in 0.. {
            if is_over.load(Ordering::Acquire) {
                break;
            }
            if rest == 0 && random.one_in(10) && passing(block_on(decider.own())).is_some() {
                rest = 1 + random.below(40);
                self.say(&format!("owns {}", self.number));
            }
            self.ask(&decider, self.number * REQUESTS + count, 1 + random.below(9));
            if rest == 1 {
                passing(block_on(decider.let_go()));
            }
            rest = rest.saturating_sub(1);
        }
        passing(block_on(decider.let_go()));
    }

    fn say(&self, line: &str) {
        (&self.facts).write_all(format!("{line}\n").as_bytes()).expect("the file of facts");
    }

    /// Asks until there is an answer. It may have been granted each time.
    fn ask(&self, decider: &Decider, request: u64, amount: u64) {
        let owner = self.store.info(&self.stream).expect("a readable stream").owner;
        let owner = owner.filter(|owner| self.store.is_alive(*owner)).map(|owner| owner.instance);
        let of_whom = match owner {
            None => "nobody",
            Some(owner) if owner == self.store.instance() => "oneself",
            Some(_) => "another",
        };
        self.say(&format!("asked {request} {amount} {of_whom}"));
        let begin = Instant::now();
        loop {
            match passing(block_on(decider.ask(Input::Add { request, amount }))) {
                Some(Answer::Added { value }) => {
                    return self.say(&format!("added {request} {value}"));
                }
                Some(other) => panic!("{other:?}"),
                None => self.say(&format!("again {request}")),
            }
            assert!(begin.elapsed() < PATIENCE, "no answer");
        }
    }
}

/// What came of it; none where somebody else was in the way.
fn passing<T>(result: Result<T, AskError>) -> Option<T> {
    match result {
        Ok(done) => Some(done),
        Err(AskError::Append(AppendError::Owned { .. }))
        | Err(AskError::Request(RequestError::Deaf { .. } | RequestError::Silent { .. })) => None,
        Err(error) if error.is_retryable() => None,
        Err(error) => panic!("{error}: {error:?}"),
    }
}

/// What the processes said.
#[derive(Debug, Default)]
struct Said {
    asked: BTreeMap<u64, (u64, String)>,
    added: BTreeMap<u64, u64>,
    again: usize,
    owned: BTreeSet<u64>,
}

impl Said {
    fn read(facts: &Path) -> Self {
        let text = fs::read_to_string(facts).expect("facts");
        let mut said = Self::default();
        let number = |word: &str| word.parse().expect("a number");
        // A last line without an end was not written whole.
        for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["asked", request, amount, whom] => {
                    said.asked.insert(number(request), (number(amount), whom.to_owned()));
                }
                ["added", request, value] => {
                    said.added.insert(number(request), number(value));
                }
                ["again", _] => said.again += 1,
                ["owns", process] => drop(said.owned.insert(number(process))),
                _ => panic!("no fact: {line}"),
            }
        }
        said
    }
}

/// Four processes and a counter of their own, until so many were killed.
fn add_together(deaths: u64, random: &mut Random, next: &mut u64) -> Said {
    let scratch = scratch();
    let (folder, facts): (PathBuf, PathBuf) =
        (scratch.path().join("store"), scratch.path().join("facts"));
    File::create(&facts).expect("the file of facts");
    let id = SessionId::generate();
    let stream = Stream::Session(id);
    {
        let store: Arc<dyn Store> = Arc::new(open(&folder));
        let clock = Arc::new(SystemClock::new());
        let decider = Decider::new(store, stream.clone(), clock).expect("a socket");
        block_on(decider.create(u64::MAX)).expect("a counter");
    }
    let mut start = || {
        *next += 1;
        let (id, number) = (id.to_string(), next.to_string());
        let (folder, facts) = (folder.display().to_string(), facts.display().to_string());
        Other::start(&["add", &folder, &facts, &id, &number])
    };
    let mut others: Vec<Other> = (0..4).map(|_| start()).collect();
    for _ in 0..deaths {
        thread::sleep(Duration::from_millis(30 + random.below(120)));
        others.swap_remove(random.below(4) as usize).kill();
        others.push(start());
    }
    thread::sleep(Duration::from_millis(100));
    others.into_iter().for_each(Other::end);

    let said = Said::read(&facts);
    let store = open(&folder);
    assert_eq!(store.check().expect("a readable store").faults, []);
    // It says itself when one was granted twice, or the values are not the sums.
    let ledger = Ledger::read(&store, &stream).expect("a sound history");
    for (request, value) in &said.added {
        assert!(ledger.adds.contains_key(request), "{request} was answered {value} and is lost");
    }
    for (request, amount) in &ledger.adds {
        let asked = said.asked.get(request).map(|(amount, _)| amount);
        assert_eq!(asked, Some(amount), "{request} was granted and not asked for");
    }
    let values: BTreeSet<u64> = said.added.values().copied().collect();
    assert_eq!(values.len(), said.added.len(), "two were told one value");
    assert_eq!(ledger.value, ledger.adds.values().sum::<u64>());
    // Of those that nobody answered each is there once or not.
    let open = said.asked.len() - said.added.len();
    assert!(open as u64 <= deaths, "{open} without an answer, {deaths} killed");
    assert!(ledger.adds.len() >= said.added.len() && ledger.adds.len() <= said.asked.len());
    said
}

#[test]
fn store_009_processes_that_add_together_are_killed_and_each_answered_add_counts_once() {
    let seed = seed();
    let mut random = Random::new(seed);
    let (mut next, mut left) = (0, kills().div_ceil(5));
    let (mut adds, mut again, mut owners) = (0, 0, 0);
    let mut whom: BTreeMap<String, usize> = BTreeMap::new();
    let all = left;
    while left > 0 {
        // A history that gets long gets slow: its state has every request.
        let deaths = left.min(10);
        left -= deaths;
        let said = add_together(deaths, &mut random, &mut next);
        (adds, again, owners) =
            (adds + said.added.len(), again + said.again, owners + said.owned.len());
        said.asked.into_values().for_each(|(_, of)| *whom.entry(of).or_default() += 1);
    }
    tell(&format!(
        "{adds} adds by {next} processes, {all} killed, {owners} that owned for a while, {again} \
         asked again; asked of {whom:?}"
    ));
    assert!(owners > 0 && whom.get("another").is_some_and(|count| *count > 0), "seed {seed}");
}
