//! Who has the store open, and who of them lives (STORE-007).
//!
//! An *instance* is an open store of a process. It has a number and, in the folder `owners`, a file
//! of that name that it keeps locked for life. Beside the file lies its card: who it is, and where
//! it can be reached.
//!
//! # Invariants
//! 1. A file was locked before it got a number for a name, and stays locked until the instance
//!    ends. So who can lock it knows that the instance is dead, and that it stays so: a file is
//!    locked by its instance once and never again.
//! 2. Who looks takes the lock shared. So two who look do not take each other for the living.
//! 3. Numbers rise. The last one stands in the file `last`, which is also the lock under which the
//!    next is given out.
//! 4. In doubt an instance is alive: taken for dead it would lose what it owns.
//! 5. A card is there only beside its file, and every change of a card changes the folder's time of
//!    modification.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use holdpoint_core::Timestamp;
use serde::{Deserialize, Serialize};

/// Numbers stay below this: a JSON reader that knows only floating point numbers reads them exactly.
const NUMBER_LIMIT: u64 = 1 << 53;

/// Lower bits of a number that are not its time.
const NOISE_BITS: u32 = 12;

/// The first moment that a number can tell, 2020-01-01, in seconds.
const FIRST_SECOND: u64 = 1_577_836_800;

/// All instances of one store.
#[derive(Debug)]
pub(crate) struct Instances {
    folder: PathBuf,
    own: Arc<Own>,
}

/// Instances of this process, entered by one [`Instances`].
#[derive(Debug, Default)]
struct Own(Mutex<BTreeSet<u64>>);

/// Being an instance, until dropped.
#[derive(Debug)]
pub(crate) struct Instance {
    id: u64,
    folder: PathBuf,
    card: Card,
    own: Arc<Own>,
    /// Locked (invariant 1).
    _file: File,
}

/// Who an instance is. Fields that a later version adds are passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Card {
    pub(crate) pid: u32,
    /// The program's file name.
    pub(crate) program: String,
    pub(crate) started: Timestamp,
    /// The socket on which it takes requests.
    pub(crate) requests: Option<PathBuf>,
    /// The socket on which it is told of commits.
    pub(crate) news: Option<PathBuf>,
}

impl Instances {
    /// The instances of the store in a folder. Makes nothing: a store that was never written to
    /// has none.
    ///
    /// Fails where the folder of owners cannot be read, since all would count as alive.
    pub(crate) fn open(store: &Path) -> io::Result<Self> {
        let instances = Self { folder: store.join("owners"), own: Arc::default() };
        instances.files()?;
        Ok(instances)
    }

    /// Becomes an instance.
    ///
    /// Waits for others who are just doing the same.
    pub(crate) fn enter(&self) -> io::Result<Instance> {
        fs::create_dir_all(&self.folder)?;
        let mut last = Last::open(&self.folder)?;
        let highest = self.files()?.into_iter().map(|(id, _)| id).max().unwrap_or(0);
        let id = last.next(highest)?;
        // Nobody else is between these lines: what lies here is of one who died there.
        let new = self.folder.join("new");
        remove(&new)?;
        let file = File::create_new(&new)?;
        file.lock()?;
        fs::rename(&new, owner_file(&self.folder, id))?;
        drop(last);
        self.own.lock().insert(id);
        let (folder, own) = (self.folder.clone(), Arc::clone(&self.own));
        let instance = Instance { id, folder, card: Card::of_this_process(), own, _file: file };
        instance.write_card()?;
        Ok(instance)
    }

    /// Whether an instance lives. A stopped process does.
    pub(crate) fn is_alive(&self, id: u64) -> bool {
        if self.own.lock().contains(&id) {
            return true;
        }
        let file = match File::open(owner_file(&self.folder, id)) {
            Ok(file) => file,
            Err(error) => return error.kind() != io::ErrorKind::NotFound,
        };
        match file.try_lock_shared() {
            Ok(()) => false,
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => true,
        }
    }

    /// The card of an instance, of a dead one too as long as it is not buried.
    pub(crate) fn card(&self, id: u64) -> Option<Card> {
        serde_json::from_slice(&fs::read(card_file(&self.folder, id)).ok()?).ok()
    }

    /// All cards, also of those who died and are not buried yet.
    pub(crate) fn cards(&self) -> io::Result<Vec<(u64, Card)>> {
        let files = self.files()?;
        let cards = files.into_iter().filter(|(_, kind)| *kind == Kind::Card);
        Ok(cards.filter_map(|(id, _)| Some((id, self.card(id)?))).collect())
    }

    /// Who lives, in the order of entering.
    #[cfg(test)]
    pub(crate) fn living(&self) -> io::Result<Vec<u64>> {
        let owners = self.files()?.into_iter().filter(|(_, kind)| *kind == Kind::Owner);
        let mut living: Vec<u64> =
            owners.map(|(id, _)| id).filter(|id| self.is_alive(*id)).collect();
        living.sort_unstable();
        Ok(living)
    }

