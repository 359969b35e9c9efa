//! Growing delays. The rules that use them are tested where they are used.

use std::time::Duration;

use proptest::prelude::*;

use super::config;
use crate::{Backoff, BackoffError};

#[test]
fn delays_grow_by_the_factor_up_to_the_maximum() {
    let backoff = Backoff::exponential(Duration::from_millis(100)).max(Duration::from_secs(1));
    let backoff = backoff.multiplier(3.0).unwrap();
    let delays: Vec<_> = (0..=5).map(|streak| backoff.delay(streak, 0.0).as_millis()).collect();
    assert_eq!(delays, [100, 100, 300, 900, 1000, 1000]);
    let jittered = backoff.jitter(0.5).unwrap();
    assert_eq!(jittered.delay(2, 0.5), Duration::from_millis(225));
}

#[test]
fn what_is_no_factor_and_no_share_is_refused() {
    let backoff = Backoff::fixed(Duration::ZERO);
    for found in [0.99, -1.0, f64::INFINITY] {
        assert_eq!(backoff.multiplier(found), Err(BackoffError::Multiplier { found }));
    }
    for found in [-0.01, 1.01, f64::INFINITY] {
        assert_eq!(backoff.jitter(found), Err(BackoffError::Jitter { found }));
    }
    assert!(backoff.multiplier(f64::NAN).is_err() && backoff.jitter(f64::NAN).is_err());
}

#[test]
fn ti_11_zero_stays_zero_however_often_it_is_multiplied() {
    let backoff = Backoff::exponential(Duration::ZERO).multiplier(f64::MAX).unwrap();
    assert!([1, 2, 3, 1000, u32::MAX].iter().all(|n| backoff.delay(*n, 0.5).is_zero()));
}

#[test]
fn ti_11_the_longest_duration_is_a_delay_like_any_other() {
    let forever = Backoff::fixed(Duration::MAX).jitter(f64::MIN_POSITIVE).unwrap();
    assert_eq!(forever.delay(1, 0.0), Duration::MAX);
    assert_eq!(forever.delay(u32::MAX, 1.0), Duration::MAX);
}

fn durations() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        Just(Duration::MAX),
        (0..1_u64 << 40).prop_map(Duration::from_nanos),
        any::<u64>().prop_map(Duration::from_millis),
    ]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn ti_11_delays_saturate_never_fall_and_lose_no_more_than_the_jitter(
        initial in durations(),
        max in durations(),
        factor in prop_oneof![1.0..10.0, Just(1.0), Just(f64::MAX)],
        jitter in 0.0..=1.0,
        u in 0.0..1.0,
        streak in prop_oneof![1..100_u32, Just(u32::MAX - 1)],
    ) {
        let backoff = Backoff::exponential(initial).max(max).multiplier(factor).unwrap();
        let (now, next) = (backoff.delay(streak, u), backoff.delay(streak + 1, u));
        prop_assert!(initial.min(max) <= now && now <= next && next <= max);
        let short = backoff.jitter(jitter).unwrap().delay(streak, u);
        prop_assert!(short <= now);
        let least = now.as_secs_f64() * (1.0 - jitter) * (1.0 - 1e-9) - 1e-9;
        prop_assert!(short.as_secs_f64() >= least);
    }
}
