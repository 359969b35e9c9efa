//! Ten thousand sleepers: sessions that wait for a time, at the cost of a timer each.
//!
//! ```text
//! cargo run --release -p holdpoint --features session --example session_sleepers
//! ```

use std::error::Error;
use std::time::{Duration, Instant};

use holdpoint::prelude::*;

const SLEEPERS: u32 = 10_000;

async fn sleeper(cx: SessionContext, millis: u64) -> Result<u64, BodyError> {
    cx.sleep(Duration::from_millis(millis)).await?;
    Ok(millis)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let sessions = Sessions::new();
    let sleeper = sessions.register("sleeper", sleeper)?;
    let begin = Instant::now();
    let mut runs = Vec::new();
    for number in 0..SLEEPERS {
        runs.push(sleeper.spawn(500 + u64::from(number % 500)).await?);
    }
    println!("{SLEEPERS} fell asleep within {:?}", begin.elapsed());
    let mut slept = 0;
    for run in runs {
        slept += run.await?;
    }
    println!("{SLEEPERS} slept {} s together, in {:?}", slept / 1000, begin.elapsed());
    let expected: u64 = (0..u64::from(SLEEPERS)).map(|number| 500 + number % 500).sum();
    if slept == expected { Ok(()) } else { Err("somebody was woken at another time".into()) }
}
