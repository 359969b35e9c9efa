//! Everything as lines of JSON (STORE-006).

use std::io::{self, Write};

use holdpoint_core::event::Stream;
use holdpoint_core::store::{ReadError, Store, StreamInfo};
use serde::Serialize;
use serde::de::IgnoredAny;

use crate::blocks;
use crate::file::FileStore;

/// Events and entries read at a time.
const PAGE: usize = 1000;

/// What [`FileStore::export`] wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exported {
    /// Streams.
    pub streams: u64,
    /// Events.
    pub events: u64,
    /// Journal entries.
    pub entries: u64,
    /// Streams that could not be read to their end, and why. Their lines end with one that says so.
    pub damaged: Vec<(Stream, String)>,
}

/// Why an export ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What was read could not be written.
    #[error("the export cannot be written: {0}")]
    Write(#[from] io::Error),
}

impl holdpoint_core::Retryable for ExportError {
    fn is_retryable(&self) -> bool {
        false
    }
}

/// What stands in the first line of a stream.
#[derive(Serialize)]
struct Head<'a> {
    stream: &'a Stream,
    number: Option<u64>,
    label: &'a str,
    key: Option<&'a str>,
    state: holdpoint_core::session::StateName,
    epoch: u64,
    events: u64,
    entries: u64,
    created_at: holdpoint_core::Timestamp,
    updated_at: holdpoint_core::Timestamp,
}

impl FileStore {
    /// Writes all streams, one JSON object a line: of each stream a line about itself, with
    /// `stream` and its last `snapshot`; a line for each event, with `pos` and `event`; and a line
    /// for each journal entry, with `entry` and its number in `journal`. What is no JSON stands
    /// there as `{"hex":".."}`.
    ///
    /// A stream that is damaged is written as far as it goes, then comes a line with `error`.
    ///
    /// # Errors
    /// [`ExportError`]. Streams are read one after the other; what is written to them meanwhile
    /// may or may not be there.
    pub fn export(&self, out: &mut dyn Write) -> Result<Exported, ExportError> {
        let mut exported = Exported::default();
        for found in self.reader().every_stream()? {
            exported.streams += 1;
            let (stream, result) = match found {
                Ok(info) => {
                    let result = self.export_stream(&info, out, &mut exported);
                    (info.stream, result)
                }
                Err((stream, error)) => (stream, Err(ExportError::Read(error))),
            };
            match result {
                Err(ExportError::Read(error)) => {
                    let error = error.to_string();
                    let line = serde_json::json!({ "error": error, "stream": stream });
                    writeln!(out, "{line}")?;
                    exported.damaged.push((stream, error));
                }
                result => result?,
            }
        }
        out.flush()?;
        Ok(exported)
    }

    fn export_stream(
        &self,
        info: &StreamInfo,
        out: &mut dyn Write,
        exported: &mut Exported,
    ) -> Result<(), ExportError> {
        let snapshot = self.snapshot(&info.stream);
        let head = Head {
            stream: &info.stream,
            number: info.number,
            label: &info.label,
            key: info.key.as_deref(),
            state: info.state,
            epoch: info.epoch,
            events: info.last_seq,
            entries: info.last_entry,
            created_at: info.created_at,
            updated_at: info.updated_at,
        };
        let mut line = serde_json::to_vec(&head).map_err(io::Error::from)?;
        if let Ok(Some(snapshot)) = &snapshot {
            line.pop();
            line.extend_from_slice(b",\"snapshot\":");
            payload(&snapshot.data, &mut line);
            line.push(b'}');
        }
        line.push(b'\n');
        out.write_all(&line)?;
        // What can be had is written, whatever else is damaged.
        let events = self.export_events(info, out, exported);
        let journal = match &events {
            Err(ExportError::Write(_)) => Ok(()),
            _ => self.export_journal(info, out, exported),
        };
        events.and(journal)?;
        snapshot?;
        Ok(())
    }

    fn export_events(
        &self,
        info: &StreamInfo,
        out: &mut dyn Write,
        exported: &mut Exported,
    ) -> Result<(), ExportError> {
        let mut after = 0;
        loop {
            let events = self.events(&info.stream, after, PAGE)?;
            let Some(last) = events.last() else { return Ok(()) };
            after = last.seq;
            for stored in &events {
                let text = stored.bytes().unwrap_or_default();
                let event =
                    blocks::full_line(text, &stored.stream, stored.seq).ok_or_else(|| {
                        ReadError::Corrupt { stream: stored.stream.clone(), seq: stored.seq }
                    })?;
                write!(out, "{{\"pos\":{},\"event\":", stored.pos)?;
                out.write_all(&event)?;
                out.write_all(b"}\n")?;
                exported.events += 1;
            }
        }
    }

    fn export_journal(
        &self,
        info: &StreamInfo,
        out: &mut dyn Write,
        exported: &mut Exported,
    ) -> Result<(), ExportError> {
        let mut after = 0;
        loop {
            let entries = self.journal(&info.stream, after, PAGE)?;
            let Some(last) = entries.last() else { return Ok(()) };
            after = last.number;
            for entry in &entries {
                let mut line = format!("{{\"journal\":{},\"entry\":", entry.number).into_bytes();
                payload(&entry.data, &mut line);
                line.extend_from_slice(b"}\n");
                out.write_all(&line)?;
                exported.entries += 1;
            }
        }
    }
}

/// A payload as JSON: itself, where it is JSON on one line.
fn payload(data: &[u8], line: &mut Vec<u8>) {
    let is_json = !data.contains(&b'\n') && serde_json::from_slice::<IgnoredAny>(data).is_ok();
    if is_json {
        line.extend_from_slice(data);
        return;
    }
    line.extend_from_slice(b"{\"hex\":\"");
    for byte in data {
        line.extend_from_slice(format!("{byte:02x}").as_bytes());
    }
    line.extend_from_slice(b"\"}");
}
