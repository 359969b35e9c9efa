//! `store`: real stores, whole and damaged, looked at, exported and pruned.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::SystemTime;

use holdpoint::event::{EventKind, Stream};
use holdpoint::session::StateName;
use holdpoint::store::{Fence, FileOptions, FileStore, Snapshot, Store, Write};
use holdpoint::{Event, SessionId, Timestamp};
use serde_json::{Value, json};

use crate::support::{Project, Ran, Running};

const DATABASE: &str = ".holdpoint/holdpoint.db";
const LOG: &str = ".holdpoint/holdpoint.db-wal";

/// A folder with a manifest, and with a store where the program looks for one.
fn project() -> (Project, FileStore) {
    let project = Project::new("tasks: { a: echo a }");
    let store = open(&project.path(".holdpoint"));
    (project, store)
}

fn open(folder: &Path) -> FileStore {
    FileStore::open(folder, FileOptions::new()).unwrap()
}

fn append(store: &FileStore, write: Write<'_>) {
    store.append(&[write]).unwrap().wait().unwrap();
}

/// A session that this store owns, with `events` events, each in a commit of its own and with an
/// entry in the journal, which began `age` microseconds ago.
fn begin(store: &FileStore, events: u64, age: u64) -> Stream {
    let stream = Stream::Session(SessionId::generate());
    for seq in 1..=events {
        let kind = match seq {
            1 => EventKind::SessionPlanned { attempt: 1 },
            _ => EventKind::SessionProgress { progress: format!("\"mark {seq}\"").into() },
        };
        let event = [Event::new(seq, ago(age), stream.clone(), kind)];
        let fence = if seq == 1 { Fence::NewOwned } else { Fence::Owned { epoch: 1 } };
        let entry = format!("{{\"step\":{seq}}}");
        let journal = [entry.as_bytes()];
        let write = Write::new(&stream, fence).events(&event).journal(&journal);
        append(store, write.label("merge"));
    }
    stream
}

/// The end of such a session.
fn end(store: &FileStore, stream: &Stream, seq: u64, age: u64) {
    let done = EventKind::SessionDone { usage: None };
    let events = [Event::new(seq, ago(age), stream.clone(), done)];
    let write = Write::new(stream, Fence::Owned { epoch: 1 }).events(&events);
    append(store, write.snapshot(Snapshot { state: StateName::Done, data: b"not json" }).release());
}

fn ago(micros: u64) -> Timestamp {
    Timestamp::from_micros(Timestamp::from(SystemTime::now()).as_micros() - micros)
}

const HOUR: u64 = 3_600_000_000;

/// Changes one bit of the file where this text stands, wherever it does.
fn damage(project: &Project, file: &str, text: &str) {
    let mut bytes = fs::read(project.path(file)).unwrap();
    let text = text.as_bytes();
    let places: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(text)).collect();
    assert!(!places.is_empty(), "it is in the file");
    for at in places {
        bytes[at] ^= 1;
    }
    project.write(file, bytes);
}

