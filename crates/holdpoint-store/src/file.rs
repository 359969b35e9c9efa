//! The store on disk: opening it, and the port over writer and reader (STORE-001).

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use holdpoint_core::event::{Event, Stream};
use holdpoint_core::session::Owner;
use holdpoint_core::store::{
    AppendError, Appended, Changes, ChangesSender, Fence, Filter, JournalEntry, Keep, ReadError,
    RequestError, Responder, Store, StoredEvent, StoredSnapshot, StreamInfo, Ticket, Write, ticket,
};

use crate::commit::Owners;
use crate::error::OpenError;
use crate::job::{Entry, Job};
use crate::keep::Kept;
use crate::log::{self, Log};
use crate::options::{FileOptions, Sync};
use crate::owner::Instances;
use crate::place::{self, PlaceError};
use crate::reader::Reader;
use crate::retention::{Pruned, Retention};
use crate::sqlite::{self, schema};
use crate::wire::Wire;
use crate::writer::{Tools, Writer};

/// The database's name within a store's folder.
pub(crate) const DATABASE: &str = "holdpoint.db";

/// Says that the log may have gaps after a power cut, since not each commit was brought to the disk.
const RELAXED: &str = "relaxed";

/// A store in a folder: an SQLite database, lock files, and a file for each process that writes.
///
/// Several processes may have it open at once. What is acknowledged is on the disk, or, with
/// [`Sync::Relaxed`], in the system's hands.
///
/// Opening starts a thread, which writes; closing, or dropping the store, ends it. Reads happen on
/// the calling thread.
///
/// ```
/// use holdpoint_core::event::{Event, EventKind, Stream};
/// use holdpoint_core::store::{Fence, Store, Write};
/// use holdpoint_core::{SessionId, Timestamp};
/// use holdpoint_store::{FileOptions, FileStore};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("store");
/// let store = FileStore::open(&path, FileOptions::new())?;
/// let stream = Stream::Session(SessionId::generate());
/// let planned = EventKind::SessionPlanned { attempt: 1 };
/// let event = Event::new(1, Timestamp::from_micros(0), stream.clone(), planned);
/// store.append(&[Write::new(&stream, Fence::New).events(&[event.clone()])])?.wait()?;
/// drop(store);
///
/// let again = FileStore::open(&path, FileOptions::new())?;
/// assert_eq!(again.events(&stream, 0, 10)?[0].event()?, event);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct FileStore {
    folder: PathBuf,
    instance: Option<u64>,
    instances: Arc<Instances>,
    reader: Reader,
    writer: Option<Writer>,
    wire: Arc<Wire>,
    changes: ChangesSender,
    kept: Arc<Kept>,
    log: Log,
    /// Shared with all who have the store open, until the end.
    _open: File,
}

impl FileStore {
    /// Opens the store in a folder, and makes it where there is none.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was changed then.
    pub fn open(folder: impl AsRef<Path>, options: FileOptions) -> Result<Self, OpenError> {
        let folder = folder.as_ref();
        let database = folder.join(DATABASE);
        if options.create && !options.read_only {
            fs::create_dir_all(folder).map_err(io_error("cannot make the folder", folder))?;
        } else if let Err(error) = fs::metadata(&database) {
            let path = folder.to_owned();
            return Err(match error.kind() {
                io::ErrorKind::NotFound => OpenError::Missing { path },
                io::ErrorKind::NotADirectory => PlaceError::NotAFolder { path }.into(),
                _ => io_error("cannot look into", folder)(error),
            });
        }
        let folder = fs::canonicalize(folder).map_err(io_error("cannot find", folder))?;
        place::check(&folder)?;
        let (open, log) = enter(&folder, &options)?;
        let database = folder.join(DATABASE);
        let instances = Instances::open(&folder)
            .map_err(io_error("cannot use the folder of owners", &folder.join("owners")))?;
        let instances = Arc::new(instances);
        let reader = Reader::new(database.clone(), options.read_only);
        let id = reader
            .read(|database| sqlite::rows::store_id(database).map_err(|e| sqlite::read_error(&e)))
            .map_err(|error| damaged(&database, &error))?;
        let (changes, kept) = (ChangesSender::new(), Arc::new(Kept::default()));
        let wire = Arc::new(Wire::new(id, Arc::clone(&instances), changes.clone()));
        let mut store = Self {
            folder,
            instance: None,
            instances,
            reader,
            writer: None,
            wire,
            changes,
            kept,
            log,
            _open: open,
        };
        if !options.read_only {
            store.start(&options)?;
        }
        Ok(store)
    }

