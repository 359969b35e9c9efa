//! Runs one command well: its environment, its group of processes, its output line by line,
//! its end, and its cancellation with grace.
//!
//! The crate knows nothing of graphs, holds, manifests or caches. It runs on Linux and other
//! Unix systems; elsewhere it does not build.
//!
//! Reading order: [`command`], [`environment`], [`spawner`] (what callers use), [`exit`] (what
//! the end means), [`output`], [`tail`] and [`present`], [`pid_file`] and [`leftovers`] (what an
//! owner that died has left); then inside, `launch` (a command becomes a process, a refusal an
//! error), `pool` (the threads that start it), `watchdog` and `record` (who ends it when this
//! process dies), `group`, `machine` (all decisions), `run` (its driver).
//!
//! ```
//! use holdpoint_core::Cancel;
//! use holdpoint_process::{Command, Environment, RunOptions, Spawner, Tail};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let spawner = Spawner::new()?;
//! let greet = Command::shell("/tmp", ["echo \"hello $NAME\"", "exit 3"])
//!     .environment(Environment::from_iter([("NAME", "world")]));
//! let mut tail = Tail::new(10, 4096);
//! let exit = spawner.run(&greet, &mut tail, &Cancel::new(), RunOptions::default()).await?;
//! assert_eq!(exit.status.to_string(), "exit code 3");
//! assert_eq!(tail.lines().next().unwrap().1, b"hello world");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(not(unix))]
compile_error!("holdpoint-process needs a Unix system; the engines build without it");

pub mod command;
pub mod environment;
pub mod error;
mod escape;
pub mod exit;
mod group;
mod identity;
mod launch;
pub mod leftovers;
mod log;
mod machine;
pub mod options;
pub mod output;
pub mod pid_file;
mod pipe;
mod pool;
pub mod present;
mod record;
mod run;
pub mod spawner;
pub mod tail;
#[cfg(test)]
mod tests;
mod watch;
mod watchdog;

pub use command::{Action, Command};
pub use environment::{Environment, TaskVariables};
pub use error::{PidFileError, ProcessError, SystemLimit};
pub use escape::escape;
pub use exit::{Exit, Failure, Status, Verdict, verdict};
pub use leftovers::{Leftovers, end_leftovers};
pub use options::RunOptions;
pub use output::{Line, LineEnd, LineSplitter, MAX_LINE, OutputSink, Stream};
pub use pid_file::PidFile;
pub use present::{Prefix, Rendering, write_block, write_line};
pub use spawner::Spawner;
pub use tail::Tail;