fn answer(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error} in {ran:#?}"))
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Whatever lies in the store's folder, but for files of SQLite that come and go.
fn files(project: &Project) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(project.path(".holdpoint"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| !name.ends_with("-shm"))
        .map(|name| (name.clone(), fs::read(project.path(".holdpoint").join(name)).unwrap()))
        .filter(|(name, bytes)| !name.ends_with("-wal") || !bytes.is_empty())
        .collect();
    files.sort();
    files
}

#[test]
fn prog_011_without_a_store_its_folder_is_named_and_none_is_made() {
    let project = Project::new("tasks: { a: echo a }");
    for command in ["check", "export", "prune"] {
        let ran = project.run(&["store", command]).ends_with(2);
        ran.says("there is no store in .holdpoint yet\nhelp: --store DIR or HOLDPOINT_STORE");
        assert!(!project.has(".holdpoint"), "{command}");
    }
    assert_eq!(project.run(&["store", "check", "--json"]).ends_with(2).stdout, "");
    project.run(&["store", "check", "--store", "else/where"]).ends_with(2).says("else/where yet");
    project.run(&["store", "check", "--store", "holdpoint.yaml"]).ends_with(2);
    Project::empty().run(&["store", "check"]).ends_with(2).says("no holdpoint.yaml in ");
    Project::empty().run(&["store"]).ends_with(2).says("holdpoint store [OPTIONS] <COMMAND>");
}

#[test]
fn prog_011_the_store_lies_beside_the_manifest_or_where_it_is_said_to() {
    let (project, store) = project();
    drop(store);
    fs::create_dir_all(project.path("sub/deep")).unwrap();
    drop(open(&project.path("sub/other store")));
    let sound = |arguments: &[&str], variable: Option<&str>, folder: &str| {
        let mut command = project.command(arguments);
        command.envs(variable.map(|value| ("HOLDPOINT_STORE", value)));
        let ran = Running::start(command).wait().ends_with(0);
        assert_eq!(ran.stdout.split(": ").next(), Some(folder), "{ran:#?}");
    };
    sound(&["store", "check"], None, ".holdpoint");
    sound(&["store", "check", "-f", "holdpoint.yaml"], None, ".holdpoint");
    let above = project.root().canonicalize().unwrap().join(".holdpoint");
    sound(&["store", "check", "-C", "sub/deep"], None, ".holdpoint");
    sound(&["-C", "sub", "store", "check", "-f", "../holdpoint.yaml"], None, "sub/../.holdpoint");
    sound(&["store", "--store", "sub/other store", "check"], None, "sub/other store");
    sound(&["store", "check", "--store", "other store", "-C", "sub"], None, "sub/other store");
    sound(&["store", "check"], Some("sub/other store"), "sub/other store");
    let above = above.to_str().unwrap();
    sound(&["store", "check", "--store", above], Some("nowhere"), ".holdpoint");
    // A manifest with mistakes says where it is all the same, and with --store none is needed.
    project.write("holdpoint.yaml", "mistaken");
    sound(&["store", "check"], None, ".holdpoint");
    fs::remove_file(project.path("holdpoint.yaml")).unwrap();
    sound(&["store", "check", "--store", ".holdpoint"], None, ".holdpoint");
}

#[test]
fn prog_012_store_005_a_sound_store_is_told_with_its_counts() {
    let (project, store) = project();
    let ran =
        project.run(&["store", "check"]).ends_with(0).says(": sound; 0 streams, 0 events, 0 j");
    assert_eq!(ran.stderr, "");
    let stream = begin(&store, 4, 0);
    end(&store, &stream, 5, 0);
    begin(&store, 1, 0);
    // While another process writes, and when nobody has it open.
    let counted = "sound; 2 streams, 6 events, 5 journal entries, ";
    project.run(&["store", "check"]).ends_with(0).says(counted);
    drop(store);
    let ran = project.run(&["store", "check", "--color", "always"]).ends_with(0);
    assert!(ran.stdout.starts_with(".holdpoint: \x1b[32msound\x1b[0m; 2 streams"), "{ran:#?}");
    let json = answer(&project.run(&["store", "check", "--json"]).ends_with(0));
    let bytes = fs::metadata(project.path(DATABASE)).unwrap().len();
    let expected = json!({
        "sound": true, "streams": 2, "events": 6, "entries": 5, "unacknowledged": 0,
        "bytes": bytes, "faults": [],
    });
    assert_eq!(json, expected);
}

#[test]
fn prog_012_store_005_st_7_a_damaged_event_is_named_with_what_can_be_read() {
    let (project, store) = project();
    let good = begin(&store, 2, 0);
    let stream = begin(&store, 4, 0);
    drop(store);
    damage(&project, DATABASE, "mark 3");
    let ran = project.run(&["store", "check"]).ends_with(1);
    assert_eq!(ran.stderr, "");
    let rows: Vec<&str> = ran.stdout.lines().collect();
    let place = format!("damaged: {stream}, event 3: ");
    assert!(rows[0].starts_with(&place) && rows[0].ends_with("; events 1 to 2 can be read"));
    assert!(!ran.stdout.contains(&good.to_string()), "{ran:#?}");
    let last = rows.last().unwrap();
    assert!(last.starts_with(".holdpoint: damaged; 1 of 2 streams whole, 4 events, "));
    let help = rows[rows.len() - 2];
    assert!(help.contains("copy of .holdpoint from before") && help.contains("store export FILE`"));
    let ran = project.run(&["store", "check", "--color", "always", "--store", ".holdpoint"]);
    let ran = ran.ends_with(1).says("`holdpoint store export FILE --store .holdpoint`");
    ran.says("\x1b[31mdamaged\x1b[0m: session ");
    let json = answer(&project.run(&["store", "check", "--json"]).ends_with(1));
    let Stream::Session(id) = stream else { unreachable!() };
    assert_eq!(json["sound"], false);
    assert_eq!(json["faults"][0]["stream"], json!({ "session": id }));
    assert_eq!(json["faults"][0]["seq"], 3);
    assert!(json["faults"][0]["message"].is_string());
}

#[test]
fn prog_013_store_006_what_comes_before_the_damage_is_exported() {
    let (project, store) = project();
    let stream = begin(&store, 4, 0);
    begin(&store, 2, 0);
    drop(store);
    damage(&project, DATABASE, "mark 3");
    let ran = project.run(&["store", "export"]).ends_with(1);
    let lines = lines(&ran.stdout);
    let marks = |line: &&Value| line["event"]["seq"].is_u64();
    let events: Vec<&Value> =
        lines.iter().filter(marks).map(|line| &line["event"]["seq"]).collect();
    assert_eq!(events, [1, 2, 1, 2]);
    let Stream::Session(id) = &stream else { unreachable!() };
    let error = lines.iter().find(|line| line["error"].is_string()).unwrap();
    assert_eq!(error["stream"], json!({ "session": id }));
    let told = format!("damaged: {stream} is damaged at event 3: run `holdpoint store check`\n");
    assert_eq!(ran.stderr, told + "exported 2 streams, 4 events, 4 journal entries\n");
    // To a file as well: it is all that there is.
    project.run(&["store", "export", "all.jsonl"]).ends_with(1);
    assert!(project.read("all.jsonl").contains("\"error\":"));
}

#[test]
fn prog_012_st_7_a_damaged_log_is_told_and_left_alone() {
    let (project, store) = project();
    let stream = begin(&store, 4, 0);
    let before_last = fs::metadata(project.path(LOG)).unwrap().len() as usize;
    end(&store, &stream, 5, 0);
    // As a kill leaves it.
    let [database, log] = [DATABASE, LOG].map(|name| fs::read(project.path(name)).unwrap());
    drop(store);
    let bring_back = |at: usize| {
        let mut log = log.clone();
        log[at] ^= 1;
        let _ = fs::remove_file(project.path(".holdpoint/holdpoint.db-shm"));
        project.write(DATABASE, &database);
        project.write(LOG, &log);
        log
    };
    let damaged = bring_back(before_last / 2);
    let ran = project.run(&["store", "check"]).ends_with(1).says("is damaged at frame ");
    assert_eq!(ran.stdout, "");
    let ran = project.run(&["store", "check", "--json"]).ends_with(1).says("error: ");
    assert_eq!(answer(&ran)["sound"], false);
    assert!(answer(&ran)["faults"][0]["message"].as_str().unwrap().contains("at frame "));
    assert_eq!(fs::read(project.path(LOG)).unwrap(), damaged);
    // The last commit may be one that was under way: that is no fault.
    bring_back(before_last + 30);
    let ran = project.run(&["store", "check"]).ends_with(0).says("note: the log ended with ");
    ran.says("sound; 1 stream, 4 events");
    bring_back(before_last + 30);
    let json = answer(&project.run(&["store", "check", "--json"]).ends_with(0));
    assert!(json["unacknowledged"].as_u64().unwrap() > 0 && json["sound"] == true, "{json}");
}

#[test]
fn prog_012_core_010_files_of_others_and_of_newer_versions_are_left_alone() {
    let (project, store) = project();
    drop(store);
    let good = fs::read(project.path(DATABASE)).unwrap();
    let with = |at: usize, value: u32| {
        let mut bytes = good.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
        bytes
    };
    let foreign = "is not a Holdpoint store: ";
    for (bytes, code, says) in [
        (with(60, 99), 2, "has version 99 of the format"),
        (with(68, 7), 1, foreign),
        (b"a diary, and no database at all".repeat(9), 1, foreign),
        (Vec::new(), 1, foreign),
    ] {
        project.write(DATABASE, &bytes);
        for command in ["check", "export", "prune"] {
            let ran = project.run(&["store", command]).ends_with(code).says(says);
            assert_eq!(ran.stdout, "");
        }
        let ran = project.run(&["store", "check", "--json"]).ends_with(code).says(says);
        match code {
            1 => assert_eq!(answer(&ran)["sound"], false),
            _ => assert_eq!(ran.stdout, ""),
        }
        assert_eq!(fs::read(project.path(DATABASE)).unwrap(), bytes, "{says}");
    }
}

#[test]
fn prog_013_check_and_export_change_nothing() {
    let (project, store) = project();
    let stream = begin(&store, 4, 0);
    let look = || {
        project.run(&["store", "check"]).ends_with(0);
        project.run(&["store", "export"]).ends_with(0);
        files(&project)
    };
    let before = files(&project);
    assert_eq!(look(), before, "while somebody has it open");
    end(&store, &stream, 5, 0);
    drop(store);
    let before = files(&project);
    assert_eq!(look(), before, "when nobody has");
}

#[test]
fn prog_013_store_006_everything_is_exported_as_lines() {
    let (project, store) = project();
    let stream = begin(&store, 3, 0);
    end(&store, &stream, 4, 0);
    begin(&store, 1, 0);
    let ran = project.run(&["store", "export"]).ends_with(0);
    assert_eq!(ran.stderr, "exported 2 streams, 5 events, 4 journal entries\n");
    let lines = lines(&ran.stdout);
    assert_eq!(lines.len(), 2 + 5 + 4);
    let Stream::Session(id) = &stream else { unreachable!() };
    assert_eq!(lines[0]["stream"], json!({ "session": id }));
    assert_eq!((&lines[0]["state"], &lines[0]["label"]), (&json!("done"), &json!("merge")));
    assert_eq!(lines[0]["snapshot"], json!({ "hex": "6e6f74206a736f6e" }));
    let event: Event = serde_json::from_value(lines[2]["event"].clone()).unwrap();
    assert_eq!(event, store.events(&stream, 1, 1).unwrap()[0].event().unwrap());
    assert_eq!(lines[5], json!({ "journal": 1, "entry": { "step": 1 } }));
    // The same into a file, while somebody has the store open.
    project.run(&["store", "export", "all.jsonl"]).ends_with(0);
    assert_eq!(project.read("all.jsonl"), ran.stdout);
}

#[test]
fn prog_013_an_export_to_a_file_is_whole_or_not_there() {
    let (project, store) = project();
    begin(&store, 1, 0);
    drop(store);
    fs::create_dir(project.path("sub")).unwrap();
    project.write("sub/all.jsonl", "of yesterday");
    let mode = fs::Permissions::from_mode(0o600);
    fs::set_permissions(project.path("sub/all.jsonl"), mode).unwrap();
    std::os::unix::fs::symlink("sub/all.jsonl", project.path("link")).unwrap();
    // It takes the place of what was there, through a link as well, and is read by nobody else.
    project.run(&["store", "export", "link"]).ends_with(0);
    assert!(project.path("link").is_symlink());
    assert_eq!(lines(&project.read("sub/all.jsonl")).len(), 3);
    let mode = fs::metadata(project.path("sub/all.jsonl")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // From the folder of -C, as every path.
    project.run(&["-C", "sub", "store", "export", "more.jsonl"]).ends_with(0);
    assert!(project.has("sub/more.jsonl"));
    // What fails leaves what was there, and nothing else.
    project.run(&["store", "export", "none/all.jsonl"]).ends_with(2).says("none/all.jsonl: ");
    project.run(&["store", "export", "sub"]).ends_with(2).says("cannot export to ");
    let mut damaged = fs::read(project.path(DATABASE)).unwrap();
    damaged.truncate(100);
    project.write(DATABASE, damaged);
    project.run(&["store", "export", "sub/all.jsonl"]).ends_with(1);
    assert_eq!(lines(&project.read("sub/all.jsonl")).len(), 3);
    assert_eq!(fs::read_dir(project.path("sub")).unwrap().count(), 2);
}

#[test]
fn prog_013_an_export_that_cannot_be_written_leaves_what_was_there() {
    let (project, store) = project();
    let stream = begin(&store, 1, 0);
    let progress = EventKind::SessionProgress { progress: "x".repeat(1 << 20).into() };
    let events = [Event::new(2, ago(0), stream.clone(), progress)];
    append(&store, Write::new(&stream, Fence::Owned { epoch: 1 }).events(&events));
    drop(store);
    project.write("all.jsonl", "of yesterday");
    // No file may become as large; asked without the signal, the system says so.
    let script = "trap '' XFSZ; ulimit -f 256; exec \"$0\" store export all.jsonl";
    let program = project.command(&[]);
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).arg(program.get_program()).current_dir(project.root());
    let output = shell.output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.starts_with("error: the export to ") && told.contains("all.jsonl was given up: "));
    assert_eq!(project.read("all.jsonl"), "of yesterday");
    assert_eq!(fs::read_dir(project.root()).unwrap().count(), 3);
}