    /// Becomes an instance and starts to write.
    fn start(&mut self, options: &FileOptions) -> Result<(), OpenError> {
        let file = self.folder.join(DATABASE);
        let pages_in_log = Arc::new(AtomicU32::new(0));
        let database = sqlite::open_writer(&file, options.sync, Arc::clone(&pages_in_log))
            .map_err(|error| open_error(&file, &error))?;
        let instance = self
            .instances
            .enter()
            .map_err(io_error("cannot make an owner file in", &self.folder.join("owners")))?;
        let me = instance.id();
        // What the dead left behind; whoever comes next finds what we do not.
        let _ = self.instances.bury_dead();
        self.wire.enter(instance);
        let owners = Others { me, instances: Arc::clone(&self.instances) };
        let (wire, changes) = (Arc::clone(&self.wire), self.changes.clone());
        let end = Arc::clone(&self.wire);
        let tools = Tools {
            database,
            pages_in_log,
            turn: lock_file(&self.folder, "turn.lock")?,
            lock: lock_file(&self.folder, "write.lock")?,
            owners: Box::new(owners),
            on_commit: Box::new(move || {
                changes.send();
                wire.tell_others();
            }),
            on_end: Box::new(move || end.leave()),
            kept: Arc::clone(&self.kept),
            note_buffer: options.note_buffer,
        };
        let writer = Writer::start(tools).map_err(io_error("no thread for", &self.folder))?;
        (self.instance, self.writer) = (Some(me), Some(writer));
        Ok(())
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Deletes what `retention` says, a few streams at a time, so that writers do not wait.
    ///
    /// # Errors
    /// At once or through the ticket: [`AppendError`].
    pub fn prune(
        &self,
        retention: Retention,
    ) -> Result<Ticket<Result<Pruned, AppendError>>, AppendError> {
        let (done, ticket) = ticket();
        self.writer()?.submit(Job::Prune(retention, done))?;
        Ok(ticket)
    }

    /// Bytes in use, and bytes of the file. The difference is reused by what is written later.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn size(&self) -> Result<(u64, u64), ReadError> {
        self.reader
            .read(|database| sqlite::rows::size(database).map_err(|e| sqlite::read_error(&e)))
    }

    /// What the log had when this store was opened, where nobody else had it open.
    pub(crate) fn log_at_opening(&self) -> Log {
        self.log
    }

    pub(crate) fn reader(&self) -> &Reader {
        &self.reader
    }

    fn writer(&self) -> Result<&Writer, AppendError> {
        self.writer.as_ref().ok_or(AppendError::Closed)
    }
}

impl Store for FileStore {
    fn is_durable(&self) -> bool {
        true
    }

    fn instance(&self) -> u64 {
        self.instance.unwrap_or(0)
    }

