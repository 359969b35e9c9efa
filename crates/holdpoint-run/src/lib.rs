//! holdpoint-run
