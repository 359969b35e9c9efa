//! The least code that runs a graph on tokio and futures: no names, no checks, no caps by tag,
//! no events, no report beyond a flag a task.

use std::collections::VecDeque;

use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::shapes::Bare;

/// How many tasks may be in flight.
pub const CAP: usize = 64;

/// Ready tasks and hold queues by plain counters.
struct Plain {
    open: Vec<u32>,
    ready: VecDeque<u32>,
    held: Vec<bool>,
    queues: Vec<VecDeque<u32>>,
    done: Vec<bool>,
}

impl Plain {
    fn new(graph: &Bare) -> Self {
        let holds =
            graph.hold.iter().filter(|&&hold| hold != u32::MAX).max().map_or(0, |&max| max + 1);
        let ready = (0..graph.open.len() as u32).filter(|&task| graph.open[task as usize] == 0);
        Self {
            open: graph.open.clone(),
            ready: ready.collect(),
            held: vec![false; holds as usize],
            queues: vec![VecDeque::new(); holds as usize],
            done: vec![false; graph.open.len()],
        }
    }

    /// The next task that may start now.
    fn next(&mut self, graph: &Bare) -> Option<u32> {
        while let Some(task) = self.ready.pop_front() {
            let hold = graph.hold[task as usize];
            if hold == u32::MAX {
                return Some(task);
            }
            if !self.held[hold as usize] {
                self.held[hold as usize] = true;
                return Some(task);
            }
            self.queues[hold as usize].push_back(task);
        }
        None
    }

    /// Marks a task as done; a task that waited for its hold is the answer.
    fn done(&mut self, graph: &Bare, task: u32) -> Option<u32> {
        self.done[task as usize] = true;
        for &next in &graph.successors[task as usize] {
            self.open[next as usize] -= 1;
            if self.open[next as usize] == 0 {
                self.ready.push_back(next);
            }
        }
        let hold = graph.hold[task as usize];
        if hold == u32::MAX {
            return None;
        }
        let next = self.queues[hold as usize].pop_front();
        self.held[hold as usize] = next.is_some();
        next
    }
}

/// In-degree counters alone, without async.
#[must_use]
pub fn counters(graph: &Bare) -> usize {
    let mut plain = Plain::new(graph);
    let mut ended = 0;
    let mut handed = None;
    while let Some(task) = handed.take().or_else(|| plain.next(graph)) {
        handed = plain.done(graph, task);
        ended += 1;
    }
    ended
}

/// One task polls all: a `FuturesUnordered` kept full.
pub async fn unordered(graph: &Bare) -> usize {
    let mut plain = Plain::new(graph);
    let mut flight = FuturesUnordered::new();
    let work = |task: u32| async move { std::hint::black_box(task) };
    let mut ended = 0;
    loop {
        while flight.len() < CAP {
            let Some(task) = plain.next(graph) else { break };
            flight.push(work(task));
        }
        let Some(task) = flight.next().await else { return ended };
        ended += 1;
        if let Some(next) = plain.done(graph, task) {
            flight.push(work(next));
        }
    }
}

/// A central loop and a tokio task each.
pub async fn spawned(graph: &Bare) -> usize {
    let mut plain = Plain::new(graph);
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let start = |task: u32| {
        let sender = sender.clone();
        tokio::spawn(async move {
            let _ = sender.send(std::hint::black_box(task));
        });
    };
    let (mut ended, mut flight) = (0, 0);
    loop {
        while flight < CAP {
            let Some(task) = plain.next(graph) else { break };
            flight += 1;
            start(task);
        }
        if flight == 0 {
            return ended;
        }
        let Some(task) = receiver.recv().await else { return ended };
        ended += 1;
        match plain.done(graph, task) {
            Some(next) => start(next),
            None => flight -= 1,
        }
    }
}
