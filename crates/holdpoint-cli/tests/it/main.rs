//! The program as its users meet it: manifests in folders of their own, processes, files, signals.

mod approvals;
mod check;
mod environment;
mod events;
mod exit_codes;
mod failure;
mod holds;
mod input;
mod kills;
mod list;
mod order;
mod output;
mod random;
mod repeat;
mod signals;
mod store;
mod support;
mod verbs;
