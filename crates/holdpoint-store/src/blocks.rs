//! Blocks: what one commit adds to one stream, as bytes, and the hashes that chain them
//! (STORE-005, STORE-012).
//!
//! # Invariants
//! 1. A block's hash covers its stream, the numbers of its first event and first journal entry, the
//!    hash of the block before, and all its bytes. Whoever changes one byte changes the hash of that
//!    block, and so of all that follow; the last one is kept with the stream.
//! 2. The text of a block is one JSON object a line, without stream and number, which the block has.
//! 3. A merged block stands for several commits. Its parts say which position each had.

use std::ops::Range;
use std::sync::Arc;

use holdpoint_core::event::{Event, EventKind, Stream};
use holdpoint_core::{Name, Timestamp};
use serde::{Deserialize, Serialize};

/// The first half of a BLAKE3 hash: enough to find damage of any kind, half the room.
pub(crate) type Hash = [u8; 16];

/// What stands before the first block of a stream.
pub(crate) const NO_HASH: Hash = [0; 16];

/// A stream's name in the database. Other than its `Display`, made to be read back.
pub(crate) fn name_of(stream: &Stream) -> String {
    match stream {
        Stream::Session(id) => format!("session:{id}"),
        Stream::Schedule(name) => format!("schedule:{name}"),
        Stream::Batch(id) => format!("batch:{id}"),
        _ => unreachable!("BUG: a kind of stream that the store does not know"),
    }
}

/// The stream of such a name.
pub(crate) fn stream_of(name: &str) -> Option<Stream> {
    let (kind, rest) = name.split_once(':')?;
    match kind {
        "session" => rest.parse().ok().map(Stream::Session),
        "schedule" => rest.parse::<Name>().ok().map(Stream::Schedule),
        "batch" => rest.parse().ok().map(Stream::Batch),
        _ => None,
    }
}

/// Hashes parts of different lengths so that no two sequences of parts look alike.
pub(crate) struct Hashing(blake3::Hasher);

impl Hashing {
    /// For one kind of thing; no two kinds have a hash in common.
    pub(crate) fn of(kind: &str) -> Self {
        Self(blake3::Hasher::new()).bytes(kind.as_bytes())
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    pub(crate) fn number(mut self, number: u64) -> Self {
        self.0.update(&number.to_le_bytes());
        self
    }

    pub(crate) fn done(self) -> Hash {
        let mut hash = NO_HASH;
        hash.copy_from_slice(&self.0.finalize().as_bytes()[..16]);
        hash
    }
}

/// A block's own part: all that its hash covers but the stream and the hash before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Block {
    /// The number of its first event, or of the one that would be next.
    pub(crate) first: u64,
    /// How many events it has.
    pub(crate) count: u64,
    /// The number of its first journal entry, or of the one that would be next.
    pub(crate) first_entry: u64,
    /// How many journal entries it has.
    pub(crate) entries: u64,
    /// Of a merged block: its parts, see [`Part`]. Else empty.
    pub(crate) parts: Vec<u8>,
    /// Its events, one a line.
    pub(crate) text: Vec<u8>,
    /// Its journal entries, each after its length as four bytes.
    pub(crate) journal: Vec<u8>,
}

