//! CORE-008, and times as text.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;

use super::config;
use crate::{Clock, Monotonic, SystemClock, Timestamp};

#[test]
#[cfg(feature = "test-util")]
fn core_008_a_step_of_the_wall_clock_moves_no_deadline() {
    let clock = crate::ManualClock::new(Timestamp::from_micros(1_000_000));
    let deadline = clock.now().monotonic + Duration::from_secs(10);
    clock.set_wall(Timestamp::MAX);
    assert_eq!(deadline - clock.monotonic(), Duration::from_secs(10));
    clock.set_wall(Timestamp::from_micros(0));
    assert_eq!(deadline - clock.monotonic(), Duration::from_secs(10));
    clock.advance(Duration::from_secs(4));
    assert_eq!(deadline - clock.monotonic(), Duration::from_secs(6));
    assert_eq!(clock.now().wall, Timestamp::from_micros(4_000_000));
}

#[test]
#[cfg(feature = "test-util")]
fn core_008_a_manual_clock_stands_still_and_stops_at_the_ends() {
    let clock = crate::ManualClock::new(Timestamp::MAX);
    assert_eq!(clock.now(), clock.now());
    clock.advance(Duration::MAX);
    clock.advance(Duration::MAX);
    assert_eq!(clock.now().wall, Timestamp::MAX);
    assert_eq!(clock.monotonic(), Monotonic::from_nanos(u64::MAX));
}

#[tokio::test(start_paused = true)]
#[cfg(feature = "tokio")]
async fn core_008_monotonic_time_follows_the_paused_time_of_tokio_and_wall_time_does_not() {
    let clock = SystemClock::new();
    let before = clock.now();
    tokio::time::advance(Duration::from_secs(86_400)).await;
    let after = clock.now();
    assert_eq!(after.monotonic - before.monotonic, Duration::from_secs(86_400));
    let hours_ahead = before.wall.as_micros() + 3_600_000_000;
    assert!(after.wall.as_micros() < hours_ahead);
}

#[test]
fn core_008_wall_time_is_the_systems() {
    let before = Timestamp::from(SystemTime::now());
    let shown = SystemClock::default().now().wall;
    assert!(before <= shown && shown <= Timestamp::from(SystemTime::now()));
}

#[test]
fn times_out_of_range_become_the_nearer_end() {
    assert_eq!(Timestamp::from(UNIX_EPOCH - Duration::from_secs(1)), Timestamp::from_micros(0));
    assert_eq!(Timestamp::from_micros(u64::MAX), Timestamp::MAX);
    assert_eq!(Timestamp::MAX.to_string(), "9999-12-31T23:59:59.999999Z");
    assert_eq!(SystemTime::from(Timestamp::from_micros(7)), UNIX_EPOCH + Duration::from_micros(7));
}

#[test]
fn only_utc_to_the_microsecond_is_read() {
    for (text, micros) in [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.5Z", 500_000),
        ("1972-02-29T00:00:00.000001Z", 68_169_600_000_001),
        ("2000-02-29T23:59:59Z", 951_868_799_000_000),
    ] {
        assert_eq!(text.parse(), Ok(Timestamp::from_micros(micros)), "{text}");
    }
    for text in [
        "",
        "Z",
        "1970-01-01",
        "1970-01-01T00:00:00",
        "1970-01-01t00:00:00z",
        "1970-01-01 00:00:00Z",
        "1970-01-01T00:00:00+00:00",
        "1970-01-01T00:00:00.Z",
        "1970-01-01T00:00:00.1234567Z",
        "1970-01-01T00:00:00.+5Z",
        "1970-01-01T00:00:60Z",
        "1970-01-01T00:60:00Z",
        "1970-01-01T24:00:00Z",
        "1970-13-01T00:00:00Z",
        "1970-00-01T00:00:00Z",
        "1970-01-00T00:00:00Z",
        "1970-01-32T00:00:00Z",
        "1970-02-29T00:00:00Z",
        "2100-02-29T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "0000-01-01T00:00:00Z",
        "10000-01-01T00:00:00Z",
        "+970-01-01T00:00:00Z",
        "1970-01-01T00:00:00Z\n",
        "1970-01-01T00:00:00ZZ",
        "１970-01-01T00:00:00Z",
    ] {
        assert!(text.parse::<Timestamp>().is_err(), "{text}");
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn times_are_written_as_another_implementation_writes_them_and_read_back_exactly(
        micros in 0..=Timestamp::MAX.as_micros(),
    ) {
        let time = Timestamp::from_micros(micros);
        let text = time.to_string();
        prop_assert_eq!(&text, &humantime::format_rfc3339_micros(time.into()).to_string());
        prop_assert_eq!(text.parse(), Ok(time));
    }

    #[test]
    fn whatever_is_read_is_what_it_would_be_written_as(
        text in "[0-2][0-9]{3}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{1,7})?Z",
    ) {
        if let Ok(time) = text.parse::<Timestamp>() {
            let other: Timestamp = humantime::parse_rfc3339(&text).unwrap().into();
            prop_assert_eq!(time, other);
            prop_assert_eq!(&time.to_string()[..19], &text[..19]);
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        if let Ok(time) = text.parse::<Timestamp>() {
            prop_assert_eq!(&time.to_string()[..19], &text[..19]);
        }
    }

    #[test]
    fn core_008_monotonic_time_saturates(nanos in any::<u64>(), more in any::<u64>()) {
        let (start, step) = (Monotonic::from_nanos(nanos), Duration::from_nanos(more));
        prop_assert!(start + step >= start);
        prop_assert!((start + step) - start <= step);
        prop_assert_eq!(start - (start + step), Duration::ZERO);
    }
}
