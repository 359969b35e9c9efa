//! An agent that asks, is killed, is recovered and finishes.
//!
//! The agent reads a draft, asks whether to publish it, and publishes. Its process is killed with
//! SIGKILL twice, by this very program: while it waits for the answer, and right after it was
//! answered. What it had done is recorded and is not done again.
//!
//! ```text
//! cargo run -p holdpoint --features session,store --example session_agent
//! ```

use std::error::Error;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use holdpoint::prelude::*;
use holdpoint::session::Attempt;
use holdpoint::store::{FileOptions, FileStore, Store};

const FOLDER: &str = "SESSION_AGENT_FOLDER";

/// What the agent does to the world: a line in a file, so that all processes together can be
/// checked.
fn act(folder: &Path, what: &str, attempt: &Attempt) -> std::io::Result<()> {
    let mut log = OpenOptions::new().create(true).append(true).open(folder.join("world"))?;
    // In one write: this process may be killed between two.
    log.write_all(format!("{what}\n").as_bytes())?;
    eprintln!("  {what} (start {} of the session)", attempt.start());
    Ok(())
}

async fn agent(folder: PathBuf, cx: SessionContext, topic: String) -> Result<String, BodyError> {
    let draft: String = cx
        .step_with("draft", |attempt| {
            let (folder, topic) = (folder.clone(), topic.clone());
            async move {
                act(&folder, "write the draft", &attempt)?;
                Ok(format!("a few words about {topic}"))
            }
        })
        .await?;
    let publish: bool = cx.ask(Ask::confirm("publish", format!("Publish {draft:?}?"))).await?;
    if !publish {
        return Ok("dropped".to_owned());
    }
    cx.step_with("publish", |attempt| {
        let folder = folder.clone();
        async move { Ok(act(&folder, "publish", &attempt)?) }
    })
    .await?;
    Ok(format!("published {draft:?}"))
}

/// The process that runs the agent. It says on its output how far it is, and takes the answer from
/// its input.
async fn process(folder: PathBuf) -> Result<(), Box<dyn Error>> {
    let store = FileStore::open(folder.join("store"), FileOptions::new())?;
    let store: Arc<dyn Store> = Arc::new(store);
    let sessions = Sessions::builder().store(store).open().await?;
    let body = sessions.register("agent", move |cx: SessionContext, topic: String| {
        agent(folder.clone(), cx, topic)
    })?;
    // The same key is the same session, in every process.
    let run = body.spawn("holds".to_owned()).key("about holds").await?;
    if let Some(question) = run.next_question().await? {
        println!("asks: {}", question.prompt);
        let answer = tokio::task::spawn_blocking(|| std::io::stdin().lines().next()).await?;
        if answer.transpose()?.as_deref() == Some("yes") {
            run.answer(question.id, true).await?;
            println!("answered");
        }
    }
    println!("done: {}", run.await?);
    Ok(())
}

fn start(folder: &Path) -> Result<Child, Box<dyn Error>> {
    let child = Command::new(std::env::current_exe()?)
        .env(FOLDER, folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    Ok(child)
}

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(folder) = std::env::var_os(FOLDER) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        return runtime.block_on(process(folder.into()));
    }
    let folder = tempfile::tempdir()?;

    println!("1. The agent writes its draft and asks. Then its process is killed.");
    let mut child = start(folder.path())?;
    let mut said = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
    println!("  {}", said.next().ok_or("it says nothing")??);
    child.kill()?;
    child.wait()?;

    println!("2. A new process has the same question open. It is answered, and killed again.");
    let mut child = start(folder.path())?;
    let mut said = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
    println!("  {}", said.next().ok_or("it says nothing")??);
    child.stdin.take().ok_or("no input")?.write_all(b"yes\n")?;
    println!("  {}", said.next().ok_or("it says nothing")??);
    child.kill()?;
    child.wait()?;

    println!("3. A third one goes on by itself, and finishes.");
    let mut child = start(folder.path())?;
    let output = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
    let lines = output.collect::<Result<Vec<_>, _>>()?;
    lines.iter().for_each(|line| println!("  {line}"));
    if !child.wait()?.success() || lines.last().is_none_or(|line| !line.starts_with("done")) {
        return Err("the agent did not finish".into());
    }

    let world = std::fs::read_to_string(folder.path().join("world"))?;
    let drafts = world.lines().filter(|line| *line == "write the draft").count();
    let published = world.lines().filter(|line| *line == "publish").count();
    println!("The draft was written {drafts} time, and published {published} time(s).");
    // Publishing may have been cut off by the second kill: then it is done once more, at least
    // once. The draft was recorded before the first.
    if drafts == 1 && published >= 1 {
        Ok(())
    } else {
        Err("something recorded was repeated".into())
    }
}
