//! CORE-006: events as JSON, every kind of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::config;
use super::session_parts::{asked, cause, mismatch};
use crate::event::{
    CacheSource, Event, EventKind, FailCause, FireCause, HoldMode, HoldRef, HoldScope, ItemOutcome,
    ScheduleSkipCause, SkipCause, Stream,
};
use crate::session::{Failure, QuestionId, QuestionKind, SessionInput, SuspendCause, Usage};
use crate::{CancelCode, CancelInfo, Name, SessionId, TaskName, Timestamp};

/// What the fields of events are filled with.
#[derive(Debug, Clone)]
struct Parts {
    task: TaskName,
    task_or_none: Option<TaskName>,
    text: Arc<str>,
    text_or_none: Option<Arc<str>>,
    small: u32,
    big: u64,
    big_or_none: Option<u64>,
    signed_or_none: Option<i32>,
    flag: bool,
    time: Timestamp,
    cancel: CancelInfo,
    holds: Arc<[HoldRef]>,
    question: QuestionKind,
}

fn names() -> impl Strategy<Value = Name> {
    "[A-Za-z0-9][A-Za-z0-9_.-]{0,20}".prop_map(|text| text.parse().unwrap())
}

fn tasks() -> impl Strategy<Value = TaskName> {
    (prop::option::of(names()), names()).prop_map(|(project, task)| match project {
        Some(project) => TaskName::in_project(project, task),
        None => task.into(),
    })
}

fn texts() -> impl Strategy<Value = Arc<str>> {
    prop_oneof![any::<String>(), "[\n\r\u{2028}\"\\\\{}a]{0,8}"].prop_map(Arc::from)
}

fn times() -> impl Strategy<Value = Timestamp> {
    (0..=Timestamp::MAX.as_micros()).prop_map(Timestamp::from_micros)
}

fn cancels() -> impl Strategy<Value = CancelInfo> {
    use CancelCode::{Internal, Parent, Shutdown, Timeout, User};
    let codes = prop::sample::select(vec![User, Timeout, Parent, Shutdown, Internal]);
    (codes, texts(), times()).prop_map(|(code, text, at)| CancelInfo::new(code, text, at))
}

fn holds() -> impl Strategy<Value = Arc<[HoldRef]>> {
    let scopes = prop_oneof![
        Just(HoldScope::Workspace),
        names().prop_map(|project| HoldScope::Project { project }),
    ];
    let modes = prop_oneof![
        Just(HoldMode::Exclusive),
        Just(HoldMode::Shared),
        any::<u32>().prop_map(|units| HoldMode::Counted { units }),
    ];
    let hold =
        (scopes, names(), modes).prop_map(|(scope, name, mode)| HoldRef { scope, name, mode });
    prop::collection::vec(hold, 0..3).prop_map(Arc::from)
}

fn questions() -> impl Strategy<Value = QuestionKind> {
    prop_oneof![
        Just(QuestionKind::Text),
        Just(QuestionKind::Confirm),
        Just(QuestionKind::Secret),
        Just(QuestionKind::Value),
        prop::collection::vec(texts(), 0..3)
            .prop_map(|options| QuestionKind::Choice { options: options.into() }),
    ]
}

fn parts() -> impl Strategy<Value = Parts> {
    let texts = (tasks(), prop::option::of(tasks()), texts(), prop::option::of(texts()));
    let numbers =
        (any::<u32>(), any::<u64>(), any::<Option<u64>>(), any::<Option<i32>>(), any::<bool>());
    let others = (times(), cancels(), holds(), questions());
    (texts, numbers, others).prop_map(|(texts, numbers, others)| {
        let (task, task_or_none, text, text_or_none) = texts;
        let (small, big, big_or_none, signed_or_none, flag) = numbers;
        let (time, cancel, holds, question) = others;
        Parts {
            task,
            task_or_none,
            text,
            text_or_none,
            small,
            big,
            big_or_none,
            signed_or_none,
            flag,
            time,
            cancel,
            holds,
            question,
        }
    })
}

