//! Which file is taken and what may be read (IN-4).

use std::fs;
use std::path::Path;

use insta::assert_snapshot;
use tempfile::tempdir;

use crate::load::MAX_BYTES;
use crate::{FindError, LoadError, Manifest, find};

const TEXT: &str = "tasks: { a: echo }";

#[test]
fn man_011_the_nearest_folder_with_a_manifest_wins() {
    let folder = tempdir().unwrap();
    let inner = folder.path().join("a/b");
    fs::create_dir_all(&inner).unwrap();
    fs::write(folder.path().join("holdpoint.yaml"), TEXT).unwrap();
    assert_eq!(find(&inner).unwrap(), folder.path().join("holdpoint.yaml"));

    fs::write(folder.path().join("a/holdpoint.yml"), TEXT).unwrap();
    assert_eq!(find(&inner).unwrap(), folder.path().join("a/holdpoint.yml"));
    // A file is not a folder, and has none in it.
    assert_eq!(
        find(&folder.path().join("a/holdpoint.yml")).unwrap(),
        inner.with_file_name("holdpoint.yml")
    );
}

#[test]
fn man_011_two_manifests_in_one_folder_are_refused() {
    let folder = tempdir().unwrap();
    for name in ["holdpoint.yaml", "holdpoint.yml"] {
        fs::write(folder.path().join(name), TEXT).unwrap();
    }
    let error = find(folder.path()).unwrap_err();
    assert!(matches!(&error, FindError::Ambiguous { .. }));
    let text = error.to_string();
    assert!(text.contains("holdpoint.yaml and ") && text.contains("holdpoint.yml"), "{text}");
}

#[test]
fn man_011_no_manifest_anywhere_names_where_the_search_began() {
    // The folders above a temporary one belong to the system and have none.
    let folder = tempdir().unwrap();
    let error = find(folder.path()).unwrap_err();
    assert!(matches!(&error, FindError::NotFound { from } if from == folder.path()), "{error}");
}

#[test]
fn man_011_a_loaded_manifest_knows_its_folder() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("holdpoint.yaml");
    fs::write(&path, TEXT).unwrap();
    let manifest = Manifest::load(&path).unwrap();
    assert_eq!((manifest.path(), manifest.root()), (path.as_path(), folder.path()));
    assert_eq!(manifest.text(), TEXT);
}

/// What is said about `path`, which must not be readable, with the folder left out.
fn unreadable(path: &Path) -> String {
    let error = Manifest::load(path).unwrap_err();
    error.to_string().replace(path.parent().unwrap().to_str().unwrap(), "")
}

#[test]
fn in_4_a_folder_is_refused() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("holdpoint.yaml");
    fs::create_dir(&path).unwrap();
    assert_eq!(find(folder.path()).unwrap(), path);
    assert_snapshot!(unreadable(&path), @"cannot read /holdpoint.yaml: it is a folder, not a file");
}

#[cfg(unix)]
#[test]
fn in_4_pipes_sockets_and_devices_are_refused_without_waiting() {
    let folder = tempdir().unwrap();
    let pipe = folder.path().join("pipe.yaml");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert_snapshot!(unreadable(&pipe), @"cannot read /pipe.yaml: it is a pipe, not a file");
    // Through a link too.
    let link = folder.path().join("link.yaml");
    std::os::unix::fs::symlink(&pipe, &link).unwrap();
    assert_snapshot!(unreadable(&link), @"cannot read /link.yaml: it is a pipe, not a file");

    let socket = folder.path().join("socket.yaml");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert_snapshot!(unreadable(&socket), @"cannot read /socket.yaml: it is a socket, not a file");
    assert_snapshot!(unreadable(Path::new("/dev/zero")), @"cannot read /zero: it is a device, not a file");
}

#[test]
fn in_4_a_file_over_the_cap_is_refused_unread() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("holdpoint.yaml");
    // A hole of a gigabyte: reading it would take its time.
    fs::File::create(&path).unwrap().set_len(1 << 30).unwrap();
    assert_snapshot!(unreadable(&path), @"cannot read /holdpoint.yaml: a manifest has at most 16777216 bytes");

    let at_the_cap = format!("{TEXT}\n#{}", " ".repeat(MAX_BYTES - TEXT.len() - 2));
    assert_eq!(at_the_cap.len(), MAX_BYTES);
    fs::write(&path, &at_the_cap).unwrap();
    assert!(Manifest::load(&path).is_ok());
    fs::write(&path, at_the_cap + " ").unwrap();
    assert!(matches!(Manifest::load(&path), Err(LoadError::TooLarge { .. })));
}

#[cfg(target_os = "linux")]
#[test]
fn in_4_a_file_that_hides_its_size_is_read_as_it_is() {
    // The kernel says 0 bytes for it, and gives some.
    let faults = Manifest::load(Path::new("/proc/self/cmdline")).unwrap_err();
    assert!(matches!(faults, LoadError::Invalid(_)), "{faults}");
}

#[test]
fn in_4_a_missing_file_keeps_its_cause() {
    let folder = tempdir().unwrap();
    let error = Manifest::load(&folder.path().join("holdpoint.yaml")).unwrap_err();
    let LoadError::Io { source, .. } = &error else { panic!("{error}") };
    assert_eq!(source.kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn in_5_what_is_not_utf_8_is_refused_at_its_place() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("holdpoint.yaml");
    let said = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        unreadable(&path)
    };
    assert_snapshot!(said(b"tasks:\n  a: caf\xe9\n"), @"
    /holdpoint.yaml:2:9: the byte 0xe9 at offset 15 is not UTF-8
    2 |   a: caf�
      |         ^
    ");
    assert_snapshot!(said("\u{feff}tasks:\n".bytes().chain([0xc3]).collect::<Vec<_>>().as_slice()), @"
    /holdpoint.yaml:2:1: the byte 0xc3 at offset 10 is not UTF-8
    2 | �
      | ^
    ");
    let wide: Vec<u8> = TEXT.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_snapshot!(said(&[b"\xff\xfe".as_slice(), &wide].concat()), @r"
    /holdpoint.yaml:1:1: the byte 0xff at offset 0 is not UTF-8
    1 | ��t\u{0}a\u{0}s\u{0}k\u{0}s\u{0}:\u{0} \u{0}{\u{0} \u{0}a\u{0}:\u{0} \u{0}e\u{0}c\u{0}h\u{0}o\u{0} \u{0}}\u{0}
      | ^
    help: the file looks like UTF-16: save it as UTF-8
    ");
}
