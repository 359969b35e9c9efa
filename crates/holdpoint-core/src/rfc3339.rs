//! UTC times as text, exact to the microsecond.
//!
//! A form of our own for one format: what is written is what is read, every digit of it, and
//! nothing in the range can fail to be written.

use std::ops::Deref;

const MICROS_PER_SECOND: u64 = 1_000_000;
const SECONDS_PER_DAY: u64 = 86_400;

/// `2026-11-21T02:00:00.123456Z`, in place.
pub(crate) struct Text([u8; 27]);

impl Text {
    /// The time `micros` microseconds after 1970, which must be before the year 10000.
    pub(crate) fn new(micros: u64) -> Self {
        let seconds = micros / MICROS_PER_SECOND;
        let (year, month, day) = date(seconds / SECONDS_PER_DAY);
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        write(&mut text[0..4], year);
        write(&mut text[5..7], month);
        write(&mut text[8..10], day);
        write(&mut text[11..13], seconds / 3600 % 24);
        write(&mut text[14..16], seconds / 60 % 60);
        write(&mut text[17..19], seconds % 60);
        write(&mut text[20..26], micros % MICROS_PER_SECOND);
        Self(text)
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        // Digits and punctuation only: never empty-handed.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Reads `YYYY-MM-DDTHH:MM:SS`, up to six decimals, `Z`. Nothing else: no offset, no leap
/// second, no other case, no year before 1970.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let (time, fraction) = match text.strip_suffix('Z')?.split_once('.') {
        None => (text.strip_suffix('Z')?, "0"),
        Some(parts) => parts,
    };
    let time: &[u8; 19] = time.as_bytes().try_into().ok()?;
    let punctuation = [time[4], time[7], time[10], time[13], time[16]];
    if punctuation != *b"--T::" || !(1..=6).contains(&fraction.len()) {
        return None;
    }
    let (year, month, day) = (read(&time[0..4])?, read(&time[5..7])?, read(&time[8..10])?);
    let (hour, minute, second) = (read(&time[11..13])?, read(&time[14..16])?, read(&time[17..19])?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = days(year, month, day)?;
    let seconds = days * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second;
    let micros = (fraction.len()..6).fold(read(fraction.as_bytes())?, |value, _| value * 10);
    Some(seconds * MICROS_PER_SECOND + micros)
}

/// Years are counted from a 1 March, so that the leap day is a year's last; `ERA` is the 400
/// years after which the calendar repeats.
const DAYS_PER_ERA: u64 = 146_097;
/// From 0000-03-01 to 1970-01-01.
const EPOCH: u64 = 719_468;

/// The date `days` days after 1970-01-01.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + EPOCH;
    let (era, day) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
    // Takes out the leap days before `day`: every 4 years but every 100, and the era's last.
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // March to July and August to December both last 153 days, and so would January on.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = (era * 400 + year, if month < 10 { month + 3 } else { month - 9 });
    (if month <= 2 { year + 1 } else { year }, month, day)
}

/// The days from 1970-01-01 to a date, where there is such a date.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let from_march = (month + 9) % 12;
    let of_march = if month <= 2 { year.checked_sub(1)? } else { year };
    let (era, of_era) = (of_march / 400, of_march % 400);
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    let days = era * DAYS_PER_ERA + of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    let days = days.checked_sub(EPOCH)?;
    // 30 February comes back as a day of March.
    (date(days) == (year, month, day)).then_some(days)
}

fn write(digits: &mut [u8], mut value: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

fn read(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |value, digit| {
        digit.is_ascii_digit().then(|| value * 10 + u64::from(digit - b'0'))
    })
}
