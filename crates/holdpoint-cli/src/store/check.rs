//! `holdpoint store check`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;

use holdpoint::event::Stream;
use holdpoint::run::Ending;
use holdpoint::store::{CheckReport, FileStore, ReadError, Store as _, StoreFault};
use serde::Serialize;

use crate::args::StoreCheckArgs;
use crate::console::colours_on;
use crate::failure::{Failure, is_damage};
use crate::list::json;
use crate::text::{bytes, counted, plain, print};

use super::Place;

/// Events read at a time.
const PAGE: usize = 1000;

/// Reads everything and tells what is damaged.
pub(super) fn check(place: &Place<'_>, args: &StoreCheckArgs) -> Result<Ending, Failure> {
    let result = place.open_to_read().map(|store| Findings::of(&store));
    let answer = match &result {
        Ok(findings) if args.json => json(&findings.answer()),
        Ok(findings) => findings.text(place),
        Err(Failure::Open(error)) if args.json && is_damage(error) => {
            Answer::of_damaged(error.to_string())
        }
        Err(_) => String::new(),
    };
    print(&answer).map_err(Failure::Output)?;
    result.map(|found| if found.faults.is_empty() { Ending::Succeeded } else { Ending::Failed })
}

/// What was found in a store that could be opened.
struct Findings {
    /// None where the file is damaged so that its streams cannot be listed.
    report: Option<CheckReport>,
    faults: Vec<Fault>,
    /// The size of the file.
    bytes: u64,
    /// Of each damaged stream, what can be read of it.
    readable: BTreeMap<Stream, String>,
}

impl Findings {
    fn of(store: &FileStore) -> Self {
        let (report, faults) = match store.check() {
            Ok(report) => {
                let faults = report.faults.iter().map(Fault::of).collect();
                (Some(report), faults)
            }
            Err(ReadError::Damaged { message }) => {
                (None, vec![Fault::of_file(format!("the database says: {message}"))])
            }
            Err(error) => (None, vec![Fault::of_file(error.to_string())]),
        };
        let damaged = faults.iter().filter_map(|fault: &Fault| fault.stream.clone());
        let readable = damaged.map(|stream| (stream.clone(), readable(store, &stream))).collect();
        let bytes = store.size().map_or(0, |(_, file)| file);
        Self { report, faults, bytes, readable }
    }

    fn answer(&self) -> Answer<'_> {
        let report = self.report.clone().unwrap_or_default();
        Answer {
            sound: self.faults.is_empty(),
            streams: report.streams,
            events: report.events,
            entries: report.entries,
            unacknowledged: report.unacknowledged,
            bytes: self.bytes,
            faults: self.faults.iter().collect(),
        }
    }

    fn text(&self, place: &Place<'_>) -> String {
        let has_colours = colours_on(&io::stdout(), place.common.color);
        let paint = |colour: u8, word: &str| match has_colours {
            true => format!("\x1b[{colour}m{word}\x1b[0m"),
            false => word.to_owned(),
        };
        let mut text = String::new();
        for fault in &self.faults {
            let _ = writeln!(text, "{}: {}", paint(31, "damaged"), self.told(fault));
        }
        if let Some(report) = self.report.as_ref().filter(|report| report.unacknowledged > 0) {
            let frames = counted(report.unacknowledged, "frame", "frames");
            let _ = writeln!(
                text,
                "note: the log ended with {frames} of a commit that nobody was told of; it counts \
                 as never made"
            );
        }
        if !self.faults.is_empty() {
            let _ = writeln!(
                text,
                "help: bring back a copy of {} from before the damage; `{}` saves what can be read",
                place.name(),
                place.again("export FILE")
            );
        }
        let verdict =
            if self.faults.is_empty() { paint(32, "sound") } else { paint(31, "damaged") };
        let _ = writeln!(text, "{}: {verdict}; {}", place.name(), self.counts());
        text
    }

    /// What there is, as far as it can be read.
    fn counts(&self) -> String {
        let size = bytes(self.bytes);
        let Some(report) = &self.report else {
            return format!("its streams cannot be listed, {size}");
        };
        let streams = counted(report.streams, "stream", "streams");
        let streams = if self.faults.is_empty() {
            streams
        } else {
            format!(
                "{} of {streams} whole",
                report.streams.saturating_sub(self.readable.len() as u64)
            )
        };
        let events = counted(report.events, "event", "events");
        let entries = counted(report.entries, "journal entry", "journal entries");
        format!("{streams}, {events}, {entries}, {size}")
    }

    /// A fault in one row: where it is, what it is, what can be read all the same.
    fn told(&self, fault: &Fault) -> String {
        let readable = fault.stream.as_ref().and_then(|stream| self.readable.get(stream));
        let place = match (&fault.stream, fault.seq) {
            (Some(stream), Some(seq)) => format!("{stream}, event {seq}: "),
            (Some(stream), None) => format!("{stream}: "),
            (None, _) => String::new(),
        };
        let readable = readable.map(|readable| format!("; {readable}")).unwrap_or_default();
        plain(&format!("{place}{}{readable}", fault.message))
    }
}

/// How many events of a stream can be read.
fn readable(store: &FileStore, stream: &Stream) -> String {
    let mut last = 0;
    let is_all = loop {
        let Ok(events) = store.events(stream, last, PAGE) else { break false };
        if events.is_empty() {
            break true;
        }
        let good = events.iter().take_while(|event| event.event().is_ok()).count();
        last += good as u64;
        if good < events.len() {
            break false;
        }
    };
    match (is_all, last) {
        (true, _) => "all its events can be read".to_owned(),
        (false, 0) => "none of its events can be read".to_owned(),
        (false, 1) => "event 1 can be read".to_owned(),
        (false, last) => format!("events 1 to {last} can be read"),
    }
}

/// What `store check --json` prints.
#[derive(Serialize)]
struct Answer<'f> {
    sound: bool,
    streams: u64,
    events: u64,
    entries: u64,
    unacknowledged: u64,
    bytes: u64,
    faults: Vec<&'f Fault>,
}

#[derive(Serialize)]
struct Fault {
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<Stream>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    message: String,
}

impl Answer<'_> {
    /// Of a store that cannot be opened.
    fn of_damaged(message: String) -> String {
        json(&Answer {
            sound: false,
            streams: 0,
            events: 0,
            entries: 0,
            unacknowledged: 0,
            bytes: 0,
            faults: vec![&Fault::of_file(message)],
        })
    }
}

impl Fault {
    fn of(fault: &StoreFault) -> Self {
        Self { stream: fault.stream.clone(), seq: fault.seq, message: fault.message.clone() }
    }

    /// One that concerns the file as a whole.
    fn of_file(message: String) -> Self {
        Self { stream: None, seq: None, message }
    }
}