    fn append(&self, writes: &[Write<'_>]) -> Result<Appended, AppendError> {
        let entries = writes.iter().map(Entry::of).collect::<Result<_, _>>()?;
        let (done, ticket) = ticket();
        self.writer()?.submit(Job::Append(entries, done))?;
        Ok(Appended::Pending(ticket))
    }

    fn note(&self, stream: &Stream, epoch: u64, events: &[Event]) -> Result<(), AppendError> {
        self.writer()?.note(Entry::events(stream, Fence::Owned { epoch }, events)?)
    }

    fn claim_schedules(&self) -> Result<Ticket<Result<Owner, AppendError>>, AppendError> {
        let (done, ticket) = ticket();
        self.writer()?.submit(Job::ClaimSchedules(done))?;
        Ok(ticket)
    }

    fn events(
        &self,
        stream: &Stream,
        after: u64,
        limit: usize,
    ) -> Result<Vec<StoredEvent>, ReadError> {
        self.reader.events(stream, after, limit)
    }

    fn all_events(&self, after: u64, limit: usize) -> Result<Vec<StoredEvent>, ReadError> {
        self.reader.all_events(after, limit)
    }

    fn journal(
        &self,
        stream: &Stream,
        after: u64,
        limit: usize,
    ) -> Result<Vec<JournalEntry>, ReadError> {
        self.reader.journal(stream, after, limit)
    }

    fn snapshot(&self, stream: &Stream) -> Result<Option<StoredSnapshot>, ReadError> {
        self.reader.snapshot(stream)
    }

    fn info(&self, stream: &Stream) -> Result<StreamInfo, ReadError> {
        self.reader.info(stream)
    }

    fn by_key(&self, key: &str) -> Result<Option<StreamInfo>, ReadError> {
        self.reader.by_key(key)
    }

    fn list(&self, filter: &Filter) -> Result<Vec<StreamInfo>, ReadError> {
        self.reader.list(filter, &|owner| !self.is_alive(owner))
    }

    fn is_alive(&self, owner: Owner) -> bool {
        self.instances.is_alive(owner.instance)
    }

    fn keep(&self, stream: &Stream) -> Keep {
        self.kept.keep(stream)
    }

    fn changes(&self) -> Changes {
        let changes = self.changes.subscribe();
        self.wire.listen_for_news();
        changes
    }

    fn respond(&self, responder: Arc<dyn Responder>) -> Result<(), RequestError> {
        self.wire.respond(responder)
    }

    fn request(
        &self,
        stream: &Stream,
        request: &[u8],
    ) -> Result<Ticket<Result<Vec<u8>, RequestError>>, RequestError> {
        let owner = match stream {
            Stream::Schedule(_) => self.scheduling_owner(),
            _ => match self.reader.info(stream) {
                Ok(info) => info.owner,
                Err(ReadError::NotFound { stream }) => {
                    return Err(RequestError::NotFound { stream });
                }
                Err(error) => {
                    let (message, source) = (error.to_string(), io::Error::other(error));
                    let (message, source) = (message.into(), Arc::new(source));
                    return Err(RequestError::Io { message, source });
                }
            },
        };
        self.wire.request(stream, owner, self.instance, request)
    }

    fn close(&self) -> Ticket<Result<(), AppendError>> {
        let (done, ticket) = ticket();
        match &self.writer {
            Some(writer) => writer.close(done),
            None => done.complete(Ok(())),
        }
        self.changes.close();
        ticket
    }
}

impl FileStore {
    fn scheduling_owner(&self) -> Option<Owner> {
        let read = self.reader.read(|database| {
            sqlite::rows::scheduling(database).map_err(|error| sqlite::read_error(&error))
        });
        let scheduling = read.ok().flatten()?;
        Some(Owner { instance: scheduling.owner?, epoch: scheduling.epoch })
    }
}

impl Drop for FileStore {
    /// Waits until what was submitted is written.
    fn drop(&mut self) {
        let _ = self.close().wait();
        if let Some(writer) = &self.writer {
            writer.join();
        }
        self.wire.leave();
        self.reader.close();
    }
}

impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStore")
            .field("folder", &self.folder)
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

/// The other processes, as the writer wants to know them.
struct Others {
    me: u64,
    instances: Arc<Instances>,
}

impl Owners for Others {
    fn me(&self) -> u64 {
        self.me
    }

    fn is_alive(&self, instance: u64) -> bool {
        self.instances.is_alive(instance)
    }