    /// Removes what the dead left behind, their sockets too.
    pub(crate) fn bury_dead(&self) -> io::Result<()> {
        let ids: BTreeSet<u64> = self.files()?.into_iter().map(|(id, _)| id).collect();
        for id in ids.into_iter().filter(|id| !self.is_alive(*id)) {
            let card = self.card(id);
            let sockets = card.into_iter().flat_map(|card| [card.requests, card.news]).flatten();
            for socket in sockets.filter(|path| is_socket(path)) {
                remove(&socket)?;
            }
            remove_all(&self.folder, id)?;
        }
        Ok(())
    }

    /// The folder of owners.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What lies in the folder, in no order; nothing where there is no folder.
    fn files(&self) -> io::Result<Vec<(u64, Kind)>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut files = Vec::new();
        for entry in entries {
            files.extend(entry?.file_name().to_str().and_then(Kind::of));
        }
        Ok(files)
    }
}

impl Instance {
    /// Its number, which no other instance of the store has or had.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Changes the card for all to see. Where that fails the card is as it was.
    pub(crate) fn change_card(&mut self, change: impl FnOnce(&mut Card)) -> io::Result<()> {
        let before = self.card.clone();
        change(&mut self.card);
        self.write_card().inspect_err(|_| self.card = before)
    }

    fn write_card(&self) -> io::Result<()> {
        let new = new_card_file(&self.folder, self.id);
        fs::write(&new, serde_json::to_vec(&self.card)?)?;
        fs::rename(&new, card_file(&self.folder, self.id))
    }
}

impl Drop for Instance {
    /// Ends the instance: its file goes last, and is locked until it is gone. What cannot be
    /// removed is buried by another.
    fn drop(&mut self) {
        self.own.lock().remove(&self.id);
        let _ = remove_all(&self.folder, self.id);
    }
}

impl Card {
    fn of_this_process() -> Self {
        let program = std::env::args_os().next().map(PathBuf::from);
        let name = program.as_deref().and_then(Path::file_name).unwrap_or_default();
        Self {
            pid: std::process::id(),
            program: name.to_string_lossy().into_owned(),
            started: SystemTime::now().into(),
            requests: None,
            news: None,
        }
    }
}

impl Own {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The file with the last number, locked.
struct Last(File);

impl Last {
    fn open(folder: &Path) -> io::Result<Self> {
        let path = folder.join("last");
        let file =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
        loop {
            match file.lock() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                locked => return locked.map(|()| Self(file)),
            }
        }
    }

    /// Gives out a number above `highest` and all that were given out before.
    fn next(&mut self, highest: u64) -> io::Result<u64> {
        let mut text = Vec::new();
        self.0.read_to_end(&mut text)?;
        // What is no number is left by a power cut; the time makes up for it.
        let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let last = std::str::from_utf8(line).ok().and_then(|line| line.parse().ok());
        let last = last.filter(|last| *last < NUMBER_LIMIT).unwrap_or(0).max(highest);
        let noise = RandomState::new().build_hasher().finish();
        let next = number(SystemTime::now(), noise, last)
            .ok_or_else(|| io::Error::other("no number is left for another instance"))?;
        self.0.write_all_at(format!("{next:016}\n").as_bytes(), 0)?;
        Ok(next)
    }
}

/// The number of an instance that enters at `now`: above `last`, whatever the clock says.
pub(crate) fn number(now: SystemTime, noise: u64, last: u64) -> Option<u64> {
    let first = UNIX_EPOCH + Duration::from_secs(FIRST_SECOND);
    let millis = now.duration_since(first).map_or(0, |since| since.as_millis());
    // A clock that is set too far ahead must not use up the numbers.
    let millis = u64::try_from(millis).ok().filter(|millis| *millis < NUMBER_LIMIT >> NOISE_BITS);
    let by_clock = (millis.unwrap_or(0) << NOISE_BITS) | (noise % (1 << NOISE_BITS));
    Some(by_clock.max(last + 1)).filter(|number| *number < NUMBER_LIMIT)
}

/// What a file in the folder is to its instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Owner,
    Card,
    NewCard,
}

impl Kind {
    /// The instance and the kind of a file, `None` for one of another kind.
    fn of(name: &str) -> Option<(u64, Self)> {
        let (number, end) = name.split_at(name.find('.').unwrap_or(name.len()));
        let kind = match end {
            "" => Self::Owner,
            ".card" => Self::Card,
            ".card.new" => Self::NewCard,
            _ => return None,
        };
        let id = number.parse().ok().filter(|id| *id < NUMBER_LIMIT)?;
        Some((id, kind))
    }
}

fn owner_file(folder: &Path, id: u64) -> PathBuf {
    folder.join(id.to_string())
}

fn card_file(folder: &Path, id: u64) -> PathBuf {
    folder.join(format!("{id}.card"))
}

fn new_card_file(folder: &Path, id: u64) -> PathBuf {
    folder.join(format!("{id}.card.new"))
}

/// Removes the files of an instance, the owner file last (invariant 5).
fn remove_all(folder: &Path, id: u64) -> io::Result<()> {
    remove(&card_file(folder, id))?;
    remove(&new_card_file(folder, id))?;
    remove(&owner_file(folder, id))
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
