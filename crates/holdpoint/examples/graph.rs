//! A graph of plain async functions: what one returns is what the next receives.
//!
//!     cargo run -p holdpoint --example graph
//!
//! Four texts are read and counted, side by side but never more than two at a time, and the counts
//! are added up in an index that only one task may change at once. Whatever happens, the last task
//! says how large the index is.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use holdpoint::prelude::*;

/// How often each word occurs.
type Counts = BTreeMap<String, usize>;

const TEXTS: [(&str, &str); 4] = [
    ("north", "the cold wind and the sun"),
    ("south", "a warm wind from the sea"),
    ("east", "the sun rises"),
    ("west", "the sea takes the sun"),
];

// The work. These functions know nothing of graphs.

async fn read(text: &'static str) -> io::Result<String> {
    tokio::time::sleep(Duration::from_millis(20)).await; // as if it came from afar
    Ok(text.to_owned())
}

async fn count(text: Arc<String>) -> io::Result<Counts> {
    let mut counts = Counts::new();
    for word in text.split(' ') {
        *counts.entry(word.to_owned()).or_default() += 1;
    }
    Ok(counts)
}

async fn add(index: &Mutex<Counts>, counts: Arc<Counts>) -> io::Result<()> {
    let mut index = index.lock().map_err(|_| io::Error::other("the index is poisoned"))?;
    for (word, count) in counts.iter() {
        *index.entry(word.clone()).or_default() += count;
    }
    Ok(())
}

async fn most_frequent(index: &Mutex<Counts>) -> io::Result<String> {
    let index = index.lock().map_err(|_| io::Error::other("the index is poisoned"))?;
    let most = index.iter().max_by_key(|(_, count)| **count);
    most.map(|(word, _)| word.clone()).ok_or_else(|| io::Error::other("there are no words"))
}

/// Fails twice, as networks do.
async fn publish(attempt: u32) -> io::Result<()> {
    if attempt < 3 { Err(io::Error::other("connection refused")) } else { Ok(()) }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // Tasks run on the task that awaits the graph, so they may borrow what it owns.
    let index = Mutex::new(Counts::new());
    let mut graph = Graph::builder();

    let mut added = Vec::new();
    for (name, text) in TEXTS {
        // A key names the task and the type of its value. A cap acts on a tag.
        let read = graph.task(&format!("read-{name}"), move |_| read(text)).tag("network").key();
        let counted =
            graph.task(&format!("count-{name}"), move |cx| count(cx.value(read))).needs(read).key();
        let index = &index;
        // The hold is taken while the task runs, and a task that waits for it keeps no slot.
        let key = graph
            .task(&format!("add-{name}"), move |cx| add(index, cx.value(counted)))
            .needs(counted)
            .hold(Hold::exclusive("index"))
            .key();
        added.push(key);
    }

    let mut most =
        graph.task("most-frequent", |_| most_frequent(&index)).hold(Hold::shared("index")); // with other readers, but with nobody who writes
    for key in added {
        most = most.needs(key);
    }
    let most = most.key();

    graph
        .task("publish", |cx| publish(cx.attempt()))
        .needs(most)
        .retry(Retry { attempts: 3, backoff: Backoff::fixed(Duration::from_millis(10)) })
        .timeout(Duration::from_secs(5));
    // Order only, and in every case: also where one of the others has failed.
    graph
        .task("size", |_| async {
            let index = index.lock().map_err(|_| io::Error::other("the index is poisoned"))?;
            println!("the index has {} words", index.len());
            io::Result::Ok(())
        })
        .finally("publish");

    // Every fault of the graph is told here, before anything runs: cycles, unknown names, ...
    let graph = graph.build()?;
    let report = graph.run(Limits::jobs(8).tag("network", 2)).on_failure(OnFailure::Stop).await?;

    println!("the most frequent word is `{}`", report.value(most)?);
    let mut rows: Vec<_> = report.rows().collect();
    rows.sort_by_key(|row| row.finished);
    for row in rows {
        let outcome = if row.outcome.is_success() { "succeeded" } else { "did not succeed" };
        println!("{:>7.1?}  {:14} {outcome}, attempts: {}", row.finished, row.task, row.attempts);
    }
    let (path, took) = report.critical_path();
    println!("nothing could have made it faster than {took:.1?}: {}", path.join(", "));
    assert!(report.is_success());
    Ok(())
}
