//! Waiting for the end of a process without reaping it.

use std::io;

use crate::group::Group;

/// Tells when a group's leader has ended.
#[derive(Debug)]
pub(crate) enum ExitWatch {
    /// A descriptor of the process that becomes readable at its end.
    #[cfg(target_os = "linux")]
    Descriptor(tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>),
    /// The plain Unix way: at each SIGCHLD, look.
    Signal(tokio::signal::unix::Signal),
}

impl ExitWatch {
    pub(crate) fn new(group: &Group) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        {
            use rustix::io::Errno;
            use rustix::process::{PidfdFlags, pidfd_open};
            use tokio::io::{Interest, unix::AsyncFd};
            match pidfd_open(group.pid(), PidfdFlags::empty()) {
                Ok(descriptor) => {
                    // The successor is unsafe: it asks for a promise about the descriptor that
                    // not every type keeps. An owned descriptor does.
                    #[expect(deprecated)]
                    let watched = AsyncFd::with_interest(descriptor, Interest::READABLE);
                    return watched.map(Self::Descriptor);
                }
                // Kernels before 5.3, and sandboxes that know no such call.
                Err(Errno::NOSYS | Errno::PERM) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        let _ = group;
        let kind = tokio::signal::unix::SignalKind::child();
        tokio::signal::unix::signal(kind).map(Self::Signal)
    }

    /// Waits for the end.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(crate) async fn exited(&mut self, group: &Group) -> io::Result<()> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Descriptor(descriptor) => descriptor.readable().await.map(drop),
            Self::Signal(children) => {
                // The listener is older than this look, so no end falls between the two.
                while !group.has_exited()? {
                    children.recv().await;
                }
                Ok(())
            }
        }
    }
}
