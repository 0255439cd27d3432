//! A rolling update under load: no request fails, in any run.

use testkit::traffic::{Load, Tally};

use super::stage::Stage;

fn check(tally: &Tally) {
    assert!(tally.requests > 20, "{tally:?}");
    assert_eq!(tally.failed, [], "{tally:?}");
    for version in ["(v1)", "(v2)"] {
        assert!(tally.by.keys().any(|who| who.contains(version)), "{version}: {tally:?}");
    }
}

#[test]
fn no_request_fails_while_a_version_takes_the_place_of_another() {
    let Some(stage) = Stage::isolated(&["--nodes=2"]) else { return };
    let service = stage.probed_backend(3);
    let client = stage.sleeper("client");
    stage.answer(&client, service);
    let load = Load::start(&client, service, 4);
    stage.ok("set image deployment/backend whoami=signalbox/whoami:v2");
    stage.ok("rollout status deployment/backend --timeout=60s");
    // And while one is started again, and back.
    stage.ok("rollout restart deployment/backend");
    stage.ok("rollout status deployment/backend --timeout=60s");
    stage.ok("rollout undo deployment/backend --to-revision=2");
    stage.ok("rollout status deployment/backend --timeout=60s");
    check(&load.end());
}

/// A server that ends at SIGTERM at once needs a preStop hook, here as in any cluster.
#[test]
fn no_request_fails_with_a_hook_before_the_stop() {
    let Some(stage) = Stage::isolated(&[]) else { return };
    let service = stage.probed_backend(2);
    let client = stage.sleeper("client");
    let container = r#"{"name":"whoami","args":["--linger=0","--greeting=v1"],"lifecycle":{"preStop":{"sleep":{"seconds":2}}}}"#;
    stage.ok(&format!(
        "patch deployment backend -p '{{\"spec\":{{\"template\":{{\"spec\":{{\"containers\":[{container}]}}}}}}}}'"
    ));
    stage.ok("rollout status deployment/backend --timeout=60s");
    stage.comes("get pods -l app=backend -o name", &|pods| pods.lines().count() == 2, "two pods");
    stage.answer(&client, service);
    let load = Load::start(&client, service, 4);
    let container = container.replace("v1", "v2");
    stage.ok(&format!(
        "patch deployment backend -p '{{\"spec\":{{\"template\":{{\"spec\":{{\"containers\":[{container}]}}}}}}}}'"
    ));
    stage.ok("rollout status deployment/backend --timeout=60s");
    stage.comes("get pods -l app=backend -o name", &|pods| pods.lines().count() == 2, "two pods");
    check(&load.end());
}
