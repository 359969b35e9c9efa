//! holdpoint-graph
