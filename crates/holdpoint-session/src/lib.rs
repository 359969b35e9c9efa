//! Sessions: long-running async bodies that ask, are answered, cancelled, observed and awaited,
//! and that go on where they stopped after their process was killed.
//!
//! For tokio. A [`Sessions`] registry runs *bodies*, async functions of a [`SessionContext`] and an
//! input. A body does its work in [steps](SessionContext::step), asks
//! [questions](SessionContext::ask) and sleeps; a [`Run`] is what callers hold of it. In memory
//! that costs next to nothing; with a store, each result is recorded before the body goes on, and
//! after a crash the body is run again over its records (SESS-017).
//!
//! ```
//! use holdpoint_session::{Ask, BodyError, Sessions, SessionContext, StepFailure};
//!
//! async fn merge(cx: SessionContext, pr: u64) -> Result<String, BodyError> {
//!     let lines: u32 = cx.step("fetch", || async { Ok::<_, StepFailure>(12) }).await?;
//!     let ok: bool = cx.ask(Ask::confirm("merge", format!("Merge #{pr}, {lines} lines?"))).await?;
//!     Ok(if ok { "merged" } else { "rejected" }.to_owned())
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sessions = Sessions::new();
//! let merge = sessions.register("merge", merge)?;
//! let run = merge.spawn(42).key("pr-42").await?;
//! let question = run.next_question().await?.expect("it asks once");
//! run.answer(question.id, true).await?;
//! assert_eq!(run.await?, "merged");
//! # Ok(()) }
//! ```
//!
//! Reading order: [`machine`] (the rules of one session), [`Sessions`], [`Body`], [`Run`] and
//! [`SessionHandle`], [`Observer`]; inside, `driver`. Without the feature `driver`, which is a
//! default one, the crate is the machine alone and needs no runtime.

#[cfg(feature = "driver")]
mod body;
#[cfg(feature = "driver")]
mod driver;
#[cfg(feature = "driver")]
mod error;
#[cfg(feature = "driver")]
mod handle;
pub mod machine;
#[cfg(feature = "driver")]
mod observe;
mod options;
#[cfg(feature = "driver")]
mod recover;
mod report;
#[cfg(feature = "driver")]
mod rt;
#[cfg(feature = "driver")]
mod sessions;
#[cfg(feature = "driver")]
mod stored;
#[cfg(feature = "driver")]
mod sync;
#[cfg(all(test, feature = "driver"))]
mod tests;
#[cfg(feature = "driver")]
mod verify;

#[cfg(feature = "driver")]
pub use self::body::{Body, Spawn};
#[cfg(feature = "driver")]
pub use self::error::{
    AnswerError, CancelError, GetError, OpenError, RegisterError, ReleaseError, RemoteError,
    ResumeError, RunError, SpawnError, VerifyError,
};
#[cfg(feature = "driver")]
pub use self::handle::{Answers, Run, SessionHandle};
#[cfg(feature = "driver")]
pub use self::observe::{Observed, Observer, Since};
pub use self::options::{History, Limits, Overflow, Recovery};
pub use self::report::{Outcome, ShutdownReport, Snapshot, Verified};
#[cfg(feature = "driver")]
pub use self::sessions::{Collection, Sessions, SessionsBuilder};
#[cfg(feature = "driver")]
pub use holdpoint_core::body::{
    Ask, Attempt, BodyError, Child, Ledger, Notes, Recording, SessionContext, Step, StepFailure,
    Terminal, Wait,
};
