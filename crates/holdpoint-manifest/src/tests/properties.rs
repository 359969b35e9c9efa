//! No text whatever makes the reader panic, and every refusal has a place (IN-3).

use proptest::prelude::*;
use proptest::sample::select;

use crate::{Diagnostics, Manifest};

use super::parse;

/// A manifest with every key and every form of value.
const FULL: &str = r#"version: 1
default: [test]
limits: { jobs: 4, tags: { heavy: 1 }, holds: { gpu: 2, "~:port": 3 } }
tasks:
  hello: echo hello
  fetch: &fetch
    desc: Download today's data
    run: |
      curl -sSf http://127.0.0.1/data.csv
    holds: [network, { name: "~:tmp", shared: true }]
  build:
    exec: [make, -s, 0644]
    dir: src
    needs: [fetch]
    after: lint
    env: { LANG: C, LEVEL: 010 }
    pass_env: [SSH_AUTH_SOCK]
    holds: [{ name: gpu, units: 1 }]
    tags: [heavy]
    weight: 2
    timeout: 1h30m
    retry: { attempts: 3, initial: 1s, multiplier: 2, max: 30s, jitter: 0.1 }
    allow_failure: false
    if: test -f src/Makefile
  lint: { <<: *fetch, run: [cc --version, ./lint.sh] }
  test: { needs: [build], approval: Test now? }
  notify: { finally: [test], run: ./notify.sh, approval: { prompt: Tell?, timeout: 24h, on_timeout: reject } }
on:
  failure: ./tell.sh
  success: [date, ./tell.sh]
  paused: { webhook: "http://127.0.0.1:9000/hook", secret_env: HOOK_KEY, timeout: 30s }
  tripped: { exec: [./tell.sh, 010] }
"#;

/// Pieces from which YAML is made, and some that it fears.
const PIECES: &[&str] = &[
    "tasks:",
    "run:",
    "needs:",
    "holds:",
    "approval:",
    "on:",
    "webhook:",
    "http://",
    "limits:",
    "jobs:",
    "- ",
    "? ",
    ": ",
    "{",
    "}",
    "[",
    "]",
    ",",
    "&a ",
    "*a",
    "<<: ",
    "!!int ",
    "!x ",
    "|",
    ">",
    "|2-",
    "\"",
    "'",
    "\\",
    "\\x",
    "\\u202e",
    "#",
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    "~",
    "null",
    "true",
    "no",
    "0",
    "-1",
    "010",
    "1e999",
    ".inf",
    "\n",
    "\n  ",
    "\r",
    "\t",
    " ",
    "\0",
    "\u{feff}",
    "\u{85}",
    "\u{2028}",
    "\u{202e}",
    "é",
    "𝄞",
    "1h30m",
    "90",
    "~:x",
    "a:b",
    "=",
    "@",
    "`",
];

fn cases() -> u32 {
    std::env::var("HOLDPOINT_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(256)
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() }
}

/// Either a manifest, or faults that stand in the text and read `file:line:column: message`.
fn answered(text: &str) -> Result<(), TestCaseError> {
    let Err(faults) = parse(text) else { return Ok(()) };
    prop_assert!(faults.iter().count() <= Diagnostics::MAX);
    let lines = text.split(['\n', '\r']).count() + 1;
    let mut last = (0, 0);
    for fault in &faults {
        let place = (fault.location.line, fault.location.column);
        prop_assert!(last <= place, "{place:?} after {last:?}");
        prop_assert!(place.0 >= 1 && place.1 >= 1 && place.0 as usize <= lines, "{place:?}");
        let said = fault.to_string();
        let head = format!("holdpoint.yaml:{}:{}: ", place.0, place.1);
        prop_assert!(said.starts_with(&head) && said.len() > head.len(), "{said}");
        let safe = |c: char| c == '\n' || !c.is_control();
        prop_assert!(said.chars().all(safe), "{said:?}");
        last = place;
    }
    Ok(())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn in_3_any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        answered(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn in_3_any_text_of_pieces_is_answered(pieces in prop::collection::vec(select(PIECES), 0..60)) {
        answered(&pieces.concat())?;
    }

    #[test]
    fn in_3_any_change_of_a_manifest_is_answered(
        changes in prop::collection::vec((0..FULL.len(), 0..12_usize, select(PIECES)), 1..6),
    ) {
        let mut text = FULL.to_owned();
        for (at, removed, inserted) in changes {
            let start = floor(&text, at.min(text.len()));
            let end = floor(&text, (start + removed).min(text.len()));
            text.replace_range(start..end, inserted);
        }
        answered(&text)?;
    }

    #[test]
    fn in_3_a_manifest_cut_anywhere_is_answered(at in 0..FULL.len()) {
        answered(&FULL[..at])?;
    }

    #[test]
    fn in_3_line_ends_change_nothing(at in 0..FULL.len(), end in select(&["\n", "\r\n", "\r"][..])) {
        let cut = &FULL[..at];
        let say = |text: &str| match parse(text) {
            Ok(manifest) => format!("{:?}{:?}", manifest.tasks(), manifest.hooks()),
            Err(faults) => faults.to_string(),
        };
        prop_assert_eq!(say(cut), say(&cut.replace('\n', end)));
    }
}

/// The nearest beginning of a character at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at).rev().find(|&index| text.is_char_boundary(index)).unwrap_or(0)
}

#[test]
fn in_3_the_manifest_that_is_changed_is_valid() {
    let manifest: Manifest = parse(FULL).unwrap();
    assert_eq!(manifest.tasks().len(), 6);
}
