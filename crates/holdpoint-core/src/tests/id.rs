//! CORE-001.

use std::collections::BTreeSet;
use std::process::Command;

use proptest::prelude::*;

use super::config;
use crate::{BatchId, SessionId};

/// The milliseconds since 1970 that a version 7 id begins with.
fn millis(id: &str) -> u64 {
    let digits: String = id.chars().filter(|c| *c != '-').take(12).collect();
    u64::from_str_radix(&digits, 16).unwrap()
}

/// The grammar of an id, written down once more.
fn is_canonical(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            14 => byte == b'7',
            19 => matches!(byte, b'8' | b'9' | b'a' | b'b'),
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}

#[test]
fn core_001_ids_rise_within_a_thread_as_value_and_as_text() {
    let ids: Vec<_> = (0..10_000).map(|_| SessionId::generate()).collect();
    assert!(ids.is_sorted_by(|one, next| one < next));
    assert!(ids.is_sorted_by(|one, next| one.to_string() < next.to_string()));
    assert!(ids.iter().all(|id| is_canonical(&id.to_string())));
}

#[test]
fn core_001_ids_rise_in_every_thread_and_never_repeat() {
    let threads: Vec<_> = (0..8)
        .map(|_| {
            std::thread::spawn(|| (0..2_000).map(|_| SessionId::generate()).collect::<Vec<_>>())
        })
        .collect();
    let ids: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(ids.iter().all(|of_thread| of_thread.is_sorted_by(|one, next| one < next)));
    assert_eq!(ids.iter().flatten().collect::<BTreeSet<_>>().len(), 16_000);
}

const PRINTER: &str = "HOLDPOINT_TEST_PRINTS_IDS";

/// The other process: the same test binary, told to run nothing but this.
#[test]
fn prints_ids_when_asked() {
    if std::env::var_os(PRINTER).is_some() {
        for _ in 0..1_000 {
            println!("\nid {}", SessionId::generate());
        }
    }
}

#[test]
fn core_001_ids_of_several_processes_differ_and_order_by_the_millisecond() {
    let before = SessionId::generate();
    let children: Vec<_> = (0..2)
        .map(|_| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "tests::id::prints_ids_when_asked", "--nocapture"])
                .env(PRINTER, "1")
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut ids = BTreeSet::from([before.to_string()]);
    for child in children {
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        ids.extend(text.lines().filter_map(|line| line.strip_prefix("id ")).map(str::to_owned));
    }
    let after = SessionId::generate();
    ids.insert(after.to_string());
    assert_eq!(ids.len(), 2_002);
    let range = millis(&before.to_string())..=millis(&after.to_string());
    assert!(ids.iter().all(|id| is_canonical(id) && range.contains(&millis(id))));
}

/// Texts near the border: ids with one character changed, cut, or dressed up.
fn near_ids() -> impl Strategy<Value = String> {
    let id = "[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}";
    prop_oneof![
        2 => id,
        4 => (id, 0..36_usize, any::<char>()).prop_map(|(id, at, other)| {
            id.chars().enumerate().map(|(index, c)| if index == at { other } else { c }).collect()
        }),
        2 => (id, 0..36_usize).prop_map(|(id, length)| id[..length].to_owned()),
        1 => id.prop_map(|id| id.to_uppercase()),
        1 => id.prop_map(|id| id.replace('-', "")),
        1 => id.prop_map(|id| format!("{{{id}}}")),
        1 => id.prop_map(|id| format!("urn:uuid:{id}")),
        1 => id.prop_map(|id| format!("../{id}")),
        1 => id.prop_map(|id| format!("{id}\n")),
        1 => "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        1 => any::<String>(),
    ]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn core_001_only_the_canonical_text_is_an_id(text in near_ids()) {
        let id = text.parse::<SessionId>();
        prop_assert_eq!(id.is_ok(), is_canonical(&text));
        prop_assert_eq!(text.parse::<BatchId>().is_ok(), is_canonical(&text));
        if let Ok(id) = id {
            prop_assert_eq!(id.to_string(), text);
        }
    }
}
