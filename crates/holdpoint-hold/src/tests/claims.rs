//! Holds, and the check of lists of them.

use holdpoint_core::{Name, NameError, Retryable};

use crate::{ClaimFaultKind, DeclareError, Hold, HoldSet, Mode, Scope};

fn project(name: &str) -> Name {
    Name::new(name).expect("a name")
}

fn faults(set: &mut HoldSet, holds: &[Hold]) -> Vec<(usize, ClaimFaultKind)> {
    let error = set.claims(holds).expect_err("a list with faults");
    assert!(!error.is_retryable());
    error.faults().iter().map(|fault| (fault.index, fault.kind.clone())).collect()
}

#[test]
fn hold_001_same_name_in_another_scope_is_another_hold() {
    let mut set = HoldSet::new();
    let in_workspace = set.claims(&[Hold::exclusive("tmp")]).unwrap();
    let in_app = set.claims(&[Hold::exclusive("tmp").in_project(project("app"))]).unwrap();
    let in_lib = set.claims(&[Hold::exclusive("tmp").in_project(project("lib"))]).unwrap();

    let first = [&in_workspace, &in_app, &in_lib].map(|claims| set.request(claims, 0));
    assert!(first.iter().all(|ticket| set.is_granted(ticket)));
    let second = [&in_workspace, &in_app, &in_lib].map(|claims| set.request(claims, 0));
    assert!(second.iter().all(|ticket| !set.is_granted(ticket)));

    let list = [Hold::shared("tmp"), Hold::shared("tmp").in_project(project("app"))];
    assert!(set.claims(&list).is_ok(), "no repetition: the scopes differ");
}

#[test]
fn hold_001_a_hold_says_scope_name_and_mode() {
    let hold = Hold::units("gpu", 2).in_project(project("app"));
    assert_eq!(hold.scope(), &Scope::Project(project("app")));
    assert_eq!((hold.name(), hold.mode()), ("gpu", Mode::Units(2)));
    assert_eq!(hold.to_string(), "app:gpu ×2");
    assert_eq!(format!("{:?}", Hold::shared("db")), "Hold(db (shared))");
}

#[test]
fn hold_009_ho_5_all_faults_of_a_list_at_once() {
    let mut set = HoldSet::new();
    set.declare(&Scope::Workspace, "gpu", 4).unwrap();
    let list = [
        Hold::shared("db"),
        Hold::exclusive("a b"),
        Hold::exclusive("db"),
        Hold::units("gpu", 5),
        Hold::units("net", 1),
        Hold::units("disk", 0),
        Hold::shared("gpu"),
        Hold::units("gpu", 4).in_project(project("app")),
    ];
    assert_eq!(
        faults(&mut set, &list),
        [
            (1, ClaimFaultKind::BadName(NameError::BadCharacter { index: 1, found: ' ' })),
            (2, ClaimFaultKind::Repeated { first: 0 }),
            (3, ClaimFaultKind::AboveCapacity { units: 5, capacity: 4 }),
            (4, ClaimFaultKind::NoCapacity),
            (5, ClaimFaultKind::ZeroUnits),
            (6, ClaimFaultKind::Repeated { first: 3 }),
            (6, ClaimFaultKind::SharedCounted { capacity: 4 }),
            (7, ClaimFaultKind::NoCapacity),
        ]
    );
    assert!(set.is_empty());
}

#[test]
fn hold_009_ho_5_one_name_twice_is_refused_in_every_pair_of_modes() {
    let mut set = HoldSet::new();
    let modes = [Hold::shared("db"), Hold::exclusive("db")];
    for first in &modes {
        for second in &modes {
            let list = [first.clone(), Hold::exclusive("log"), second.clone()];
            let expected = [(2, ClaimFaultKind::Repeated { first: 0 })];
            assert_eq!(faults(&mut set, &list), expected, "{first} and {second}");
        }
    }
}

#[test]
fn hold_009_messages_name_the_hold_and_the_figures() {
    let mut set = HoldSet::new();
    set.declare(&Scope::Workspace, "gpu", 2).unwrap();
    let list = [Hold::units("gpu", 3), Hold::shared(""), Hold::shared("")];
    assert_eq!(
        set.claims(&list).unwrap_err().to_string(),
        "hold gpu ×3: 3 units asked for, the capacity is 2; \
         hold \"\": a name cannot be empty; \
         hold  (shared): named twice in one list; \
         hold \"\": a name cannot be empty"
    );
}

#[test]
fn hold_009_a_capacity_can_change_only_while_nobody_uses_the_name() {
    let mut set = HoldSet::new();
    let workspace = Scope::Workspace;
    assert_eq!(
        set.declare(&workspace, "gpu", 0),
        Err(DeclareError::ZeroCapacity { name: "gpu".into() })
    );
    let bad = set.declare(&Scope::Project(project("app")), "-", 1).unwrap_err();
    assert_eq!(
        bad.to_string(),
        "bad hold name \"-\": a name begins with a letter or a digit, not with '-'"
    );
    assert!(!bad.is_retryable());

    set.declare(&workspace, "gpu", 2).unwrap();
    let two = set.claims(&[Hold::units("gpu", 2)]).unwrap();
    let ticket = set.request(&two, 0);
    assert_eq!(set.declare(&workspace, "gpu", 2), Ok(()), "the same again");
    let in_use = set.declare(&workspace, "gpu", 1).unwrap_err();
    assert_eq!(in_use, DeclareError::InUse { name: "gpu".into(), current: Some(2) });
    assert!(in_use.is_retryable());
    set.release(ticket);
    assert_eq!(set.declare(&workspace, "gpu", 1), Ok(()));

    // Claims made before take what there is, so that they cannot wait for ever.
    let ticket = set.request(&two, 0);
    assert!(set.is_granted(&ticket));

    let db = set.claims(&[Hold::exclusive("db")]).unwrap();
    let _held = set.request(&db, 0);
    let uncounted = set.declare(&workspace, "db", 3).unwrap_err();
    assert_eq!(
        uncounted.to_string(),
        "hold db is in use uncounted; its capacity cannot change until it is free"
    );
}

#[test]
fn hold_009_a_refused_list_leaves_no_name_behind() {
    let mut set = HoldSet::new();
    assert!(set.claims(&[Hold::exclusive("new"), Hold::units("other", 1)]).is_err());
    assert!(set.declare(&Scope::Workspace, "third", 0).is_err());
    assert_eq!(set.memory().0, 0);
}

#[test]
fn hold_010_claims_of_another_set_find_their_names_anew() {
    let mut theirs = HoldSet::new();
    theirs.declare(&Scope::Workspace, "gpu", 8).unwrap();
    let _other = theirs.claims(&[Hold::exclusive("log")]).unwrap();
    let db = theirs.claims(&[Hold::exclusive("db")]).unwrap();
    let gpu = theirs.claims(&[Hold::units("gpu", 8)]).unwrap();

    let mut ours = HoldSet::new();
    let ours_db = ours.claims(&[Hold::shared("db")]).unwrap();
    let holder = ours.request(&ours_db, 1);
    let waiter = ours.request(&db, 2);
    assert!(!ours.is_granted(&waiter), "it is the same name here");
    ours.release(holder);
    assert_eq!(ours.next_granted(), Some(2));

    // Not counted here, so units of it exclude each other.
    let first = ours.request(&gpu, 3);
    let second = ours.request(&gpu, 4);
    assert!(ours.is_granted(&first) && !ours.is_granted(&second));
}
