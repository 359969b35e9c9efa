use crate::environment::{Environment, TaskVariables};

fn environment<const N: usize>(pairs: [(&str, &str); N]) -> Environment {
    Environment::from_iter(pairs)
}

fn full() -> TaskVariables {
    TaskVariables {
        session: Some("0192".into()),
        run: Some(7),
        task: Some("app:build".into()),
        start: Some(2),
        attempt: Some(3),
        project: Some("/w/app".into()),
        workspace: Some("/w".into()),
        output: Some("/s/out".into()),
        results: Some("/s/results".into()),
        params: [("env".into(), "staging".into()), ("dry-run".into(), "no".into())].into(),
    }
}

#[test]
fn proc_001_an_uncached_task_inherits_the_caller_and_overlays_what_it_declares() {
    let caller = environment([("CC", "gcc"), ("EDITOR", "vi"), ("LANG", "de")]);
    let composed =
        Environment::uncached(&caller, &environment([("LANG", "C")]), &TaskVariables::default());
    assert_eq!(composed.to_string(), "CC=gcc EDITOR=vi LANG=C");
}

#[test]
fn proc_001_a_cached_task_gets_the_base_what_it_declares_and_what_is_passed() {
    let base = [
        "ALL_PROXY",
        "CI",
        "FTP_PROXY",
        "HOME",
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "LANG",
        "LC_ALL",
        "LOGNAME",
        "NO_COLOR",
        "NO_PROXY",
        "PATH",
        "SHELL",
        "TERM",
        "TMPDIR",
        "USER",
        "XDG_CACHE_HOME",
        "XDG_RUNTIME_DIR",
        "http_proxy",
        "no_proxy",
    ];
    let others =
        ["CC", "EDITOR", "HOLDPOINT_STORE", "LD_PRELOAD", "PATHS", "SSH_AUTH_SOCK", "X", "path"];
    let caller = Environment::from_iter(base.iter().chain(&others).map(|name| (*name, "caller")));

    let strict = |declared, passed: &[&str]| {
        Environment::strict(&caller, declared, passed, &TaskVariables::default())
    };
    let nothing = Environment::default();
    let names = |composed: Environment| {
        composed.iter().map(|(name, _)| name.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(strict(&nothing, &[])), base);

    let declared = environment([("CC", "clang"), ("LANG", "C")]);
    let composed = strict(&declared, &["CC", "SSH_AUTH_SOCK", "UNSET"]);
    assert_eq!(composed.get("CC").unwrap(), "clang", "a declaration wins over what is passed");
    assert_eq!(composed.get("LANG").unwrap(), "C", "and over the base");
    assert_eq!(composed.get("SSH_AUTH_SOCK").unwrap(), "caller");
    assert_eq!(composed.get("UNSET"), None, "passing sets nothing that the caller has not");
    assert_eq!(composed.iter().len(), base.len() + 2);
}

#[test]
fn proc_001_holdpoint_tells_the_task_about_itself() {
    let nothing = Environment::default();
    let composed = Environment::uncached(&nothing, &nothing, &full());
    let expected = "HOLDPOINT_ATTEMPT=3 HOLDPOINT_OUTPUT=/s/out HOLDPOINT_PARAM_DRY_RUN=no \
        HOLDPOINT_PARAM_ENV=staging HOLDPOINT_PROJECT=/w/app HOLDPOINT_RESULTS=/s/results \
        HOLDPOINT_RUN=7 HOLDPOINT_SESSION=0192 HOLDPOINT_START=2 HOLDPOINT_TASK=app:build \
        HOLDPOINT_WORKSPACE=/w";
    assert_eq!(composed.to_string(), expected);
    assert_eq!(Environment::strict(&nothing, &nothing, [""; 0], &full()), composed);
}

#[test]
fn proc_001_what_an_outer_run_told_its_task_never_leaks_through() {
    let stale = [
        "ATTEMPT",
        "OUTPUT",
        "PARAM_",
        "PARAM_OLD",
        "PROJECT",
        "RESULTS",
        "RUN",
        "SESSION",
        "START",
        "TASK",
        "WORKSPACE",
    ];
    let names: Vec<String> = stale.iter().map(|name| format!("HOLDPOINT_{name}")).collect();
    let outer = Environment::from_iter(names.iter().map(|name| (name, "outer")));
    let nothing = Environment::default();
    let silent = TaskVariables::default();

    assert_eq!(Environment::uncached(&outer, &nothing, &silent), nothing);
    assert_eq!(Environment::uncached(&nothing, &outer, &silent), nothing, "nor by declaration");
    assert_eq!(Environment::strict(&outer, &outer, &names, &silent), nothing, "nor by passing");
    assert_eq!(Environment::uncached(&outer, &outer, &full()).get("HOLDPOINT_RUN").unwrap(), "7");

    // Flags of the program and names that only look alike are the caller's own.
    let flags = environment([
        ("HOLDPOINT_STORE", "/s"),
        ("HOLDPOINT_TASKS", "x"),
        ("MY_HOLDPOINT_RUN", "y"),
    ]);
    assert_eq!(Environment::uncached(&flags, &nothing, &silent), flags);
}
