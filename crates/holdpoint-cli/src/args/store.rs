//! The part of the command line behind `store`, and values with units.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

const CHECK_NOTES: &str = "\
Everything is read and nothing stored is changed, also while others use the
store.

Exit codes:
  0  everything can be read as it was written
  1  something is damaged
  2  there is no store, or it cannot be opened for another reason";

const EXPORT_NOTES: &str = "\
Of each stream comes a line about itself, then one for each event and one for
each entry of its journal. What is no JSON in the store stands there in hex.
  {\"stream\":{\"session\":\"...\"},\"number\":7,\"state\":\"done\",..}
  {\"pos\":12,\"event\":{\"seq\":1,\"at\":\"...\",\"kind\":\"session_planned\",..}}
  {\"journal\":1,\"entry\":..}
A damaged stream is written as far as it can be read, then comes a line with
`error`, and the exit code is 1. Nothing stored is changed, and others may use
the store meanwhile. FILE gets its name when all is in it.";

const PRUNE_NOTES: &str = "\
Those that ended first are deleted first. What has not ended stays, whatever
its age and its size, and so do the newest --keep-last that have. The database
file keeps its size; what is free in it is used again.
Durations are such as 90s, 1h30m or 30d, sizes such as 500MB or 2GiB.";

#[derive(Debug, Args)]
pub(crate) struct StoreArgs {
    #[command(subcommand)]
    pub(crate) command: StoreCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Look whether everything in the store can be read as it was written.
    #[command(after_help = CHECK_NOTES)]
    Check(StoreCheckArgs),
    /// Write everything in the store as JSON, one object a line.
    #[command(after_help = EXPORT_NOTES)]
    Export(ExportArgs),
    /// Delete sessions and batches that ended long ago.
    #[command(after_help = PRUNE_NOTES)]
    Prune(PruneArgs),
}

#[derive(Debug, Args)]
pub(crate) struct StoreCheckArgs {
    /// Answer as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Where to; `-` is standard output.
    #[arg(value_name = "FILE", default_value = "-")]
    pub(crate) to: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Delete what ended longer ago; `0s`: whatever has ended.
    #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = duration)]
    pub(crate) age: Duration,
    /// Keep so many of those that ended last, whatever their age and size.
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(crate) keep_last: usize,
    /// Delete more, whatever its age, while more bytes than these are in use.
    #[arg(long, value_name = "SIZE", default_value = "2GiB", value_parser = size)]
    pub(crate) size: u64,
    /// Answer as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A duration as in the manifest, with its units.
fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if is_number(text) {
        return Err(match text {
            "0" => "it has no unit; write `0s`".to_owned(),
            _ => format!("it has no unit; write `{text}d` for days or `{text}h` for hours"),
        });
    }
    // The parser takes `M` for a month, which nobody who means minutes should learn too late.
    let calendar = ["M", "month", "months", "y", "yr", "yrs", "year", "years"];
    if text.split(|c: char| !c.is_alphabetic()).any(|unit| calendar.contains(&unit)) {
        return Err("months and years have no fixed length; use days, as in `30d`".to_owned());
    }
    // So short, its sums stay far from the end of their range, where the parser may panic.
    let is_short = text.len() <= 40 && text.split(|c| !is_digit(c)).all(|run| run.len() <= 12);
    let parsed = is_short.then(|| humantime::parse_duration(text).ok()).flatten();
    parsed.ok_or_else(|| "write a duration such as `90s`, `1h30m` or `30d`".to_owned())
}

/// A number of bytes with its unit, a power of 1024 or of 1000.
fn size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let (number, unit) =
        text.split_at(text.find(|c| !is_digit(c) && c != '.').unwrap_or(text.len()));
    let factor =
        match unit.trim().to_ascii_lowercase().as_str() {
            "kib" => 1024.0,
            "mib" => 1024.0 * 1024.0,
            "gib" => 1024.0 * 1024.0 * 1024.0,
            "kb" => 1e3,
            "mb" => 1e6,
            "gb" => 1e9,
            "" if is_number(number) => {
                return Err(format!("it has no unit; write `{number}MiB` or `{number}GiB`"));
            }
            _ => return Err(
                "write a size such as `500MB` or `2GiB`; units are KiB, MiB, GiB, KB, MB and GB"
                    .to_owned(),
            ),
        };
    let number: f64 =
        number.parse().map_err(|_| "write a size such as `500MB` or `2GiB`".to_owned())?;
    // Too large a number becomes the largest there is, which is as good.
    Ok((number * factor).round() as u64)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| is_digit(c) || matches!(c, '.' | '_' | '-' | '+'))
}

fn is_digit(c: char) -> bool {
    c.is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use holdpoint::store::Retention;

    use super::*;
    use crate::args::{Cli, Command};

    #[test]
    fn prog_014_what_is_kept_by_default_is_what_the_store_keeps_by_default() {
        let cli = Cli::try_parse_from(["holdpoint", "store", "prune"]).unwrap();
        let Some(Command::Store(StoreArgs { command: StoreCommand::Prune(prune), .. })) =
            cli.command
        else {
            panic!("not prune");
        };
        let own = Retention::new().age(prune.age).keep_last(prune.keep_last).size(prune.size);
        assert_eq!(own, Retention::new());
    }

    #[test]
    fn prog_014_durations_have_units() {
        let days = |days: u64| Ok(Duration::from_secs(days * 86_400));
        assert_eq!(duration("30d"), days(30));
        assert_eq!(duration(" 2weeks "), days(14));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        for (text, says) in [
            ("30", "`30d` for days"),
            ("0", "write `0s`"),
            ("1.5", "no unit"),
            ("-5d", "write a duration"),
            ("5x", "write a duration"),
            ("", "write a duration"),
            ("1M", "use days"),
            ("2 years", "use days"),
            ("9999999999999s", "write a duration"),
            ("99999999w99999999w99999999w99999999w99999999w", "write a duration"),
        ] {
            let error = duration(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn prog_014_sizes_have_units() {
        assert_eq!(size("2GiB"), Ok(2 << 30));
        assert_eq!(size("1.5 MiB"), Ok(3 << 19));
        assert_eq!(size("64kib"), Ok(64 << 10));
        assert_eq!(size("500MB"), Ok(500_000_000));
        assert_eq!(size("2GB"), Ok(2_000_000_000));
        assert_eq!(size("1kB"), Ok(1000));
        assert_eq!(size("0KiB"), Ok(0));
        for (text, says) in [
            ("2000", "write `2000MiB`"),
            ("2G", "units are KiB"),
            ("2GiBs", "units are KiB"),
            ("GiB", "write a size"),
            ("1.2.3GiB", "write a size"),
            ("-1GiB", "write a size"),
            ("1e9KB", "units are"),
            ("", "write a size"),
        ] {
            let error = size(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
