//! `cargo xtask layers`: the two rules that keep the house in order.
//!
//! 1. A crate depends on lower floors only. Normal and build dependencies count, optional ones
//!    included; dev-dependencies may also name the testkit. Read from `cargo metadata --no-deps`,
//!    that is, from what the manifests declare, whatever the features.
//! 2. A machine decides and does nothing else: its files name no runtime, clock, lock, I/O or
//!    source of randomness. Read from the words of the code ([`crate::source`]); comments, strings
//!    and what only tests compile do not count.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::source::{self, Token, text};
use crate::workspace;

/// The floors, lowest first. Names that do not exist yet have their place already.
const FLOORS: [&[&str]; 6] = [
    &["holdpoint-core", "holdpoint-hold"],
    &[
        "holdpoint-batch",
        "holdpoint-graph",
        "holdpoint-manifest",
        "holdpoint-process",
        "holdpoint-schedule",
        "holdpoint-session",
        "holdpoint-store",
    ],
    &["holdpoint-restate", "holdpoint-run"],
    &["holdpoint"],
    &["holdpoint-serve"],
    &["holdpoint-cli"],
];

/// The one dependency within a floor.
const WITHIN: (&str, &str) = ("holdpoint-hold", "holdpoint-core");

/// What everyone may use in tests.
const TESTKIT: &str = "holdpoint-testkit";

/// Packages beside the house: they may use every floor, and no floor may use them.
const BESIDE: [&str; 3] = ["holdpoint-benches", TESTKIT, "xtask"];

/// Words a machine may not contain, and what they stand for.
const FORBIDDEN: [(&str, &str); 9] = [
    ("async", "async code"),
    ("await", "async code"),
    ("tokio", "a runtime"),
    ("tokio_util", "a runtime"),
    ("SystemTime", "the clock"),
    ("Mutex", "a lock"),
    ("RwLock", "a lock"),
    ("rand", "randomness"),
    ("fastrand", "randomness"),
];

/// Modules of `std` a machine may not name.
const FORBIDDEN_STD: [&str; 4] = ["fs", "net", "process", "thread"];

/// Files outside `machine.rs` and `machine/` that are held to the rule of machines.
const PURE_ROOMS: [&str; 1] = ["hold_set.rs"];

/// Checks both rules; the error lists every breach as `file:line: message`.
pub(crate) fn check(root: &Path) -> Result<(), String> {
    let packages = packages(&workspace::metadata(root)?, root)?;
    let mut faults = dependency_faults(&packages);
    let rooms = pure_rooms(root)?;
    for room in &rooms {
        let path = root.join(room);
        let code = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        for (line, message) in impure_words(&code) {
            faults.push(format!("{}:{line}: {message}", room.display()));
        }
    }
    println!("looked at {} packages and {} files of machines", packages.len(), rooms.len());
    if faults.is_empty() {
        return Ok(());
    }
    Err(format!("{} breaches\n{}", faults.len(), faults.join("\n")))
}

/// A package of the workspace and the packages of the workspace it names.
struct Package {
    name: String,
    /// Its manifest, relative to the root.
    manifest: String,
    /// The manifest's text, to find lines in.
    text: String,
    dependencies: Vec<Dependency>,
}

struct Dependency {
    name: String,
    dev: bool,
}

fn packages(metadata: &Value, root: &Path) -> Result<Vec<Package>, String> {
    let listed = metadata["packages"].as_array().ok_or("cargo metadata lists no packages")?;
    let name = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    listed
        .iter()
        .map(|package| {
            let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
            let text = fs::read_to_string(manifest)
                .map_err(|error| format!("{}: {error}", manifest.display()))?;
            let dependencies = package["dependencies"]
                .as_array()
                .into_iter()
                .flatten()
                // Only a dependency with a path lies in this repository.
                .filter(|dependency| dependency["path"].is_string())
                .map(|dependency| Dependency {
                    name: name(dependency),
                    dev: dependency["kind"] == "dev",
                })
                .collect();
            let relative = manifest.strip_prefix(root).unwrap_or(manifest);
            Ok(Package {
                name: name(package),
                manifest: relative.display().to_string(),
                text,
                dependencies,
            })
        })
        .collect()
}

fn dependency_faults(packages: &[Package]) -> Vec<String> {
    let mut faults = Vec::new();
    for package in packages {
        let mut fault = |line: usize, message: String| {
            faults.push(format!("{}:{line}: {message}", package.manifest));
        };
        if BESIDE.contains(&package.name.as_str()) {
            continue;
        }
        let Some(floor) = floor(&package.name) else {
            let message = format!("`{}` has no floor; give it one in xtask", package.name);
            fault(line_naming(&package.text, &package.name), message);
            continue;
        };
        for dependency in &package.dependencies {
            let line = line_naming(&package.text, &dependency.name);
            match self::floor(&dependency.name) {
                _ if dependency.dev && dependency.name == TESTKIT => {}
                Some(below) if below < floor => {}
                Some(_) if (package.name.as_str(), dependency.name.as_str()) == WITHIN => {}
                Some(other) => fault(
                    line,
                    format!(
                        "`{}` (floor {floor}) may not depend on `{}` (floor {other})",
                        package.name, dependency.name
                    ),
                ),
                None => fault(
                    line,
                    format!("`{}` may not depend on `{}`", package.name, dependency.name),
                ),
            }
        }
    }
    faults
}

