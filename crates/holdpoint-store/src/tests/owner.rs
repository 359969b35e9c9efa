//! Who is alive, with real processes (STORE-007).

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use super::child::{Child, PATIENCE, hear, part, rounds, say, until};
use crate::owner::{Instances, number};

/// What other processes do here.
#[test]
#[expect(clippy::zombie_processes, reason = "one outlives who started it on purpose")]
fn child() {
    let Some((part, folder)) = part() else { return };
    let instances = Instances::open(&folder).unwrap();
    match part.as_str() {
        "enter" => {
            let instance = instances.enter().unwrap();
            say(instance.id());
            hear();
            drop(instance);
        }
        "enter and listen" => {
            let mut instance = instances.enter().unwrap();
            let (requests, news) = (folder.join("requests"), folder.join("news"));
            let _listening =
                (UnixListener::bind(&requests).unwrap(), UnixDatagram::bind(&news).unwrap());
            instance
                .change_card(|card| (card.requests, card.news) = (Some(requests), Some(news)))
                .unwrap();
            say(instance.id());
            hear();
        }
        // Starts one that outlives it, as a hook might.
        "enter and start" => {
            let instance = instances.enter().unwrap();
            let sleeping = Command::new("sleep")
                .arg("600")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            say(instance.id());
            say(sleeping.id());
            hear();
        }
        "enter at once" => {
            say("here");
            hear();
            let instance = instances.enter().unwrap();
            say(instance.id());
            hear();
        }
        "come and go" => {
            say("here");
            for round in 0..300_u32 {
                let mut instance = instances.enter().unwrap();
                instance.change_card(|card| card.program = round.to_string()).unwrap();
                let files = [format!("{}", instance.id()), format!("{}.card", instance.id())];
                for file in files {
                    assert!(instances.folder().join(&file).exists(), "{file} was removed");
                }
                let other = Instances::open(&folder).unwrap();
                assert!(other.is_alive(instance.id()), "taken for dead");
                assert_eq!(other.card(instance.id()).unwrap().program, round.to_string());
            }
            say("gone");
            hear();
        }
        other => panic!("no part {other}"),
    }
}

fn start(part: &str, folder: &Path) -> Child {
    Child::start(module_path!(), part, folder)
}

fn entered(folder: &Path) -> (Child, u64) {
    let mut child = start("enter", folder);
    let id = child.line().parse().unwrap();
    (child, id)
}

#[test]
fn store_007_st_8_a_killed_owner_is_dead_within_a_tenth_of_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let instances = Instances::open(folder.path()).unwrap();
    for _ in 0..rounds(5) {
        let (mut child, id) = entered(folder.path());
        assert!(instances.is_alive(id));
        assert_eq!(instances.living().unwrap(), [id]);
        assert_eq!(instances.card(id).unwrap().pid, child.pid());
        child.kill();
        // The 100 ms of a machine with nothing else to do.
        let took = until(PATIENCE, || !instances.is_alive(id));
        assert!(took < Duration::from_secs(2), "{took:?}");
        assert!(instances.living().unwrap().is_empty());
    }
    instances.bury_dead().unwrap();
    assert_eq!(names(&instances), ["last"]);
}

#[test]
fn store_007_an_owner_that_ends_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let instances = Instances::open(folder.path()).unwrap();
    let (child, id) = entered(folder.path());
    child.end();
    assert!(!instances.is_alive(id));
    assert_eq!(names(&instances), ["last"]);
    let own = instances.enter().unwrap();
    assert!(own.id() > id, "a number came again");
    assert!(instances.is_alive(own.id()));
    let id = own.id();
    drop(own);
    assert!(!instances.is_alive(id));
    assert_eq!(names(&instances), ["last"]);
}

#[test]
fn store_007_st_8_racing_owners_are_all_alive_under_numbers_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let instances = Instances::open(folder.path()).unwrap();
    let mut children: Vec<_> = (0..50).map(|_| start("enter at once", folder.path())).collect();
    for child in &mut children {
        assert_eq!(child.line(), "here");
    }
    children.iter_mut().for_each(|child| child.tell("now"));
    let ids: BTreeSet<u64> =
        children.iter_mut().map(|child| child.line().parse().unwrap()).collect();
    assert_eq!(ids.len(), 50);
    assert!(ids.iter().all(|id| instances.is_alive(*id) && instances.card(*id).is_some()));
    instances.bury_dead().unwrap();
    assert_eq!(instances.living().unwrap(), ids.iter().copied().collect::<Vec<_>>());
    children.iter_mut().for_each(Child::kill);
    until(PATIENCE, || instances.living().unwrap().is_empty());
}

