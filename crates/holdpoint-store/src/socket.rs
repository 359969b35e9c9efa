//! Requests between processes, over a socket of the one that is asked (STORE-009).
//!
//! | | |
//! |---|---|
//! | `listener` | takes requests and carries answers back |
//! | `ask` | asks, for so long and no longer |
//! | `frame` | how requests and answers lie in the bytes |
//! | `file` | the socket's name in the file system |
//!
//! A request is a connection: one frame there, one frame back, the end. Both sides look who the
//! other is and speak only with processes of their own user.

mod ask;
mod file;
mod frame;
mod listener;

pub(crate) use ask::{AskFailure, ask};
pub(crate) use file::SocketFile;
pub(crate) use frame::LIMIT;
pub(crate) use listener::Listener;

use std::os::unix::net::UnixStream;

/// Whether the process at the other end is one of our user's.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn is_ours(stream: &UnixStream) -> bool {
    rustix::net::sockopt::socket_peercred(stream)
        .is_ok_and(|peer| peer.uid == rustix::process::geteuid())
}

/// Elsewhere it is the folder with mode 0700 that keeps others away.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn is_ours(_: &UnixStream) -> bool {
    true
}
