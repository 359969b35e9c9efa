//! The handles: guards for async code and threads, clients for engines.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use tokio_test::task::spawn;
use tokio_test::{assert_pending, assert_ready};

use crate::{Claims, Hold, HoldClient, HoldGuard, HoldSet, HoldTicket, Holds, Scope, Ticket};

fn db() -> [Hold; 1] {
    [Hold::exclusive("db")]
}

fn is_free(holds: &Holds) -> bool {
    holds.try_acquire(&db()).unwrap().is_some()
}

#[test]
fn handles_are_send_and_sync() {
    fn send_sync<T: Send + Sync + 'static>() {}
    fn send<T: Send>(_: &T) {}
    send_sync::<(Holds, HoldClient, HoldGuard, HoldTicket)>();
    send_sync::<(HoldSet, Claims, Ticket, Hold)>();
    let holds = Holds::new();
    send(&holds.acquire(&db()));
}

#[tokio::test]
async fn hold_003_ho_3_released_on_return_error_panic_and_abort() {
    let holds = Holds::new();
    let take = |end: fn()| {
        let holds = holds.clone();
        async move {
            let _guard = holds.acquire(&db()).await.unwrap();
            end();
        }
    };
    tokio::spawn(take(|| {})).await.unwrap();
    assert!(is_free(&holds));

    assert!(tokio::spawn(take(|| panic!("on purpose"))).await.unwrap_err().is_panic());
    assert!(is_free(&holds));

    let (started, starting) = tokio::sync::oneshot::channel();
    let endless = {
        let holds = holds.clone();
        tokio::spawn(async move {
            let _guard = holds.acquire(&db()).await.unwrap();
            started.send(()).unwrap();
            std::future::pending::<()>().await;
        })
    };
    starting.await.unwrap();
    assert!(!is_free(&holds));
    endless.abort();
    assert!(endless.await.unwrap_err().is_cancelled());
    assert!(is_free(&holds));
    assert!(holds.is_empty());
}

#[test]
fn hold_003_ho_3_a_thread_that_panics_releases() {
    let holds = Holds::new();
    let inside = holds.clone();
    let thread = std::thread::spawn(move || {
        let _guard = inside.acquire_blocking(&db()).unwrap();
        panic!("on purpose");
    });
    assert!(thread.join().is_err());
    assert!(is_free(&holds) && holds.is_empty());
}

#[test]
fn hold_005_ho_2_two_names_in_opposite_orders_do_not_deadlock() {
    let holds = Holds::new();
    let forth = [Hold::exclusive("a"), Hold::exclusive("b")];
    let back = [Hold::exclusive("b"), Hold::exclusive("a")];
    std::thread::scope(|scope| {
        for list in [&forth, &back, &forth, &back] {
            scope.spawn(|| {
                for _ in 0..500 {
                    let _guard = holds.acquire_blocking(list).unwrap();
                }
            });
        }
    });
    assert!(holds.is_empty());
}

#[test]
fn hold_008_async_guards_wait_and_wake_without_a_runtime() {
    let holds = Holds::new();
    let guard = assert_ready!(spawn(holds.acquire(&db())).poll()).unwrap();
    let list = db();
    let mut waiter = spawn(holds.acquire(&list));
    assert_pending!(waiter.poll());
    assert!(!waiter.is_woken());
    drop(guard);
    assert!(waiter.is_woken());
    let _guard = assert_ready!(waiter.poll()).unwrap();
    assert!(!is_free(&holds));
}

#[test]
fn hold_008_threads_wait_for_async_guards_and_the_other_way_round() {
    let holds = Holds::new();
    let guard = holds.try_acquire(&db()).unwrap().expect("it is free");
    let (asked, asking) = std::sync::mpsc::channel();
    let in_thread = holds.clone();
    let thread = std::thread::spawn(move || {
        asked.send(()).unwrap();
        in_thread.acquire_blocking(&db()).unwrap()
    });
    asking.recv().unwrap();
    while holds.len() < 2 {
        std::thread::yield_now();
    }
    let list = db();
    let mut waiter = spawn(holds.acquire(&list));
    assert_pending!(waiter.poll());
    drop(guard);
    let from_thread = thread.join().unwrap();
    assert!(!waiter.is_woken());
    drop(from_thread);
    assert!(waiter.is_woken());
}

