//! The rules about processes, shown with real ones.

mod alone;
mod cancel;
mod command;
mod orphans;
mod output;
mod refusals;
mod support;