impl Block {
    /// An empty block whose next event and entry have these numbers.
    pub(crate) fn at(first: u64, first_entry: u64) -> Self {
        Self { first, first_entry, ..Self::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0 && self.entries == 0
    }

    pub(crate) fn size(&self) -> usize {
        self.parts.len() + self.text.len() + self.journal.len()
    }

    /// Empties it, and keeps its memory; the next event and entry have these numbers.
    pub(crate) fn clear(&mut self, first: u64, first_entry: u64) {
        let (mut text, mut journal) =
            (std::mem::take(&mut self.text), std::mem::take(&mut self.journal));
        text.clear();
        journal.clear();
        *self = Self { text, journal, ..Self::at(first, first_entry) };
    }

    /// Adds what another block has; it must follow this one.
    pub(crate) fn push(&mut self, next: Self) {
        if self.text.is_empty() && self.journal.is_empty() {
            (self.text, self.journal) = (next.text, next.journal);
            self.count += next.count;
            self.entries += next.entries;
            return;
        }
        if self.count > 0 && next.count > 0 {
            self.text.push(b'\n');
        }
        self.text.extend_from_slice(&next.text);
        self.journal.extend_from_slice(&next.journal);
        self.count += next.count;
        self.entries += next.entries;
    }

    /// The hash of this block of a stream after the block with the hash `before`.
    pub(crate) fn hash(&self, stream: &str, before: &Hash) -> Hash {
        Hashing::of("block")
            .bytes(stream.as_bytes())
            .number(self.first)
            .number(self.count)
            .number(self.first_entry)
            .number(self.entries)
            .bytes(before)
            .bytes(&self.parts)
            .bytes(&self.text)
            .bytes(&self.journal)
            .done()
    }

    /// The places of its events in its text, in order. Fewer than `count` where it is damaged.
    pub(crate) fn lines(&self) -> impl Iterator<Item = Range<u32>> + '_ {
        let mut start = 0;
        let count = usize::try_from(self.count).unwrap_or(usize::MAX);
        std::iter::from_fn(move || {
            let rest = self.text.get(start..)?;
            let length = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let line = start as u32..(start + length) as u32;
            start += length + 1;
            Some(line)
        })
        .take(count)
    }

    /// Its journal entries, in order. Fewer than `entries` where it is damaged.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.journal.as_slice();
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first_chunk::<4>()?;
            let length = u32::from_le_bytes(*length) as usize;
            let entry = after.get(..length)?;
            rest = &after[length..];
            Some(entry)
        })
    }
}

/// A commit that a merged block contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    /// The position of its first event.
    pub(crate) pos: u64,
    /// How many events it had.
    pub(crate) count: u64,
}

impl Part {
    const SIZE: usize = 16;

    pub(crate) fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.pos.to_le_bytes());
        out.extend_from_slice(&self.count.to_le_bytes());
    }

    pub(crate) fn read_all(bytes: &[u8]) -> Option<Vec<Self>> {
        if !bytes.len().is_multiple_of(Self::SIZE) {
            return None;
        }
        let number = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_le_bytes);
        bytes
            .chunks_exact(Self::SIZE)
            .map(|part| Some(Self { pos: number(&part[..8])?, count: number(&part[8..])? }))
            .collect()
    }
}

/// An event as it lies in a block.
#[derive(Serialize)]
struct Line<'a> {
    at: Timestamp,
    #[serde(flatten)]
    kind: &'a EventKind,
}

#[derive(Deserialize)]
struct OwnedLine {
    at: Timestamp,
    #[serde(flatten)]
    kind: EventKind,
}

/// Adds an event's line to a text.
pub(crate) fn write_line(event: &Event, text: &mut Vec<u8>) {
    if !text.is_empty() {
        text.push(b'\n');
    }
    let line = Line { at: event.at, kind: &event.kind };
    serde_json::to_writer(text, &line).expect("BUG: an event that is no JSON");
}

/// The event of a line.
pub(crate) fn read_line(line: &[u8], stream: &Stream, seq: u64) -> Option<Event> {
    let OwnedLine { at, kind } = serde_json::from_slice(line).ok()?;
    Some(Event::new(seq, at, stream.clone(), kind))
}

/// A line with number and stream, as other programs get it.
pub(crate) fn full_line(line: &[u8], stream: &Stream, seq: u64) -> Option<Vec<u8>> {
    serde_json::to_vec(&read_line(line, stream, seq)?).ok()
}

/// Adds an entry to the bytes of a journal. The caller has checked its length.
pub(crate) fn write_entry(entry: &[u8], journal: &mut Vec<u8>) {
    let length = u32::try_from(entry.len()).expect("BUG: an entry above the limit");
    journal.extend_from_slice(&length.to_le_bytes());
    journal.extend_from_slice(entry);
}

/// The hash of a snapshot.
pub(crate) fn snapshot_hash(stream: &str, seq: u64, state: &str, data: &[u8]) -> Hash {
    Hashing::of("snapshot")
        .bytes(stream.as_bytes())
        .number(seq)
        .bytes(state.as_bytes())
        .bytes(data)
        .done()
}

/// The text of a block, to be shared by its events.
pub(crate) fn shared(text: Vec<u8>) -> Arc<[u8]> {
    text.into()
}