    fn pid(&self, instance: u64) -> Option<u32> {
        self.instances.card(instance).map(|card| card.pid)
    }
}

/// Makes sure that the database is there, ours, of this version, and sound as far as one can see
/// from outside. Whoever is alone looks at the log too. Gives the lock that says that we are here.
fn enter(folder: &Path, options: &FileOptions) -> Result<(File, Log), OpenError> {
    // Who comes waits here until the one before is in, or refused, or dead. So whoever is alone has
    // looked at everything before the next comes, and where it could not, the next does.
    let door = lock_file(folder, "door.lock")?;
    wait_for(&door).map_err(io_error("cannot lock", &folder.join("door.lock")))?;
    let open = lock_file(folder, "open.lock")?;
    let mut log = Log::default();
    let path = folder.join("open.lock");
    let is_alone = match open.try_lock() {
        Ok(()) => true,
        Err(fs::TryLockError::WouldBlock) => {
            open.lock_shared().map_err(io_error("cannot lock", &path))?;
            false
        }
        Err(fs::TryLockError::Error(error)) => return Err(io_error("cannot lock", &path)(error)),
    };
    let database = folder.join(DATABASE);
    if is_alone && options.create && !database.exists() {
        create(folder, &database)?;
    }
    // Before anything is touched: what a newer version has written, or another program, stays as it
    // is.
    let version = version(&database)?;
    if version > schema::VERSION {
        let known = schema::VERSION;
        return Err(OpenError::Newer { path: database, found: version, known });
    }
    if is_alone {
        if folder.join(RELAXED).exists() {
            settle(folder, &database, options)?;
        } else {
            log = check_log(folder)?;
        }
    }
    if log.has_rest && !options.read_only {
        // Where that fails, so will the next write, and that is told.
        let _ = begin_log(folder, &database);
    }
    if version < schema::VERSION {
        if !is_alone || options.read_only {
            let (found, known) = (version, schema::VERSION);
            return Err(OpenError::OlderInUse { path: database, found, known });
        }
        migrate(&database, version)?;
    }
    mark_relaxed(folder, options)?;
    if is_alone {
        open.lock_shared().map_err(io_error("cannot lock", &path))?;
    }
    Ok((open, log))
}

/// Waits for a lock file, however many signals come.
fn wait_for(file: &File) -> io::Result<()> {
    loop {
        match file.lock() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn lock_file(folder: &Path, name: &str) -> Result<File, OpenError> {
    let path = folder.join(name);
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .map_err(io_error("cannot open", &path))
}

/// Makes the database under another name and gives it its own when it is whole: whoever finds it
/// finds all of it, after a power cut too.
fn create(folder: &Path, database: &Path) -> Result<(), OpenError> {
    // SQLite would take what it says for the new database's.
    let log = folder.join(format!("{DATABASE}-wal"));
    if fs::metadata(&log).is_ok_and(|found| found.len() > 0) {
        let what = format!("it is the log of {DATABASE}, which is not there");
        return Err(OpenError::Damaged { path: log, what });
    }
    let new = folder.join("holdpoint.db.new");
    for leftover in [new.clone(), folder.join("holdpoint.db.new-journal")] {
        match fs::remove_file(&leftover) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error("cannot remove", &leftover)(error));
            }
            _ => {}
        }
    }
    let id = holdpoint_core::SessionId::generate().to_string();
    sqlite::create(&new, &id).map_err(|error| open_error(&new, &error))?;
    // The names of the folders above must outlast a power cut as well, and some of them may be new.
    // That comes before the database has its name: whoever finds it need not do it again.
    for (steps, above) in folder.ancestors().enumerate().skip(1) {
        match File::open(above).and_then(|above| above.sync_all()) {
            // What may not be read was there before.
            Err(error) if steps == 1 && error.kind() != io::ErrorKind::PermissionDenied => {
                return Err(io_error("cannot bring to the disk", above)(error));
            }
            _ => {}
        }
    }
    File::open(&new)
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::rename(&new, database))
        .and_then(|()| File::open(folder)?.sync_all())
        .map_err(io_error("cannot make", database))
}

/// Looks at the log, and brings it to the disk: of a process that was killed the last commit may lie
/// in it that is not there yet, and nobody is to see what a power cut can take away.
fn check_log(folder: &Path) -> Result<Log, OpenError> {
    let path = folder.join(format!("{DATABASE}-wal"));
    let log = log::read(&path).map_err(io_error("cannot read", &path))?;
    if let Some((frame, commits)) = log.damage {
        return Err(OpenError::DamagedLog { path, frame, frames: log.frames, commits });
    }
    if log.usable > 0 {
        File::open(&path)
            .and_then(|file| file.sync_data())
            .and_then(|()| File::open(folder)?.sync_all())
            .map_err(io_error("cannot bring to the disk", &path))?;
    }
    Ok(log)
}

