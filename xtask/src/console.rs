//! How the checks speak: plain lines, coloured only where a person reads them.

use std::env;
use std::io::{self, IsTerminal};
use std::time::Duration;

/// Colours, or none of them.
#[derive(Clone, Copy)]
pub(crate) struct Style {
    colour: bool,
}

impl Style {
    /// Colour on a terminal, unless `NO_COLOR` or `CI` is set or the terminal is `dumb`.
    pub(crate) fn detect() -> Self {
        let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        let colour = io::stdout().is_terminal() && !is_set("NO_COLOR") && !is_set("CI") && !dumb;
        Self { colour }
    }

    /// The value of `CARGO_TERM_COLOR` that makes cargo agree; none leaves it to cargo.
    pub(crate) fn cargo(self) -> Option<&'static str> {
        (!self.colour).then_some("never")
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(crate) fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(crate) fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    pub(crate) fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// `0.4 s`, `12.3 s`, `4 min 05 s`.
pub(crate) fn seconds(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    format!("{} min {:02} s", time.as_secs() / 60, time.as_secs() % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_readable() {
        assert_eq!(seconds(Duration::from_millis(440)), "0.4 s");
        assert_eq!(seconds(Duration::from_secs(245)), "4 min 05 s");
    }

    #[test]
    fn without_colour_text_stays_as_it_is() {
        assert_eq!(Style { colour: false }.red("failed"), "failed");
        assert_eq!(Style { colour: true }.red("failed"), "\x1b[31mfailed\x1b[0m");
        assert_eq!(Style { colour: false }.cargo(), Some("never"));
    }
}
