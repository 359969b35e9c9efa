use proptest::prelude::*;

use crate::identity;
use crate::record::{Noted, Record, read};

fn text_of(record: impl FnOnce(&Record)) -> (Vec<Noted>, usize) {
    let file = tempfile::NamedTempFile::new().unwrap();
    record(&Record::new(file.reopen().unwrap()));
    let text = std::fs::read(file.path()).unwrap();
    assert!(text.split(|byte| *byte == b'\n').all(|line| line.is_empty() || line.len() == 127));
    read(&text)
}

#[test]
fn proc_007_the_longest_line_fits_and_comes_back() {
    let place = identity::place();
    let (leader, pipes) = ((i32::MAX as u32, u64::MAX), [u64::MAX, u64::MAX - 1]);
    let noted = text_of(|record| {
        let entry = record.enter(pipes).unwrap();
        entry.started(leader);
        std::mem::forget(entry);
        std::mem::forget(record.enter([1, 2]).unwrap());
    });
    let starting = Noted { leader: None, place: place.clone(), pipes: [1, 2] };
    assert_eq!(noted, (vec![Noted { leader: Some(leader), place, pipes }, starting], 0));
}

#[test]
fn proc_007_a_line_crossed_out_is_used_again() {
    let noted = text_of(|record| {
        for round in 0..10 {
            let [first, second] = [(); 2].map(|()| record.enter([round, round]).unwrap());
            first.started((2, 2));
            drop(first);
            if round == 9 {
                std::mem::forget(second);
            }
        }
    });
    assert_eq!(noted.1, 0);
    assert_eq!(noted.0.iter().map(|noted| noted.pipes).collect::<Vec<_>>(), [[9, 9]]);
}

proptest! {
    #![proptest_config(super::cases())]

    /// Whatever stands there, it is read to its end, and only ids that a child can have come back.
    #[test]
    fn proc_007_any_text_is_read(
        text in "([-+?x]? ?[0-9]{0,11} ?[0-9]{0,21} ?[a:]{0,3} ?[0-9]{0,3} ?[0-9]{0,3} {0,3}\n?){0,8}",
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let lines = text.lines().count();
        let (noted, unreadable) = read(text.as_bytes());
        prop_assert!(noted.len() + unreadable <= lines);
        prop_assert!(noted.iter().flat_map(|noted| noted.leader).all(|(pid, _)| pid > 1));
        read(&bytes);
    }
}