/// Failures of every cause, two of which only a session can make.
fn failures(parts: &Parts) -> Vec<Failure> {
    let made_by_a_session = |inputs: Vec<SessionInput>| {
        let session = super::session_parts::after(inputs);
        let crate::SessionState::Failed(failure) = session.state() else { panic!("it failed") };
        failure.clone()
    };
    let limit = CancelInfo { code: CancelCode::Timeout, ..parts.cancel.clone() };
    let lost = [super::session_parts::claim(1), super::session_parts::suspend()];
    let crash_loop = SessionInput::CrashLoop { starts: parts.small };
    vec![
        Failure::from_error(&*parts.text, parts.flag),
        Failure::panic(parts.text.clone()),
        made_by_a_session(vec![SessionInput::Cancel(limit)]),
        made_by_a_session(lost.into_iter().chain([crash_loop]).collect()),
    ]
}

/// Every kind, and every word that a kind can carry.
fn kinds(parts: &Parts) -> Vec<EventKind> {
    use EventKind as Kind;
    let Parts { small, big, flag, time, .. } = *parts;
    let (task, text, maybe) =
        (|| parts.task.clone(), || parts.text.clone(), || parts.text_or_none.clone());
    let (of, holds, cancel) =
        (|| parts.task_or_none.clone(), || parts.holds.clone(), || parts.cancel.clone());
    let (code, why, number) = (parts.signed_or_none, parts.cancel.code, parts.big_or_none);
    let question = QuestionId(small);
    let usage = flag.then(|| {
        let counters = [(text(), big)].into();
        Arc::new(Usage { prompt_tokens: big, completion_tokens: 1, estimated: flag, counters })
    });
    let mut asks = (*asked(small, parts.question.clone())).clone();
    (asks.prompt, asks.name, asks.asked_at, asks.task) = (text(), text(), time, of());
    let id = number.map(|_| SessionId::generate());
    let mut all = vec![
        Kind::SessionPlanned { attempt: small },
        Kind::SessionStarted { start: small },
        Kind::SessionPaused,
        Kind::SessionQuestion(Arc::new(asks)),
        Kind::SessionAnswered { question, answer: maybe(), by: maybe(), reason: maybe() },
        Kind::SessionQuestionWithdrawn { question },
        Kind::SessionResumed { start: small },
        Kind::SessionCancelRequested(cancel()),
        Kind::SessionProgress { progress: text() },
        Kind::SessionDone { usage },
        Kind::SessionCancelled(cancel()),
        Kind::TaskStarted { task: task() },
        Kind::TaskHit { task: task(), saved_ms: number },
        Kind::TaskMiss { task: task(), message: maybe() },
        Kind::TaskRetry { task: task(), attempt: small, delay_ms: big, message: text() },
        Kind::TaskQuestion { task: task(), question, prompt: text() },
        Kind::HoldWaiting { task: of(), holds: holds(), holder: maybe() },
        Kind::HoldAcquired { task: of(), holds: holds() },
        Kind::HoldReleased { task: of(), holds: holds() },
        Kind::ProcessStarted { task: task(), pid: small, start: small, attempt: small },
        Kind::ProcessExited { task: task(), pid: small, exit_code: code, signal: code },
        Kind::TaskErrored { task: task(), message: text(), allowed: flag },
        Kind::TaskCancelled { task: task(), cause: why, text: maybe(), upstream: of() },
        Kind::ScheduleAdded,
        Kind::ScheduleReplaced,
        Kind::ScheduleRemoved,
        Kind::SchedulePaused,
        Kind::ScheduleResumed,
        Kind::ScheduleSucceeded { run: big },
        Kind::ScheduleFailed { run: big, streak: small, message: text() },
        Kind::ScheduleCancelled { run: big, cause: why, text: maybe() },
        Kind::ScheduleInterrupted { run: big, repeated: flag },
        Kind::ScheduleBackoff { streak: small, until: time },
        Kind::ScheduleTripped { streak: small },
        Kind::ScheduleReset,
        Kind::ScheduleClockStepped { before: time, after: time },
        Kind::BatchStarted { limit: small },
        Kind::BatchItemQueued { item: text() },
        Kind::BatchItemStarted { item: text(), index: big, attempt: small },
        Kind::BatchItemRetry {
            item: text(),
            index: big,
            attempt: small,
            delay_ms: big,
            message: text(),
        },
        Kind::BatchItemParked { item: text(), index: big },
        Kind::BatchItemUnparked { item: text(), index: big },
        Kind::BatchLimitChanged { from: small, to: small },
        Kind::BatchPaused,
        Kind::BatchResumed,
        Kind::BatchCancelRequested(cancel()),
        Kind::BatchEnded {
            succeeded: big,
            failed: big,
            cancelled: big,
            parked: big,
            not_started: big,
        },
    ];
    all.extend(failures(parts).into_iter().map(Kind::SessionFailed));
    {
        use SuspendCause::{Answered, Interrupted, Released, Shutdown};
        let causes = [Interrupted, Shutdown, Released, Answered, mismatch()];
        all.extend(causes.map(Kind::SessionSuspended));
    }
    let sources = [CacheSource::Fresh, CacheSource::Cache];
    all.extend(sources.map(|source| Kind::TaskSucceeded { task: task(), source }));
    {
        use FailCause::{Error, Exit, Panic, Rejected, Signal, Timeout};
        all.extend([Error, Panic, Exit, Signal, Timeout, Rejected].map(|cause| {
            let (message, exit_code) = (text(), code);
            Kind::TaskFailed { task: task(), cause, message, exit_code, allowed: flag }
        }));
    }
    {
        use SkipCause::{
            Condition, Stopped, UpstreamCancelled, UpstreamErrored, UpstreamFailed, UpstreamSkipped,
        };
        let causes = [
            UpstreamFailed,
            UpstreamErrored,
            UpstreamSkipped,
            UpstreamCancelled,
            Stopped,
            Condition,
        ];
        all.extend(causes.map(|cause| Kind::TaskSkipped {
            task: task(),
            cause,
            upstream: of(),
            message: maybe(),
        }));
    }
    {
        use FireCause::{CatchUp, Due, Queued, Repeated, Trigger};
        all.extend([Due, Queued, CatchUp, Trigger, Repeated].map(|cause| Kind::ScheduleFired {
            run: big,
            cause,
            due_at: time,
            session_id: id,
        }));
    }
    {
        use ScheduleSkipCause::{Backoff, Deadline, Missed, Overlap, Paused, Tripped};
        all.extend(
            [Overlap, Backoff, Tripped, Paused, Missed, Deadline]
                .map(|cause| Kind::ScheduleSkipped { cause, due_at: time, count: big }),
        );
    }
    {
        use ItemOutcome::{
            Aborted, Cancelled, Failed, NotStarted, Panicked, Parked, Succeeded, TimedOut,
        };
        let outcomes =
            [Succeeded, Failed, Panicked, TimedOut, Cancelled, Aborted, Parked, NotStarted];
        all.extend(outcomes.map(|outcome| Kind::BatchItemFinished {
            item: text(),
            index: big,
            outcome,
            message: maybe(),
        }));
    }
    all
}

