//! The least code that makes appended events durable: a log file, and a bare SQLite table, each
//! with one writing thread that commits what waits as a group.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use holdpoint_core::store::{AppendError, Completer, Ticket, ticket};
use rusqlite::{Connection, params};

/// An event for a session, and who waits for it.
struct Job {
    session: u64,
    event: Vec<u8>,
    done: Completer<Result<(), AppendError>>,
}

/// A writing thread.
pub struct Raw {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Raw {
    /// Appends to a file, and one `fdatasync` a group.
    ///
    /// # Panics
    /// Where the file cannot be written.
    #[must_use]
    pub fn log(path: &Path) -> Self {
        let mut file = File::create(path).expect("a log file");
        let mut buffer = Vec::new();
        Self::start(move |group| {
            buffer.clear();
            for job in group {
                buffer.extend_from_slice(&job.session.to_le_bytes());
                buffer.extend_from_slice(&(job.event.len() as u32).to_le_bytes());
                buffer.extend_from_slice(&job.event);
            }
            file.write_all(&buffer).and_then(|()| file.sync_data()).expect("a disk");
        })
    }

    /// Inserts into a table, a row an event, one transaction a group: WAL, `synchronous=FULL`.
    ///
    /// # Panics
    /// Where the database cannot be written.
    #[must_use]
    pub fn sqlite(path: &Path) -> Self {
        let database = Connection::open(path).expect("a database");
        database.pragma_update(None, "journal_mode", "WAL").expect("a log");
        database.pragma_update(None, "synchronous", "FULL").expect("a setting");
        database
            .execute_batch("CREATE TABLE events (pos INTEGER PRIMARY KEY, session, event)")
            .expect("a table");
        Self::start(move |group| {
            let insert = "INSERT INTO events (session, event) VALUES (?1, ?2)";
            database.execute_batch("BEGIN IMMEDIATE").expect("a transaction");
            let mut insert = database.prepare_cached(insert).expect("a statement");
            for job in group {
                let session = job.session.cast_signed();
                insert.execute(params![session, job.event]).expect("a row");
            }
            drop(insert);
            database.execute_batch("COMMIT").expect("a commit");
        })
    }

    fn start(mut commit: impl FnMut(&[Job]) + Send + 'static) -> Self {
        let (jobs, waiting): (_, Receiver<Job>) = channel();
        let thread = thread::spawn(move || {
            while let Ok(first) = waiting.recv() {
                let mut group = vec![first];
                group.extend(waiting.try_iter());
                commit(&group);
                for job in group {
                    job.done.complete(Ok(()));
                }
            }
        });
        Self { jobs: Some(jobs), thread: Some(thread) }
    }

    /// Appends an event of a session.
    ///
    /// # Panics
    /// Where the thread has ended.
    pub fn append(&self, session: u64, event: Vec<u8>) -> Ticket<Result<(), AppendError>> {
        let (done, ticket) = ticket();
        let jobs = self.jobs.as_ref().expect("it is open");
        jobs.send(Job { session, event, done }).expect("the thread lives");
        ticket
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.jobs.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
