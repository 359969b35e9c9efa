//! News of commits to other processes: that there are some, not which (STORE-009).
//!
//! An instance that wants news has a datagram socket, named on its card. Who commits sends a byte
//! to each.
//!
//! # Invariants
//! 1. News never wait. A socket without room has news that are not looked at yet, and one byte says
//!    as much as two.
//! 2. Whoever puts its socket on its card, and then looks at the store, misses nothing: what was
//!    committed before is seen by that look, and who commits later finds the card.
//! 3. Cards are read again only when one may have changed. The folder's time of modification tells,
//!    but it moves in steps: so after a change the cards are read with each commit until a step is
//!    over for sure.

use std::fs::File;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::net::{RecvFlags, SendFlags};

use crate::owner::Instances;
use crate::socket::SocketFile;

/// The most by which a file system's time moves at once, where it tells parts of seconds.
const STEP: Duration = Duration::from_millis(50);

/// The same, where it does not.
const LONG_STEP: Duration = Duration::from_millis(2100);

/// Datagrams that are taken together, at most: whoever sends without end is heard all the same.
const TOGETHER: usize = 1024;

/// Tells the other instances of commits.
#[derive(Debug)]
pub(crate) struct News {
    instances: Arc<Instances>,
    me: u64,
    peers: Vec<Peer>,
    folder: Folder,
}

#[derive(Debug)]
struct Peer {
    path: PathBuf,
    socket: UnixDatagram,
}

impl News {
    /// News from the instance `me` to all others.
    pub(crate) fn new(instances: Arc<Instances>, me: u64) -> Self {
        Self { instances, me, peers: Vec::new(), folder: Folder::default() }
    }

    /// Tells everybody else who wants to know. Never waits, and never fails: who cannot be told is
    /// forgotten.
    pub(crate) fn tell(&mut self) {
        if self.folder.may_have_changed(self.instances.folder()) {
            self.read_cards();
        }
        self.peers.retain(Peer::tell);
    }

    /// How many are told, as far as is known.
    #[cfg(test)]
    pub(crate) fn peers(&self) -> usize {
        self.peers.len()
    }

    /// Whether the cards are not read again before something changes.
    #[cfg(test)]
    pub(crate) fn is_settled(&self) -> bool {
        self.folder.freshness.is_settled
    }

    /// Makes the peers those on the cards.
    fn read_cards(&mut self) {
        // Where the cards cannot be read, those who were known are.
        let Ok(cards) = self.instances.cards() else { return };
        let others = cards.into_iter().filter(|(id, _)| *id != self.me);
        let paths: Vec<PathBuf> = others.filter_map(|(_, card)| card.news).collect();
        self.peers.retain(|peer| paths.contains(&peer.path));
        for path in paths {
            if !self.peers.iter().any(|peer| peer.path == path) {
                // The dead are not connected to.
                self.peers.extend(Peer::connect(path).ok());
            }
        }
    }
}

impl Peer {
    fn connect(path: PathBuf) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(&path)?;
        Ok(Self { path, socket })
    }

    /// Sends the news. Whether the other is there.
    fn tell(&self) -> bool {
        use rustix::io::Errno;
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        // The standard library sets an option of the socket instead.
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let flags = SendFlags::DONTWAIT;
        match rustix::net::send(&self.socket, &[1], flags) {
            Ok(_) => true,
            Err(error) => {
                matches!(error, Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM | Errno::INTR)
            }
        }
    }
}

/// The folder of owners, and what is known of it.
#[derive(Debug, Default)]
struct Folder {
    /// It, opened: asking it is faster than asking for its path.
    file: Option<File>,
    freshness: Freshness,
}

impl Folder {
    fn may_have_changed(&mut self, path: &Path) -> bool {
        let modified = self.modified(path);
        // Where it cannot be asked, everything is possible.
        modified.is_none_or(|modified| self.freshness.may_have_changed(modified, Instant::now()))
    }

    fn modified(&mut self, path: &Path) -> Option<Modified> {
        if self.file.is_none() {
            self.file = File::open(path).ok();
        }
        let found = rustix::fs::fstat(self.file.as_ref()?).ok()?;
        if found.st_nlink == 0 {
            // It was removed; there may be another.
            self.file = None;
            return None;
        }
        Some((found.st_mtime as _, found.st_mtime_nsec as _))
    }
}

/// A time of modification, in seconds and nanoseconds.
type Modified = (i64, u64);

/// Whether what was read of a folder may be out of date (invariant 3).
#[derive(Debug, Default)]
pub(crate) struct Freshness {
    /// The folder's time of modification, and when that was seen first.
    seen: Option<(Modified, Instant)>,
    /// Whether it was read later than any change that has this time.
    is_settled: bool,
}

impl Freshness {
    /// Whether the folder, whose time of modification is `modified` at `now`, is to be read again.
    /// It is, then, after `now`.
    pub(crate) fn may_have_changed(&mut self, modified: Modified, now: Instant) -> bool {
        match self.seen {
            Some((known, since)) if known == modified => {
                if self.is_settled {
                    return false;
                }
                let step = if modified.1 == 0 { LONG_STEP } else { STEP };
                self.is_settled = now.duration_since(since) > step;
            }
            _ => (self.seen, self.is_settled) = (Some((modified, now)), false),
        }
        true
    }
}

/// Is told of commits of others, until dropped.
#[derive(Debug)]
pub(crate) struct NewsListener {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    file: SocketFile,
}

#[derive(Debug)]
struct Shared {
    socket: UnixDatagram,
    is_over: AtomicBool,
}

impl NewsListener {
    /// Listens at `path`, which must be nobody else's, and calls `on_news` on a thread of its own.
    /// News that came while it ran are one more call.
    pub(crate) fn start(path: &Path, on_news: impl Fn() + Send + 'static) -> io::Result<Self> {
        let (socket, file) = SocketFile::bind(path, |path| UnixDatagram::bind(path))?;
        let shared = Arc::new(Shared { socket, is_over: AtomicBool::new(false) });
        let thread = thread::Builder::new().name("holdpoint-news".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || {
                while shared.wait() {
                    on_news();
                }
            }
        })?;
        Ok(Self { shared, thread: Some(thread), file })
    }

    /// Where it listens.
    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }
}

impl Drop for NewsListener {
    /// Waits for a call that is running.
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
        // Wakes the thread; where this does not, news do.
        if self.shared.socket.shutdown(Shutdown::Both).is_err() {
            let _ = UnixDatagram::unbound().and_then(|socket| {
                socket.set_nonblocking(true)?;
                socket.send_to(&[0], self.file.path())
            });
        }
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Waits for news, and takes all that are there; `false` where all is over.
    fn wait(&self) -> bool {
        let received = self.receive(RecvFlags::empty());
        for _ in 0..TOGETHER {
            if received.is_err() || self.is_over.load(Ordering::Acquire) {
                break;
            }
            if self.receive(RecvFlags::DONTWAIT).is_err() {
                break;
            }
        }
        received.is_ok() && !self.is_over.load(Ordering::Acquire)
    }

    fn receive(&self, flags: RecvFlags) -> rustix::io::Result<()> {
        loop {
            match rustix::net::recv(&self.socket, &mut [0; 8], flags) {
                Err(rustix::io::Errno::INTR) => {}
                received => return received.map(|_| ()),
            }
        }
    }
}
