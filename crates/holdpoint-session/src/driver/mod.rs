//! The shell: sessions behind their locks, their tasks, and what they share.
//!
//! Reading order: [`session`] (decide, commit, show), [`task`] (the body's turns), [`life`] (what
//! happens from outside and at the end), [`spawn`], then what they use: [`port`] and [`slots`] for
//! bodies that are not recorded, [`turn`], [`recorded`] and [`journal`] for those that are,
//! [`link`], [`kept`], [`sizes`] and [`given_up`] to the store, [`history`] and [`watch`] for who looks,
//! [`shared`] and [`admission`] for all sessions together.

mod admission;
mod children;
mod given_up;
mod history;
mod journal;
mod kept;
mod life;
mod link;
mod port;
mod random;
mod recorded;
mod session;
mod shared;
mod sizes;
mod slots;
mod spawn;
mod task;
mod turn;
mod watch;

use super::{body, handle, rt, stored, sync};

pub(crate) use self::admission::Admitted;
pub(crate) use self::history::Reading;
pub(crate) use self::journal::{Done, FORMAT, Kept as KeptResult, Opened, Record, Start, What};
pub(crate) use self::kept::{About, Kept};
pub(crate) use self::life::{Given, check_open, open_questions};
pub(crate) use self::link::{Change, Link};
pub(crate) use self::random::seed;
#[cfg(test)]
pub(crate) use self::recorded::Flaw;
pub(crate) use self::recorded::{Recorded, Turn};
pub(crate) use self::session::{Effects, Launch, LaunchError, Orders, Session, Shown};
pub(crate) use self::shared::{Options, Shared};
pub(crate) use self::sizes::{MAX_VALUE, fitting_cause};
pub(crate) use self::spawn::{Spawned, Spec};
pub(crate) use self::task::message_of;
pub(crate) use self::watch::Place;