#[test]
fn hold_008_ho_4_a_dropped_waiter_wakes_the_next() {
    let holds = Holds::new();
    let (shared, exclusive) = ([Hold::shared("db")], db());
    let reading = holds.try_acquire(&shared).unwrap();
    let mut writer = spawn(holds.acquire(&exclusive));
    let mut reader = spawn(holds.acquire(&shared));
    assert_pending!(writer.poll());
    assert_pending!(reader.poll());
    drop(writer);
    assert!(reader.is_woken());
    assert!(reader.poll().is_ready());
    drop(reading);
    drop(reader);
    assert!(holds.is_empty());
}

#[test]
fn hold_008_ho_4_a_waiter_dropped_after_its_grant_passes_it_on() {
    let holds = Holds::new();
    let list = db();
    let guard = holds.try_acquire(&list).unwrap();
    let mut first = spawn(holds.acquire(&list));
    let mut second = spawn(holds.acquire(&list));
    assert_pending!(first.poll());
    assert_pending!(second.poll());
    drop(guard);
    assert!(first.is_woken() && !second.is_woken());
    drop(first);
    assert!(second.is_woken());
    assert!(second.poll().is_ready());
    drop(second);
    assert!(holds.is_empty());
}

#[test]
fn hold_008_the_waker_given_last_is_woken() {
    let holds = Holds::new();
    let list = db();
    let guard = holds.try_acquire(&list).unwrap();
    let mut waiter = pin!(holds.acquire(&list));
    let mut first = spawn(poll_fn(|cx| Poll::Ready(waiter.as_mut().poll(cx).is_ready())));
    assert!(!assert_ready!(first.poll()));
    let mut second = spawn(());
    second.enter(|cx, _| assert!(waiter.as_mut().poll(cx).is_pending()));
    drop(guard);
    assert!(second.is_woken());
    second.enter(|cx, _| assert!(waiter.as_mut().poll(cx).is_ready()));
}

#[test]
fn hold_008_trying_passes_nobody_and_leaves_nothing() {
    let holds = Holds::new();
    let (shared, exclusive) = ([Hold::shared("db")], db());
    let _reading = holds.try_acquire(&shared).unwrap();
    let mut writer = spawn(holds.acquire(&exclusive));
    assert_pending!(writer.poll());
    assert!(holds.try_acquire(&shared).unwrap().is_none(), "the writer came earlier");
    assert_eq!(holds.len(), 2);
}

#[test]
fn hold_009_a_bad_list_is_refused_before_it_waits() {
    let holds = Holds::new();
    holds.declare("gpu", 1).unwrap();
    let twice = [Hold::shared("db"), Hold::exclusive("db")];
    let above = [Hold::units("gpu", 2)];
    assert_eq!(holds.try_acquire(&twice).unwrap_err().faults().len(), 1);
    assert_eq!(holds.acquire_blocking(&above).unwrap_err().faults().len(), 1);
    assert!(assert_ready!(spawn(holds.acquire(&twice)).poll()).is_err());
    assert!(holds.client("graph").claims(&above).is_err());
    assert!(holds.is_empty());
}

#[tokio::test]
async fn hold_010_graph_runs_batches_bodies_and_threads_share_one_set() {
    let holds = Holds::new();
    let mut graph = holds.client("graph run");
    let batch = holds.client("batch");
    let claims = graph.claims(&db()).unwrap();

    let first = batch.request(&claims, 7);
    let second = graph.request(&claims, 8);
    assert!(first.is_granted() && !second.is_granted() && !is_free(&holds));
    let list = db();
    let body = holds.labelled("import #7");
    let mut in_body = spawn(body.acquire(&list));
    assert_pending!(in_body.poll());

    drop(first);
    assert_eq!(poll_fn(|cx| graph.poll_granted(cx)).await, 8);
    drop(second);
    assert!(in_body.is_woken());
    let guard = in_body.await.unwrap();

    let waiting = graph.request(&claims, 9);
    assert_eq!(waiting.blockers(9)[0].to_string(), "db, held by import #7");
    let own_set = Holds::new();
    assert!(is_free(&own_set), "another set is another set");
    drop(guard);
    assert!(waiting.is_granted());
}

