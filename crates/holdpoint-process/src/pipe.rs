//! The read end of one output stream.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::io::{ioctl_fionbio, ioctl_fionread, read};
use tokio::net::unix::pipe::Receiver;

use crate::log::Log;
use crate::output::{LineSplitter, OutputSink, Stream};

/// Most bytes taken in one go, so that a stream that never pauses cannot keep the other one, a
/// cancel or a deadline from being seen. The usual size of a pipe.
const READ: usize = 64 * 1024;

/// An output stream on its way to log and sink.
#[derive(Debug)]
pub(crate) struct Pipe {
    stream: Stream,
    /// None once the stream has ended.
    end: Option<Receiver>,
    splitter: LineSplitter,
    bytes: u64,
    failure: Option<io::Error>,
}

impl Pipe {
    pub(crate) fn new(stream: Stream, descriptor: OwnedFd) -> io::Result<Self> {
        ioctl_fionbio(&descriptor, true)?;
        let end = Some(Receiver::from_owned_fd_unchecked(descriptor)?);
        Ok(Self { stream, end, splitter: LineSplitter::default(), bytes: 0, failure: None })
    }

    pub(crate) fn is_open(&self) -> bool {
        self.end.is_some()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The stream, and what kept it from being read to its end, if anything did.
    pub(crate) fn into_failure(self) -> Option<(Stream, io::Error)> {
        self.failure.map(|error| (self.stream, error))
    }

    /// Waits until there is something to take, or the stream has ended. Never returns for a
    /// stream that is no longer open.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(crate) async fn readable(&self) {
        match &self.end {
            // An error here is one of the runtime's end, which drops this future as well.
            Some(end) => _ = end.readable().await,
            None => std::future::pending().await,
        }
    }

    /// Takes what is there, at most [`READ`] bytes, and passes it on.
    pub(crate) fn take(&mut self, log: &mut Log<'_>, sink: &mut (impl OutputSink + ?Sized)) {
        let Some(end) = &self.end else { return };
        let mut buffer = [MaybeUninit::uninit(); READ];
        let taken = end.try_io(|| read_some(end, &mut buffer));
        self.accept(taken, log, sink);
    }

    /// Takes all that the pipe holds now: what a process wrote that has ended by now, and of what
    /// others write no more than that.
    pub(crate) fn settle(&mut self, log: &mut Log<'_>, sink: &mut (impl OutputSink + ?Sized)) {
        let Some(end) = &self.end else { return };
        let mut owed = ioctl_fionread(end).unwrap_or_default();
        while owed > 0
            && let Some(end) = &self.end
        {
            let mut buffer = [MaybeUninit::uninit(); READ];
            let taken = read_some(end, &mut buffer);
            match self.accept(taken, log, sink) {
                0 => return,
                bytes => owed = owed.saturating_sub(bytes),
            }
        }
    }

    /// Takes nothing more. What has no newline yet is passed on.
    pub(crate) fn close(&mut self, sink: &mut (impl OutputSink + ?Sized)) {
        if self.end.take().is_some() {
            self.splitter.finish(|line| sink.line(self.stream, line));
        }
    }

    /// Passes on what a read gave. Returns how many bytes that were.
    fn accept(
        &mut self,
        taken: io::Result<&mut [u8]>,
        log: &mut Log<'_>,
        sink: &mut (impl OutputSink + ?Sized),
    ) -> u64 {
        match taken {
            Ok([]) => self.close(sink),
            Ok(bytes) => {
                log.write(bytes);
                self.splitter.push(bytes, |line| sink.line(self.stream, line));
                self.bytes += bytes.len() as u64;
                return bytes.len() as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                self.failure = Some(error);
                self.close(sink);
            }
        }
        0
    }
}

/// One read. It does not sleep, so no signal interrupts it.
fn read_some<'b>(
    end: &Receiver,
    buffer: &'b mut [MaybeUninit<u8>; READ],
) -> io::Result<&'b mut [u8]> {
    let (taken, _) = read(end, buffer.as_mut_slice())?;
    Ok(taken)
}