#[test]
fn store_007_racing_threads_get_numbers_that_rise() {
    let folder = tempfile::tempdir().unwrap();
    let instances = Instances::open(folder.path()).unwrap();
    let threads: Vec<Vec<u64>> = std::thread::scope(|scope| {
        let enter = || (0..50).map(|_| instances.enter().unwrap().id()).collect();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(enter)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(threads.iter().all(|ids: &Vec<u64>| ids.is_sorted_by(|one, next| one < next)));
    assert_eq!(threads.iter().flatten().collect::<BTreeSet<_>>().len(), 200);
}

#[test]
fn store_007_st_8_what_an_owner_started_does_not_keep_it_alive() {
    let folder = tempfile::tempdir().unwrap();
    let instances = Instances::open(folder.path()).unwrap();
    let mut child = start("enter and start", folder.path());
    let (id, started) = (child.line().parse().unwrap(), child.line().parse().unwrap());
    child.kill();
    until(PATIENCE, || !instances.is_alive(id));
    let started = rustix::process::Pid::from_raw(started).unwrap();
    rustix::process::test_kill_process(started).expect("it outlives who started it");
    rustix::process::kill_process(started, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn store_007_a_stopped_owner_is_alive() {
    let folder = tempfile::tempdir().unwrap();
    let instances = Instances::open(folder.path()).unwrap();
    let (child, id) = entered(folder.path());
    child.stop();
    assert!(instances.is_alive(id));
    instances.bury_dead().unwrap();
    assert!(instances.is_alive(id) && instances.card(id).is_some());
    child.go_on();
    assert!(instances.is_alive(id));
    child.end();
    assert!(!instances.is_alive(id));
}

#[test]
fn store_007_burying_the_dead_never_takes_a_living_one() {
    let folder = tempfile::tempdir().unwrap();
    let instances = Instances::open(folder.path()).unwrap();
    let is_over = AtomicBool::new(false);
    for _ in 0..rounds(1) {
        let mut children: Vec<_> = (0..3).map(|_| start("come and go", folder.path())).collect();
        let dead: Vec<_> = (0..3).map(|_| entered(folder.path())).collect();
        is_over.store(false, Ordering::Relaxed);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        instances.bury_dead().unwrap();
                    }
                });
            }
            for (child, _) in dead {
                // Killed by being dropped.
                drop(child);
            }
            let lines: Vec<_> =
                children.iter_mut().map(|child| [child.next_line(), child.next_line()]).collect();
            is_over.store(true, Ordering::Relaxed);
            let expected = ["here", "gone"].map(|line| Some(line.to_owned()));
            assert!(lines.iter().all(|lines| *lines == expected), "{lines:?}");
        });
        children.into_iter().for_each(Child::end);
    }
    instances.bury_dead().unwrap();
    assert_eq!(names(&instances), ["last"]);
}

#[test]
fn store_007_the_dead_are_buried_with_their_sockets() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let instances = Instances::open(folder.path()).unwrap();
    let mut child = start("enter and listen", folder.path());
    child.line();
    let left = || fs::read_dir(folder.path()).unwrap().count();
    instances.bury_dead().unwrap();
    assert_eq!(left(), 3, "it lives");
    drop(child);
    instances.bury_dead().unwrap();
    assert_eq!((left(), names(&instances)), (1, vec!["last".to_owned()]));
    // Whatever a card says, only sockets are removed.
    let precious = folder.path().join("precious");
    fs::write(&precious, "").unwrap();
    let mut instance = instances.enter().unwrap();
    instance.change_card(|card| card.news = Some(precious.clone())).unwrap();
    let (id, card) = (instance.id(), instances.folder().join(format!("{}.card", instance.id())));
    let text = fs::read(&card).unwrap();
    drop(instance);
    fs::write(&card, text).unwrap();
    assert!(instances.card(id).is_some());
    instances.bury_dead().unwrap();
    assert!(instances.card(id).is_none() && precious.exists());
}

#[test]
fn store_007_who_looks_is_not_taken_for_the_living() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) =
        (Instances::open(folder.path()).unwrap(), Instances::open(folder.path()).unwrap());
    let (child, id) = entered(folder.path());
    drop(child);
    let looking = File::open(one.folder().join(id.to_string())).unwrap();
    looking.try_lock_shared().unwrap();
    assert!(!one.is_alive(id) && !other.is_alive(id));
}

#[test]
fn store_007_two_stores_of_one_process_see_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) =
        (Instances::open(folder.path()).unwrap(), Instances::open(folder.path()).unwrap());
    let instance = one.enter().unwrap();
    assert!(other.is_alive(instance.id()));
    other.bury_dead().unwrap();
    assert!(other.is_alive(instance.id()) && one.is_alive(instance.id()));
    // One's own needs no file.
    fs::remove_file(one.folder().join(instance.id().to_string())).unwrap();
    assert!(one.is_alive(instance.id()));
    assert!(!other.is_alive(instance.id()));
}

