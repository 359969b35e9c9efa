use proptest::prelude::*;

use crate::escape::escape;
use crate::output::{Line, LineEnd};
use crate::present::{Prefix, Rendering, write_block, write_line};

fn shown(text: &[u8]) -> String {
    let mut into = Vec::new();
    escape(text, true, &mut into);
    String::from_utf8(into).unwrap()
}

fn row(prefix: &Prefix, bytes: &[u8], end: LineEnd, rendering: Rendering) -> String {
    let mut out = Vec::new();
    write_line(&mut out, prefix, Line { bytes, begins: true, end }, rendering).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn proc_005_out_1_what_a_terminal_would_act_upon_is_shown() {
    for (text, expected) in [
        ("plain, tab\there, ümläut, 漢字 \\ \"", "plain, tab\there, ümläut, 漢字 \\ \""),
        ("\x1b[2J\x1b[H", r"\x1b[2J\x1b[H"),
        ("\x1b]8;;http://evil\x1b\\click", r"\x1b]8;;http://evil\x1b\click"),
        ("\x1b]52;c;aGk=\x07", r"\x1b]52;c;aGk=\x07"),
        ("safe\rforged", r"safe\rforged"),
        ("\u{9b}31m", r"\u{9b}31m"),
        ("a\u{202e}b\u{2066}c\u{200f}d\u{2028}e", r"a\u{202e}b\u{2066}c\u{200f}d\u{2028}e"),
        ("\0\x08\x7f", r"\x00\x08\x7f"),
        // Colours pass, other sequences of the same beginning do not.
        ("\x1b[1;38;5;200mx\x1b[m", "\x1b[1;38;5;200mx\x1b[m"),
        ("\x1b[31", r"\x1b[31"),
        ("\x1b[?25l \x1b[3A \x1b[>4;1m", r"\x1b[?25l \x1b[3A \x1b[>4;1m"),
    ] {
        assert_eq!(shown(text.as_bytes()), expected);
    }
    assert_eq!(shown(b"\xff caf\xc3 \xed\xa0\x80"), r"\xff caf\xc3 \xed\xa0\x80");
}

proptest! {
    #![proptest_config(super::cases())]

    #[test]
    fn proc_005_out_1_no_text_of_any_bytes_reaches_the_terminal_but_as_text_and_colour(
        parts in prop::collection::vec(prop_oneof![
            prop::collection::vec(any::<u8>(), 0..8),
            "\\PC{0,4}".prop_map(String::into_bytes),
            "[\u{1b}\u{9b}\r\n\t\u{202a}-\u{202e}\\[;0-9mJH]{0,8}".prop_map(String::into_bytes),
            Just(b"\x1b[31m".to_vec()),
        ], 0..12)
    ) {
        let text = parts.concat();
        let shown = shown(&text);
        let mut rest = shown.as_str();
        while let Some(at) = rest.find(|c: char| c.is_control() && !matches!(c, '\n' | '\t')) {
            let sequence = &rest[at..];
            let body = sequence.strip_prefix("\x1b[");
            prop_assert!(body.is_some(), "{sequence:?}");
            let end = body.unwrap().trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
            prop_assert!(end.starts_with('m'), "{sequence:?}");
            rest = end;
        }
        let turned = shown.contains(['\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}']);
        prop_assert!(!turned, "{shown:?}");
    }
}

#[test]
fn proc_006_live_rows_are_whole_lines_behind_aligned_prefixes() {
    let prefix = Prefix::new("app:build", 12, None);
    for end in [LineEnd::Newline, LineEnd::Continued, LineEnd::Unterminated] {
        assert_eq!(row(&prefix, b"cc", end, Rendering::Raw), "[app:build]    cc\n");
    }
    assert_eq!(
        row(&Prefix::new("a-longer-label", 3, None), b"", LineEnd::Newline, Rendering::Raw),
        "[a-longer-label] \n"
    );
    let mut out = Vec::new();
    let rest = Line { bytes: b"", begins: false, end: LineEnd::Newline };
    write_line(&mut out, &prefix, rest, Rendering::Raw).unwrap();
    assert_eq!(out, b"", "a long line that ends with its last piece has no further row");
}

#[test]
fn proc_006_out_1_rows_are_escaped_on_a_terminal_and_exact_elsewhere() {
    let prefix = Prefix::new("lint\n\x1b[2J", 0, Some(36));
    let start = "\x1b[36m[lint \\x1b[2J]\x1b[0m ";
    let text = b"\x1b[31mbad\x1b[2K\r";
    assert_eq!(
        row(&prefix, text, LineEnd::Newline, Rendering::Escaped),
        format!("{start}\x1b[31mbad\\x1b[2K\x1b[0m\n"),
        "colour ends with the row, the carriage return with the newline"
    );
    assert_eq!(
        row(&prefix, text, LineEnd::Newline, Rendering::Raw),
        format!("{start}\x1b[31mbad\x1b[2K\r\n")
    );
}

#[test]
fn proc_006_each_row_is_one_write() {
    struct Writes(Vec<Vec<u8>>);
    impl std::io::Write for Writes {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.push(bytes.to_vec());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut writes = Writes(Vec::new());
    let line = Line { bytes: b"one\x1b[31m", begins: true, end: LineEnd::Newline };
    let prefix = Prefix::new("t", 1, Some(31));
    write_line(&mut writes, &prefix, line, Rendering::Escaped).unwrap();
    assert_eq!(writes.0.len(), 1);
}

#[test]
fn proc_006_a_block_has_title_output_and_a_last_newline() {
    let block = |output: &[u8], rendering| {
        let mut out = Vec::new();
        write_block(&mut out, "build failed\nforged", output, rendering).unwrap();
        String::from_utf8(out).unwrap()
    };
    assert_eq!(block(b"", Rendering::Raw), "build failed forged\n");
    assert_eq!(block(b"a\nb", Rendering::Raw), "build failed forged\na\nb\n");
    assert_eq!(block(b"a\r\n\x1bc", Rendering::Raw), "build failed forged\na\r\n\x1bc\n");
    assert_eq!(block(b"a\r\n\x1bc", Rendering::Escaped), "build failed forged\na\n\\x1bc\n");
    let long = vec![b'x'; 200_000];
    let expected = format!("build failed forged\n{}\n", "x".repeat(200_000));
    assert_eq!(block(&long, Rendering::Escaped), expected, "one line, whatever its length");
}
