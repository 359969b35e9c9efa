//! `cargo xtask contract`: every rule has a test, and every test names rules that exist.
//!
//! A rule is a list item of `docs/contract/*.md`: `- **HOLD-006** text`. Its test carries the id at
//! the start of its name: `hold_006_exclusive_is_not_starved`. Further ids may follow, such as those
//! of faults the same test covers: `hold_006_ho_1_cd_21_exclusive_is_not_starved`.
//!
//! How tests are found: every `.rs` file of the workspace is cut into words ([`crate::source`]), and
//! a function counts when one of its attributes is a path that ends in `test` (`#[test]`,
//! `#[tokio::test(..)]`). Macros such as `proptest!` and `prop_state_machine!` ask for a written
//! `#[test]` in front of each function too, so they need no special case, while a helper called
//! `hold_006_graph` proves nothing. An `#[ignore]`d test is not run and proves nothing either.
//!
//! How ids are read: from the start of the name, pairs of a word and a number. A pair with three
//! digits is a rule, one with one or two is a fault. To tell ids from ordinary words
//! (`hold_009_units_3_of_2`), a pair counts when its word has two letters, as all families of faults
//! do, or is the area of a listed id, or when it is the first pair and has three digits. Reading
//! ends at the first pair that does not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::fs;
use std::path::Path;

use crate::source::{self, Token, text};
use crate::workspace;

/// Folders of the root that hold Rust code.
const CODE: [&str; 4] = ["benches", "crates", "examples", "xtask"];

/// Prints the table and checks the contract. `passed`, where given, are the names of tests that ran and passed just now:
/// then a test that was written but not run (a file nobody declares, a feature that is off) proves
/// nothing.
pub(crate) fn check(root: &Path, passed: Option<&BTreeSet<String>>) -> Result<(), String> {
    let mut contract = Contract::default();
    let folder = root.join("docs/contract");
    for file in workspace::files(&folder, "md")? {
        if !file.ends_with("README.md") {
            contract.read(&relative(root, &file), &read(&file)?);
        }
    }
    let mut tests = Vec::new();
    for folder in CODE.iter().map(|folder| root.join(folder)).filter(|folder| folder.is_dir()) {
        for file in workspace::files(&folder, "rs")? {
            tests.extend(test_functions(&relative(root, &file), &read(&file)?));
        }
    }
    let (table, faults) = contract.compare(&tests, passed);
    println!("{table}");
    if faults.is_empty() {
        return Ok(());
    }
    Err(format!("{} faults in the contract\n{}", faults.len(), faults.join("\n")))
}

fn read(file: &Path) -> Result<String, String> {
    fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))
}

fn relative(root: &Path, file: &Path) -> String {
    file.strip_prefix(root).unwrap_or(file).display().to_string()
}

/// `HOLD-006` or `HO-1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Id {
    area: String,
    number: u32,
    /// Three digits are a rule, fewer a fault.
    digits: usize,
}

impl Id {
    /// `area` and `number` as in `HOLD`, `006`.
    fn new(area: &str, number: &str) -> Option<Self> {
        let is_area = !area.is_empty() && area.chars().all(|c| c.is_ascii_alphabetic());
        let is_number = (1..=3).contains(&number.len());
        if !is_area || !is_number || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let area = area.to_ascii_uppercase();
        Some(Self { area, number: number.parse().ok()?, digits: number.len() })
    }

    fn is_rule(&self) -> bool {
        self.digits == 3
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:0width$}", self.area, self.number, width = self.digits)
    }
}

/// A test function of the workspace.
#[derive(Debug, PartialEq)]
struct Test {
    name: String,
    /// `file:line`.
    place: String,
    ignored: bool,
}

/// What the documents list.
#[derive(Default)]
struct Contract {
    /// Each id with the `file:line` that lists it.
    listed: BTreeMap<Id, String>,
    faults: Vec<String>,
}

impl Contract {
    /// Takes in one document.
    fn read(&mut self, file: &str, document: &str) {
        let mut fenced = false;
        for (index, line) in document.lines().enumerate() {
            fenced ^= line.starts_with("```");
            let Some(item) = line.strip_prefix("- **").filter(|_| !fenced) else { continue };
            let place = format!("{file}:{}", index + 1);
            let id = item.split_once("** ").and_then(|(id, rule)| {
                let (area, number) = id.split_once('-')?;
                let id = Id::new(area, number)?;
                (!rule.trim().is_empty() && area == id.area).then_some(id)
            });
            let Some(id) = id else {
                self.faults.push(format!("{place}: expected `- **AREA-000** text`"));
                continue;
            };
            if let Some(first) = self.listed.get(&id) {
                self.faults.push(format!("{place}: {id} is listed already at {first}"));
            } else {
                self.listed.insert(id, place);
            }
        }
    }

