//! Which task may start next: slots, tag caps, and the order of GRAPH-003 and 006.
//!
//! Tasks of one class (same weight, same tags) share a *lane*: caps admit or refuse them
//! alike, so that only the head of a lane needs to be looked at.
//!
//! # Invariants
//! 1. A lane with a head is *queued* (its head's key is in the heap) or *blocked* (it is in the
//!    list of exactly one cap, which does not admit it). A lane without head is idle or queued.
//! 2. Reserved tasks of a lane come before its ready ones, in ticket order; lanes compare by
//!    the keys of their heads.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use crate::bits::BitTree;
use crate::options::Limits;
use crate::topology::{TaskId, Topology};

/// `(0, ticket)` for reserved tasks, `(1, rank)` for ready ones.
type Key = (u8, u32);

#[derive(Debug)]
pub(crate) struct Admission {
    topology: Arc<Topology>,
    /// Ready tasks, by position.
    ready: BitTree,
    lanes: Vec<Lane>,
    queue: BinaryHeap<Reverse<(Key, u32)>>,
    free_slots: u32,
    caps: Vec<Cap>,
    /// Lanes that wait for more free slots.
    waiting_for_slots: Vec<u32>,
}

#[derive(Debug)]
struct Lane {
    weight: u32,
    caps: Box<[u32]>,
    start: u32,
    end: u32,
    /// By ticket number.
    reserved: BinaryHeap<Reverse<(u32, TaskId)>>,
    status: Status,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Idle,
    Queued(Key),
    Blocked,
}

#[derive(Debug)]
struct Cap {
    free: u32,
    waiting: Vec<u32>,
}

impl Admission {
    pub(crate) fn new(topology: &Arc<Topology>, limits: &Limits) -> Self {
        let mut cap_of = vec![None; topology.tags.len()];
        let mut caps = Vec::new();
        for (index, tag) in topology.tags.iter().enumerate() {
            if let Some(&free) = limits.tags.get(tag) {
                cap_of[index] = Some(caps.len() as u32);
                caps.push(Cap { free, waiting: Vec::new() });
            }
        }
        let lanes = topology.classes.iter().map(|class| Lane {
            weight: class.weight,
            caps: class.tags.iter().filter_map(|&tag| cap_of[tag as usize]).collect(),
            start: class.positions.start,
            end: class.positions.end,
            reserved: BinaryHeap::new(),
            status: Status::Idle,
        });
        Self {
            ready: BitTree::new(topology.len()),
            lanes: lanes.collect(),
            queue: BinaryHeap::new(),
            free_slots: limits.jobs,
            caps,
            waiting_for_slots: Vec::new(),
            topology: Arc::clone(topology),
        }
    }

    pub(crate) fn add_ready(&mut self, task: TaskId) {
        self.ready.insert(self.topology.position[task.index()]);
        self.offer(self.topology.class(task));
    }

    /// Takes back a ready task that will not start.
    pub(crate) fn remove_ready(&mut self, task: TaskId) {
        self.ready.remove(self.topology.position[task.index()]);
    }

    /// Adds a task whose holds are kept for it, with the number of its ticket.
    pub(crate) fn add_reserved(&mut self, task: TaskId, ticket: u32) {
        let class = self.topology.class(task);
        self.lanes[class as usize].reserved.push(Reverse((ticket, task)));
        self.offer(class);
    }

    /// Takes back the reserved tasks that `keep` refuses.
    pub(crate) fn retain_reserved(&mut self, mut keep: impl FnMut(TaskId) -> bool) {
        for lane in &mut self.lanes {
            lane.reserved.retain(|Reverse((_, task))| keep(*task));
        }
    }

