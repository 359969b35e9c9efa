//! How long tasks have taken before, so that those on the longest way to the end begin first
//! (GRAPH-003).
//!
//! A file in the store's cache, which may be damaged or deleted at any time: then tasks begin in
//! the order of their names.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use holdpoint_graph::{Outcome, Report, Source};

/// How much the last time counts, against all before it.
const WEIGHT: f64 = 0.3;

/// For each task, about how long it takes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Durations(BTreeMap<String, f64>);

impl Durations {
    /// Those of a store's folder; none where there are none that can be read.
    #[must_use]
    pub fn of(folder: &Path) -> Self {
        let text = fs::read_to_string(file(folder)).unwrap_or_default();
        let seconds: BTreeMap<String, f64> = serde_json::from_str(&text).unwrap_or_default();
        let is_one = |seconds: &f64| seconds.is_finite() && *seconds >= 0.0 && *seconds < 1e9;
        Self(seconds.into_iter().filter(|(_, seconds)| is_one(seconds)).collect())
    }

    /// About how long a task takes; none where that is not known.
    #[must_use]
    pub fn get(&self, task: &str) -> Option<Duration> {
        self.0.get(task).map(|seconds| Duration::from_secs_f64(*seconds))
    }

    /// Takes in how long the tasks of a run have taken that were executed and succeeded.
    pub fn take_in(&mut self, report: &Report) {
        for row in report.rows() {
            // What was known from before this run did not begin in it.
            if let (Outcome::Succeeded(Source::Fresh), Some(began)) = (&row.outcome, row.started) {
                let took = row.finished.saturating_sub(began).as_secs_f64();
                let known = self.0.entry(row.task.to_owned()).or_insert(took);
                *known += WEIGHT * (took - *known);
            }
        }
    }

    /// Keeps them in a store's folder: all or nothing of it is there at any time.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn keep(&self, folder: &Path) -> io::Result<()> {
        let path = file(folder);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        let beside = path.with_extension(format!("{}.tmp", std::process::id()));
        fs::write(&beside, serde_json::to_vec(&self.0)?)?;
        fs::rename(&beside, &path)
    }
}

fn file(folder: &Path) -> PathBuf {
    folder.join("cache").join("durations.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn graph_003_what_is_no_duration_is_none() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Durations::of(folder.path()), Durations::default());
        fs::create_dir(folder.path().join("cache")).unwrap();
        for text in ["", "[]", "{\"a\": \"long\"}", "\u{0}"] {
            fs::write(file(folder.path()), text).unwrap();
            assert_eq!(Durations::of(folder.path()), Durations::default(), "{text:?}");
        }
        fs::write(file(folder.path()), "{\"a\": 1.5, \"b\": -1, \"c\": 1e300}").unwrap();
        let known = Durations::of(folder.path());
        assert_eq!(known.get("a"), Some(Duration::from_millis(1500)));
        assert_eq!((known.get("b"), known.get("c")), (None, None));
        known.keep(folder.path()).unwrap();
        assert_eq!(Durations::of(folder.path()), known);
    }
}
