//! How requests and answers lie in the bytes.
//!
//! ```text
//! frame     length of the rest, 4 bytes, little-endian; version, 1 byte; kind, 1 byte; body
//! request   kind 1; length of the stream's name, 2 bytes; the stream in JSON; the request
//! answer    kind 128: the answer
//!           kind 129: nobody answers for this stream here
//!           kind 130: the request is too large; its size, 8 bytes
//!           kind 131: the answer is too large; its size, 8 bytes
//!           kind 132: a version or a kind that is not known here
//! ```

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use holdpoint_core::event::Stream;
use holdpoint_core::store;

/// The most bytes of a request, and of an answer.
pub(crate) const LIMIT: usize = store::Write::MAX_PAYLOAD;

/// The most bytes of a frame after its length: room for a stream's name too.
const FRAME_LIMIT: usize = LIMIT + (64 << 10);

const VERSION: u8 = 1;
const LENGTH: usize = 4;
const HEAD: usize = 2;

const REQUEST: u8 = 1;
const GIVEN: u8 = 128;
const UNOWNED: u8 = 129;
const REQUEST_TOO_LARGE: u8 = 130;
const ANSWER_TOO_LARGE: u8 = 131;
const UNKNOWN: u8 = 132;

/// What comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Given(Vec<u8>),
    Unowned,
    TooLarge(u64),
    GivenTooLarge(u64),
    /// The other side speaks another version.
    Unknown,
}

/// Why there is no request in what came.
#[derive(Debug)]
pub(super) enum BadRequest {
    /// The asker is told so.
    Answer(Answer),
    /// It is nothing that an asker of ours sends, or it did not come in time.
    Silence,
}

impl Answer {
    pub(super) fn frame(&self) -> Vec<u8> {
        match self {
            Self::Given(answer) => frame(GIVEN, &[answer]),
            Self::Unowned => frame(UNOWNED, &[]),
            Self::TooLarge(size) => frame(REQUEST_TOO_LARGE, &[&size.to_le_bytes()]),
            Self::GivenTooLarge(size) => frame(ANSWER_TOO_LARGE, &[&size.to_le_bytes()]),
            Self::Unknown => frame(UNKNOWN, &[]),
        }
    }

    pub(super) fn read(from: &UnixStream, deadline: Instant) -> io::Result<Self> {
        let mut from = Timed { stream: from, deadline };
        let length = read_length(&mut from)?;
        if length > FRAME_LIMIT {
            return Err(malformed());
        }
        let mut body = read_bytes(&mut from, length)?;
        let size = |body: &[u8]| body.try_into().map(u64::from_le_bytes).map_err(|_| malformed());
        match (body.first(), body.get(1)) {
            (Some(&VERSION), Some(&GIVEN)) => {
                body.drain(..HEAD);
                Ok(Self::Given(body))
            }
            (Some(&VERSION), Some(&UNOWNED)) => Ok(Self::Unowned),
            (Some(&VERSION), Some(&REQUEST_TOO_LARGE)) => size(&body[HEAD..]).map(Self::TooLarge),
            (Some(&VERSION), Some(&ANSWER_TOO_LARGE)) => {
                size(&body[HEAD..]).map(Self::GivenTooLarge)
            }
            (Some(_), Some(_)) => Ok(Self::Unknown),
            _ => Err(malformed()),
        }
    }
}

pub(super) fn request_frame(stream: &Stream, request: &[u8]) -> io::Result<Vec<u8>> {
    let name = serde_json::to_vec(stream)?;
    let length = u16::try_from(name.len()).map_err(|_| malformed())?;
    Ok(frame(REQUEST, &[&length.to_le_bytes(), &name, request]))
}

pub(super) fn read_request(
    from: &UnixStream,
    deadline: Instant,
) -> Result<(Stream, Vec<u8>), BadRequest> {
    let mut from = Timed { stream: from, deadline };
    let length = read_length(&mut from).map_err(|_| BadRequest::Silence)?;
    if length > FRAME_LIMIT {
        return Err(BadRequest::Answer(Answer::TooLarge(length as u64)));
    }
    let mut body = read_bytes(&mut from, length).map_err(|_| BadRequest::Silence)?;
    match body.get(..HEAD) {
        None => return Err(BadRequest::Silence),
        Some([VERSION, REQUEST]) => {}
        Some(_) => return Err(BadRequest::Answer(Answer::Unknown)),
    }
    let stream = parse_stream(&body).ok_or(BadRequest::Silence)?;
    let (stream, end) = stream;
    body.drain(..end);
    if body.len() > LIMIT {
        return Err(BadRequest::Answer(Answer::TooLarge(body.len() as u64)));
    }
    Ok((stream, body))
}

/// The stream of a request, and where its name ends.
fn parse_stream(body: &[u8]) -> Option<(Stream, usize)> {
    let length: [u8; 2] = body.get(HEAD..HEAD + 2)?.try_into().ok()?;
    let end = HEAD + 2 + usize::from(u16::from_le_bytes(length));
    let stream = serde_json::from_slice(body.get(HEAD + 2..end)?).ok()?;
    Some((stream, end))
}

fn frame(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length = HEAD + parts.iter().map(|part| part.len()).sum::<usize>();
    let mut frame = Vec::with_capacity(LENGTH + length);
    // Callers keep to the limits, which fit.
    frame.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    frame.extend_from_slice(&[VERSION, kind]);
    parts.iter().for_each(|part| frame.extend_from_slice(part));
    frame
}

fn read_length(from: &mut Timed<'_>) -> io::Result<usize> {
    let mut length = [0; LENGTH];
    from.read_exact(&mut length)?;
    usize::try_from(u32::from_le_bytes(length)).map_err(|_| malformed())
}

/// Reads so many bytes. Takes memory as they come, not as they were announced.
fn read_bytes(from: &mut Timed<'_>, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(length as u64).read_to_end(&mut bytes)?;
    if bytes.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "what came over the socket is not Holdpoint's")
}

/// A stream that gives up at a deadline, with [`TimedOut`](io::ErrorKind::TimedOut), and that
/// raises no signal when the other end is gone.
pub(super) struct Timed<'a> {
    pub(super) stream: &'a UnixStream,
    pub(super) deadline: Instant,
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(remaining(self.deadline)?))?;
        (&mut &*self.stream).read(buffer).map_err(timed_out)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(remaining(self.deadline)?))?;
        send(self.stream, bytes, true).map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The time until a deadline, or the error that it is over.
pub(super) fn remaining(deadline: Instant) -> io::Result<Duration> {
    let remaining = deadline.saturating_duration_since(Instant::now());
    if remaining.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(remaining) }
}

fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock {
        return io::ErrorKind::TimedOut.into();
    }
    error
}

/// Sends some of the bytes; where it may not wait, [`WouldBlock`](io::ErrorKind::WouldBlock) says
/// that there is no room.
pub(super) fn send(stream: &UnixStream, bytes: &[u8], may_wait: bool) -> io::Result<usize> {
    use rustix::net::SendFlags;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let flags = SendFlags::NOSIGNAL;
    // The standard library sets an option of the socket instead.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let flags = SendFlags::empty();
    let flags = if may_wait { flags } else { flags | SendFlags::DONTWAIT };
    Ok(rustix::net::send(stream, bytes, flags)?)
}
