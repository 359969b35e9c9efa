//! The graphs that are measured.

use std::sync::Arc;

use holdpoint_graph::{Hold, Topology};

/// A shape of graph, at any size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Each task needs the one before.
    Chain,
    /// No edges.
    Wide,
    /// Layers of 100 tasks, each with four predecessors in the layer before.
    Layered,
    /// No edges, one exclusive hold for all.
    OneHold,
    /// No edges, 100 exclusive holds in turn.
    HundredHolds,
}

impl Shape {
    /// All shapes.
    pub const ALL: [Self; 5] =
        [Self::Chain, Self::Wide, Self::Layered, Self::OneHold, Self::HundredHolds];

    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Chain => "chain",
            Self::Wide => "wide",
            Self::Layered => "layered",
            Self::OneHold => "one_hold",
            Self::HundredHolds => "100_holds",
        }
    }

    /// The predecessors of a task.
    pub fn predecessors(self, task: u32) -> impl Iterator<Item = u32> {
        let layer = task / 100 * 100;
        let (count, step) = match self {
            Self::Chain if task > 0 => (1, 0),
            Self::Layered if task >= 100 => (4, 1),
            _ => (0, 0),
        };
        (0..count).map(
            move |nth| {
                if step == 0 { task - 1 } else { layer - 100 + (task + nth * 7) % 100 }
            },
        )
    }

    /// The hold of a task.
    #[must_use]
    pub fn hold(self, task: u32) -> Option<u32> {
        match self {
            Self::OneHold => Some(0),
            Self::HundredHolds => Some(task % 100),
            _ => None,
        }
    }

    /// The shape with `tasks` tasks as a checked topology.
    ///
    /// # Panics
    /// Never: the shapes are valid.
    #[must_use]
    pub fn topology(self, tasks: u32) -> Arc<Topology> {
        let mut builder = Topology::builder();
        let mut ids = Vec::with_capacity(tasks as usize);
        let mut name = String::new();
        for task in 0..tasks {
            name.clear();
            std::fmt::Write::write_fmt(&mut name, format_args!("t{task:07}")).unwrap();
            let mut setup = builder.task(&name);
            for from in self.predecessors(task) {
                setup = setup.needs(ids[from as usize]);
            }
            if let Some(hold) = self.hold(task) {
                setup = setup.hold(Hold::exclusive(&*format!("hold{hold}")));
            }
            ids.push(setup.id());
        }
        Arc::new(builder.build().expect("BUG: an invalid shape"))
    }

    /// The shape as bare arrays.
    #[must_use]
    pub fn bare(self, tasks: u32) -> Bare {
        let mut open = vec![0; tasks as usize];
        let mut successors = vec![Vec::new(); tasks as usize];
        for task in 0..tasks {
            for from in self.predecessors(task) {
                successors[from as usize].push(task);
                open[task as usize] += 1;
            }
        }
        let hold = (0..tasks).map(|task| self.hold(task).unwrap_or(u32::MAX)).collect();
        Bare { open, successors, hold }
    }
}

/// A graph as the least code needs it.
#[derive(Debug, Clone)]
pub struct Bare {
    /// For each task, how many predecessors it has.
    pub open: Vec<u32>,
    /// For each task, who waits for it.
    pub successors: Vec<Vec<u32>>,
    /// For each task, its hold, or `u32::MAX`.
    pub hold: Vec<u32>,
}
