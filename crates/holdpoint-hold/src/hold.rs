//! What a caller asks for: a hold, its scope and its mode (HOLD-001, HOLD-002).

use std::fmt;
use std::sync::Arc;

use holdpoint_core::Name;

/// Who shares a hold's name.
///
/// The same name in another scope is another hold (HOLD-001).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Every project of the workspace.
    Workspace,
    /// This project alone.
    Project(Name),
}

/// How a hold goes together with others of its name (HOLD-002).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    /// Together with other shared holds, never with an exclusive one.
    Shared,
    /// Alone. Of a counted name it takes all units.
    Exclusive,
    /// So many units of a counted name, together with others while the sum fits its declared
    /// capacity.
    Units(u32),
}

/// One lock that a piece of work needs: scope, name and mode.
///
/// Building one never fails. The name and the units are checked where a list of holds becomes
/// [`Claims`](crate::Claims), so that a caller with many lists can report all faults at once.
///
/// ```
/// use holdpoint_core::Name;
/// use holdpoint_hold::Hold;
///
/// let app: Name = "app".parse()?;
/// assert_eq!(Hold::exclusive("db").to_string(), "db");
/// assert_eq!(Hold::shared("db").to_string(), "db (shared)");
/// assert_eq!(Hold::units("gpu", 2).to_string(), "gpu ×2");
/// assert_eq!(Hold::exclusive("tmp").in_project(app).to_string(), "app:tmp");
/// # Ok::<(), holdpoint_core::NameError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hold {
    scope: Scope,
    name: Arc<str>,
    mode: Mode,
}

impl Hold {
    /// Alone on `name`, in the workspace's scope.
    #[must_use]
    pub fn exclusive(name: impl AsRef<str>) -> Self {
        Self::new(name.as_ref(), Mode::Exclusive)
    }

    /// On `name` together with others that share it, in the workspace's scope.
    #[must_use]
    pub fn shared(name: impl AsRef<str>) -> Self {
        Self::new(name.as_ref(), Mode::Shared)
    }

    /// `units` of the counted `name`, in the workspace's scope. Zero is refused later, like a
    /// bad name.
    #[must_use]
    pub fn units(name: impl AsRef<str>, units: u32) -> Self {
        Self::new(name.as_ref(), Mode::Units(units))
    }

    /// The same hold in the scope of `project`.
    #[must_use]
    pub fn in_project(self, project: Name) -> Self {
        Self { scope: Scope::Project(project), ..self }
    }

    /// Who shares the name.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The name as it was given, unchecked.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it goes together with others.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    fn new(name: &str, mode: Mode) -> Self {
        Self { scope: Scope::Workspace, name: Arc::from(name), mode }
    }
}

/// `project:` for a project's scope, nothing for the workspace's, to stand before a name.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workspace => Ok(()),
            Self::Project(project) => write!(f, "{project}:"),
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.scope, self.name)?;
        match self.mode {
            Mode::Exclusive => Ok(()),
            Mode::Shared => f.write_str(" (shared)"),
            Mode::Units(units) => write!(f, " ×{units}"),
        }
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hold({self})")
    }
}
