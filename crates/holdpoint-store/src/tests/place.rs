//! Where a store and its sockets may lie (STORE-009, STORE-010).

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use crate::place::{PlaceError, check, find_socket_path, refusal, socket_path};

#[test]
fn store_010_file_systems_of_other_machines_are_refused_by_name() {
    for (magic, name) in [
        (0x6969, "NFS"),
        (0x517B, "SMB"),
        (0xFE53_4D42, "SMB"),
        (0xFF53_4D42, "CIFS"),
        (0x0102_1997, "9p"),
        (0x5346_414F, "AFS"),
        (0x6B41_4653, "AFS"),
        (0x7375_7245, "Coda"),
        (0x00C3_6400, "Ceph"),
        (0x0BD0_0BD0, "Lustre"),
    ] {
        assert_eq!(refusal(magic), Some(name), "{magic:#x}");
    }
    // ext4, tmpfs, btrfs, XFS, overlayfs, ZFS, FUSE, F2FS.
    let local = [
        0xEF53,
        0x0102_1994,
        0x9123_683E,
        0x5846_5342,
        0x794C_7630,
        0x2FC1_2FC1,
        0x6573_5546,
        0xF2F5_2010,
    ];
    assert!(local.into_iter().all(|magic| refusal(magic).is_none()));
    let path = "/mnt/store".into();
    let error = PlaceError::FileSystem { path, name: "NFS" }.to_string();
    assert!(error.contains("/mnt/store lies on NFS") && error.contains("--store DIR"), "{error}");
}

#[test]
fn store_010_a_local_folder_is_fit_and_stays_so_while_somebody_writes() {
    let folder = tempfile::tempdir().unwrap();
    check(folder.path()).unwrap();
    let lock = fs::File::open(folder.path().join("write.lock")).unwrap();
    lock.try_lock().expect("the probe lets go");
    check(folder.path()).unwrap();
    let other = fs::File::open(folder.path().join("write.lock")).unwrap();
    assert!(other.try_lock().is_err(), "the probe took somebody's lock");
}

#[test]
fn store_010_what_is_no_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = check(&file).unwrap_err();
    assert!(matches!(error, PlaceError::NotAFolder { .. }), "{error}");
    assert!(error.to_string().contains("file is not a folder"), "{error}");
    let error = check(&folder.path().join("missing")).unwrap_err();
    assert!(matches!(error, PlaceError::Denied { what: "found", .. }), "{error}");
}

#[test]
fn store_010_a_folder_that_cannot_be_written_to_is_named() {
    // The kernel's own files cannot be written to by anybody, root included.
    let error = check(Path::new("/proc/self/net")).unwrap_err();
    assert!(matches!(error, PlaceError::Denied { .. }), "{error}");
    assert!(error.to_string().starts_with("/proc/self/net"), "{error}");
    assert!(error.to_string().contains("HOLDPOINT_STORE"), "{error}");
    // The file of the lock may be the one that cannot be opened.
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("write.lock")).unwrap();
    let error = check(folder.path()).unwrap_err();
    assert!(error.to_string().contains("write.lock cannot be opened"), "{error}");
}

#[test]
fn store_009_sockets_lie_in_the_runtime_folder_of_the_session() {
    let (session, common) = (private(), private());
    let found = find(session.path(), common.path(), "a.sock").unwrap();
    assert_eq!(found, session.path().join("holdpoint/a.sock"));
    let made = fs::metadata(found.parent().unwrap()).unwrap();
    assert_eq!(made.mode() & 0o777, 0o700);
    assert_eq!(find(session.path(), common.path(), "a.sock").unwrap(), found, "the second time");
    assert_eq!(fs::read_dir(common.path()).unwrap().count(), 0);
}

