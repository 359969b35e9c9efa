//! What a power cut leaves of files: a log of calls is read, and replayed on a disk that forgets.
//!
//! A disk has for certain what was synced. Of the rest each sector of 512 bytes may have reached it
//! or not, whatever the order, and so may each change of a size and each name; a rename is whole or
//! not there. A sector that was written several times has any of its states. A folder's names are
//! certain when the folder is synced, a file's content when the file is; what was called for after
//! the sync began does not count.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::random::Random;

const SECTOR: u64 = 512;

/// All calls that have to be in a log.
pub(super) const CALLS: &str = "openat,creat,close,dup,dup2,fcntl,write,pwrite64,writev,pwritev,\
    fdatasync,fsync,ftruncate,fallocate,rename,renameat,renameat2,unlink,unlinkat,link,linkat,\
    mkdir,mkdirat";

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    File(usize),
    Folder,
}

/// What a call has done. Paths begin below the root of what is watched.
#[derive(Debug, Clone)]
pub(super) enum Effect {
    Name(PathBuf, Entry),
    Rename(PathBuf, PathBuf, Entry),
    Remove(PathBuf),
    Write(usize, u64, Arc<[u8]>),
    Size(usize, u64),
    Sync(usize),
    SyncFolder(PathBuf),
    /// Something was appended to the file of facts.
    Say(String),
}

/// An effect, with the lines of the log at which its call began and had returned.
#[derive(Debug, Clone)]
pub(super) struct Event {
    begun: usize,
    done: usize,
    pub(super) effect: Effect,
}

/// Everything that a process did to the files below a folder.
pub(super) struct Recording {
    /// What was there before.
    start: Disk,
    pub(super) events: Vec<Event>,
}

impl Recording {
    /// Reads a log. `start` is what was below `root` when the process began.
    pub(super) fn parse(log: &str, root: &Path, facts: &Path, start: Disk) -> Self {
        let names = start.names.clone();
        let files = start.files.len();
        let (root, facts) = (root.to_owned(), facts.to_owned());
        let (fds, events) = (HashMap::new(), Vec::new());
        let mut parser = Parser { root, facts, names, files, fds, events };
        let mut unfinished: HashMap<&str, (usize, &str)> = HashMap::new();
        for (number, line) in log.lines().enumerate() {
            let Some((thread, call)) = line.split_once(' ') else { continue };
            let call = call.trim_start();
            if let Some(rest) = call.strip_prefix("<... ") {
                let (begun, head) = unfinished.remove(thread).expect("a call that began");
                let (_, rest) = rest.split_once(" resumed>").expect("a call that goes on");
                parser.take(begun, number, &format!("{head}{rest}"));
            } else if let Some(head) = call.strip_suffix(" <unfinished ...>") {
                parser.close(head);
                unfinished.insert(thread, (number, head));
            } else {
                parser.close(call);
                parser.take(number, number, call);
            }
        }
        let mut start = start;
        start.files.resize_with(parser.files, File::default);
        Self { start, events: parser.events }
    }

    /// The disk before the first event.
    pub(super) fn disk(&self) -> Disk {
        self.start.clone()
    }
}

#[derive(Clone)]
struct Open {
    what: Opened,
    at: u64,
}

#[derive(Clone)]
enum Opened {
    File(usize),
    Folder(PathBuf),
    Facts,
}

struct Parser {
    root: PathBuf,
    facts: PathBuf,
    names: BTreeMap<PathBuf, Entry>,
    files: usize,
    fds: HashMap<i64, Open>,
    events: Vec<Event>,
}

impl Parser {
    /// A number is free as soon as it begins to be closed: others may get it before that is told.
    fn close(&mut self, call: &str) {
        if let Some(rest) = call.strip_prefix("close(") {
            self.fds.remove(&number(rest));
        }
    }

