//! The log files of a run: one for each attempt, in `.holdpoint/logs/<session>/` beside the
//! manifest.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use holdpoint_core::{SessionId, TaskName};

/// How many sessions keep their log files: this one and the newest of those before.
const KEPT: usize = 20;

/// What the store folder holds is nobody's to commit.
const IGNORE: &str = "*\n";

/// The folder of one session's log files. Made when the first process starts.
pub(crate) struct Logs {
    store: PathBuf,
    session: SessionId,
    folder: OnceLock<Result<Folder, String>>,
}

struct Folder {
    path: PathBuf,
    /// Locked for as long as the run lasts, so that no other run takes the folder for an old one.
    _lock: File,
}

impl Logs {
    /// In this folder of the store. Touches nothing yet.
    pub(crate) fn new(store: PathBuf, session: SessionId) -> Self {
        Self { store, session, folder: OnceLock::new() }
    }

    /// The log file of an attempt, in a folder that exists now.
    ///
    /// # Errors
    /// Why the folder could not be made.
    pub(crate) fn file(&self, task: &TaskName, start: u32, attempt: u32) -> Result<PathBuf, &str> {
        let folder = self.folder.get_or_init(|| self.make().map_err(|error| error.to_string()));
        match folder {
            Ok(folder) => Ok(folder.path.join(file_name(task, start, attempt))),
            Err(message) => Err(message),
        }
    }

    /// The run is over. Returns the folder where it holds anything, else removes it.
    pub(crate) fn close(self) -> Option<PathBuf> {
        let folder = self.folder.into_inner()?.ok()?;
        // Refused where the folder has files, which is what decides.
        fs::remove_dir(&folder.path).is_err().then_some(folder.path)
    }

    fn make(&self) -> io::Result<Folder> {
        let failed = |path: &Path, error: io::Error| {
            io::Error::other(format!("log folder {} cannot be made: {error}", path.display()))
        };
        let all = self.store.join("logs");
        let path = all.join(self.session.to_string());
        fs::create_dir_all(&path).map_err(|error| failed(&path, error))?;
        let lock = File::open(&path).map_err(|error| failed(&path, error))?;
        // Where the file system has no locks the folder is as safe as 20 newer runs make it.
        let _ = lock.lock_shared();
        // Neither is worth failing for: the one is a convenience, the other comes again.
        let _ = ignore_in_git(&self.store);
        let _ = prune(&all);
        Ok(Folder { path, _lock: lock })
    }
}

/// A name no other attempt has: `@` is in no task's name.
pub(crate) fn file_name(task: &TaskName, start: u32, attempt: u32) -> String {
    match (start, attempt) {
        (1, 1) => format!("{task}.log"),
        (1, _) => format!("{task}@{attempt}.log"),
        _ => format!("{task}@{start}.{attempt}.log"),
    }
}

fn ignore_in_git(store: &Path) -> io::Result<()> {
    let path = store.join(".gitignore");
    if path.exists() { Ok(()) } else { fs::write(path, IGNORE) }
}

/// Removes the folders of all sessions but the newest, and of those that are still running.
/// Whatever is not named like a session is left alone.
fn prune(all: &Path) -> io::Result<()> {
    let entries = fs::read_dir(all)?.filter_map(Result::ok);
    let mut sessions: Vec<SessionId> =
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    sessions.sort_unstable();
    let old = sessions.len().saturating_sub(KEPT);
    for session in &sessions[..old] {
        let folder = all.join(session.to_string());
        if File::open(&folder)?.try_lock().is_ok() {
            fs::remove_dir_all(&folder)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(name: &str) -> TaskName {
        name.parse().unwrap()
    }

    fn sessions(root: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(root.join(".holdpoint/logs"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn prog_010_the_folder_comes_with_the_first_process_and_stays_out_of_git() {
        let root = tempfile::tempdir().unwrap();
        let session = SessionId::generate();
        let logs = Logs::new(root.path().join(".holdpoint"), session);
        assert!(!root.path().join(".holdpoint").exists());

        let file = logs.file(&task("build"), 1, 1).unwrap();
        let folder = root.path().join(".holdpoint/logs").join(session.to_string());
        assert_eq!(file, folder.join("build.log"));
        assert_eq!(logs.file(&task("app:build"), 1, 2).unwrap(), folder.join("app:build@2.log"));
        assert_eq!(logs.file(&task("a"), 3, 2).unwrap(), folder.join("a@3.2.log"));
        let ignore = fs::read_to_string(root.path().join(".holdpoint/.gitignore")).unwrap();
        assert_eq!(ignore, "*\n");

        fs::write(&file, "output").unwrap();
        assert_eq!(logs.close(), Some(folder));
    }

    #[test]
    fn prog_010_a_run_without_output_leaves_no_folder() {
        let root = tempfile::tempdir().unwrap();
        let logs = Logs::new(root.path().join(".holdpoint"), SessionId::generate());
        logs.file(&task("build"), 1, 1).unwrap();
        assert_eq!(logs.close(), None);
        assert_eq!(sessions(root.path()), [] as [String; 0]);
    }

    #[test]
    fn prog_010_the_newest_twenty_are_kept_and_those_still_running() {
        let root = tempfile::tempdir().unwrap();
        let running = Logs::new(root.path().join(".holdpoint"), SessionId::generate());
        fs::write(running.file(&task("serve"), 1, 1).unwrap(), "output").unwrap();
        let stranger = root.path().join(".holdpoint/logs/notes");
        fs::create_dir(&stranger).unwrap();

        let mut ended = Vec::new();
        for _ in 0..25 {
            let session = SessionId::generate();
            let logs = Logs::new(root.path().join(".holdpoint"), session);
            fs::write(logs.file(&task("build"), 1, 1).unwrap(), "output").unwrap();
            assert!(logs.close().is_some());
            ended.push(session.to_string());
        }
        let mut expected = vec![running.session.to_string(), "notes".to_owned()];
        expected.extend_from_slice(&ended[5..]);
        expected.sort_unstable();
        assert_eq!(sessions(root.path()), expected);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join(".holdpoint"), "a file").unwrap();
        let logs = Logs::new(root.path().join(".holdpoint"), SessionId::generate());
        let message = logs.file(&task("build"), 1, 1).unwrap_err();
        assert!(message.contains(".holdpoint/logs/") && message.contains("cannot be made"));
    }
}
