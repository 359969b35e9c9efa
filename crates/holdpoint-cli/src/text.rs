//! Small texts: what may be shown of a foreign one, durations, numbers with their noun.

use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use holdpoint::process::escape;
use holdpoint::{Clock as _, SystemClock, Timestamp};

/// A foreign text in one row, with nothing in it that a terminal would act upon.
pub(crate) fn plain(text: &str) -> String {
    let mut shown = Vec::with_capacity(text.len());
    escape(text.replace(['\n', '\t'], " ").trim_end().as_bytes(), false, &mut shown);
    String::from_utf8_lossy(&shown).into_owned()
}

/// The same, cut where it is longer than `width` characters.
pub(crate) fn short(text: &str, width: usize) -> String {
    let shown = plain(text);
    if shown.chars().count() <= width {
        return shown;
    }
    let kept: String = shown.chars().take(width.saturating_sub(2)).collect();
    format!("{}..", kept.trim_end())
}

/// A path as a shell takes it.
pub(crate) fn word(path: &Path) -> String {
    let text = path.to_string_lossy();
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "/._-+:,@%=".contains(c);
    if !text.is_empty() && text.chars().all(is_safe) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// `12 ms`, `1.2 s`, `2 m 05 s`.
pub(crate) fn took(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match duration.as_millis() {
        0..100 => format!("{} ms", duration.as_millis()),
        100..60_000 => format!("{:.1} s", duration.as_secs_f64()),
        _ if seconds < 3600 => format!("{} m {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} m", seconds / 3600, seconds / 60 % 60),
    }
}

/// How long ago that was, in its largest unit: `now`, `5 min`, `3 days`.
pub(crate) fn ago(at: Timestamp) -> String {
    let now = SystemClock::new().now().wall;
    let seconds = now.as_micros().saturating_sub(at.as_micros()) / 1_000_000;
    match seconds {
        0..10 => "now".to_owned(),
        10..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..86_400 => format!("{} h ago", seconds / 3600),
        _ => format!("{} ago", counted(seconds / 86_400, "day", "days")),
    }
}

/// `1 task`, `2 tasks`.
pub(crate) fn tasks(count: usize) -> String {
    counted(count as u64, "task", "tasks")
}

/// A number with its noun, of which there is one, or several.
pub(crate) fn counted(count: u64, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

/// `512 bytes`, `84.0 KiB`, `1.5 GiB`.
pub(crate) fn bytes(count: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = units.into_iter().find(|(_, shift)| count >> shift > 0);
    unit.map_or_else(
        || counted(count, "byte", "bytes"),
        |(unit, shift)| format!("{:.1} {unit}", count as f64 / f64::from(1 << shift)),
    )
}

/// Some of these, and how many more there are.
pub(crate) fn some(names: &[String], most: usize) -> String {
    let shown = names[..names.len().min(most)].join(", ");
    match names.len().saturating_sub(most) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Writes an answer to standard output.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn out_1_a_foreign_text_is_one_row_without_effect_on_a_terminal() {
        assert_eq!(plain("red \x1b[31m\r\nand\tmore\n"), "red \\x1b[31m\\r and more");
        assert_eq!(plain("a\u{202e}b"), "a\\u{202e}b");
    }

    #[test]
    fn a_long_text_is_cut() {
        assert_eq!(short("make", 4), "make");
        assert_eq!(short("make all", 7), "make..");
    }

    #[test]
    fn a_path_is_one_word_for_a_shell() {
        assert_eq!(word(Path::new("a/b-c.yaml")), "a/b-c.yaml");
        assert_eq!(word(Path::new("it's $HOME")), r"'it'\''s $HOME'");
    }

    #[test]
    fn durations_are_short() {
        let shown = |millis| took(Duration::from_millis(millis));
        assert_eq!(shown(0), "0 ms");
        assert_eq!(shown(99), "99 ms");
        assert_eq!(shown(1_234), "1.2 s");
        assert_eq!(shown(59_900), "59.9 s");
        assert_eq!(shown(125_000), "2 m 05 s");
        assert_eq!(shown(3_725_000), "1 h 02 m");
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!(bytes(0), "0 bytes");
        assert_eq!(bytes(1023), "1023 bytes");
        assert_eq!(bytes(86_016), "84.0 KiB");
        assert_eq!(bytes(3 << 29), "1.5 GiB");
        assert_eq!(bytes(5 << 40), "5120.0 GiB");
    }

    #[test]
    fn many_names_are_counted() {
        let names: Vec<String> = ["a", "b", "c"].map(str::to_owned).into();
        assert_eq!(some(&names, 3), "a, b, c");
        assert_eq!(some(&names, 1), "a and 2 more");
    }
}