    fn take(&mut self, begun: usize, done: usize, line: &str) {
        let Some((call, result)) = line.rsplit_once(" = ") else { return };
        let Some((name, rest)) = call.split_once('(') else { return };
        let result = number(result);
        if result < 0 {
            return;
        }
        let arguments = arguments(rest);
        let events = &mut self.events;
        let mut emit = |effect| events.push(Event { begun, done, effect });
        let first = arguments.first().map_or(-1, |first| number(first));
        let path = |at: usize| below(&self.root, &text(arguments[at]));
        match name {
            "openat" => {
                let (path, flags) = (text(arguments[1]), arguments[2]);
                let what = if Path::new(&path) == self.facts {
                    Opened::Facts
                } else {
                    let Some(path) = below(&self.root, &path) else {
                        self.fds.remove(&result);
                        return;
                    };
                    match self.names.get(&path) {
                        Some(Entry::File(file)) => {
                            if flags.contains("O_TRUNC") {
                                emit(Effect::Size(*file, 0));
                            }
                            Opened::File(*file)
                        }
                        Some(Entry::Folder) => Opened::Folder(path),
                        None if flags.contains("O_CREAT") => {
                            let file = self.files;
                            self.files += 1;
                            self.names.insert(path.clone(), Entry::File(file));
                            emit(Effect::Name(path, Entry::File(file)));
                            Opened::File(file)
                        }
                        None if path.as_os_str().is_empty() => Opened::Folder(path),
                        None => panic!("nobody made {}", path.display()),
                    }
                };
                self.fds.insert(result, Open { what, at: 0 });
            }
            "fcntl" if arguments[1].starts_with("F_DUPFD") => self.copy_fd(first, result),
            "dup" | "dup2" => self.copy_fd(first, result),
            "close" | "fcntl" => {}
            "write" => {
                let Some(open) = self.fds.get_mut(&first) else { return };
                let bytes = bytes(arguments[1], result);
                match open.what {
                    Opened::File(file) => emit(Effect::Write(file, open.at, bytes.into())),
                    Opened::Facts => emit(Effect::Say(String::from_utf8(bytes).expect("words"))),
                    Opened::Folder(_) => unreachable!("nobody writes to a folder"),
                }
                open.at += result as u64;
            }
            "pwrite64" => {
                if let Some(Open { what: Opened::File(file), .. }) = self.fds.get(&first) {
                    let bytes = bytes(arguments[1], result);
                    emit(Effect::Write(*file, number(arguments[3]) as u64, bytes.into()));
                }
            }
            "ftruncate" => {
                if let Some(Open { what: Opened::File(file), .. }) = self.fds.get(&first) {
                    emit(Effect::Size(*file, number(arguments[1]) as u64));
                }
            }
            "fdatasync" | "fsync" => match self.fds.get(&first).map(|open| &open.what) {
                Some(Opened::File(file)) => emit(Effect::Sync(*file)),
                Some(Opened::Folder(path)) => emit(Effect::SyncFolder(path.clone())),
                _ => {}
            },
            "rename" => {
                let (Some(from), Some(to)) = (path(0), path(1)) else { return };
                let entry = self.names.remove(&from).expect("something to rename");
                assert_eq!(from.parent(), to.parent(), "a rename within a folder");
                self.names.insert(to.clone(), entry);
                emit(Effect::Rename(from, to, entry));
            }
            "unlink" => {
                let Some(path) = path(0) else { return };
                // A socket was not made by a call that we watch.
                if self.names.remove(&path).is_some() {
                    emit(Effect::Remove(path));
                }
            }
            "mkdir" => {
                let Some(path) = path(0) else { return };
                self.names.insert(path.clone(), Entry::Folder);
                emit(Effect::Name(path, Entry::Folder));
            }
            "writev" | "pwritev" | "fallocate" if !self.fds.contains_key(&first) => {}
            other => panic!("{other} is not understood: {line}"),
        }
    }

    fn copy_fd(&mut self, from: i64, to: i64) {
        match self.fds.get(&from).cloned() {
            Some(open) => drop(self.fds.insert(to, open)),
            None => drop(self.fds.remove(&to)),
        }
    }
}

fn below(root: &Path, path: &str) -> Option<PathBuf> {
    Path::new(path).strip_prefix(root).ok().map(Path::to_owned)
}

/// The number at the beginning, in one of the ways in which they are written; -1 where there is none.
fn number(text: &str) -> i64 {
    let text = text.trim_start();
    let (digits, base) = text.strip_prefix("0x").map_or((text, 10), |digits| (digits, 16));
    let end = digits.find(|digit: char| !digit.is_digit(base)).unwrap_or(digits.len());
    i64::from_str_radix(&digits[..end], base).unwrap_or(-1)
}

/// Strings are all digits and backslashes, so commas part arguments, or fields of a struct that
/// nobody asks for.
fn arguments(text: &str) -> Vec<&str> {
    let text = text.trim_end();
    text.strip_suffix(')').unwrap_or(text).split(',').map(str::trim).collect()
}

fn text(argument: &str) -> String {
    String::from_utf8(string(argument)).expect("a path of text")
}

fn bytes(argument: &str, written: i64) -> Vec<u8> {
    let mut bytes = string(argument);
    assert!(bytes.len() as i64 >= written, "the log leaves out content");
    bytes.truncate(written as usize);
    bytes
}