/// The version of a file, read without touching it.
fn version(path: &Path) -> Result<u32, OpenError> {
    let mut header = [0; 100];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut header));
    let foreign = |what: &str| OpenError::Foreign { path: path.to_owned(), what: what.to_owned() };
    match read {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(foreign("it is too short to be a database"));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let path = path.parent().unwrap_or(path).to_owned();
            return Err(OpenError::Missing { path });
        }
        Err(error) => return Err(io_error("cannot read", path)(error)),
    }
    let word = |at: usize| header[at..at + 4].try_into().map_or(0, u32::from_be_bytes);
    if !header.starts_with(b"SQLite format 3\0") {
        return Err(foreign("it is no SQLite database"));
    }
    if word(68) != schema::APPLICATION_ID {
        return Err(foreign("it is a database of another program"));
    }
    Ok(word(60))
}

fn migrate(path: &Path, from: u32) -> Result<(), OpenError> {
    let pages = Arc::new(AtomicU32::new(0));
    sqlite::open_writer(path, Sync::Full, pages)
        .and_then(|database| {
            schema::migrate(&database, from, &schema::MIGRATIONS)?;
            // The version is read from the file itself.
            sqlite::checkpoint(&database)
        })
        .map_err(|error| open_error(path, &error))
}

/// Remembers that commits may be missing in the middle of the log after a power cut, until
/// [`settle`].
fn mark_relaxed(folder: &Path, options: &FileOptions) -> Result<(), OpenError> {
    let path = folder.join(RELAXED);
    if options.sync == Sync::Relaxed && !options.read_only && !path.exists() {
        File::create(&path)
            .and_then(|file| file.sync_all())
            .and_then(|()| File::open(folder)?.sync_all())
            .map_err(io_error("cannot make", &path))?;
    }
    Ok(())
}

/// Ends the time in which commits may be missing, where every commit is brought to the disk from now
/// on. Only for who has the store alone.
fn settle(folder: &Path, database: &Path, options: &FileOptions) -> Result<(), OpenError> {
    if options.sync == Sync::Relaxed || options.read_only {
        return Ok(());
    }
    begin_log(folder, database)?;
    let mark = folder.join(RELAXED);
    fs::remove_file(&mark)
        .and_then(|()| File::open(folder)?.sync_all())
        .map_err(io_error("cannot remove", &mark))
}

/// Writes all of the log back and ends it, so that nothing of it comes again after a power cut. Only
/// for who has the store alone.
fn begin_log(folder: &Path, database: &Path) -> Result<(), OpenError> {
    sqlite::write_all_back(database).map_err(|error| open_error(database, &error))?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(io_error("cannot bring to the disk", folder))
}

fn open_error(path: &Path, error: &rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match sqlite::append_error(error) {
        AppendError::Busy => OpenError::Busy { path },
        AppendError::Io { message, source } if source.kind() == io::ErrorKind::InvalidData => {
            OpenError::Damaged { path, what: message.to_string() }
        }
        AppendError::Io { message, source } => {
            let source = io::Error::new(source.kind(), message.to_string());
            OpenError::Io { what: "cannot open", path, source }
        }
        other => OpenError::Damaged { path, what: other.to_string() },
    }
}

fn damaged(path: &Path, error: &ReadError) -> OpenError {
    let path = path.to_owned();
    match error {
        ReadError::Io { source, .. } if source.kind() == io::ErrorKind::ResourceBusy => {
            OpenError::Busy { path }
        }
        ReadError::Io { message, source } => {
            let source = io::Error::new(source.kind(), message.to_string());
            OpenError::Io { what: "cannot read", path, source }
        }
        ReadError::Damaged { message } => OpenError::Damaged { path, what: message.to_string() },
        other => OpenError::Damaged { path, what: other.to_string() },
    }
}

fn io_error<'a>(what: &'static str, path: &'a Path) -> impl Fn(io::Error) -> OpenError + 'a {
    move |source| OpenError::Io { what, path: path.to_owned(), source }
}
