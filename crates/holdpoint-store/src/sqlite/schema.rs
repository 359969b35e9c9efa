//! The tables, their version, and how an older file is brought up to date (CORE-010).

use rusqlite::{Connection, params};

use super::rows;

/// The version of the schema that this build writes, in the file's `user_version`.
pub(crate) const VERSION: u32 = 1;

/// The mark of our files, in the file's `application_id`: "HPnt".
pub(crate) const APPLICATION_ID: u32 = 0x4850_6e74;

/// Brings a file from one version to the next. The first leads from 1 to 2.
pub(crate) type Migration = fn(&Connection) -> rusqlite::Result<()>;

/// All of them.
pub(crate) const MIGRATIONS: [Migration; VERSION as usize - 1] = [];

const TABLES: &str = "
-- One fact a row about the store itself: `id`, and floors below which numbers are used up.
CREATE TABLE meta (name TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;

-- What a stream is, and what seldom changes of it. Sessions count up from 1, which is their number;
-- all others down from -1. `sum` is a hash over all other columns, here and below.
CREATE TABLE streams (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,             -- session:UUID, schedule:NAME, batch:UUID
    label TEXT NOT NULL,
    key TEXT,                       -- idempotency key
    state TEXT NOT NULL,
    owner INTEGER,                  -- instance that owns it; under `epoch`
    epoch INTEGER NOT NULL,
    created INTEGER NOT NULL,       -- microseconds since 1970
    ended INTEGER,
    sum BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX streams_by_name ON streams (name);
CREATE UNIQUE INDEX streams_by_key ON streams (key) WHERE key IS NOT NULL;
CREATE INDEX streams_by_state ON streams (state, id) WHERE ended IS NULL;
CREATE INDEX streams_by_owner ON streams (owner) WHERE owner IS NOT NULL;
CREATE INDEX streams_by_end ON streams (ended) WHERE ended IS NOT NULL;

-- Where a stream ends: what changes with every write, in few bytes, so that a commit for many
-- streams touches few pages.
CREATE TABLE heads (
    stream INTEGER PRIMARY KEY,
    seq INTEGER NOT NULL,           -- last event
    entries INTEGER NOT NULL,       -- last journal entry
    head INTEGER NOT NULL,          -- position of its last block
    hash BLOB NOT NULL,             -- and its hash
    singles INTEGER NOT NULL,       -- blocks since the last merge
    updated INTEGER NOT NULL,       -- microseconds since 1970
    kept INTEGER NOT NULL,          -- last event before the snapshot, 0 where there is none
    sum BLOB NOT NULL
) STRICT;

-- What one commit added to one stream, in the order of commits; a position for each event.
-- A block that was merged into a later one stays as a row without content that says into which.
CREATE TABLE blocks (
    pos INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL,
    first INTEGER NOT NULL,         -- number of its first event
    count INTEGER NOT NULL,         -- number of its events
    first_entry INTEGER NOT NULL,
    entries INTEGER NOT NULL,
    prev INTEGER NOT NULL,          -- position of the stream's block before, 0 for none
    before BLOB,                    -- and its hash
    hash BLOB,
    merged INTEGER,                 -- position of the block that contains it now
    parts BLOB,                     -- positions and counts of the blocks that it contains
    events TEXT,                    -- one JSON object a line
    journal BLOB                    -- entries, each after its length
) STRICT;

CREATE TABLE snapshots (
    stream INTEGER PRIMARY KEY,
    seq INTEGER NOT NULL,
    state TEXT NOT NULL,
    data BLOB NOT NULL,
    hash BLOB NOT NULL
) STRICT;

-- Who owns all schedules: one row.
CREATE TABLE scheduling (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    owner INTEGER,
    epoch INTEGER NOT NULL,
    sum BLOB NOT NULL
) STRICT;

-- Streams whose blocks are worth merging.
CREATE TABLE merges (stream INTEGER PRIMARY KEY) STRICT;
";

/// Makes the tables in an empty database.
pub(crate) fn create(database: &Connection, id: &str) -> rusqlite::Result<()> {
    database.execute_batch("BEGIN IMMEDIATE")?;
    database.execute_batch(TABLES)?;
    database.execute("INSERT INTO meta VALUES ('id', ?1)", params![id])?;
    rows::set_scheduling(database, rows::Scheduling::default())?;
    database.pragma_update(None, "application_id", APPLICATION_ID)?;
    database.pragma_update(None, "user_version", VERSION)?;
    database.execute_batch("COMMIT")
}

/// Brings a file of version `from` up to date, in one transaction.
pub(crate) fn migrate(
    database: &Connection,
    from: u32,
    migrations: &[Migration],
) -> rusqlite::Result<()> {
    let done = usize::try_from(from).unwrap_or(usize::MAX).saturating_sub(1);
    database.execute_batch("BEGIN IMMEDIATE")?;
    for (index, migration) in migrations.iter().enumerate().skip(done) {
        migration(database)?;
        database.pragma_update(None, "user_version", index as u32 + 2)?;
    }
    database.execute_batch("COMMIT")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(database: &Connection) -> u32 {
        database.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
    }

    #[test]
    fn core_010_an_older_file_is_brought_up_to_date_step_by_step() {
        let steps: [Migration; 2] = [
            |database| database.execute_batch("ALTER TABLE snapshots ADD COLUMN two TEXT"),
            |database| database.execute_batch("UPDATE snapshots SET two = 'three'"),
        ];
        for from in 1..=3_u32 {
            let database = Connection::open_in_memory().unwrap();
            create(&database, "id").unwrap();
            for step in &steps[..from as usize - 1] {
                step(&database).unwrap();
            }
            database.pragma_update(None, "user_version", from).unwrap();
            migrate(&database, from, &steps).unwrap();
            assert_eq!(version(&database), 3);
            database.execute_batch("SELECT two FROM snapshots").unwrap();
        }
    }

    #[test]
    fn core_010_a_migration_that_fails_changes_nothing() {
        let steps: [Migration; 2] = [
            |database| database.execute_batch("CREATE TABLE two (a) STRICT"),
            |database| database.execute_batch("INSERT INTO none VALUES (1)"),
        ];
        let database = Connection::open_in_memory().unwrap();
        create(&database, "id").unwrap();
        migrate(&database, 1, &steps).unwrap_err();
        drop(database.execute_batch("ROLLBACK"));
        assert_eq!(version(&database), 1);
    }
}