    /// The table, and every fault.
    fn compare(&self, tests: &[Test], passed: Option<&BTreeSet<String>>) -> (String, Vec<String>) {
        let mut faults = self.faults.clone();
        let mut proven = BTreeSet::new();
        let mut areas: BTreeMap<&str, Area> = BTreeMap::new();
        for id in self.listed.keys() {
            areas.entry(&id.area).or_default().listed += 1;
        }
        for test in tests {
            let ids = self.ids_of(&test.name);
            for id in ids.iter().filter(|id| !self.listed.contains_key(id)) {
                let Test { name, place, .. } = test;
                faults.push(format!("{place}: `{name}` names {id}, which docs/contract lists not"));
            }
            let ran = passed.is_none_or(|passed| passed.contains(&test.name));
            if test.ignored || !ran {
                continue;
            }
            for area in ids.iter().map(|id| id.area.as_str()).collect::<BTreeSet<_>>() {
                if let Some(area) = areas.get_mut(area) {
                    area.tests += 1;
                }
            }
            proven.extend(ids);
        }
        for (id, place) in &self.listed {
            if proven.contains(id) {
                areas.entry(&id.area).or_default().proven += 1;
            } else {
                let how = if passed.is_some() { "passed" } else { "carries it" };
                faults.push(format!("{place}: {id} has no test: none that {how}"));
            }
        }
        (self.table(&areas), faults)
    }

    /// The ids that the name of a test carries.
    fn ids_of(&self, name: &str) -> Vec<Id> {
        let mut ids = Vec::new();
        let mut words = name.split('_');
        while let (Some(area), Some(number)) = (words.next(), words.next()) {
            let Some(id) = Id::new(area, number) else { break };
            let is_first_rule = ids.is_empty() && id.is_rule();
            let is_known_area = self.listed.keys().any(|listed| listed.area == id.area);
            if !(is_first_rule || is_known_area || id.area.len() == 2) {
                break;
            }
            ids.push(id);
        }
        ids
    }

    fn table(&self, areas: &BTreeMap<&str, Area>) -> String {
        let mut table = format!("{:<8}{:>7}{:>8}{:>7}\n", "area", "listed", "proven", "tests");
        let is_rule = |name: &str| self.listed.keys().any(|id| id.area == name && id.is_rule());
        let (rules, faults): (Vec<_>, Vec<_>) = areas.iter().partition(|(name, _)| is_rule(name));
        for (title, group) in [("rules", rules), ("faults", faults)] {
            let mut sum = Area::default();
            for (name, area) in group {
                row(&mut table, name, area);
                sum.listed += area.listed;
                sum.proven += area.proven;
            }
            let _ = writeln!(table, "{title:<8}{:>7}{:>8}", sum.listed, sum.proven);
        }
        table.truncate(table.trim_end().len());
        table
    }
}

#[derive(Default)]
struct Area {
    listed: usize,
    proven: usize,
    /// Tests that name at least one of the area's ids.
    tests: usize,
}

fn row(table: &mut String, name: &str, area: &Area) {
    let Area { listed, proven, tests } = area;
    let _ = writeln!(table, "{name:<8}{listed:>7}{proven:>8}{tests:>7}");
}

/// The test functions of one file.
fn test_functions(file: &str, code: &str) -> Vec<Test> {
    let tokens = source::tokens(code);
    let mut tests = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let Some(mut end) = source::attribute_end(&tokens, at) else {
            at += 1;
            continue;
        };
        let (mut is_test, mut ignored) = (false, false);
        loop {
            let path = attribute_path(&tokens[at..end]);
            is_test |= path == "test";
            ignored |= path == "ignore";
            at = end;
            match source::attribute_end(&tokens, at) {
                Some(next) => end = next,
                None => break,
            }
        }
        // Between the attributes and the name may stand `pub(crate)`, `async` and the like.
        let signature =
            tokens[at..].iter().position(|token| matches!(token.text, "fn" | "{" | ";"));
        let Some(name) = signature.map(|offset| at + offset + 1) else { break };
        if is_test && text(&tokens, name - 1) == "fn" {
            let Some(Token { text, line }) = tokens.get(name) else { break };
            let place = format!("{file}:{line}");
            tests.push(Test { name: (*text).to_owned(), place, ignored });
        }
    }
    tests
}

