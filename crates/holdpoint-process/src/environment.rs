//! Which variables a process gets (PROC-001). Pure: the caller's environment is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// The complete environment of a process, sorted by name.
///
/// Two rules compose it. Later layers win over earlier ones:
///
/// | layer | [`uncached`](Self::uncached) | [`strict`](Self::strict) |
/// |---|---|---|
/// | of the caller | everything | the base and the names passed |
/// | declared by the task | yes | yes |
/// | set by Holdpoint | yes | yes |
///
/// The names that Holdpoint sets ([`TaskVariables`]) come from Holdpoint alone: a value that the
/// caller or a declaration has for one of them never reaches the process, so that a runner
/// started by a task of another run does not pass that task for its own.
///
/// ```
/// use holdpoint_process::{Environment, TaskVariables};
///
/// let caller = Environment::from_iter([("PATH", "/bin"), ("CC", "gcc"), ("HOLDPOINT_RUN", "6")]);
/// let declared = Environment::from_iter([("LANG", "C")]);
/// let mut own = TaskVariables::default();
/// own.task = Some("app:build".into());
///
/// let loose = Environment::uncached(&caller, &declared, &own);
/// assert_eq!(loose.to_string(), "CC=gcc HOLDPOINT_TASK=app:build LANG=C PATH=/bin");
///
/// let strict = Environment::strict(&caller, &declared, ["SSH_AUTH_SOCK"], &own);
/// assert_eq!(strict.to_string(), "HOLDPOINT_TASK=app:build LANG=C PATH=/bin");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<OsString, OsString>);

/// What Holdpoint tells a task about itself, as `HOLDPOINT_*`. What is absent is not set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskVariables {
    /// `HOLDPOINT_SESSION`: the id of the session.
    pub session: Option<String>,
    /// `HOLDPOINT_RUN`: the number of the run in its store.
    pub run: Option<u64>,
    /// `HOLDPOINT_TASK`: the name of the task.
    pub task: Option<String>,
    /// `HOLDPOINT_START`: which start of the task this is, from 1.
    pub start: Option<u32>,
    /// `HOLDPOINT_ATTEMPT`: which attempt of the start this is, from 1.
    pub attempt: Option<u32>,
    /// `HOLDPOINT_PROJECT`: the folder of the task's manifest.
    pub project: Option<PathBuf>,
    /// `HOLDPOINT_WORKSPACE`: the folder of the outermost manifest.
    pub workspace: Option<PathBuf>,
    /// `HOLDPOINT_OUTPUT`: the file that the task may write `key=value` lines to.
    pub output: Option<PathBuf>,
    /// `HOLDPOINT_RESULTS`: the file that holds what the predecessors wrote, as JSON.
    pub results: Option<PathBuf>,
    /// `HOLDPOINT_PARAM_*`: the parameters that the task gets, by name.
    pub params: BTreeMap<String, String>,
}

/// What every task gets of the caller's environment: what programs cannot do without, and
/// nothing that should change a result. Not part of any key.
const BASE: &[&str] = &[
    "CI", "HOME", "LANG", "LC_ALL", "LOGNAME", "NO_COLOR", "PATH", "SHELL", "TERM", "TMPDIR",
    "USER",
];

/// Proxies are read by some programs in capitals and by some without.
const PROXIES: &[&str] = &["ALL_PROXY", "FTP_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"];

/// The names after `HOLDPOINT_` that only Holdpoint sets; see [`TaskVariables`].
const OWN: &[&str] =
    &["ATTEMPT", "OUTPUT", "PROJECT", "RESULTS", "RUN", "SESSION", "START", "TASK", "WORKSPACE"];

impl Environment {
    /// The environment of this process, read now.
    #[must_use]
    pub fn of_this_process() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// What a task without a cache gets: all that the caller has, what the task declares, and
    /// what Holdpoint tells it.
    #[must_use]
    pub fn uncached(caller: &Self, declared: &Self, own: &TaskVariables) -> Self {
        Self::compose(caller, |_| true, declared, own)
    }

    /// What a cached task gets: the base, the caller's variables whose names are `passed`
    /// (`hash_env`, `pass_env` and `secrets` of a manifest), what the task declares, and what
    /// Holdpoint tells it.
    #[must_use]
    pub fn strict<N: AsRef<OsStr>>(
        caller: &Self,
        declared: &Self,
        passed: impl IntoIterator<Item = N>,
        own: &TaskVariables,
    ) -> Self {
        let passed: BTreeSet<OsString> =
            passed.into_iter().map(|name| name.as_ref().to_owned()).collect();
        Self::compose(caller, |name| is_base(name) || passed.contains(name), declared, own)
    }

    /// The value of a variable.
    #[must_use]
    pub fn get(&self, name: impl AsRef<OsStr>) -> Option<&OsStr> {
        self.0.get(name.as_ref()).map(OsString::as_os_str)
    }

    /// Sets a variable.
    pub fn set(&mut self, name: impl Into<OsString>, value: impl Into<OsString>) {
        self.0.insert(name.into(), value.into());
    }

    /// Names and values, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&OsStr, &OsStr)> {
        self.0.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }

    fn compose(
        caller: &Self,
        inherited: impl Fn(&OsStr) -> bool,
        declared: &Self,
        own: &TaskVariables,
    ) -> Self {
        let inherited = caller.iter().filter(|(name, _)| inherited(name));
        let foreign = inherited.chain(declared.iter()).filter(|(name, _)| !is_own(name));
        let mut composed = Self::from_iter(foreign);
        own.set_in(&mut composed);
        composed
    }
}

impl<N: Into<OsString>, V: Into<OsString>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

/// `NAME=value` pairs on one row: for messages and tests.
impl std::fmt::Display for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, (name, value)) in self.iter().enumerate() {
            let gap = if at == 0 { "" } else { " " };
            write!(f, "{gap}{}={}", name.to_string_lossy(), value.to_string_lossy())?;
        }
        Ok(())
    }
}

impl TaskVariables {
    fn set_in(&self, environment: &mut Environment) {
        let mut set = |name: &str, value: Option<OsString>| {
            if let Some(value) = value {
                environment.set(format!("HOLDPOINT_{name}"), value);
            }
        };
        set("SESSION", self.session.as_ref().map(Into::into));
        set("RUN", self.run.map(|number| number.to_string().into()));
        set("TASK", self.task.as_ref().map(Into::into));
        set("START", self.start.map(|number| number.to_string().into()));
        set("ATTEMPT", self.attempt.map(|number| number.to_string().into()));
        set("PROJECT", self.project.as_ref().map(Into::into));
        set("WORKSPACE", self.workspace.as_ref().map(Into::into));
        set("OUTPUT", self.output.as_ref().map(Into::into));
        set("RESULTS", self.results.as_ref().map(Into::into));
        for (name, value) in &self.params {
            set(&format!("PARAM_{}", variable_form(name)), Some(value.into()));
        }
    }
}

/// A parameter's name as part of a variable's: capitals, and `_` for what a shell could not
/// name.
fn variable_form(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
        .collect()
}

fn is_base(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| {
        BASE.contains(&name)
            || name.starts_with("XDG_")
            || PROXIES.iter().any(|proxy| *proxy == name || proxy.to_ascii_lowercase() == name)
    })
}

fn is_own(name: &OsStr) -> bool {
    // A name that is not UTF-8 may still begin like a parameter's.
    let name = name.to_string_lossy();
    name.strip_prefix("HOLDPOINT_")
        .is_some_and(|rest| OWN.contains(&rest) || rest.starts_with("PARAM_"))
}
