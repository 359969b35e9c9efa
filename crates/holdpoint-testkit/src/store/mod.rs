//! Stores for tests: the port in memory by the simplest code there is, with faults on demand, and
//! a small machine that shows how one decides over the port.
//!
//! - [`VirtualDisk`] is what outlasts processes. It is a reference model: maps under one lock, and
//!   every rule where it can be read. It is not fast.
//! - [`FaultyStore`] is a virtual process's open store on such a disk, and a
//!   [`Store`](holdpoint_core::store::Store) like any other. It delays acknowledgements, fails,
//!   is stopped, crashes and is opened again, all when a test or an actor of a simulation says so.
//! - [`Faults`] is the script of what goes wrong by itself.
//! - [`counter`] has a machine that counts, and [`Decider`](counter::Decider), which asks its owner
//!   or decides itself (STORE-009) over any store: this one and those on real disks.
//!
//! # Why not a wrapper around any store
//! A crash has to forget what the store was given and had not written: delayed records, and notes
//! that no record has followed. And it has to leave an owner behind that counts as dead, while
//! others live. A wrapper could do neither with a store that closes in order, and would have to
//! keep notes in its own order beside the store's. So the faults sit in the handle of the disk,
//! which is less code than the wrapper alone. What a real disk does when it fails is tested with
//! real disks.
//!
//! # What happens when
//! Nothing here has a thread, a clock or chance of its own. Whatever an act brings about has
//! happened when its call returns: tickets are completed, observers of
//! [`changes`](holdpoint_core::store::Store::changes) told and responders called within it, on the
//! same thread, after the disk's lock was given back. The size of an event is not limited, since no
//! text is made of it.
//!
//! ```
//! use holdpoint_core::event::{Event, EventKind, Stream};
//! use holdpoint_core::store::{AppendError, Appended, Fence, Store, Write};
//! use holdpoint_core::{SessionId, Timestamp};
//! use holdpoint_testkit::store::{Faults, VirtualDisk};
//!
//! let disk = VirtualDisk::new();
//! let store = disk.open_with(Faults::none().delay(1));
//! let stream = Stream::Session(SessionId::generate());
//! let planned = EventKind::SessionPlanned { attempt: 1 };
//! let event = Event::new(1, Timestamp::default(), stream.clone(), planned);
//! let write = Write::new(&stream, Fence::NewOwned).events(std::slice::from_ref(&event));
//! let Appended::Pending(ticket) = store.append(&[write])? else { panic!("it is delayed") };
//!
//! // The process is killed before the record was written: nobody was told, and nothing is there.
//! let again = store.reopen();
//! assert!(matches!(ticket.wait(), Err(AppendError::Closed)));
//! assert!(again.info(&stream).is_err());
//! # Ok::<(), AppendError>(())
//! ```

mod content;
pub mod counter;
mod disk;
mod faults;
mod faulty;
mod write;

pub use disk::VirtualDisk;
pub use faults::{Failure, Faults};
pub use faulty::FaultyStore;

/// The real stores, for the tests of engines: those name no other crate of their floor.
#[cfg(feature = "files")]
pub mod real {
    pub use holdpoint_store::*;
}