fn streams() -> impl Strategy<Value = Stream> {
    prop_oneof![
        Just(()).prop_map(|()| Stream::Session(SessionId::generate())),
        names().prop_map(Stream::Schedule),
        Just(()).prop_map(|()| Stream::Batch(crate::BatchId::generate())),
    ]
}

const STREAM_KEYS: [&str; 3] = ["session", "schedule", "batch"];

fn stream_key(stream: &Stream) -> &'static str {
    match stream {
        Stream::Session(_) => "session",
        Stream::Schedule(_) => "schedule",
        Stream::Batch(_) => "batch",
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn core_006_out_3_every_kind_is_one_flat_line_and_reads_back_as_itself(
        seq in any::<u64>(), at in times(), stream in streams(), parts in parts(),
    ) {
        let mut names = BTreeSet::new();
        for kind in kinds(&parts) {
            names.insert(kind.name());
            let event = Event::new(seq, at, stream.clone(), kind);
            let line = serde_json::to_string(&event).unwrap();
            prop_assert!(!line.contains(['\n', '\r']), "{}", line);
            prop_assert_eq!(&serde_json::from_str::<Event>(&line).unwrap(), &event);
            let value: Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(&value["seq"], &json!(seq));
            prop_assert_eq!(&value["at"], &json!(at.to_string()));
            prop_assert_eq!(&value["kind"], &json!(event.kind.name()));
            let streams = STREAM_KEYS.map(|key| value.get(key).is_some());
            prop_assert_eq!(streams, STREAM_KEYS.map(|key| key == stream_key(&stream)), "{}", line);
            prop_assert!(value.as_object().unwrap().values().all(|value| !value.is_null()));
        }
        prop_assert!(names.into_iter().eq(EventKind::NAMES.iter().copied().collect::<BTreeSet<_>>()));
    }
}

/// The line for an event of a session, without `seq`, `at` and `session`.
fn line(kind: EventKind) -> Value {
    let id = SessionId::generate();
    let event = Event::new(7, Timestamp::from_micros(0), Stream::Session(id), kind);
    let mut value = serde_json::to_value(event).unwrap();
    for key in ["seq", "at", "session"] {
        assert!(value.as_object_mut().unwrap().remove(key).is_some());
    }
    value
}

