//! Waiting for the end of a process without reaping it.

use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;

#[cfg(target_os = "linux")]
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::group::Group;

/// Tells when a group's leader has ended.
#[derive(Debug)]
pub(crate) enum ExitWatch {
    /// A descriptor of the process that becomes readable at its end.
    #[cfg(target_os = "linux")]
    Descriptor(AsyncFd<OwnedFd>),
    /// The plain Unix way: at each SIGCHLD, look.
    Signal(Signal),
}

impl ExitWatch {
    pub(crate) fn new(group: &Group) -> io::Result<Self> {
        // Where there is no descriptor to be had, or no such call, there still is the signal: a
        // process that runs is not to be lost for want of one.
        #[cfg(target_os = "linux")]
        if let Some(watched) = watch_descriptor(group) {
            return Ok(Self::Descriptor(watched));
        }
        let _ = group;
        signal(SignalKind::child()).map(Self::Signal)
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
                    children.recv().await.ok_or(io::ErrorKind::NotConnected)?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(target_os = "linux")]
fn watch_descriptor(group: &Group) -> Option<AsyncFd<OwnedFd>> {
    use rustix::process::{PidfdFlags, pidfd_open};

    let descriptor = pidfd_open(group.pid(), PidfdFlags::empty()).ok()?;
    // The successor is unsafe: it asks for a promise about the descriptor that not every type
    // keeps. An owned descriptor does.
    #[expect(deprecated)]
    let watched = AsyncFd::with_interest(descriptor, tokio::io::Interest::READABLE);
    watched.ok()
}
