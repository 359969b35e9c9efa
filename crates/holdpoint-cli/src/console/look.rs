//! What is shown of a run, and how: decided once, from flags, variables and terminals.

use std::io::{self, IsTerminal};

use holdpoint::process::Rendering;

use crate::args::{ColorChoice, Common, How, StyleChoice};

use super::writer::Target;

/// How a run is shown.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    pub(super) style: Style,
    pub(super) verbose: bool,
    /// Where the standard output of tasks goes.
    pub(super) stdout: Target,
    /// Whether rows and names have colours: on standard output, on standard error.
    colours: (bool, bool),
    renderings: (Rendering, Rendering),
}

/// How the output of tasks is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Line by line.
    Stream,
    /// All of an attempt in one block when it ends.
    Grouped,
    /// Not at all.
    None,
}

/// What a row says of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Started,
    Waiting,
    Retry,
    Ok,
    Failed,
    Errored,
    /// It failed, and was allowed to.
    Allowed,
    Skipped,
    Cancelled,
}

impl Look {
    pub(crate) fn new(common: &Common, args: &How) -> Self {
        let (out, err) = (io::stdout(), io::stderr());
        Self {
            style: style(args.style, is_ci()),
            verbose: common.verbose > 0,
            stdout: if args.events_take_stdout() { Target::Stderr } else { Target::Stdout },
            colours: (colours_on(&out, common.color), colours_on(&err, common.color)),
            renderings: (Rendering::of(&out), Rendering::of(&err)),
        }
    }

    /// How foreign bytes are written there.
    pub(super) fn rendering(&self, target: Target) -> Rendering {
        if target == Target::Stdout { self.renderings.0 } else { self.renderings.1 }
    }

    /// The colour of the n-th task's name, where there are colours.
    pub(super) fn name_colour(&self, target: Target, index: usize) -> Option<u8> {
        const COLOURS: [u8; 6] = [36, 35, 34, 96, 95, 94];
        let has = if target == Target::Stdout { self.colours.0 } else { self.colours.1 };
        has.then(|| COLOURS[index % COLOURS.len()])
    }

    /// A state's word for a row on standard error, filled to `width` characters.
    pub(super) fn word(&self, state: State, width: usize) -> String {
        let word = format!("{:width$}", state.name());
        match state.colour() {
            Some(colour) if self.colours.1 => format!("\x1b[{colour}m{word}\x1b[0m"),
            _ => word,
        }
    }
}

impl State {
    /// The state of a task that failed, or could not be done, as it may.
    pub(super) fn or_allowed(self, allowed: bool) -> Self {
        if allowed { Self::Allowed } else { self }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Waiting => "waiting",
            Self::Retry => "retry",
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Errored => "errored",
            Self::Allowed => "allowed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
        }
    }

    const fn colour(self) -> Option<u8> {
        match self {
            Self::Started | Self::Waiting => None,
            Self::Ok => Some(32),
            Self::Failed | Self::Errored => Some(31),
            Self::Retry | Self::Allowed | Self::Skipped | Self::Cancelled => Some(33),
        }
    }
}

fn style(choice: StyleChoice, is_ci: bool) -> Style {
    match choice {
        StyleChoice::Auto if is_ci => Style::Grouped,
        StyleChoice::Auto | StyleChoice::Stream => Style::Stream,
        StyleChoice::Grouped => Style::Grouped,
        StyleChoice::None => Style::None,
    }
}

/// Whether what is written there has colours.
pub(crate) fn colours_on(destination: &impl IsTerminal, choice: ColorChoice) -> bool {
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    let is_terminal = destination.is_terminal() && !is_dumb;
    has_colours(choice, is_terminal, is_set("NO_COLOR"), is_ci())
}

fn has_colours(choice: ColorChoice, is_terminal: bool, no_color: bool, is_ci: bool) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => is_terminal && !no_color && !is_ci,
    }
}

/// Whether this is no place where somebody watches.
fn is_ci() -> bool {
    is_set("CI") && std::env::var_os("CI").is_none_or(|value| value != "false" && value != "0")
}

/// Set, and to something: the convention of NO_COLOR.
fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prog_008_colours_follow_the_flag_then_the_variables_then_the_terminal() {
        use ColorChoice::{Always, Auto, Never};
        assert!(has_colours(Always, false, true, true));
        assert!(!has_colours(Never, true, false, false));
        assert!(has_colours(Auto, true, false, false));
        assert!(!has_colours(Auto, false, false, false));
        assert!(!has_colours(Auto, true, true, false));
        assert!(!has_colours(Auto, true, false, true));
    }

    #[test]
    fn prog_008_output_is_grouped_in_ci_unless_something_else_is_asked_for() {
        assert_eq!(style(StyleChoice::Auto, true), Style::Grouped);
        assert_eq!(style(StyleChoice::Auto, false), Style::Stream);
        assert_eq!(style(StyleChoice::Stream, true), Style::Stream);
        assert_eq!(style(StyleChoice::None, true), Style::None);
    }
}