#[test]
fn core_006_a_line_is_written_in_the_order_it_is_read_in() {
    let id = SessionId::generate();
    let at = "2026-11-21T02:00:00.123456Z".parse().unwrap();
    let kind = EventKind::TaskStarted { task: "app:build".parse().unwrap() };
    let line = serde_json::to_string(&Event::new(7, at, Stream::Session(id), kind)).unwrap();
    let expected = format!(
        r#"{{"seq":7,"at":"2026-11-21T02:00:00.123456Z","session":"{id}","kind":"task_started","task":"app:build"}}"#
    );
    assert_eq!(line, expected);
}

#[test]
fn core_006_a_cause_is_always_a_word() {
    assert_eq!(
        line(EventKind::SessionCancelled(cause(CancelCode::User))),
        json!({
            "kind": "session_cancelled",
            "cause": "user", "text": "enough", "requested_at": "1970-01-01T00:00:00.000005Z",
        })
    );
    assert_eq!(
        line(EventKind::SessionFailed(Failure::panic("boom"))),
        json!({
            "kind": "session_failed", "cause": "panic", "message": "boom", "retryable": false,
        })
    );
    assert_eq!(
        line(EventKind::SessionSuspended(mismatch())),
        json!({
            "kind": "session_suspended", "cause": "mismatch", "recorded": "fetch", "found": "load",
        })
    );
    let (task, upstream) = ("app:test".parse().unwrap(), "app:build".parse().ok());
    let (cause, message) = (SkipCause::UpstreamFailed, None);
    assert_eq!(
        line(EventKind::TaskSkipped { task, cause, upstream, message }),
        json!({
            "kind": "task_skipped", "task": "app:test",
            "cause": "upstream_failed", "upstream": "app:build",
        })
    );
}

#[test]
fn core_006_questions_and_holds_are_flat() {
    let options = Arc::from(["a".into(), "b".into()]);
    let question = asked(3, QuestionKind::Choice { options });
    assert_eq!(
        line(EventKind::SessionQuestion(question)),
        json!({
            "kind": "session_question", "question": 3, "name": "merge", "prompt": "Merge?",
            "expects": "choice", "options": ["a", "b"], "asked_at": "1970-01-01T00:00:00.000003Z",
        })
    );
    let holds = Arc::from([
        HoldRef { scope: HoldScope::Workspace, name: name("db"), mode: HoldMode::Shared },
        HoldRef {
            scope: HoldScope::Project { project: name("app") },
            name: name("gpu"),
            mode: HoldMode::Counted { units: 2 },
        },
    ]);
    assert_eq!(
        line(EventKind::HoldAcquired { task: None, holds }),
        json!({
            "kind": "hold_acquired",
            "holds": [
                { "scope": "workspace", "name": "db", "mode": "shared" },
                { "scope": "project", "project": "app", "name": "gpu", "mode": "counted", "units": 2 },
            ],
        })
    );
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

#[test]
fn core_006_a_new_field_is_passed_over_and_a_new_kind_is_an_error() {
    let id = SessionId::generate();
    let read = |kind: &str| {
        let line = format!(
            r#"{{"pos":9,"seq":1,"at":"1970-01-01T00:00:00Z","session":"{id}","kind":"{kind}","new":[1]}}"#
        );
        serde_json::from_str::<Event>(&line)
    };
    assert_eq!(read("session_paused").unwrap().kind, EventKind::SessionPaused);
    assert!(read("session_flew").unwrap_err().to_string().contains("session_flew"));
}

#[test]
fn core_006_what_is_read_is_checked() {
    let good =
        r#"{"seq":1,"at":"1970-01-01T00:00:00Z","schedule":"nightly","kind":"schedule_reset"}"#;
    assert!(serde_json::from_str::<Event>(good).is_ok());
    for (from, to) in [
        ("nightly", "../nightly"),
        (r#""schedule":"nightly""#, r#""session":"nightly""#),
        (r#""schedule":"nightly","#, ""),
        ("00Z", "00+01:00"),
        (r#""seq":1"#, r#""seq":-1"#),
    ] {
        let bad = good.replace(from, to);
        assert_ne!(bad, good);
        assert!(serde_json::from_str::<Event>(&bad).is_err(), "{bad}");
    }
}
