//! holdpoint-process
