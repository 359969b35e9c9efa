//! CORE-002.

use proptest::prelude::*;

use super::config;
use crate::name::MAX_NAME_LEN;
use crate::{Name, NameError, TaskName};

fn is_later(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_.-".contains(c)
}

/// The rule, written down once more: the first thing wrong, in the order of the rule.
fn expected(text: &str) -> Result<(), NameError> {
    let chars: Vec<(usize, char)> = text.char_indices().collect();
    match chars.first() {
        None => Err(NameError::Empty),
        Some(_) if text.len() > 64 => Err(NameError::TooLong { len: text.len() }),
        Some((_, found)) if !found.is_ascii_alphanumeric() => {
            Err(NameError::BadFirst { found: *found })
        }
        Some(_) => match chars.into_iter().find(|(_, c)| !is_later(*c)) {
            Some((index, found)) => Err(NameError::BadCharacter { index, found }),
            None => Ok(()),
        },
    }
}

#[test]
fn core_002_every_fault_has_its_own_error() {
    let check = |text: &str| text.parse::<Name>().unwrap_err();
    assert_eq!(check(""), NameError::Empty);
    assert_eq!(check(&"x".repeat(65)), NameError::TooLong { len: 65 });
    assert_eq!(check(&"é".repeat(33)), NameError::TooLong { len: 66 });
    assert_eq!(check("-x"), NameError::BadFirst { found: '-' });
    assert_eq!(check("é"), NameError::BadFirst { found: 'é' });
    assert_eq!(check("a/b"), NameError::BadCharacter { index: 1, found: '/' });
    assert_eq!(check("ab\n"), NameError::BadCharacter { index: 2, found: '\n' });
    assert_eq!(check("app:x"), NameError::BadCharacter { index: 3, found: ':' });
    let messages = ["", &"x".repeat(65), "-", "a b"].map(|text| check(text).to_string());
    assert_eq!(
        messages,
        [
            "a name cannot be empty",
            "a name has at most 64 bytes, this one has 65",
            "a name begins with a letter or a digit, not with '-'",
            "' ' at position 1 is not one of A-Z a-z 0-9 _ . -",
        ]
    );
}

#[test]
fn core_002_the_longest_and_the_shortest_names_are_names() {
    assert_eq!("x".repeat(MAX_NAME_LEN).parse::<Name>().unwrap().as_str().len(), 64);
    assert!(["0", "Z", "a_.-"].iter().all(|text| text.parse::<Name>().is_ok()));
}

#[test]
fn core_002_a_task_may_leave_out_its_project_and_has_one_colon_at_most() {
    let (short, full): (TaskName, TaskName) =
        ("build".parse().unwrap(), "app:build".parse().unwrap());
    assert_eq!((short.project(), short.task().as_str()), (None, "build"));
    assert_eq!((full.project().unwrap().as_str(), full.task().as_str()), ("app", "build"));
    assert_eq!("a:b:c".parse::<TaskName>(), Err(NameError::TooManyColons));
    assert_eq!(":b".parse::<TaskName>(), Err(NameError::Empty));
    assert_eq!("a:".parse::<TaskName>(), Err(NameError::Empty));
    assert_eq!(format!("[{full:>12}] [{short:<7}]"), "[   app:build] [build  ]");
}

#[test]
fn core_002_a_clone_shares_the_text() {
    let name: Name = "build".parse().unwrap();
    assert!(std::ptr::eq(name.as_str(), name.clone().as_str()));
}

fn near_names() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[A-Za-z0-9][A-Za-z0-9_.-]{0,70}",
        2 => "[A-Za-z0-9_.-]{0,10}.{0,2}[A-Za-z0-9]{0,5}",
        1 => any::<String>(),
    ]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn core_002_names_are_exactly_those_of_the_rule(text in near_names()) {
        prop_assert_eq!(Name::new(&text).map(|name| name.to_string()), expected(&text).map(|()| text.clone()));
        prop_assert_eq!(Name::check(&text), expected(&text));
    }

    #[test]
    fn core_002_a_task_is_its_parts(project in near_names(), task in near_names()) {
        let text = format!("{project}:{task}");
        let expected = match (task.contains(':') || project.contains(':'), expected(&project), expected(&task)) {
            (true, ..) => Err(NameError::TooManyColons),
            (_, Err(error), _) | (_, _, Err(error)) => Err(error),
            _ => Ok(text.clone()),
        };
        prop_assert_eq!(TaskName::check(&text), expected.clone().map(drop));
        prop_assert_eq!(text.parse::<TaskName>().map(|name| name.to_string()), expected);
    }
}