/// `"\x41\x42"`
fn string(argument: &str) -> Vec<u8> {
    let inner = argument.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let inner = inner.unwrap_or_else(|| panic!("no string: {argument}")).as_bytes();
    let mut bytes = Vec::with_capacity(inner.len() / 4);
    let digit = |at: usize| if inner[at] > b'9' { inner[at] - b'a' + 10 } else { inner[at] - b'0' };
    let mut at = 2;
    while at < inner.len() {
        bytes.push(digit(at) << 4 | digit(at + 1));
        at += 4;
    }
    bytes
}

/// Which syncs a disk carries out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Honest {
    Always,
    /// Only for folders.
    WithNames,
    /// Only for files.
    WithContent,
    Never,
}

/// What of the uncertain has reached the disk.
#[derive(Debug, Clone, Copy)]
pub(super) enum Luck {
    None,
    All,
    /// Each sector with this chance, of 256.
    Some(u64),
    /// All but a few.
    AllBut(u64),
    /// What came before a moment, and a part of what came at it.
    Before(usize),
}

#[derive(Debug, Clone)]
struct Pending<T> {
    begun: usize,
    done: usize,
    change: T,
}

#[derive(Debug, Clone)]
enum Change {
    Write(u64, Arc<[u8]>),
    Size(u64),
}

#[derive(Debug, Clone, Default)]
struct File {
    certain: Arc<Vec<u8>>,
    pending: Vec<Pending<Change>>,
}

/// A disk at some moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk {
    files: Vec<File>,
    names: BTreeMap<PathBuf, Entry>,
    pending: Vec<Pending<Effect>>,
}

impl Disk {
    /// All that is below a folder, for certain.
    pub(super) fn load(root: &Path) -> Self {
        let mut disk = Self::default();
        disk.load_folder(root, Path::new(""));
        disk
    }

    fn load_folder(&mut self, root: &Path, folder: &Path) {
        for entry in fs::read_dir(root.join(folder)).expect("a folder") {
            let entry = entry.expect("an entry of a folder");
            let path = folder.join(entry.file_name());
            if entry.path().is_dir() {
                self.names.insert(path.clone(), Entry::Folder);
                self.load_folder(root, &path);
            } else if entry.path().is_file() {
                self.names.insert(path, Entry::File(self.files.len()));
                let certain = Arc::new(fs::read(entry.path()).expect("a file"));
                self.files.push(File { certain, pending: Vec::new() });
            }
        }
    }

    /// Goes one event further.
    pub(super) fn take(&mut self, event: &Event, honest: Honest) {
        let Event { begun, done, .. } = *event;
        let pending = |change| Pending { begun, done, change };
        match &event.effect {
            Effect::Name(..) | Effect::Rename(..) | Effect::Remove(_) => {
                self.pending.push(Pending { begun, done, change: event.effect.clone() });
            }
            Effect::Write(file, at, bytes) => {
                let change = Change::Write(*at, Arc::clone(bytes));
                self.files[*file].pending.push(pending(change));
            }
            Effect::Size(file, size) => {
                self.files[*file].pending.push(pending(Change::Size(*size)));
            }
            Effect::Sync(file) if matches!(honest, Honest::Always | Honest::WithContent) => {
                self.files[*file].sync(begun);
            }
            Effect::SyncFolder(folder) if matches!(honest, Honest::Always | Honest::WithNames) => {
                let is_certain = |name: &mut Pending<Effect>| {
                    name.done < begun && name.change.folder() == Some(folder)
                };
                for name in self.pending.extract_if(.., is_certain) {
                    name.change.apply(&mut self.names);
                }
            }
            Effect::Sync(_) | Effect::SyncFolder(_) | Effect::Say(_) => {}
        }
    }

    /// Whether a name is certain: it is there, and nothing about it is under way.
    pub(super) fn is_certain(&self, path: &Path) -> bool {
        self.names.contains_key(path) && !self.pending.iter().any(|name| name.change.is_about(path))
    }

    /// What stands for certain under a name.
    pub(super) fn certain(&self, path: &Path) -> Option<Entry> {
        self.names.get(path).copied()
    }

    /// A moment since which something is uncertain, for [`Luck::Before`].
    pub(super) fn moment(&self, random: &mut Random) -> usize {
        let files = self.files.iter().flat_map(|file| file.pending.iter().map(|p| p.begun));
        let moments: Vec<usize> = files.chain(self.pending.iter().map(|p| p.begun)).collect();
        if moments.is_empty() { 0 } else { moments[random.below(moments.len() as u64) as usize] }
    }