fn floor(package: &str) -> Option<usize> {
    FLOORS.iter().position(|names| names.contains(&package))
}

/// The first line of the manifest that names the package as a key or a value; 1 where none does.
fn line_naming(manifest: &str, package: &str) -> usize {
    let names = |line: &str| {
        line.split(|c: char| !(c.is_alphanumeric() || c == '-' || c == '_'))
            .any(|word| word == package)
    };
    let is_package_name = |line: &str| line.trim_start().starts_with("name");
    let lines = || manifest.lines().enumerate().filter(|(_, line)| names(line));
    let found = lines().find(|(_, line)| !is_package_name(line)).or_else(|| lines().next());
    found.map_or(1, |(index, _)| index + 1)
}

/// The files under `crates/*/src` that are held to the rule of machines, relative to the root.
fn pure_rooms(root: &Path) -> Result<Vec<PathBuf>, String> {
    let mut rooms = Vec::new();
    for file in workspace::files(&root.join("crates"), "rs")? {
        let relative = file.strip_prefix(root).unwrap_or(&file).to_owned();
        if is_pure_room(&relative) && !is_test_file(root, &relative) {
            rooms.push(relative);
        }
    }
    Ok(rooms)
}

fn is_pure_room(file: &Path) -> bool {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let in_source = file.components().nth(2).is_some_and(|part| part.as_os_str() == "src");
    let in_folder = file.parent().is_some_and(|folder| folder.iter().any(|part| part == "machine"));
    in_source && (name == "machine.rs" || in_folder || PURE_ROOMS.contains(&name))
}

/// Whether the file, or a folder around it, is declared `#[cfg(test)] mod ..;` by the module above.
fn is_test_file(root: &Path, file: &Path) -> bool {
    let mut module = file.with_extension("");
    if module.ends_with("mod") {
        module.pop();
    }
    while !module.ends_with("src") {
        let (Some(name), Some(folder)) = (module.file_name(), module.parent()) else { break };
        let above = [
            folder.with_extension("rs"),
            folder.join("mod.rs"),
            folder.join("lib.rs"),
            folder.join("main.rs"),
        ];
        for code in above.iter().filter_map(|file| fs::read_to_string(root.join(file)).ok()) {
            let (_, test_files) = source::without_tests(&source::tokens(&code));
            if test_files.iter().any(|test_file| name == *test_file) {
                return true;
            }
        }
        module.pop();
    }
    false
}

/// The words of `code` that do not belong in a machine, with their lines.
fn impure_words(code: &str) -> Vec<(usize, String)> {
    let all = source::tokens(code);
    let (tokens, _) = source::without_tests(&all);
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let mut report = |line: usize, name: &str, what: &str| {
            found.push((line, format!("a machine may not name `{name}` ({what})")));
        };
        if let Some((word, what)) = FORBIDDEN.iter().find(|(word, _)| *word == token.text) {
            report(token.line, word, what);
        } else if token.text.starts_with("Atomic") {
            report(token.line, token.text, "shared memory");
        } else if token.text == "Instant" && path_follows(&tokens, at, "now") {
            report(token.line, "Instant::now", "the clock");
        } else if token.text == "std" {
            for member in path_members(&tokens, at) {
                if FORBIDDEN_STD.contains(&member.text) {
                    report(member.line, &format!("std::{}", member.text), "the outside world");
                }
            }
        }
    }
    found
}

