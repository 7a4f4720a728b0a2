//! Tests of the table of nodes.

use super::*;

fn hello(session: u64) -> NodeHello {
    NodeHello { session, runs_pods: true, ..NodeHello::default() }
}

fn pod(uid: &str) -> PodSpec {
    PodSpec { uid: uid.into(), ..PodSpec::default() }
}

fn registry() -> Registry {
    Registry::detached(Clock::manual(1_000))
}

fn assigned_uids(command: &Command) -> Vec<String> {
    match &command.what {
        Some(command::What::Assigned(assigned)) => assigned.pods.iter().map(|pod| pod.uid.clone()).collect(),
        other => panic!("not an assignment: {other:?}"),
    }
}

#[test]
fn node_without_a_decision_is_sent_nothing() {
    let registry = registry();
    let mut commands = registry.connect("a", 1, hello(7)).unwrap();
    assert!(commands.try_recv().is_err());
}

#[test]
fn assignment_is_sent_on_change_and_on_connect_and_not_twice() {
    let registry = registry();
    registry.assign("a", vec![pod("1")]);
    let mut commands = registry.connect("a", 1, hello(7)).unwrap();
    assert_eq!(assigned_uids(&commands.try_recv().unwrap()), ["1"]);
    registry.assign("a", vec![pod("1")]);
    assert!(commands.try_recv().is_err());
    registry.assign("a", vec![]);
    assert!(assigned_uids(&commands.try_recv().unwrap()).is_empty());
    let mut again = registry.connect("a", 2, hello(7)).unwrap();
    assert!(assigned_uids(&again.try_recv().unwrap()).is_empty());
}

#[test]
fn older_stream_of_a_node_has_no_say() {
    let registry = registry();
    let _old = registry.connect("a", 1, hello(7)).unwrap();
    let _new = registry.connect("a", 2, hello(7)).unwrap();
    registry.report_pods("a", 1, vec![PodStatus::default()]);
    registry.disconnect("a", 1);
    let node = registry.node("a").unwrap();
    assert!(node.connected);
    assert_eq!(node.pods, None);
}

#[test]
fn pods_are_unknown_again_when_the_agent_has_started_anew() {
    let registry = registry();
    let _link = registry.connect("a", 1, hello(7)).unwrap();
    registry.report_pods("a", 1, vec![]);
    let _link = registry.connect("a", 2, hello(7)).unwrap();
    assert_eq!(registry.node("a").unwrap().pods, Some(vec![]));
    let _link = registry.connect("a", 3, hello(8)).unwrap();
    assert_eq!(registry.node("a").unwrap().pods, None);
}

#[test]
fn only_changes_are_noticed() {
    let registry = registry();
    let mut watch = registry.watch();
    let _link = registry.connect("a", 1, hello(7)).unwrap();
    assert!(watch.has_changed().unwrap());
    watch.mark_unchanged();
    registry.report_pods("a", 1, vec![]);
    assert!(watch.has_changed().unwrap());
    watch.mark_unchanged();
    registry.report_pods("a", 1, vec![]);
    assert!(!watch.has_changed().unwrap());
}

#[tokio::test]
async fn command_gets_its_result() {
    let registry = registry();
    let mut commands = registry.connect("a", 1, hello(7)).unwrap();
    let what = command::What::Evict(Default::default());
    let (result, ()) = tokio::join!(registry.command("a", what, Duration::from_secs(5)), async {
        let command = commands.recv().await.unwrap();
        assert_eq!(command.deadline_ms, 6_000);
        let result = CommandResult { id: command.id, observed: "done".into(), ..Default::default() };
        registry.report_result("a", 1, result);
    });
    assert_eq!(result.unwrap().observed, "done");
}

#[tokio::test]
async fn command_without_an_answer_ends_in_time_and_says_so() {
    let registry = registry();
    let _commands = registry.connect("a", 1, hello(7)).unwrap();
    let what = command::What::Evict(Default::default());
    let error = registry.command("a", what, Duration::from_millis(20)).await.unwrap_err();
    assert!(matches!(error, Error::NoAnswer { timeout_ms: 20, .. }), "{error}");
}

#[tokio::test]
async fn command_to_a_node_that_leaves_ends_at_once() {
    let registry = registry();
    let what = || command::What::Evict(Default::default());
    let absent = registry.command("a", what(), Duration::from_secs(60)).await;
    assert_eq!(absent, Err(Error::NotConnected { node: "a".into() }));
    let mut commands = registry.connect("a", 1, hello(7)).unwrap();
    let (left, ()) = tokio::join!(registry.command("a", what(), Duration::from_secs(60)), async {
        commands.recv().await.unwrap();
        registry.disconnect("a", 1);
    });
    assert_eq!(left, Err(Error::NotConnected { node: "a".into() }));
}

#[test]
fn nodes_are_bounded() {
    let registry = Registry::new(Clock::manual(0), Arc::default(), 1);
    let _a = registry.connect("a", 1, hello(1)).unwrap();
    let refused = registry.connect("b", 2, hello(2)).unwrap_err();
    assert!(refused.contains("ingest.max_nodes"), "{refused}");
}
