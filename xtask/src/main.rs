//! The project's own checks: `cargo xtask <command>`.
//!
//! `cargo xtask ci` is what the machine runs on every change and what a person runs before one; the
//! other commands are its parts that are useful alone.

mod bench;
mod ci;
mod console;
mod contract;
mod examples;
mod layers;
mod soak;
mod source;
mod steps;
mod workspace;

use std::env;
use std::process::ExitCode;

use console::Style;

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", &[][..]),
    };
    let is_help = |word: &str| matches!(word, "help" | "-h" | "--help");
    let result = match command {
        word if is_help(word) || rest.iter().any(|word| is_help(word)) => {
            println!("{}", help());
            Ok(ExitCode::SUCCESS)
        }
        "bench" => bench::run(rest),
        "ci" => ci::run(rest),
        "contract" if rest.is_empty() => contract::check(&workspace::root(), None).map(success),
        "soak" => soak::run(rest),
        "layers" if rest.is_empty() => layers::check(&workspace::root()).map(success),
        _ => Err(format!("no command `{}`\n\n{}", arguments.join(" "), help())),
    };
    result.unwrap_or_else(|message| {
        eprintln!("{}: {message}", Style::detect().red("error"));
        ExitCode::FAILURE
    })
}

fn success((): ()) -> ExitCode {
    ExitCode::SUCCESS
}

fn help() -> String {
    let commands = [
        ("ci [--deep] [STEP..]", "run every check, or those named"),
        ("layers", "crates keep to their floors, machines are pure"),
        ("contract", "every rule has a test, every test names rules that exist"),
        ("bench [--saved] [GROUP..]", "run benchmarks, put each beside its raw limit"),
        ("soak [MINUTES]", "what must outlast crashes, for hours or until the time is over"),
    ];
    let mut text = String::from("cargo xtask ..");
    for (command, about) in commands {
        text.push_str(&format!("\n  {command:<27}{about}"));
    }
    text.push_str("\n\nSteps of ci:");
    for step in steps::STEPS {
        let deep = if step.deep { " (only with --deep)" } else { "" };
        text.push_str(&format!("\n  {:<10}{}{deep}", step.name, step.about));
    }
    text
}