fn path_follows(tokens: &[Token<'_>], at: usize, name: &str) -> bool {
    path_members(tokens, at).any(|member| member.text == name)
}

/// What stands after `::`: one word, or the first word of each entry of `{a, b::c, d::{e}}`.
fn path_members<'t, 'a>(tokens: &'t [Token<'a>], at: usize) -> impl Iterator<Item = &'t Token<'a>> {
    let is_path = text(tokens, at + 1) == ":" && text(tokens, at + 2) == ":";
    let first = at + 3;
    let (mut next, end) = match text(tokens, first) {
        _ if !is_path => (0, 0),
        "{" => (first + 1, source::matching_end(tokens, first).saturating_sub(1)),
        _ => (first, (first + 1).min(tokens.len())),
    };
    std::iter::from_fn(move || {
        let member = tokens[..end].get(next)?;
        // Over the rest of this entry to the one after the next comma outside brackets.
        while next < end && tokens[next].text != "," {
            next = match tokens[next].text {
                "{" => source::matching_end(tokens, next),
                _ => next + 1,
            };
        }
        next += 1;
        Some(member)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[(&str, bool)]) -> Package {
        let mut text = format!("[package]\nname = \"{name}\"\n[dependencies]\n");
        for (name, _) in dependencies {
            text.push_str(&format!("{name}.workspace = true\n"));
        }
        let dependency = |&(name, dev): &(&str, bool)| Dependency { name: name.to_owned(), dev };
        Package {
            name: name.to_owned(),
            manifest: "Cargo.toml".to_owned(),
            text,
            dependencies: dependencies.iter().map(dependency).collect(),
        }
    }

    fn faults(name: &str, dependencies: &[(&str, bool)]) -> Vec<String> {
        dependency_faults(&[package(name, dependencies)])
    }

    #[test]
    fn lower_floors_are_allowed() {
        assert!(faults("holdpoint-cli", &[("holdpoint", false)]).is_empty());
        assert!(faults("holdpoint-graph", &[("holdpoint-hold", false)]).is_empty());
        assert!(faults("holdpoint-hold", &[("holdpoint-core", false)]).is_empty());
    }

    #[test]
    fn the_same_floor_and_higher_ones_are_refused_with_the_line() {
        let found = faults(
            "holdpoint-graph",
            &[("holdpoint-core", false), ("holdpoint-process", false), ("holdpoint-run", true)],
        );
        assert_eq!(
            found,
            [
                "Cargo.toml:5: `holdpoint-graph` (floor 1) may not depend on `holdpoint-process` \
             (floor 1)",
                "Cargo.toml:6: `holdpoint-graph` (floor 1) may not depend on `holdpoint-run` (floor 2)",
            ]
        );
        assert_eq!(faults("holdpoint-core", &[("holdpoint-hold", false)]).len(), 1);
    }

    #[test]
    fn the_testkit_is_for_tests() {
        assert!(faults("holdpoint-core", &[("holdpoint-testkit", true)]).is_empty());
        assert_eq!(faults("holdpoint-core", &[("holdpoint-testkit", false)]).len(), 1);
    }

    #[test]
    fn a_crate_without_floor_is_refused_and_what_lies_beside_is_not() {
        assert_eq!(
            faults("holdpoint-new", &[]),
            ["Cargo.toml:2: `holdpoint-new` has no floor; give it one in xtask"]
        );
        assert!(faults("holdpoint-benches", &[("holdpoint-cli", false)]).is_empty());
        assert_eq!(faults("holdpoint-run", &[("holdpoint-benches", false)]).len(), 1);
    }

    #[test]
    fn machine_files_are_found_by_name_and_folder() {
        for file in ["machine.rs", "machine/state.rs", "machine/deep/er.rs", "hold_set.rs"] {
            assert!(is_pure_room(&Path::new("crates/x/src").join(file)), "{file}");
        }
        for file in ["driver.rs", "state_machine.rs", "lib.rs"] {
            assert!(!is_pure_room(&Path::new("crates/x/src").join(file)), "{file}");
        }
        assert!(!is_pure_room(Path::new("crates/x/tests/machine.rs")));
    }

    #[test]
    fn files_that_only_tests_compile_are_no_machines() {
        let root = std::env::temp_dir().join(format!("xtask-layers-{}", std::process::id()));
        let files = [
            ("lib.rs", "mod machine;\n#[cfg(test)]\nmod tests;"),
            ("machine.rs", "mod state;\n#[cfg(test)]\nmod model;"),
            ("machine/state.rs", ""),
            ("machine/model.rs", "mod deep;"),
            ("machine/model/deep.rs", ""),
            ("tests/mod.rs", "mod machine;"),
            ("tests/machine.rs", ""),
        ];
        let source = root.join("crates/x/src");
        for (file, code) in files {
            fs::create_dir_all(source.join(file).parent().unwrap()).unwrap();
            fs::write(source.join(file), code).unwrap();
        }
        let rooms = pure_rooms(&root).unwrap();
        fs::remove_dir_all(&root).unwrap();
        let expected = ["machine/state.rs", "machine.rs"];
        assert_eq!(rooms, expected.map(|file| Path::new("crates/x/src").join(file)));
    }

    #[test]
    fn impure_words_are_found_with_their_lines() {
        let code = "use std::{\n    collections::{HashMap, fs},\n    fs,\n    net::{self, Ip},\n};\n\
                    let a = std::time::Instant::now();\nasync fn b() { c.await }\n\
                    static D: AtomicU64 = x;\nstd::thread::spawn(e);\nrand::random()";
        let found: Vec<_> = impure_words(code).into_iter().map(|(line, _)| line).collect();
        assert_eq!(found, [3, 4, 6, 7, 7, 8, 9, 10]);
        let (_, message) = &impure_words("use tokio::sync::Notify;")[0];
        assert_eq!(message, "a machine may not name `tokio` (a runtime)");
    }

    #[test]
    fn what_only_looks_impure_is_left_alone() {
        let code = "
            //! Not async, no tokio: `std::fs` is not read, Instant::now() never called.
            use std::{collections::BTreeMap, time::{Duration, Instant}};
            const TEXT: &str = \"Mutex\";
            struct Operand { brand: u8, instant: Instant }
            fn now(instant: Instant) -> Instant { Instant::from(instant) }
            #[cfg(test)]
            mod tests {
                use std::thread;
                #[tokio::test]
                async fn spawns() { tokio::spawn(rand::random()).await }
            }
        ";
        assert_eq!(impure_words(code), []);
    }
}
