//! Bytes that one does not see: marks, line ends, tabs, control characters (IN-5).

use insta::assert_snapshot;

use super::{parse, refused};

#[test]
fn in_5_a_byte_order_mark_is_not_part_of_the_first_line() {
    let manifest = parse("\u{feff}tasks: { a: echo }\n").unwrap();
    assert_eq!(manifest.tasks()[0].name.location.column, 10);
    assert!(manifest.text().starts_with("tasks"));
    assert_snapshot!(refused("\u{feff}task: {}"), @"
    holdpoint.yaml:1:1: a manifest has no key `task`
    1 | task: {}
      | ^^^^
    help: did you mean `tasks`?
    ");
    assert_snapshot!(refused("tasks:\n\u{feff}  a: echo\n"), @r"
    holdpoint.yaml:2:1: a BOM must not appear inside a document
    2 | \u{feff}  a: echo
      | ^^^^^^^^
    ");
}

#[test]
fn in_5_all_line_ends_are_line_ends() {
    let text =
        "tasks:\r\n  a:\r\n    run: |\r\n      one\r\n      two\r\n    needs: b\r\n  b: echo\r\n";
    for text in [text.to_owned(), text.replace("\r\n", "\n"), text.replace("\r\n", "\r")] {
        let manifest = parse(&text).unwrap();
        let task = manifest.task("a").unwrap();
        let needs = task.needs[0].location;
        assert_eq!((needs.line, needs.column), (6, 12), "{text:?}");
        let script = "one\ntwo\n".to_owned();
        assert_eq!(task.action, Some(crate::Action::Shell { script }), "{text:?}");
    }
    assert_snapshot!(refused("tasks:\r\n  a: echo\r\n  b: { rnu: x }\r\n"), @"
    holdpoint.yaml:3:8: a task has no key `rnu`
    3 |   b: { rnu: x }
      |        ^^^
    help: did you mean `run`?
    ");
    assert_snapshot!(refused("tasks:\r  a: echo\r  b: { rnu: x }\r"), @"
    holdpoint.yaml:3:8: a task has no key `rnu`
    3 |   b: { rnu: x }
      |        ^^^
    help: did you mean `run`?
    ");
}

#[test]
fn in_5_tabs_do_not_indent() {
    assert_snapshot!(refused("tasks:\n\ta: echo\n"), @"
    holdpoint.yaml:2:2: tabs disallowed within this context (block indentation)
    2 |  a: echo
      |  ^
    help: YAML is indented by spaces only
    ");
    assert_snapshot!(refused("tasks:\n  a:\n  \trun: echo\n"), @"
    holdpoint.yaml:3:4: tabs disallowed within this context (block indentation)
    3 |    run: echo
      |    ^
    help: YAML is indented by spaces only
    ");
    assert!(parse("tasks:\n  a: \"x\ty\"\n  b:\techo\n  c: x\ty\n").is_ok());
}

#[test]
fn in_5_control_characters_are_refused() {
    assert_snapshot!(refused("tasks: { a: ec\0ho }"), @r"
    holdpoint.yaml:1:15: the control character \u{0} is not allowed
    1 | tasks: { a: ec\u{0}ho }
      |               ^^^^^
    ");
    assert_snapshot!(refused("tasks: { a: \"ec\0ho\" }"), @r#"
    holdpoint.yaml:1:16: the control character \u{0} is not allowed
    1 | tasks: { a: "ec\u{0}ho" }
      |                ^^^^^
    "#);
    assert_snapshot!(refused("tasks: { a: \u{1b}[31m }"), @r"
    holdpoint.yaml:1:13: the control character \u{1b} is not allowed
    1 | tasks: { a: \u{1b}[31m }
      |             ^^^^^^
    ");
    assert_snapshot!(refused("tasks: { a: \"\u{7}\" }"), @r#"
    holdpoint.yaml:1:14: the control character \u{7} is not allowed
    1 | tasks: { a: "\u{7}" }
      |              ^^^^^
    "#);
}

#[test]
fn in_5_characters_that_reorder_a_line_are_refused_everywhere() {
    assert_snapshot!(
        refused("tasks: { a: \"rm -rf \u{202e}x\" } # \u{2066}\n\ndefault: \u{2069}a\n"),
        @r#"
    holdpoint.yaml:1:21: the character \u{202e} would hide in which order this line reads
    1 | tasks: { a: "rm -rf \u{202e}x" } # \u{2066}
      |                     ^^^^^^^^
    help: where it is meant, write it as an escape in double quotes, as in `"\u202e"`

    holdpoint.yaml:1:29: the character \u{2066} would hide in which order this line reads
    1 | tasks: { a: "rm -rf \u{202e}x" } # \u{2066}
      |                                    ^^^^^^^^
    help: where it is meant, write it as an escape in double quotes, as in `"\u202e"`

    holdpoint.yaml:3:10: the character \u{2069} would hide in which order this line reads
    3 | default: \u{2069}a
      |          ^^^^^^^^
    help: where it is meant, write it as an escape in double quotes, as in `"\u202e"`

    holdpoint.yaml:3:10: `\u{2069}a` is not the name of a task: a name begins with a letter or a digit, not with '\u{2069}'
    3 | default: \u{2069}a
      |          ^^^^^^^^^
    "#
    );
    // Text that runs from right to left by itself is what it says.
    assert!(parse("tasks: { a: { run: echo, desc: \"\u{5e9}\u{5dc}\u{5d5}\u{5dd}\" } }").is_ok());
}

#[test]
fn in_5_empty_texts_are_no_manifest() {
    assert_snapshot!(refused(""), @"
    holdpoint.yaml:1:1: the manifest is empty
    help: the least it needs is `tasks: { hello: echo hello }`
    ");
    assert_snapshot!(refused("# nothing\n"), @"
    holdpoint.yaml:1:1: the manifest is empty
    1 | # nothing
      | ^
    help: the least it needs is `tasks: { hello: echo hello }`
    ");
    assert_snapshot!(refused("---\n...\n"), @"
    holdpoint.yaml:1:1: the manifest is empty
    1 | ---
      | ^
    help: the least it needs is `tasks: { hello: echo hello }`
    ");
    assert_snapshot!(refused("~"), @"
    holdpoint.yaml:1:1: the manifest is empty
    1 | ~
      | ^
    help: the least it needs is `tasks: { hello: echo hello }`
    ");
}

#[test]
fn in_5_a_manifest_is_one_document() {
    assert!(parse("---\ntasks: { a: echo }\n...\n").is_ok());
    assert_snapshot!(refused("tasks: { a: echo }\n---\ntasks: { b: echo }\n"), @"
    holdpoint.yaml:3:1: a manifest is one YAML document; here a second one begins
    3 | tasks: { b: echo }
      | ^
    ");
    assert_snapshot!(refused("tasks: { a: echo }\n...\ntasks: { b: echo }\n"), @"
    holdpoint.yaml:3:1: a manifest is one YAML document; here a second one begins
    3 | tasks: { b: echo }
      | ^
    ");
}
