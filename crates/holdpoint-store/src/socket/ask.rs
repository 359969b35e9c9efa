//! Asking another process.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use holdpoint_core::event::Stream;

use super::frame::{self, Answer, LIMIT, Timed};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskFailure {
    /// It did not come in time. The other may yet do what was asked.
    #[error("the owner does not answer")]
    Silent,
    /// The other does not own the stream.
    #[error("the stream is not owned there")]
    Unowned,
    /// Nobody listens there any more, or the other ended before it answered. In that case it may
    /// have done what was asked.
    #[error("the owner is gone")]
    Gone,
    /// The request is too large.
    #[error("a request of {size} bytes is above the limit of {LIMIT}")]
    TooLarge { size: usize },
    /// The answer is too large. What was asked is done.
    #[error("an answer of {size} bytes is above the limit of {LIMIT}")]
    AnswerTooLarge { size: usize },
    /// The socket failed, or the other speaks another version.
    #[error(transparent)]
    Io(io::Error),
}

/// Asks who listens at `path` for something of a stream, and blocks the thread until the answer is
/// there, at most for `patience`.
pub(crate) fn ask(
    path: &Path,
    stream: &Stream,
    request: &[u8],
    patience: Duration,
) -> Result<Vec<u8>, AskFailure> {
    if request.len() > LIMIT {
        return Err(AskFailure::TooLarge { size: request.len() });
    }
    let deadline = Instant::now() + patience;
    let request = frame::request_frame(stream, request).map_err(AskFailure::Io)?;
    let socket = connect(path, deadline)?;
    if !super::is_ours(&socket) {
        return Err(AskFailure::Gone);
    }
    // Who refuses a request may not read all of it, and answers all the same.
    let sent = Timed { stream: &socket, deadline }.write_all(&request);
    match sent {
        Err(error) if failure(&error).is_none() => return Err(AskFailure::Io(error)),
        _ => drop(request),
    }
    let answer = Answer::read(&socket, deadline)
        .map_err(|error| failure(&error).unwrap_or(AskFailure::Io(error)))?;
    let size = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
    match answer {
        Answer::Given(answer) => Ok(answer),
        Answer::Unowned => Err(AskFailure::Unowned),
        Answer::TooLarge(bytes) => Err(AskFailure::TooLarge { size: size(bytes) }),
        Answer::GivenTooLarge(bytes) => Err(AskFailure::AnswerTooLarge { size: size(bytes) }),
        Answer::Unknown => Err(AskFailure::Io(io::Error::new(
            io::ErrorKind::Unsupported,
            "the owner speaks another version of requests; use the same Holdpoint in both processes",
        ))),
    }
}

fn connect(path: &Path, deadline: Instant) -> Result<UnixStream, AskFailure> {
    loop {
        match try_connect(path, deadline) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failure(&error).unwrap_or(AskFailure::Io(error))),
            Ok(socket) => return Ok(socket),
        }
    }
}

/// Connects. Where too many wait to be let in, waits with them until the deadline.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn try_connect(path: &Path, deadline: Instant) -> io::Result<UnixStream> {
    use rustix::net::sockopt::{Timeout, set_socket_timeout};
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let address = SocketAddrUnix::new(path)?;
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // The time limit of sending is that of connecting too.
    set_socket_timeout(&socket, Timeout::Send, Some(frame::remaining(deadline)?))?;
    rustix::net::connect(&socket, &address)?;
    Ok(socket.into())
}

/// Elsewhere nobody waits to be let in: the system refuses at once.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn try_connect(path: &Path, _: Instant) -> io::Result<UnixStream> {
    UnixStream::connect(path)
}

/// What an error of the socket says of the other end; `None` where it says nothing.
fn failure(error: &io::Error) -> Option<AskFailure> {
    use io::ErrorKind::{
        BrokenPipe, ConnectionRefused, ConnectionReset, NotADirectory, NotConnected, NotFound,
        TimedOut, UnexpectedEof, WouldBlock,
    };
    match error.kind() {
        TimedOut | WouldBlock => Some(AskFailure::Silent),
        NotFound | NotADirectory | ConnectionRefused | ConnectionReset | NotConnected
        | BrokenPipe | UnexpectedEof => Some(AskFailure::Gone),
        _ => None,
    }
}