    /// The next task in order that all caps admit, with its slots and caps taken.
    pub(crate) fn take(&mut self) -> Option<TaskId> {
        if self.lanes.len() == 1 {
            return self.take_from_single_lane();
        }
        while self.free_slots > 0 {
            let Reverse((key, index)) = self.queue.pop()?;
            let lane = &mut self.lanes[index as usize];
            if lane.status != Status::Queued(key) {
                continue;
            }
            lane.status = Status::Idle;
            let Some((head, task)) = self.head(index) else { continue };
            if head != key {
                // The task that was queued has been taken back.
                self.offer(index);
                continue;
            }
            if self.block(index) {
                continue;
            }
            let lane = &mut self.lanes[index as usize];
            self.free_slots -= lane.weight;
            for &cap in &lane.caps {
                self.caps[cap as usize].free -= 1;
            }
            if key.0 == 0 {
                lane.reserved.pop();
            } else {
                self.ready.remove(self.topology.position[task.index()]);
            }
            self.offer(index);
            return Some(task);
        }
        None
    }

    /// The usual case without tags and weights: there is nothing to compare, so no queue.
    fn take_from_single_lane(&mut self) -> Option<TaskId> {
        let lane = &mut self.lanes[0];
        if lane.weight > self.free_slots
            || lane.caps.iter().any(|&cap| self.caps[cap as usize].free == 0)
        {
            return None;
        }
        let task = match lane.reserved.pop() {
            Some(Reverse((_, task))) => task,
            None => {
                let position = self.ready.first_from(0)?;
                self.ready.remove(position);
                self.topology.order[position as usize]
            }
        };
        self.free_slots -= lane.weight;
        for &cap in &lane.caps {
            self.caps[cap as usize].free -= 1;
        }
        Some(task)
    }

    /// Returns what [`take`](Self::take) took for this task.
    pub(crate) fn give_back(&mut self, task: TaskId) {
        let index = self.topology.class(task);
        self.free_slots += self.lanes[index as usize].weight;
        for at in 0..self.lanes[index as usize].caps.len() {
            let cap = self.lanes[index as usize].caps[at] as usize;
            self.caps[cap].free += 1;
            for lane in std::mem::take(&mut self.caps[cap].waiting) {
                self.unblock(lane);
            }
        }
        let mut at = 0;
        while let Some(&lane) = self.waiting_for_slots.get(at) {
            if self.lanes[lane as usize].weight <= self.free_slots {
                self.waiting_for_slots.swap_remove(at);
                self.unblock(lane);
            } else {
                at += 1;
            }
        }
    }

    fn unblock(&mut self, lane: u32) {
        self.lanes[lane as usize].status = Status::Idle;
        self.offer(lane);
    }

    /// Puts the lane's head into the queue, unless the lane is blocked or already there.
    fn offer(&mut self, index: u32) {
        if self.lanes.len() == 1 {
            return;
        }
        let queued = match self.lanes[index as usize].status {
            Status::Blocked => return,
            Status::Queued(key) => Some(key),
            Status::Idle => None,
        };
        if let Some((head, _)) = self.head(index)
            && queued.is_none_or(|queued| head < queued)
        {
            self.lanes[index as usize].status = Status::Queued(head);
            self.queue.push(Reverse((head, index)));
        }
    }

    fn head(&self, index: u32) -> Option<(Key, TaskId)> {
        let lane = &self.lanes[index as usize];
        if let Some(&Reverse((ticket, task))) = lane.reserved.peek() {
            return Some(((0, ticket), task));
        }
        let position = self.ready.first_from(lane.start).filter(|&position| position < lane.end)?;
        let task = self.topology.order[position as usize];
        Some(((1, self.topology.rank(position)), task))
    }

    /// Puts the lane aside where a cap does not admit it now.
    fn block(&mut self, index: u32) -> bool {
        let lane = &mut self.lanes[index as usize];
        let full = lane.caps.iter().find(|&&cap| self.caps[cap as usize].free == 0);
        if let Some(&cap) = full {
            self.caps[cap as usize].waiting.push(index);
        } else if lane.weight > self.free_slots {
            self.waiting_for_slots.push(index);
        } else {
            return false;
        }
        lane.status = Status::Blocked;
        true
    }
}