#[test]
fn store_007_in_doubt_an_instance_is_alive() {
    let folder = tempfile::tempdir().unwrap();
    let instances = Instances::open(folder.path()).unwrap();
    assert!(!instances.is_alive(7), "there is not even a folder");
    fs::create_dir_all(instances.folder()).unwrap();
    // A name that leads to itself cannot be opened, nor is it missing.
    std::os::unix::fs::symlink("7", instances.folder().join("7")).unwrap();
    assert!(instances.is_alive(7));
}

#[test]
fn store_007_what_a_killed_newcomer_left_is_in_nobodys_way() {
    let folder = tempfile::tempdir().unwrap();
    let instances = Instances::open(folder.path()).unwrap();
    fs::create_dir_all(instances.folder()).unwrap();
    for name in ["new", "12", "13.card", "14.card.new"] {
        fs::write(instances.folder().join(name), "").unwrap();
    }
    assert!(instances.living().unwrap().is_empty());
    assert_eq!(instances.card(13), None);
    let instance = instances.enter().unwrap();
    assert_eq!(instances.living().unwrap(), [instance.id()]);
    instances.bury_dead().unwrap();
    let id = instance.id();
    assert_eq!(names(&instances), [format!("{id}"), format!("{id}.card"), "last".to_owned()]);
}

#[test]
fn store_007_files_that_are_not_ours_stay() {
    let folder = tempfile::tempdir().unwrap();
    let instances = Instances::open(folder.path()).unwrap();
    fs::create_dir_all(instances.folder()).unwrap();
    let foreign = ["99999999999999999999", "9007199254740992", "5.txt", "README", "-3", ".card"];
    for name in foreign {
        fs::write(instances.folder().join(name), "").unwrap();
    }
    drop(instances.enter().unwrap());
    instances.bury_dead().unwrap();
    let names = names(&instances);
    assert!(foreign.iter().all(|name| names.iter().any(|found| found == name)), "{names:?}");
}

#[test]
fn store_007_numbers_rise_whatever_the_last_one_says() {
    let folder = tempfile::tempdir().unwrap();
    let instances = Instances::open(folder.path()).unwrap();
    // It stays, so that what comes in the same millisecond is above it.
    let living = instances.enter().unwrap();
    let first = living.id();
    let last = instances.folder().join("last");
    let beyond = first + (1 << 40);
    fs::write(&last, format!("{beyond:016}\n")).unwrap();
    assert_eq!(instances.enter().unwrap().id(), beyond + 1);
    for garbage in ["", "\u{0}\u{0}\u{0}", "9007199254740992\n", "what is this, a longer line?\n\n"]
    {
        fs::write(&last, garbage).unwrap();
        let id = instances.enter().unwrap().id();
        assert!(id > first && id < beyond, "{garbage:?}");
        assert!(instances.enter().unwrap().id() > id, "after {garbage:?}");
    }
    // The last number is lost, its file is not.
    fs::write(instances.folder().join(beyond.to_string()), "").unwrap();
    fs::remove_file(&last).unwrap();
    assert_eq!(instances.enter().unwrap().id(), beyond + 1);
}

#[test]
fn store_007_a_number_has_its_time_and_is_above_the_last() {
    let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
    let noise = 0xABCD_EF12;
    assert_eq!(number(at(1_577_836_801), noise, 0), Some((1000 << 12) | 0xF12));
    assert_eq!(number(at(1_577_836_801), 0, 5000 << 12), Some((5000 << 12) + 1));
    // Clocks before the first moment and after the last.
    assert_eq!(number(at(0), 0, 0), Some(1));
    assert_eq!(number(at(10_000_000_000), 0, 41), Some(42));
    assert_eq!(number(at(1_577_836_801), 0, (1 << 53) - 1), None);
}

#[test]
fn store_007_each_change_of_a_card_shows_in_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let instances = Instances::open(folder.path()).unwrap();
    let mut instance = instances.enter().unwrap();
    let modified = || fs::metadata(instances.folder()).unwrap().modified().unwrap();
    let mut before = modified();
    for socket in [Some("/tmp/one"), Some("/tmp/two"), None] {
        // File systems tell times in steps.
        until(PATIENCE, || {
            instance.change_card(|card| card.news = socket.map(Into::into)).unwrap();
            modified() > before
        });
        before = modified();
        let card = instances.card(instance.id()).unwrap();
        assert_eq!(card.news.as_deref(), socket.map(Path::new));
        assert_eq!((card.pid, card.requests), (std::process::id(), None));
        assert!(!card.program.is_empty() && !card.program.contains('/'), "{}", card.program);
    }
    assert_eq!(instances.cards().unwrap().len(), 1);
}

#[test]
fn store_007_a_folder_of_owners_that_cannot_be_read_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("owners"), "").unwrap();
    assert!(Instances::open(folder.path()).is_err());
}

/// What lies in the folder.
fn names(instances: &Instances) -> Vec<String> {
    let entries = fs::read_dir(instances.folder()).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
