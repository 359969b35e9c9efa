//! A store that counts what is read of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use holdpoint_core::event::{Event, Stream};
use holdpoint_core::session::Owner;
use holdpoint_core::store::{
    AppendError, Appended, Changes, Filter, JournalEntry, Keep, ReadError, RequestError, Responder,
    Store, StoredEvent, StoredSnapshot, StreamInfo, Ticket, Write,
};
use holdpoint_testkit::store::FaultyStore;

#[derive(Debug)]
pub(crate) struct Counting {
    pub(crate) store: Arc<FaultyStore>,
    /// Looks at what is known of one stream.
    pub(crate) looks: AtomicUsize,
    /// Reads of snapshots, events and journals.
    pub(crate) reads: AtomicUsize,
}

impl Counting {
    pub(crate) fn new(store: Arc<FaultyStore>) -> Self {
        Self { store, looks: AtomicUsize::new(0), reads: AtomicUsize::new(0) }
    }

    /// How many looks and reads there were since the last call.
    pub(crate) fn take(&self) -> (usize, usize) {
        (self.looks.swap(0, Ordering::Relaxed), self.reads.swap(0, Ordering::Relaxed))
    }

    fn read(&self) -> &FaultyStore {
        self.reads.fetch_add(1, Ordering::Relaxed);
        &self.store
    }
}

impl Store for Counting {
    fn is_durable(&self) -> bool {
        self.store.is_durable()
    }

    fn instance(&self) -> u64 {
        self.store.instance()
    }

    fn append(&self, writes: &[Write<'_>]) -> Result<Appended, AppendError> {
        self.store.append(writes)
    }

    fn note(&self, stream: &Stream, epoch: u64, events: &[Event]) -> Result<(), AppendError> {
        self.store.note(stream, epoch, events)
    }

    fn claim_schedules(&self) -> Result<Ticket<Result<Owner, AppendError>>, AppendError> {
        self.store.claim_schedules()
    }

    fn events(
        &self,
        stream: &Stream,
        after: u64,
        limit: usize,
    ) -> Result<Vec<StoredEvent>, ReadError> {
        self.read().events(stream, after, limit)
    }

    fn all_events(&self, after: u64, limit: usize) -> Result<Vec<StoredEvent>, ReadError> {
        self.read().all_events(after, limit)
    }

    fn journal(
        &self,
        stream: &Stream,
        after: u64,
        limit: usize,
    ) -> Result<Vec<JournalEntry>, ReadError> {
        self.read().journal(stream, after, limit)
    }

    fn snapshot(&self, stream: &Stream) -> Result<Option<StoredSnapshot>, ReadError> {
        self.read().snapshot(stream)
    }

    fn info(&self, stream: &Stream) -> Result<StreamInfo, ReadError> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.store.info(stream)
    }

    fn by_key(&self, key: &str) -> Result<Option<StreamInfo>, ReadError> {
        self.store.by_key(key)
    }

    fn list(&self, filter: &Filter) -> Result<Vec<StreamInfo>, ReadError> {
        self.store.list(filter)
    }

    fn is_alive(&self, owner: Owner) -> bool {
        self.store.is_alive(owner)
    }

    fn keep(&self, stream: &Stream) -> Keep {
        self.store.keep(stream)
    }

    fn changes(&self) -> Changes {
        self.store.changes()
    }

    fn respond(&self, responder: Arc<dyn Responder>) -> Result<(), RequestError> {
        self.store.respond(responder)
    }

    fn request(
        &self,
        stream: &Stream,
        request: &[u8],
    ) -> Result<Ticket<Result<Vec<u8>, RequestError>>, RequestError> {
        self.store.request(stream, request)
    }

    fn close(&self) -> Ticket<Result<(), AppendError>> {
        self.store.close()
    }
}
