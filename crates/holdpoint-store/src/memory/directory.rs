//! What concerns all streams: in which order they were created, and under which keys.

use std::collections::HashMap;
use std::sync::Arc;

use holdpoint_core::event::Stream;
use holdpoint_core::store::{Responder, StreamInfo};

/// Where a stream lies. It never moves.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) shard: usize,
    pub(super) index: u32,
}

#[derive(Default)]
pub(super) struct Directory {
    /// By their number, from 1 on.
    sessions: Vec<Place>,
    others: Vec<Place>,
    keys: HashMap<Arc<str>, (Stream, Place)>,
    /// Kept for who gave it, and never asked: nobody else can own a stream.
    pub(super) responder: Option<Arc<dyn Responder>>,
}

impl Directory {
    /// Enters a new stream. Gives its number, where its kind has one.
    pub(super) fn enter(&mut self, info: &StreamInfo, place: Place) -> Option<u64> {
        if let Some(key) = &info.key {
            self.keys.insert(Arc::clone(key), (info.stream.clone(), place));
        }
        if !matches!(info.stream, Stream::Session(_)) {
            self.others.push(place);
            return None;
        }
        self.sessions.push(place);
        Some(self.sessions.len() as u64)
    }

    /// The sessions, or all others, in the order of their creation.
    pub(super) fn half(&self, sessions: bool) -> &[Place] {
        if sessions { &self.sessions } else { &self.others }
    }

    /// Where the session with this key is.
    pub(super) fn place_of(&self, key: &str) -> Option<Place> {
        self.keys.get(key).map(|(_, place)| *place)
    }

    /// The session with this key, and the key.
    pub(super) fn stream_of(&self, key: &str) -> Option<(Arc<str>, Stream)> {
        let (key, (stream, _)) = self.keys.get_key_value(key)?;
        Some((Arc::clone(key), stream.clone()))
    }
}
