//! Ctrl-C and its kin: the first signal ends the run in order, the second at once.
//!
//! A thread of its own waits for them, so that a run that is held up by whoever reads its output
//! can be ended all the same.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

use holdpoint::{Cancel, CancelCode};
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::console::Writer;

/// How long the program may take to end after the second signal, before it is ended here.
const LAST_MOMENT: Duration = Duration::from_millis(900);

/// The signals that ask the program to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ask {
    number: u8,
    name: &'static str,
    code: CancelCode,
    /// It leaves no time to clean up, also where it is the first.
    at_once: bool,
}

const ASKS: [Ask; 4] = [
    Ask { number: 1, name: "SIGHUP", code: CancelCode::User, at_once: false },
    Ask { number: 2, name: "SIGINT", code: CancelCode::User, at_once: false },
    Ask { number: 3, name: "SIGQUIT", code: CancelCode::User, at_once: true },
    Ask { number: 15, name: "SIGTERM", code: CancelCode::Shutdown, at_once: false },
];

/// Watches for signals as long as the program lives.
pub(crate) struct Signals {
    /// The number of the first one; 0 before it comes.
    first: Arc<AtomicU8>,
}

impl Signals {
    /// Begins to watch. From then on no signal of these ends the program by itself.
    pub(crate) fn watch(
        cancel: Cancel,
        kill: Cancel,
        writers: Vec<Arc<Writer>>,
    ) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let ignored = ignored_signals();
        let mut streams = Vec::new();
        {
            let _context = runtime.enter();
            for ask in ASKS {
                // Who started us ignoring a signal, as nohup does, wants it ignored.
                if ignored & (1 << (ask.number - 1)) == 0 {
                    streams.push((ask, signal(SignalKind::from_raw(ask.number.into()))?));
                }
            }
        }
        let signals = Self { first: Arc::default() };
        let first = Arc::clone(&signals.first);
        let obey = move || {
            runtime.block_on(async {
                let ask = next(&mut streams).await;
                first.store(ask.number, Ordering::Release);
                writers.iter().for_each(|writer| writer.hurry());
                cancel.cancel(ask.code, ask.name);
                if !ask.at_once {
                    next(&mut streams).await;
                }
                kill.cancel(ask.code, ask.name);
                thread::sleep(LAST_MOMENT);
                std::process::exit(128 + i32::from(ask.number));
            });
        };
        thread::Builder::new().name("holdpoint-signals".into()).spawn(obey)?;
        Ok(signals)
    }

    /// The number of the first signal that has come.
    pub(crate) fn received(&self) -> Option<u8> {
        Some(self.first.load(Ordering::Acquire)).filter(|number| *number > 0)
    }
}

/// Waits for any of the signals.
async fn next(streams: &mut [(Ask, Signal)]) -> Ask {
    std::future::poll_fn(|cx| {
        for (ask, stream) in streams.iter_mut() {
            if stream.poll_recv(cx).is_ready() {
                return std::task::Poll::Ready(*ask);
            }
        }
        std::task::Poll::Pending
    })
    .await
}

/// The signals that this process was started to ignore: bit n - 1 for signal n. Only Linux tells.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignored_in(&status)
}

fn ignored_in(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_read_from_the_mask() {
        let status = "Name:\tholdpoint\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001003\n";
        let ignored = ignored_in(status);
        let of = |number: u8| ignored & (1 << (number - 1)) != 0;
        assert_eq!([1, 2, 3, 13, 15].map(of), [true, true, false, true, false]);
        assert_eq!(ignored_in("Name:\tholdpoint\n"), 0);
    }
}