#[test]
fn hold_006_a_client_is_told_in_order_once_and_never_of_dropped_tickets() {
    let holds = Holds::new();
    let mut client = holds.client("graph");
    let claims = client.claims(&db()).unwrap();
    let guard = holds.try_acquire(&db()).unwrap();
    let mut tickets: Vec<HoldTicket> = (0..4).map(|n| client.request(&claims, n)).collect();
    let mut task = spawn(());
    let mut poll = |client: &mut HoldClient| {
        let woken = task.is_woken();
        (woken, task.enter(|cx, _| client.poll_granted(cx)))
    };
    assert_eq!(poll(&mut client), (false, Poll::Pending));

    drop(guard);
    drop(tickets.remove(0)); // due and not read: its cookie must not come
    assert_eq!(poll(&mut client), (true, Poll::Ready(1)));
    assert_eq!(poll(&mut client), (false, Poll::Pending));
    drop(tickets.remove(1)); // cookie 2, waiting
    assert_eq!(poll(&mut client), (false, Poll::Pending));
    drop(tickets.remove(0)); // cookie 1, held
    assert_eq!(poll(&mut client), (true, Poll::Ready(3)));
    assert!(tickets[0].is_granted());
    drop(tickets);
    assert_eq!(poll(&mut client), (false, Poll::Pending));
    assert!(holds.is_empty());
}

#[test]
fn hold_006_a_client_that_never_looks_takes_no_memory() {
    let holds = Holds::new();
    let mut client = holds.client("sleepy");
    let claims = client.claims(&db()).unwrap();
    let mut holder = client.request(&claims, 0);
    for cookie in 1..10_000 {
        let next = client.request(&claims, cookie);
        drop(std::mem::replace(&mut holder, next));
    }
    assert!(client.unread() <= 8, "{}", client.unread());
    let mut task = spawn(poll_fn(|cx| client.poll_granted(cx)));
    assert_eq!(assert_ready!(task.poll()), 9_999);
    assert_pending!(task.poll());
}

#[test]
fn hold_006_tickets_outlive_their_client_and_keep_its_label() {
    let holds = Holds::new();
    let client = holds.client("gone");
    let claims = client.claims(&db()).unwrap();
    let held = client.request(&claims, 1);
    let waiting = client.request(&claims, 2);
    drop(client);
    let other = holds.client("other");
    let behind = other.request(&claims, 3);
    let texts: Vec<String> = behind.blockers(9).iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["db, held by gone", "db, asked for earlier by gone"]);
    assert_eq!(behind.blockers(1).len(), 1);
    assert!(behind.order() > waiting.order());
    drop(held);
    assert!(waiting.is_granted());
    drop(waiting);
    assert!(behind.is_granted() && behind.blockers(9).is_empty());
}

#[test]
fn hold_006_blockers_give_the_cookie_of_own_tickets_only() {
    let holds = Holds::new();
    holds.declare_in(&Scope::Workspace, "gpu", 2).unwrap();
    let (one, two) = (holds.client("one"), holds.client("two"));
    let gpu = one.claims(&[Hold::units("gpu", 1)]).unwrap();
    let _held = [one.request(&gpu, 11), two.request(&gpu, 22)];
    let waiting = one.request(&gpu, 12);
    let cookies: Vec<_> = waiting.blockers(9).iter().map(|it| it.cookie).collect();
    assert_eq!(cookies, [Some(11), None]);
    assert_eq!(waiting.blockers(9)[1].label.as_deref(), Some("two"));
}

/// GRAPH-006 asks of the hold set that a waiting engine is woken by the release it waits for,
/// and by nothing else.
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn hold_006_nothing_runs_while_all_wait() {
    let holds = Holds::new();
    let mut client = holds.client("graph");
    let db = client.claims(&db()).unwrap();
    let log = client.claims(&[Hold::exclusive("log")]).unwrap();
    let other = holds.client("other");
    let (held_db, held_log) = (other.request(&db, 0), other.request(&log, 0));
    let _waiting = client.request(&db, 1);
    let mut task = spawn(poll_fn(|cx| client.poll_granted(cx)));
    assert_pending!(task.poll());
    drop(held_log);
    drop(other.request(&log, 0));
    assert!(!task.is_woken());
    drop(held_db);
    assert!(task.is_woken());
    assert_eq!(assert_ready!(task.poll()), 1);
}