#[test]
fn prog_013_what_is_no_file_is_written_to_as_it_is() {
    let (project, store) = project();
    begin(&store, 1, 0);
    drop(store);
    let made = Command::new("mkfifo").arg(project.path("pipe")).status().unwrap();
    assert!(made.success());
    let pipe = project.path("pipe");
    let reader = thread::spawn(move || fs::read_to_string(pipe).unwrap());
    project.run(&["store", "export", "pipe"]).ends_with(0);
    assert!(fs::metadata(project.path("pipe")).unwrap().file_type().is_fifo());
    assert_eq!(lines(&reader.join().unwrap()).len(), 3);
}

#[test]
fn prog_005_out_2_an_export_that_nobody_reads_ends_quietly() {
    let (project, store) = project();
    for _ in 0..20 {
        begin(&store, 40, 0);
    }
    drop(store);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = project.command(&["store", "export"]);
    command.stdout(Stdio::from(writer));
    let ran = Running::start(command).wait().ends_with(141);
    assert_eq!(ran.stderr, "");
}

#[test]
fn prog_014_store_006_what_ended_long_ago_is_deleted_and_nothing_else() {
    let (project, store) = project();
    let running = begin(&store, 2, 99 * HOUR);
    let ended: Vec<Stream> = (0..6)
        .map(|n| {
            let stream = begin(&store, 2, (60 - n) * HOUR);
            end(&store, &stream, 3, (60 - 10 * n) * HOUR);
            stream
        })
        .collect();
    let there = || {
        let of = |stream: &&Stream| store.info(stream).is_ok();
        assert!(store.info(&running).is_ok(), "what runs stays");
        ended.iter().filter(of).cloned().collect::<Vec<_>>()
    };
    let prune =
        |arguments: &[&str]| project.run(&[&["store", "prune"], arguments].concat()).ends_with(0);
    prune(&[]).says("deleted 0 streams with 0 events; ");
    prune(&["--age", "1h"]).says("deleted 0 streams");
    assert_eq!(there(), ended, "fewer than are kept in any case");
    // 60, 50, 40, 30, 20 and 10 hours ago.
    let ran =
        prune(&["--age", "1d21h", "--keep-last", "1"]).says("deleted 2 streams with 6 events; ");
    assert_eq!((there(), ran.stderr.as_str()), (ended[2..].to_vec(), ""));
    let json = answer(&prune(&["--age=0s", "--keep-last=3", "--json"]));
    let bytes = store.size().unwrap().0;
    assert_eq!(json, json!({ "streams": 1, "events": 3, "bytes": bytes }));
    assert_eq!(there(), ended[3..]);
    let ran =
        prune(&["--size", "1KiB", "--keep-last", "1"]).says("deleted 2 streams with 6 events; ");
    ran.says("note: that is more than 1.0 KiB, but what is left ");
    assert_eq!(there(), ended[5..]);
    prune(&["--age", "0s", "--keep-last", "0"]).says("deleted 1 stream with 3 events; ");
    assert!(there().is_empty());
}

