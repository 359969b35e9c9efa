use std::io;

use holdpoint_core::Retryable;
use rustix::io::Errno;

use crate::command::Command;
use crate::error::{ProcessError, SystemLimit};
use crate::launch::diagnose;

fn refused(errno: Errno) -> ProcessError {
    diagnose(&Command::shell("/", ["true"]), io::Error::from(errno))
}

#[test]
fn ch_9_a_limit_of_the_system_is_named_and_may_pass() {
    for (errno, expected, word) in [
        (Errno::MFILE, SystemLimit::Descriptors, "open files"),
        (Errno::NFILE, SystemLimit::Descriptors, "open files"),
        (Errno::AGAIN, SystemLimit::Processes, "processes"),
        (Errno::NOMEM, SystemLimit::Memory, "memory"),
    ] {
        let error = refused(errno);
        assert!(error.is_retryable(), "{error}");
        assert!(error.to_string().contains(word), "{error}");
        assert!(matches!(error, ProcessError::LimitReached { limit, .. } if limit == expected));
    }
}

#[test]
fn ch_11_a_refusal_that_we_do_not_know_keeps_its_source() {
    let error = refused(Errno::LOOP);
    assert!(!error.is_retryable());
    assert!(std::error::Error::source(&error).is_some(), "{error}");
}
