//! Durations: `90s`, `1h30m`.

use std::time::Duration;

use crate::diagnostic::Kind;
use crate::faults::quoted;
use crate::node::{Node, Value};

use super::Reader;

/// The longest duration. Deadlines are sums of a moment and a duration; below ten years they
/// cannot overflow on any clock.
const LONGEST: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

impl Reader<'_> {
    /// A duration with its units.
    pub(super) fn duration(&mut self, what: &str, node: &Node<'_>) -> Option<Duration> {
        if matches!(node.value, Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_)) {
            self.wrong_type(what, "a duration such as `90s` or `1h30m`", node);
            return None;
        }
        let text = self.text(what, node)?;
        match parse(text) {
            Ok(duration) => Some(duration),
            Err(refusal) => {
                let (message, help) = refusal.words(what, text);
                self.faults.add(Kind::Invalid, node.location, message, || help);
                None
            }
        }
    }

    /// A duration that is not zero.
    pub(super) fn some_duration(&mut self, what: &str, node: &Node<'_>) -> Option<Duration> {
        let duration = self.duration(what, node)?;
        if duration.is_zero() {
            let message = format!("{what} is zero: nothing could end in time");
            self.faults.invalid(node.location, message);
            return None;
        }
        Some(duration)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    /// A number without a unit: nobody can tell seconds from milliseconds.
    NoUnit,
    /// Months and years have no fixed length.
    Calendar,
    TooLong,
    Malformed,
}

impl Refusal {
    fn words(&self, what: &str, text: &str) -> (String, Option<String>) {
        let shown = quoted(text);
        match self {
            Self::NoUnit => (
                format!("{what} is a duration: {shown} has no unit"),
                Some(match text.trim() {
                    "0" => "write `0s`".into(),
                    number => format!("write `{number}s` for seconds or `{number}m` for minutes"),
                }),
            ),
            Self::Calendar => (
                format!("{what} is a duration: months and years have no fixed length"),
                Some("use days, as in `30d`".into()),
            ),
            Self::TooLong => (format!("{what} is at most 3650d, which {shown} is not"), None),
            Self::Malformed => (
                format!("{what} is a duration: {shown} is not one"),
                Some("write it as `500ms`, `90s`, `10m`, `1h30m` or `2d`".into()),
            ),
        }
    }
}

fn parse(text: &str) -> Result<Duration, Refusal> {
    let text = text.trim();
    let digit = |c: char| c.is_ascii_digit();
    if !text.is_empty() && text.chars().all(|c| digit(c) || matches!(c, '.' | '_' | '-' | '+')) {
        return Err(Refusal::NoUnit);
    }
    let calendar = ["M", "month", "months", "y", "yr", "yrs", "year", "years"];
    if text.split(|c: char| !c.is_alphabetic()).any(|unit| calendar.contains(&unit)) {
        return Err(Refusal::Calendar);
    }
    // So short, its sums stay far from the end of their range, where the library may panic.
    if text.len() > 40 || text.split(|c| !digit(c)).any(|number| number.len() > 12) {
        return Err(Refusal::TooLong);
    }
    // The library skips spaces inside a number.
    let parts: Vec<&str> = text.split_whitespace().collect();
    let broken = |pair: &[&str]| {
        pair[0].ends_with(|c| digit(c) || c == '.') && !pair[1].starts_with(char::is_alphabetic)
    };
    if parts.windows(2).any(broken) {
        return Err(Refusal::Malformed);
    }
    match humantime::parse_duration(text) {
        Ok(duration) if duration > LONGEST => Err(Refusal::TooLong),
        Ok(duration) => Ok(duration),
        Err(_) => Err(Refusal::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Refusal, parse};

    #[test]
    fn durations_are_numbers_with_units() {
        for (text, milliseconds) in [
            ("90s", 90_000),
            ("1h30m", 5_400_000),
            (" 1h 30m ", 5_400_000),
            ("1.5s", 1_500),
            ("500ms", 500),
            ("0s", 0),
            ("2d", 172_800_000),
            ("1week", 604_800_000),
            ("10 min", 600_000),
            ("3650d", 315_360_000_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_says_why() {
        for (text, refusal) in [
            ("90", Refusal::NoUnit),
            ("0", Refusal::NoUnit),
            ("1.5", Refusal::NoUnit),
            ("-5", Refusal::NoUnit),
            ("1_000", Refusal::NoUnit),
            ("3 months", Refusal::Calendar),
            ("3months", Refusal::Calendar),
            ("1d2M", Refusal::Calendar),
            ("1y", Refusal::Calendar),
            ("1 2s", Refusal::Malformed),
            ("1 .5s", Refusal::Malformed),
            ("1s 2", Refusal::Malformed),
            ("1. 5s", Refusal::Malformed),
            ("-5s", Refusal::Malformed),
            ("5x", Refusal::Malformed),
            ("1:30", Refusal::Malformed),
            ("s", Refusal::Malformed),
            ("", Refusal::Malformed),
            ("3651d", Refusal::TooLong),
            ("9999999999999s", Refusal::TooLong),
            ("18446744073709551615s 1000000000ns", Refusal::TooLong),
            ("99999999w99999999w99999999w99999999w99999999w", Refusal::TooLong),
        ] {
            assert_eq!(parse(text), Err(refusal), "{text}");
        }
    }
}
