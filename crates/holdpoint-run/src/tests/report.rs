//! From outcomes to the end of the session, and from there to the exit code.

use holdpoint_core::session::{Completion, Failure};
use holdpoint_core::{CancelCode, CancelInfo, SessionState, Timestamp};

use crate::report::{Ending, ending};

fn user() -> CancelInfo {
    CancelInfo::new(CancelCode::User, "SIGINT", Timestamp::from_micros(0))
}

#[test]
fn prog_001_exit_codes_of_all_endings() {
    let codes = [
        (Ending::Succeeded, 0),
        (Ending::Failed, 1),
        (Ending::Refused, 2),
        (Ending::Paused, 3),
        (Ending::Cancelled, 4),
        (Ending::Signalled(1), 129),
        (Ending::Signalled(2), 130),
        (Ending::Signalled(15), 143),
    ];
    for (ending, code) in codes {
        assert_eq!(ending.exit_code(), code, "{ending:?}");
    }
}

#[test]
fn prog_001_a_signal_is_stronger_than_what_came_of_the_run() {
    let done = SessionState::Done(Completion::default());
    let failed = SessionState::Failed(Failure::panic("no"));
    let cancelled = SessionState::Cancelled(user());
    for (state, without) in
        [(&done, Ending::Succeeded), (&failed, Ending::Failed), (&cancelled, Ending::Cancelled)]
    {
        assert_eq!(ending(state, None), without);
        assert_eq!(ending(state, Some(2)), Ending::Signalled(2));
    }
}
