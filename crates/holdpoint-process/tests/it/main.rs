//! The rules about processes, shown with real ones.

mod cancel;
mod command;
mod limits;
mod output;
mod refusals;
mod support;
