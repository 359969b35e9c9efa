//! holdpoint-hold