#[test]
fn store_009_a_runtime_folder_that_is_not_ours_alone_is_passed_over() {
    let (session, common) = (private(), private());
    let uid = uid();
    let instead = common.path().join(format!("holdpoint-{uid}/a.sock"));
    let expect = |session: Option<&OsStr>| {
        assert_eq!(find_socket_path("a.sock", session, common.path(), uid).unwrap(), instead);
    };
    expect(None);
    expect(Some(OsStr::new("")));
    expect(Some(OsStr::new("relative")));
    expect(Some(session.path().join("missing").as_os_str()));
    expect(Some(session.path().join(OsStr::from_bytes(b"\xff")).as_os_str()));
    // Too long for a socket.
    expect(Some(session.path().join("x".repeat(100)).as_os_str()));
    let link = common.path().join("link");
    symlink(session.path(), &link).unwrap();
    expect(Some(link.as_os_str()));
    fs::set_permissions(session.path(), Permissions::from_mode(0o750)).unwrap();
    expect(Some(session.path().as_os_str()));
    fs::set_permissions(session.path(), Permissions::from_mode(0o700)).unwrap();
    fs::write(session.path().join("holdpoint"), "").unwrap();
    expect(Some(session.path().as_os_str()));
    assert_eq!(fs::metadata(instead.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn store_009_the_last_resort_is_refused_with_the_reason() {
    let common = private();
    let uid = uid();
    let folder = common.path().join(format!("holdpoint-{uid}"));
    let refused = |reason: &str| {
        let error = find_socket_path("a.sock", None, common.path(), uid).unwrap_err();
        let message = error.to_string();
        assert!(matches!(error, PlaceError::NoRuntimeFolder { .. }), "{message}");
        assert!(message.contains(reason) && message.contains("XDG_RUNTIME_DIR"), "{message}");
        assert!(message.contains(folder.to_str().unwrap()), "{message}");
    };
    fs::create_dir(common.path().join("real")).unwrap();
    symlink("real", &folder).unwrap();
    refused("it is a symbolic link");
    fs::remove_file(&folder).unwrap();
    fs::write(&folder, "").unwrap();
    refused("it is not a folder");
    fs::remove_file(&folder).unwrap();
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o710)).unwrap();
    refused("others may use it (mode 0710)");
    let other = find_socket_path("a.sock", None, common.path(), uid + 1).unwrap_err();
    assert!(
        other.to_string().contains(&format!("belongs to user {uid}, not to {}", uid + 1)),
        "{other}"
    );
    fs::remove_dir(&folder).unwrap();
    let nowhere = common.path().join("missing");
    let error = find_socket_path("a.sock", None, &nowhere, uid).unwrap_err();
    assert!(error.to_string().contains("cannot be made"), "{error}");
}

#[test]
fn store_009_a_path_too_long_for_a_socket_is_refused_with_its_length() {
    let common = private();
    let error = find_socket_path(&"x".repeat(107), None, common.path(), uid()).unwrap_err();
    let PlaceError::LongSocketPath { path, length, limit } = &error else { panic!("{error}") };
    assert_eq!(path.as_os_str().len(), *length);
    let message = error.to_string();
    assert!(
        message.contains(&format!("has {length} bytes, and the system takes {limit}")),
        "{message}"
    );
    // What is just short enough can be bound.
    let fixed = common.path().join(format!("holdpoint-{}/", uid())).as_os_str().len();
    let name = "x".repeat(limit - fixed);
    let path = find_socket_path(&name, None, common.path(), uid()).unwrap();
    std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert!(std::os::unix::net::UnixListener::bind(path.with_file_name(name + "x")).is_err());
}

#[test]
fn store_009_this_very_machine_has_a_place_for_sockets() {
    let path = socket_path("a.sock").unwrap();
    assert!(path.is_absolute() && path.parent().unwrap().is_dir(), "{}", path.display());
}

fn find(session: &Path, common: &Path, name: &str) -> Result<std::path::PathBuf, PlaceError> {
    find_socket_path(name, Some(session.as_os_str()), common, uid())
}

/// A folder with mode 0700 and a short path.
fn private() -> tempfile::TempDir {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
    folder
}

fn uid() -> u32 {
    rustix::process::geteuid().as_raw()
}