/// The last word of an attribute's path: `test` for `#[tokio::test(start_paused = true)]`.
fn attribute_path<'a>(attribute: &[Token<'a>]) -> &'a str {
    let path = attribute.iter().skip(2).take_while(|token| !matches!(token.text, "(" | "=" | "]"));
    path.last().map_or("", |token| token.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contract(document: &str) -> Contract {
        let mut contract = Contract::default();
        contract.read("hold.md", document);
        contract
    }

    fn test(name: &str) -> Test {
        Test { name: name.to_owned(), place: "a.rs:1".to_owned(), ignored: false }
    }

    fn faults(document: &str, tests: &[Test]) -> Vec<String> {
        contract(document).compare(tests, None).1
    }

    const HOLD: &str = "# Holds\n\n- **HOLD-001** A rule\n  of two lines.\n\n\
                        ## Faults and defects covered\n\n- **HO-1** A fault.\n";

    #[test]
    fn a_proven_contract_has_no_faults_and_a_table() {
        let tests = [test("hold_001_ho_1_is_proven"), test("hold_001_twice"), test("other")];
        let (table, faults) = contract(HOLD).compare(&tests, None);
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!(
            table,
            "area     listed  proven  tests\n\
             HOLD          1       1      2\n\
             rules         1       1\n\
             HO            1       1      1\n\
             faults        1       1"
        );
    }

    #[test]
    fn a_rule_without_test_is_a_fault() {
        assert_eq!(
            faults(HOLD, &[test("hold_001_alone")]),
            ["hold.md:8: HO-1 has no test: none that carries it"]
        );
        let ignored = Test { ignored: true, ..test("hold_001_ho_1_ignored") };
        assert_eq!(faults(HOLD, &[ignored]).len(), 2);
    }

    #[test]
    fn a_test_that_did_not_run_proves_nothing() {
        let tests = [test("hold_001_ho_1_written")];
        let ran = BTreeSet::from(["hold_001_ho_1_written".to_owned()]);
        assert!(contract(HOLD).compare(&tests, Some(&ran)).1.is_empty());
        assert_eq!(
            contract(HOLD).compare(&tests, Some(&BTreeSet::new())).1,
            [
                "hold.md:8: HO-1 has no test: none that passed",
                "hold.md:3: HOLD-001 has no test: none that passed",
            ]
        );
    }

    #[test]
    fn a_test_that_names_an_unlisted_id_is_a_fault() {
        let proof = test("hold_001_ho_1_proof");
        for (name, id) in [
            ("hold_002_unlisted", "HOLD-002"),
            ("hodl_001_misspelt", "HODL-001"),
            ("hold_001_ho_2_fault", "HO-2"),
            ("ca_7", "CA-7"),
        ] {
            let found = faults(HOLD, &[test(name), test(&proof.name)]);
            let expected = format!("a.rs:1: `{name}` names {id}, which docs/contract lists not");
            assert_eq!(found, [expected]);
        }
    }

    #[test]
    fn words_and_numbers_that_are_no_ids_end_the_ids() {
        let contract = contract(HOLD);
        let ids = |name| contract.ids_of(name).iter().map(Id::to_string).collect::<Vec<_>>();
        assert_eq!(ids("hold_001_ho_1_cd_21_named"), ["HOLD-001", "HO-1", "CD-21"]);
        assert_eq!(ids("hold_001_hold_002"), ["HOLD-001", "HOLD-002"]);
        assert_eq!(ids("hold_001_units_3_of_2"), ["HOLD-001"]);
        assert_eq!(ids("hold_001_wide_100_tasks"), ["HOLD-001"]);
        assert_eq!(ids("takes_2_units"), Vec::<String>::new());
        assert_eq!(ids("chain_1000_long"), Vec::<String>::new());
        assert_eq!(ids("graph_has_no_cycle"), Vec::<String>::new());
    }

    #[test]
    fn ids_listed_twice_and_malformed_items_are_faults() {
        let found = faults(
            "- **HOLD-001** a\n- **HOLD-001** b\n- **hold-2** c\n- **HO-3**\n",
            &[test("hold_001_proof")],
        );
        assert_eq!(
            found,
            [
                "hold.md:2: HOLD-001 is listed already at hold.md:1",
                "hold.md:3: expected `- **AREA-000** text`",
                "hold.md:4: expected `- **AREA-000** text`",
            ]
        );
        let fenced = "```\n- **HOLD-001** an example\n```\n- plain item\n- **A-001** x\n";
        assert_eq!(contract(fenced).listed.len(), 1);
    }

    #[test]
    fn only_functions_under_a_test_attribute_are_tests() {
        let code = r##"
            fn hold_001_helper() {}
            #[inline] fn hold_002_helper() {}
            /// #[test] fn hold_003_comment() {}
            const TEXT: &str = "#[test] fn hold_004_text() {}";
            #[test] fn hold_005_plain() { #[allow(x)] fn hold_006_inner() {} }
            #[tokio::test(flavor = "multi_thread")] #[allow(y)]
            pub(crate) async fn hold_007_tokio() {}
            #[test] #[ignore = "slow"] fn hold_008_ignored() {}
            proptest! {
                #![proptest_config(config())]
                #[test]
                fn hold_009_property(x in 0..9u8) {}
                fn hold_010_composed() {}
            }
            prop_state_machine! { #[test] fn hold_011_model(sequential 1..60 => Sut); }
            #[cfg(test)] mod tests { #[should_panic(expected = "x")] #[test] fn hold_012_last() {} }
            #[derive(test)] struct S; fn hold_013_after_a_struct() {}
        "##;
        let found = test_functions("a.rs", code);
        let names: Vec<_> = found.iter().map(|test| test.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "hold_005_plain",
                "hold_007_tokio",
                "hold_008_ignored",
                "hold_009_property",
                "hold_011_model",
                "hold_012_last",
            ]
        );
        assert!(found.iter().all(|test| test.ignored == (test.name == "hold_008_ignored")));
        assert_eq!(found[1].place, "a.rs:8");
    }
}
