//! `--events`: what happens as JSON, one object a line.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use holdpoint::{Event, EventSink};

use crate::args::{Common, How};
use crate::console::{Target, Writer};
use crate::failure::Failure;

/// Where event lines go.
pub(crate) enum Events {
    Nowhere,
    /// To standard output, in one order with whatever else is written there.
    Output(Arc<Writer>),
    /// To a file of their own, whose writer is closed at the end.
    File(Arc<Writer>),
}

impl Events {
    /// Makes the file that is asked for.
    pub(crate) fn open(common: &Common, args: &How, out: &Arc<Writer>) -> Result<Self, Failure> {
        match &args.events {
            None => Ok(Self::Nowhere),
            Some(path) if path == Path::new("-") => Ok(Self::Output(Arc::clone(out))),
            Some(path) => {
                let path = common.path(path)?;
                let file = File::create(&path);
                let file = file.map_err(|error| Failure::Events(path.clone(), error))?;
                Ok(Self::File(Writer::of_events(file, path)?))
            }
        }
    }

    pub(crate) fn sink(&self) -> Option<Arc<dyn EventSink>> {
        let (writer, target) = match self {
            Self::Nowhere => return None,
            Self::Output(writer) => (writer, Target::Stdout),
            Self::File(writer) => (writer, Target::File),
        };
        Some(Arc::new(Lines { writer: Arc::clone(writer), target }))
    }

    /// The writer of a file of their own.
    pub(crate) fn file(&self) -> Option<&Arc<Writer>> {
        match self {
            Self::File(writer) => Some(writer),
            Self::Nowhere | Self::Output(_) => None,
        }
    }

    /// Waits until all is written. Returns what could not be.
    pub(crate) fn close(&self) -> Option<Failure> {
        self.file().and_then(|writer| writer.close())
    }
}

struct Lines {
    writer: Arc<Writer>,
    target: Target,
}

impl EventSink for Lines {
    fn event(&self, event: &Event) {
        // Names, numbers and texts: nothing in an event can fail to be JSON. A line break in a
        // text is escaped, so one event is one line whatever it tells.
        let mut line = serde_json::to_vec(event).unwrap_or_default();
        line.push(b'\n');
        self.writer.write(self.target, line);
    }
}
