//! Where a store cannot be: file systems of a network, and such as have no locks (STORE-010). The
//! system's answers are changed on their way to a process that opens a store.

use std::fs;
use std::path::Path;

use super::child::Plan;
use super::judge::{self, Loss};
use super::{read_facts, scratch, strace, tell};

/// What the process says that opens the store in a folder, while strace changes an answer.
fn refusal(folder: &Path, facts: &Path, change: &str) -> String {
    let _ = fs::remove_file(facts);
    let before = strace::inject(change, &[]);
    let plan = Plan { steps: 2, threads: 1, ..Plan::new(folder, facts, 1) };
    let output = plan.command(&before).output().expect("strace");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let words = read_facts(facts).expect("facts").words;
    let refused = words.iter().find_map(|line| line.strip_prefix("refused "));
    refused.unwrap_or_else(|| panic!("{change}: {words:?}")).to_owned()
}

/// The change that makes every file system one of this kind.
fn file_system(magic: u64) -> String {
    let bytes = magic.to_le_bytes().map(|byte| format!("{byte:02x}")).concat();
    format!("statfs,fstatfs:poke_exit=@arg2={bytes}")
}

#[test]
fn store_010_file_systems_of_a_network_are_refused_with_the_reason_and_the_remedy() {
    if !strace::is_there("file systems of a network") {
        return;
    }
    let scratch = scratch();
    let (folder, facts) = (scratch.path().join("store"), scratch.path().join("facts"));
    let kinds = [
        (0x6969, "NFS"),
        (0xFE53_4D42, "SMB"),
        (0xFF53_4D42, "CIFS"),
        (0x0102_1997, "9p"),
        (0x5346_414F, "AFS"),
        (0x00C3_6400, "Ceph"),
        (0x0BD0_0BD0, "Lustre"),
    ];
    for (magic, name) in kinds {
        let said = refusal(&folder, &facts, &file_system(magic));
        let place = folder.display().to_string();
        for part in [&place, name, "local disk", "--store", "HOLDPOINT_STORE"] {
            assert!(said.contains(part), "{said}");
        }
        let left = fs::read_dir(&folder).expect("the folder").count();
        assert_eq!(left, 0, "{name}: something was written before it was refused");
    }
    tell(&format!("{} file systems of a network are refused", kinds.len()));
}

#[test]
fn store_010_a_file_system_without_locks_is_refused_with_the_reason_and_the_remedy() {
    if !strace::is_there("file systems without locks") {
        return;
    }
    let scratch = scratch();
    let (folder, facts) = (scratch.path().join("store"), scratch.path().join("facts"));
    let cases = [
        ("flock:error=ENOLCK", "No locks available"),
        ("flock:error=EOPNOTSUPP", "not supported"),
        // They work, it seems, and keep nobody out.
        ("flock:retval=0", "does not keep others out"),
    ];
    for (change, why) in cases {
        let said = refusal(&folder, &facts, change);
        let place = folder.display().to_string();
        for part in [&place, why, "no working locks", "local disk", "--store"] {
            assert!(said.contains(part), "{said}");
        }
        assert!(!folder.join("holdpoint.db").exists(), "{change}: the database was made");
    }
}

/// A folder that was good and is no more, such as one that was moved: what is there stays.
#[test]
fn store_010_a_refused_store_is_as_it_was() {
    if !strace::is_there("a store that came to a network") {
        return;
    }
    let scratch = scratch();
    let (folder, facts) = (scratch.path().join("store"), scratch.path().join("facts"));
    let output = Plan::new(&folder, &facts, 1).command(&["env".to_owned()]).output();
    assert!(output.expect("a process").status.success());
    let other = scratch.path().join("other");
    for change in [file_system(0x6969), "flock:error=ENOLCK".to_owned()] {
        refusal(&folder, &other, &change);
        let facts = read_facts(&facts).expect("facts");
        judge::judge_copy(&folder, &facts, Loss::Nothing).expect("a sound store");
    }
}