    /// Makes what a power cut leaves, below a folder that is empty. Memory that is shared does not
    /// outlast it.
    pub(super) fn image(&self, to: &Path, luck: Luck, random: &mut Random) {
        let mut names = self.names.clone();
        for name in &self.pending {
            if luck.has(name.begun, random) {
                name.change.apply(&mut names);
            }
        }
        for (path, entry) in &names {
            let target = to.join(path);
            let has_folder = target.parent().is_some_and(Path::is_dir);
            match entry {
                _ if !has_folder || path.to_string_lossy().ends_with("-shm") => {}
                Entry::Folder => fs::create_dir(&target).expect("a folder"),
                Entry::File(file) => {
                    let file = &self.files[*file];
                    if file.pending.is_empty() {
                        fs::write(&target, &**file.certain).expect("a file");
                    } else {
                        fs::write(&target, file.image(luck, random)).expect("a file");
                    }
                }
            }
        }
    }
}

impl Effect {
    /// The folder whose name it changes.
    fn folder(&self) -> Option<&Path> {
        match self {
            Self::Name(path, _) | Self::Rename(_, path, _) | Self::Remove(path) => path.parent(),
            _ => None,
        }
    }

    fn is_about(&self, path: &Path) -> bool {
        match self {
            Self::Name(own, _) | Self::Remove(own) => own == path,
            Self::Rename(from, to, _) => from == path || to == path,
            _ => false,
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, Entry>) {
        match self {
            Self::Name(path, entry) => drop(names.insert(path.clone(), *entry)),
            Self::Rename(from, to, entry) => {
                names.remove(from);
                names.insert(to.clone(), *entry);
            }
            Self::Remove(path) => drop(names.remove(path)),
            _ => {}
        }
    }
}

impl Luck {
    /// Whether something that is one piece has reached the disk.
    fn has(self, begun: usize, random: &mut Random) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Some(chance) => random.below(256) < chance,
            Self::AllBut(count) => random.below(64) >= count,
            Self::Before(moment) => begun < moment || (begun == moment && random.one_in(2)),
        }
    }
}

impl File {
    fn sync(&mut self, begun: usize) {
        let certain = Arc::make_mut(&mut self.certain);
        for pending in self.pending.extract_if(.., |pending| pending.done < begun) {
            match pending.change {
                Change::Write(at, bytes) => put(certain, at, &bytes),
                Change::Size(size) => certain.resize(size as usize, 0),
            }
        }
    }

    fn image(&self, luck: Luck, random: &mut Random) -> Vec<u8> {
        // How often each sector was written, and how much of that is there.
        let mut sectors: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for pending in &self.pending {
            let Change::Write(at, bytes) = &pending.change else { continue };
            for (at, _) in pieces(*at, bytes) {
                let (all, there) = sectors.entry(at / SECTOR).or_default();
                *all += 1;
                // They come in the order of their calls.
                let is_before = matches!(luck, Luck::Before(moment) if pending.begun <= moment);
                *there += u64::from(is_before && luck.has(pending.begun, random));
            }
        }
        let count = sectors.len() as u64;
        let missing: Vec<u64> = match luck {
            Luck::AllBut(missing) => (0..missing).map(|_| random.below(count)).collect(),
            _ => Vec::new(),
        };
        for (number, (all, there)) in (0..).zip(sectors.values_mut()) {
            *there = match luck {
                Luck::Before(_) => *there,
                Luck::AllBut(_) if missing.contains(&number) => random.below(*all),
                Luck::AllBut(_) => *all,
                _ if luck.has(0, random) => *all,
                Luck::None => 0,
                _ => random.below(*all),
            };
        }
        let mut content = self.certain.to_vec();
        let mut size = content.len();
        for pending in &self.pending {
            match &pending.change {
                Change::Write(at, bytes) => {
                    size = size.max(*at as usize + bytes.len());
                    for (at, piece) in pieces(*at, bytes) {
                        let (_, there) = sectors.get_mut(&(at / SECTOR)).expect("a sector");
                        if *there > 0 {
                            *there -= 1;
                            put(&mut content, at, piece);
                        }
                    }
                }
                Change::Size(to) => {
                    size = *to as usize;
                    if luck.has(pending.begun, random) {
                        content.resize(size, 0);
                    }
                }
            }
        }
        // The size may have grown without the content.
        if size > content.len() && luck.has(usize::MAX, random) {
            content.resize(size, 0);
        }
        content
    }
}

/// A write by sectors.
fn pieces(at: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let (mut at, mut rest) = (at, bytes);
    std::iter::from_fn(move || {
        let size = ((SECTOR - at % SECTOR) as usize).min(rest.len());
        let (piece, others) = rest.split_at(size);
        let own = at;
        (at, rest) = (at + size as u64, others);
        (size > 0).then_some((own, piece))
    })
}

fn put(content: &mut Vec<u8>, at: u64, bytes: &[u8]) {
    let range = at as usize..at as usize + bytes.len();
    if content.len() < range.end {
        content.resize(range.end, 0);
    }
    content[range].copy_from_slice(bytes);
}
