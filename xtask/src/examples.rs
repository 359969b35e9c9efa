//! The steps `examples` and `readme`: the program at work on real input, its results looked at.
//!
//! What the examples compute is computed here once more, in another way, or asked of what they have
//! built. An example that ends with 0 and writes nonsense is a failure.

use std::fs;
use std::path::{Path, PathBuf};

use crate::ci::Ci;
use crate::workspace;

/// Runs both examples twice, with all slots and with one, and the library's examples.
pub(crate) fn run(ci: &mut Ci) -> Result<(), String> {
    let folder = ci.root.join("examples");
    for manifest in manifests(&folder)? {
        let example = manifest.parent().unwrap_or(&folder).to_owned();
        holdpoint(ci, &["check"], &example)?;
    }
    text(ci, &folder.join("text"))?;
    c_build(ci, &folder.join("c-build"))?;
    release(ci, &folder.join("release"))?;
    for example in ["graph", "session_agent", "session_sleepers"] {
        // The features of all of them, so that the crate is built once.
        let features = ["--features", "graph,session,store"];
        let run = ["run", "--quiet", "-p", "holdpoint", "--example", example];
        ci.cargo(&[&run[..], &features].concat())?;
    }
    Ok(())
}

/// The README's first block: its first command runs, its second is this program.
pub(crate) fn readme(ci: &mut Ci) -> Result<(), String> {
    let readme = read(&ci.root.join("README.md"))?;
    let commands = first_block(&readme);
    let [run, check, ..] = commands[..] else {
        return Err("README.md: the first fenced block needs two commands".to_owned());
    };
    if check != "cargo xtask ci" {
        return Err(format!("README.md: the second command is `{check}`, not `cargo xtask ci`"));
    }
    let output = ci.program_output("sh", &["-c", run])?;
    if output.trim().is_empty() {
        return Err(format!("README.md: `{run}` prints nothing"));
    }
    Ok(())
}

/// The commands of the first fenced block: its lines without prompts, comments and empty ones.
fn first_block(document: &str) -> Vec<&str> {
    let mut lines = document.lines().skip_while(|line| !line.starts_with("```")).skip(1);
    let block = lines.by_ref().take_while(|line| !line.starts_with("```"));
    block
        .map(|line| line.trim_start_matches("$ ").trim())
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

fn manifests(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = workspace::files(folder, "yaml")?;
    found.retain(|file| file.ends_with("holdpoint.yaml"));
    if found.is_empty() { Err("no manifests under examples/".to_owned()) } else { Ok(found) }
}

/// The program on an example; its output.
fn holdpoint(ci: &mut Ci, arguments: &[&str], example: &Path) -> Result<String, String> {
    let program = ci.target.join("debug/holdpoint").display().to_string();
    let example = example.strip_prefix(&ci.root).unwrap_or(example).display().to_string();
    ci.program_output(&program, &[arguments, &["-C", &example]].concat())
}

fn text(ci: &mut Ci, example: &Path) -> Result<(), String> {
    let out = example.join("out");
    remove(&out)?;
    let printed = holdpoint(ci, &["run"], example)?;
    let report = read(&out.join("report.txt"))?;
    if let Some(line) = report.lines().find(|line| !printed.contains(line)) {
        return Err(format!("examples/text did not print its report: `{line}` is missing"));
    }
    compare_with_the_files(ci, &report)?;
    if out.join("parts").exists() {
        return Err("examples/text: its `finally` task did not remove out/parts".to_owned());
    }
    // Again, over what is there and one task at a time: order must not matter.
    holdpoint(ci, &["run", "-j", "1"], example)?;
    if read(&out.join("report.txt"))? != report {
        return Err("examples/text: two runs gave two reports".to_owned());
    }
    Ok(())
}

/// The report's first figures against our own count.
fn compare_with_the_files(ci: &Ci, report: &str) -> Result<(), String> {
    let rust = workspace::files(&ci.root, "rs")?;
    let documents = workspace::files(&ci.root, "md")?;
    let mut lines = 0;
    for file in rust.iter().chain(&documents) {
        lines += read(file)?.lines().count();
    }
    let files = format!("  files     {} of Rust, {} documents", rust.len(), documents.len());
    for expected in [files, format!("  lines     {lines}")] {
        if !report.contains(&expected) {
            return Err(format!("examples/text: its report should say `{}`", expected.trim()));
        }
    }
    Ok(())
}

fn c_build(ci: &mut Ci, example: &Path) -> Result<(), String> {
    let out = example.join("out");
    for jobs in [&[][..], &["-j", "1"]] {
        remove(&out)?;
        let printed = holdpoint(ci, &[&["run"], jobs].concat(), example)?;
        if !printed.contains("lines calculated, 0 wrong") {
            return Err("examples/c-build did not run its tests".to_owned());
        }
        let calc = out.join("calc").display().to_string();
        let result = ci.program_output(&calc, &["(1 + 2) * 14"])?;
        if result.trim() != "42" {
            return Err(format!("examples/c-build: calc says {} instead of 42", result.trim()));
        }
    }
    Ok(())
}

/// A run that waits for an answer, in a store of its own, and goes on in another process.
fn release(ci: &mut Ci, example: &Path) -> Result<(), String> {
    let out = example.join("out");
    remove(&out)?;
    remove(&example.join(".holdpoint"))?;
    let program = ci.target.join("debug/holdpoint").display().to_string();
    let example = example.strip_prefix(&ci.root).unwrap_or(example).display().to_string();
    // It ends with 3, as nobody is there to answer.
    let waits = format!("{program} run -C {example}; test $? = 3");
    ci.program_output("sh", &["-c", &waits])?;
    if out.join("live").exists() || !read(&out.join("asked.jsonl"))?.contains("session_question") {
        return Err("examples/release: it has not asked, or not waited".to_owned());
    }
    for verb in ["approve", "resume"] {
        ci.program_output(&program, &[verb, "@last", "-C", &example])?;
    }
    let live = read(&out.join("live/index.html"))?;
    let news = read(&out.join("news.txt"))?;
    if live != read(&ci.root.join(&example).join("src/index.html"))? || news.lines().count() != 1 {
        return Err("examples/release: it did not deploy what was built, once".to_owned());
    }
    Ok(())
}

fn remove(folder: &Path) -> Result<(), String> {
    if !folder.exists() {
        return Ok(());
    }
    fs::remove_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))
}

fn read(file: &Path) -> Result<String, String> {
    fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_block_is_read_as_commands() {
        let readme = "# Title\n\nWords.\n\n```sh\n$ first --flag   # why\n\n# a comment\nsecond\n```\n\
                      ```sh\nthird\n```\n";
        assert_eq!(first_block(readme), ["first --flag   # why", "second"]);
        assert!(first_block("no block").is_empty());
    }
}
