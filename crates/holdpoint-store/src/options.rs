//! How a store on disk is opened.

/// When an append counts as acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Sync {
    /// When it is on the disk, by `fdatasync`: nothing acknowledged is lost by a kill or a power
    /// cut.
    #[default]
    Full,
    /// When the system has it: nothing acknowledged is lost by a kill of the process, but a power
    /// cut or a crash of the system may take the last seconds. Never a part of an append, never
    /// something in the middle.
    Relaxed,
}

/// Settings of a [`FileStore`](crate::FileStore).
///
/// ```
/// use holdpoint_store::{FileOptions, Sync};
///
/// let options = FileOptions::new().sync(Sync::Relaxed);
/// # let _ = options;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileOptions {
    /// When an append counts as acknowledged. Default: when it is on the disk.
    pub sync: Sync,
    /// Whether a store that is not there is made, folder included. Default: yes.
    pub create: bool,
    /// Open for reading alone: no instance, no thread, every write is refused as
    /// [`Closed`](holdpoint_core::store::AppendError::Closed). Default: no.
    pub read_only: bool,
    /// The most bytes of notes that wait in memory for the next record. Above it they are written
    /// without one. Default: 64 MiB.
    pub note_buffer: usize,
}

impl FileOptions {
    /// The defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self { sync: Sync::Full, create: true, read_only: false, note_buffer: 64 << 20 }
    }

    /// The same with another meaning of acknowledged.
    #[must_use]
    pub const fn sync(mut self, sync: Sync) -> Self {
        self.sync = sync;
        self
    }

    /// The same, or only a store that is there.
    #[must_use]
    pub const fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// The same for reading alone; makes nothing.
    #[must_use]
    pub const fn read_only(mut self) -> Self {
        self.read_only = true;
        self.create = false;
        self
    }

    /// The same with another bound for notes.
    #[must_use]
    pub const fn note_buffer(mut self, bytes: usize) -> Self {
        self.note_buffer = bytes;
        self
    }
}

impl Default for FileOptions {
    fn default() -> Self {
        Self::new()
    }
}
