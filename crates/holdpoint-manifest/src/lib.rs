//! holdpoint-manifest
