//! Told when files in a folder are written to: by the kernel where it does that, else by a look now
//! and then.

use std::path::Path;

#[cfg(target_os = "linux")]
mod told {
    use std::mem::MaybeUninit;
    use std::os::fd::OwnedFd;
    use std::path::Path;
    use std::sync::Arc;
    use std::thread;

    use rustix::fs::inotify;
    use tokio::sync::Notify;

    /// What the kernel tells of, to a thread that waits for it as long as the program lives.
    pub(super) struct Told {
        news: Arc<Notify>,
        is_looking: bool,
    }

    impl Told {
        pub(super) fn new() -> Self {
            Self { news: Arc::default(), is_looking: false }
        }

        /// Whether the folder is looked at from now on.
        pub(super) fn look_at(&mut self, folder: &Path) -> bool {
            self.is_looking = self.is_looking || self.begin(folder).is_some();
            self.is_looking
        }

        fn begin(&self, folder: &Path) -> Option<()> {
            let fd = inotify::init(inotify::CreateFlags::CLOEXEC).ok()?;
            let what = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE;
            inotify::add_watch(&fd, folder, what).ok()?;
            let news = Arc::clone(&self.news);
            let listen = move || listen(&fd, &news);
            thread::Builder::new().name("holdpoint-watch".into()).spawn(listen).ok().map(drop)
        }

        pub(super) async fn changed(&mut self) {
            self.news.notified().await;
        }
    }

    fn listen(fd: &OwnedFd, news: &Notify) {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(fd, &mut buffer);
        while reader.next().is_ok() {
            news.notify_one();
        }
    }
}

/// How long a look takes before the next where nobody tells.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

/// Looks at one folder, which may not be there yet.
pub(super) struct Watch {
    #[cfg(target_os = "linux")]
    told: told::Told,
    is_told: bool,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self {
            #[cfg(target_os = "linux")]
            told: told::Told::new(),
            is_told: false,
        }
    }

    /// From now on changes in this folder are told of.
    pub(super) fn look_at(&mut self, folder: &Path) {
        #[cfg(target_os = "linux")]
        {
            self.is_told = self.told.look_at(folder);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = folder;
    }

    /// Something may have changed since the last call.
    ///
    /// # Cancel safety
    /// Dropped, it loses nothing.
    pub(super) async fn changed(&mut self) {
        #[cfg(target_os = "linux")]
        if self.is_told {
            return self.told.changed().await;
        }
        tokio::time::sleep(PAUSE).await;
    }
}
