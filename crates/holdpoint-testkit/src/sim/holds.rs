//! The hold set of a simulation: one desk at which every actor asks, and which tells whoever
//! waited when it is due.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use holdpoint_core::event::{HoldMode, HoldRef, HoldScope};
use holdpoint_hold::{Claims, Hold, HoldSet, Mode, Scope, Ticket};

use super::{Address, World};

/// A hold set that actors share. A clone is the same desk.
///
/// `H` is what happens to the actors that ask, all of one kind.
///
/// ```
/// use holdpoint_hold::{Hold, Scope};
/// use holdpoint_testkit::sim::graph::GraphHappening;
/// use holdpoint_testkit::sim::holds::HoldDesk;
///
/// let desk: HoldDesk<GraphHappening> = HoldDesk::new();
/// desk.declare(&Scope::Workspace, "gpu", 2);
/// let _claims = desk.claims(&[Hold::units("gpu", 1), Hold::exclusive("db")]);
/// assert!(desk.is_empty());
/// ```
pub struct HoldDesk<H>(Rc<RefCell<Desk<H>>>);

struct Desk<H> {
    set: HoldSet,
    capacities: Vec<(Scope, String, u32)>,
    /// Whom to tell what when a request that waits is due.
    waiting: HashMap<u64, (Address<H>, H)>,
    requests: u64,
}

/// A request at the desk. It ends by [`HoldDesk::release`].
#[derive(Debug)]
#[must_use = "a dropped request is never released"]
pub struct Request {
    ticket: Ticket,
    number: u64,
}

impl<H: 'static> HoldDesk<H> {
    /// A desk where nothing is taken.
    #[must_use]
    pub fn new() -> Self {
        Self(Rc::new(RefCell::new(Desk {
            set: HoldSet::new(),
            capacities: Vec::new(),
            waiting: HashMap::new(),
            requests: 0,
        })))
    }

    /// Makes a name counted.
    ///
    /// # Panics
    /// Where the hold set refuses it: a bad name, no units, or another capacity while in use.
    pub fn declare(&self, scope: &Scope, name: &str, units: u32) {
        let mut desk = self.0.borrow_mut();
        let declared = desk.set.declare(scope, name, units);
        declared.unwrap_or_else(|error| panic!("{name} cannot have {units} units: {error}"));
        desk.capacities.push((scope.clone(), name.to_owned(), units));
    }

    /// Tells the audit of the capacities.
    pub fn tell_audit<O: 'static>(&self, world: &mut World<'_, O>) {
        for (scope, name, units) in &self.0.borrow().capacities {
            if let Ok(name) = name.parse() {
                world.audit().know_capacity(scope_word(scope), name, *units);
            }
        }
    }

    /// Checks a list of holds.
    ///
    /// # Panics
    /// Where the hold set refuses it.
    #[must_use]
    pub fn claims(&self, holds: &[Hold]) -> Claims {
        let claims = self.0.borrow_mut().set.claims(holds);
        claims.unwrap_or_else(|error| panic!("{holds:?} cannot be asked for: {error}"))
    }

    /// Asks for all of `claims`, and says whether they are granted. Where they are not, `then`
    /// happens to `who` when they are.
    pub fn request(&self, claims: &Claims, who: Address<H>, then: H) -> (Request, bool) {
        let mut desk = self.0.borrow_mut();
        desk.requests += 1;
        let number = desk.requests;
        let ticket = desk.set.request(claims, number);
        let granted = desk.set.is_granted(&ticket);
        if !granted {
            desk.waiting.insert(number, (who, then));
        }
        (Request { ticket, number }, granted)
    }

    /// Whether the request is granted now; its actor may not have heard of it yet.
    #[must_use]
    pub fn is_granted(&self, request: &Request) -> bool {
        self.0.borrow().set.is_granted(&request.ticket)
    }

    /// Gives back what was granted, or withdraws what waits. Those who become due are told, each
    /// within a millisecond, in an order that the seed decides.
    pub fn release<O: 'static>(&self, request: Request, world: &mut World<'_, O>) {
        let mut desk = self.0.borrow_mut();
        desk.waiting.remove(&request.number);
        desk.set.release(request.ticket);
        while let Some(due) = desk.set.next_granted() {
            if let Some((who, then)) = desk.waiting.remove(&due) {
                let late = world.random().millis(1);
                world.send(who, late, then);
            }
        }
    }

    /// Whether nobody holds or waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.borrow().set.is_empty()
    }
}

/// A hold as events show it; none where its name is none.
#[must_use]
pub fn hold_ref(hold: &Hold) -> Option<HoldRef> {
    let mode = match hold.mode() {
        Mode::Exclusive => HoldMode::Exclusive,
        Mode::Shared => HoldMode::Shared,
        Mode::Units(units) => HoldMode::Counted { units },
    };
    Some(HoldRef { scope: scope_word(hold.scope()), name: hold.name().parse().ok()?, mode })
}

fn scope_word(scope: &Scope) -> HoldScope {
    match scope {
        Scope::Workspace => HoldScope::Workspace,
        Scope::Project(project) => HoldScope::Project { project: project.clone() },
    }
}

impl<H: 'static> Default for HoldDesk<H> {
    fn default() -> Self {
        Self::new()
    }
}

impl<H> Clone for HoldDesk<H> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<H> std::fmt::Debug for HoldDesk<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HoldDesk").field("open", &self.0.borrow().set.len()).finish()
    }
}
