//! The store on disk: the port over writer and reader (STORE-001).

use std::fmt;
use std::fs::{self, File};
use std::io;
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
use crate::log::Log;
use crate::open::{damaged, enter, io_error, lock_file, open_error};
use crate::options::FileOptions;
use crate::owner::Instances;
use crate::place::{self, PlaceError};
use crate::reader::Reader;
use crate::retention::{Pruned, Retention};
use crate::sqlite;
use crate::wire::Wire;
use crate::writer::{Tools, Writer};

/// The database's name within a store's folder.
pub(crate) const DATABASE: &str = "holdpoint.db";

/// A store in a folder: an SQLite database, lock files, and a file for each process that writes.
///
/// Several processes may have it open at once. What is acknowledged is on the disk, or, with
/// [`Sync::Relaxed`](crate::Sync::Relaxed), in the system's hands.
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