#[test]
fn prog_014_numbers_without_units_are_refused_and_delete_nothing() {
    let (project, store) = project();
    let stream = begin(&store, 1, HOUR);
    end(&store, &stream, 2, HOUR);
    for (flag, value, says) in [
        ("--age", "30", "write `30d` for days"),
        ("--age", "1M", "use days, as in `30d`"),
        ("--size", "2", "write `2MiB` or `2GiB`"),
        ("--size", "2G", "units are KiB, MiB, GiB"),
        ("--keep-last", "some", "invalid"),
    ] {
        let arguments = ["store", "prune", "--keep-last=0", "--age=0s", "--size=0KiB"];
        let rest: Vec<&str> = arguments.into_iter().filter(|a| !a.starts_with(flag)).collect();
        project.run(&[&rest[..], &[flag, value]].concat()).ends_with(2).says(says);
    }
    assert!(store.info(&stream).is_ok());
}

#[test]
fn the_help_of_every_command_fits_a_terminal() {
    let project = Project::empty();
    for command in [
        &[][..],
        &["run"],
        &["check"],
        &["store"],
        &["store", "check"],
        &["store", "export"],
        &["store", "prune"],
    ] {
        let mut command = project.command(&[command, &["--help"]].concat());
        command.env("COLUMNS", "80");
        let ran = Running::start(command).wait().ends_with(0);
        let wide = ran.stdout.lines().find(|line| line.chars().count() > 80);
        assert_eq!(wide, None);
    }
}
