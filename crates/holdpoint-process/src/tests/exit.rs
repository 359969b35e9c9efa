use crate::exit::{Failure, Status, Verdict, verdict};
use holdpoint_core::{CancelCode, CancelInfo, Timestamp};

#[test]
fn proc_002_cd_10_the_verdict_follows_from_status_and_cause() {
    let cause = |code| CancelInfo::new(code, "why", Timestamp::from_micros(1));
    let by_us = [CancelCode::User, CancelCode::Parent, CancelCode::Shutdown, CancelCode::Internal];
    let ends = [Status::Code(1), Status::Code(143), Status::Signal(9), Status::Signal(15)];

    assert_eq!(verdict(Status::Code(0), None), Verdict::Succeeded);
    for code in by_us.into_iter().chain([CancelCode::Timeout]) {
        assert_eq!(verdict(Status::Code(0), Some(&cause(code))), Verdict::Succeeded, "{code}");
    }
    for status in ends {
        assert_eq!(verdict(status, None), Verdict::Failed(Failure::Status(status)));
        for code in by_us {
            assert_eq!(verdict(status, Some(&cause(code))), Verdict::Cancelled(cause(code)));
        }
        let timeout = cause(CancelCode::Timeout);
        let expected = Verdict::Failed(Failure::Timeout(timeout.clone()));
        assert_eq!(verdict(status, Some(&timeout)), expected);
    }
}

#[test]
fn proc_002_a_status_reads_as_people_know_it() {
    assert_eq!(Status::Code(3).to_string(), "exit code 3");
    assert_eq!(Status::Signal(11).to_string(), "signal 11 (SIGSEGV)");
    assert_eq!(Status::Signal(40).to_string(), "signal 40");
}
