//! The API source against the test API server, in good and in bad times.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod common;

use std::time::Duration;

use common::{World, fill, hasty, json_only, service, slice};
use objects::{Event, Kind};
use serde_json::json;
use testkit::apiserver::{Behaviour, Fault, FaultRule, Options, Refusal, Resource, Verb, WatchList};
use watch::Timing;

/// Every kind of change, in both forms and with each way to list.
async fn follows(options: Options) {
    let mut world = World::start(options, fill);
    world.until_equal().await;
    assert_eq!(world.fold.names(Kind::Node), ["n1"]);
    world.server.apply(service("new"));
    world.server.apply(slice("web", &["10.244.1.5"]));
    world.server.delete("Service", "shop", "api");
    world.server.delete("EndpointSlice", "shop", "api");
    world.until_equal().await;
    // Labels and fields that take a live object out of sight, and bring it back.
    let label = |value| json!({"metadata": {"labels": {"service.kubernetes.io/service-proxy-name": value}}});
    world.server.merge_patch(("Service", "shop", "web"), &label(json!("other")), false);
    world.until_equal().await;
    assert_eq!(world.fold.names(Kind::Service), ["shop/new"]);
    world.server.merge_patch(("Service", "shop", "web"), &label(json!(null)), false);
    let headless = json!({"metadata": {"labels": {"service.kubernetes.io/headless": ""}}});
    world.server.merge_patch(("EndpointSlice", "shop", "web"), &headless, false);
    world.until_equal().await;
    assert_eq!(world.fold.names(Kind::Service), ["shop/new", "shop/web"]);
    assert!(world.fold.names(Kind::EndpointSlice).is_empty());
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}});
    world.server.merge_patch(("Service", "shop", "web"), &status, true);
    world.until_equal().await;
    assert!(world.fold.lists.values().all(|lists| *lists == 1), "{:?}", world.fold.lists);
    assert!(world.log.warnings("").is_empty(), "{:?}", world.log.lines());
    let progress = world.progress.snapshot();
    assert!(progress.iter().all(|kind| kind.synced && kind.lists == 1 && kind.errors == 0 && !kind.missing));
    assert_eq!(
        progress[0].events, 7,
        "two listed, one created, one deleted, two by label, one by status: {progress:?}"
    );
}

fn options(protobuf: bool, watch_list: WatchList) -> Options {
    Options { behaviour: Behaviour { protobuf, watch_list, ..Behaviour::default() }, ..Options::default() }
}

#[tokio::test]
async fn follows_in_protobuf_with_streamed_lists() {
    follows(options(true, WatchList::Served)).await;
}

#[tokio::test]
async fn follows_in_json_with_streamed_lists() {
    follows(options(false, WatchList::Served)).await;
}

#[tokio::test]
async fn follows_in_protobuf_with_pages() {
    follows(options(true, WatchList::Forbidden)).await;
}

#[tokio::test]
async fn follows_in_json_with_pages() {
    follows(options(false, WatchList::Forbidden)).await;
}

#[tokio::test]
async fn follows_over_tls_with_a_token() {
    let behaviour = Behaviour { token: Some("secret".into()), ..Behaviour::default() };
    follows(Options { tls: true, behaviour, ..Options::default() }).await;
}

#[tokio::test]
async fn asks_as_agreed() {
    let mut world = World::start(options(true, WatchList::Forbidden), fill);
    world.until_equal().await;
    let requests = world.server.take_requests();
    let services: Vec<_> = requests.iter().filter(|record| record.path == "/api/v1/services").collect();
    assert_eq!(services[0].parameter("sendInitialEvents"), Some("true"));
    assert_eq!(services[0].parameter("resourceVersionMatch"), Some("NotOlderThan"));
    assert_eq!(services[1].parameter("limit"), Some("500"));
    assert_eq!(services[1].accept, "application/vnd.kubernetes.protobuf, application/json");
    for record in &services {
        assert_eq!(record.parameter("labelSelector"), Some("!service.kubernetes.io/service-proxy-name"));
        assert_eq!(record.parameter("fieldSelector"), Some("spec.clusterIP!=None"));
        assert_eq!(record.accept_encoding, "identity");
    }
    let watch = services.iter().find(|record| record.parameter("resourceVersion").is_some()).unwrap();
    assert_eq!(watch.parameter("allowWatchBookmarks"), Some("true"));
    assert!(watch.accept.starts_with("application/vnd.kubernetes.protobuf;stream=watch"));
    let seconds: u64 = watch.parameter("timeoutSeconds").unwrap().parse().unwrap();
    assert!((2..=4).contains(&seconds));
}

#[tokio::test]
async fn many_pages_and_many_objects() {
    for protobuf in [true, false] {
        let mut world = World::start(options(protobuf, WatchList::Forbidden), |server| {
            for number in 0..1201 {
                server.apply(slice(&format!("s{number}"), &["10.244.1.5"]));
            }
        });
        world.until_equal().await;
        assert_eq!(world.fold.names(Kind::EndpointSlice).len(), 1201);
        let requests = world.server.take_requests();
        let pages =
            requests.iter().filter(|r| r.parameter("limit").is_some() && r.path.ends_with("slices")).count();
        assert_eq!(pages, 3);
    }
}

#[tokio::test]
async fn an_expired_page_starts_the_list_over() {
    let mut world = World::start(options(true, WatchList::Forbidden), |server| {
        for number in 0..700 {
            server.apply(service(&format!("s{number}")));
        }
        server.inject(FaultRule::new(Fault::gone()).on(Resource::Services).verb(Verb::List).skip(1).times(1));
    });
    world.until_equal().await;
    assert_eq!(world.fold.lists[&Kind::Service], 1);
    world.log.wait_for("history lost").await;
}

#[tokio::test]
async fn a_server_that_cannot_select_by_cluster_ip_is_asked_for_all() {
    let behaviour = Behaviour { service_fields: false, ..Behaviour::default() };
    let mut world = World::start(Options { behaviour, ..Options::default() }, |server| {
        fill(server);
        let mut headless = service("headless");
        headless["spec"]["clusterIP"] = json!("None");
        server.apply(headless);
    });
    world.until("sees all", |world| world.fold.names(Kind::Service).len() == 3).await;
    world.log.wait_for("cannot select by this field").await;
    assert!(world.log.warnings("").is_empty());
}

#[tokio::test]
async fn a_server_that_ignores_the_streaming_parameters_is_listed() {
    let mut world = World::start(options(true, WatchList::Ignored), fill);
    world.until_equal().await;
    world.server.apply(service("later"));
    world.until_equal().await;
}

#[tokio::test]
async fn compaction_leads_to_a_new_list_that_removes_only_what_is_gone() {
    let mut world = World::start(json_only(), fill);
    world.until_equal().await;
    world.server.stop();
    world.server.delete("Service", "shop", "api");
    world.server.apply(service("new"));
    world.server.compact();
    world.server.restart().unwrap();
    world.until_equal().await;
    assert_eq!(world.fold.lists[&Kind::Service], 2);
    assert_eq!(world.progress.snapshot()[0].lists, 2);
    // An ERROR event inside a watch means the same.
    world.server.inject(FaultRule::new(Fault::GoneEvent).on(Resource::EndpointSlices).times(1));
    world.until("slices listed again", |world| world.fold.lists[&Kind::EndpointSlice] >= 3).await;
    world.until_equal().await;
}

#[tokio::test]
async fn a_killed_server_empties_nothing_and_is_found_again() {
    let mut world = World::start(Options::default(), fill);
    world.until_equal().await;
    world.server.stop();
    let events = world.during(Duration::from_millis(600)).await;
    assert_eq!(events, []);
    let warnings = world.log.warnings("cannot reach the server");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("refused") && warnings[0].contains("check that the API server runs"));
    assert!(warnings[0].contains(&world.server.url()));
    world.server.apply(service("new"));
    world.server.restart().unwrap();
    world.until_equal().await;
    world.log.wait_for("the API server answers again").await;
    assert!(world.fold.lists.values().all(|lists| *lists == 1), "watches went on where they were");
}

#[tokio::test]
async fn a_server_that_is_not_there_at_the_start_is_waited_for() {
    let mut world = World::start_with(Options::default(), hasty(), |_| {});
    world.server.stop();
    fill(&world.server);
    world.log.wait_for("cannot reach the server").await;
    world.server.restart().unwrap();
    world.until_equal().await;
}

/// Injects a fault into watches and lists of Services, with a warning that must say this, and lives through it.
async fn survives(verb: Verb, fault: Fault, says: &str, protobuf: bool) {
    let mut world = World::start(options(protobuf, WatchList::Forbidden), fill);
    world.until_equal().await;
    world.server.inject(FaultRule::new(fault.clone()).on(Resource::Services).verb(verb));
    if verb == Verb::List {
        world
            .server
            .inject(FaultRule::new(Fault::GoneEvent).on(Resource::Services).verb(Verb::Watch).times(1));
    }
    world.server.stop();
    world.server.restart().unwrap();
    world.server.apply(service("meanwhile"));
    let lost = |event: &Event| matches!(event, Event::Deleted(_));
    let before = world.fold.names(Kind::Service);
    world.log.wait_for(says).await;
    let events = world.during(Duration::from_millis(500)).await;
    assert!(!events.iter().any(lost), "{fault:?}: {events:?}");
    for name in before {
        assert!(world.fold.names(Kind::Service).contains(&name), "{fault:?}: {name}");
    }
    let mut warnings = world.log.warnings(says);
    warnings.retain(|line| line.contains("/api/v1/services"));
    // A watch that is not understood is followed by a list that works, so its next failure is a new one.
    let most = if verb == Verb::Watch && matches!(fault, Fault::GarbageAfter(..) | Fault::Answer { .. }) {
        100
    } else {
        2
    };
    assert!((1..=most).contains(&warnings.len()), "{fault:?}: {warnings:#?}");
    world.server.clear_faults();
    world.until_equal().await;
}

#[tokio::test]
async fn survives_html() {
    survives(Verb::Watch, Fault::html(), "text/html", true).await;
    survives(Verb::List, Fault::html(), "Please log in", false).await;
}

#[tokio::test]
async fn survives_internal_errors() {
    survives(Verb::Watch, Fault::internal_error(), "refused the request with 500", true).await;
    survives(Verb::List, Fault::internal_error(), "etcdserver: request timed out", false).await;
}

#[tokio::test]
async fn survives_garbage() {
    let protobuf = "application/vnd.kubernetes.protobuf";
    survives(Verb::List, Fault::garbage(protobuf), "does not begin as Kubernetes", true).await;
    survives(Verb::List, Fault::garbage("application/json"), "is no valid JSON", false).await;
    survives(Verb::Watch, Fault::garbage(protobuf), "ended inside an event", true).await;
    survives(Verb::Watch, Fault::garbage("application/json"), "ended inside an event", false).await;
}

#[tokio::test]
async fn survives_truncated_lists() {
    survives(Verb::List, Fault::EndAfter(200), "is no valid protobuf", true).await;
    survives(Verb::List, Fault::EndAfter(200), "is no valid JSON", false).await;
}

#[tokio::test]
async fn survives_truncated_watches() {
    survives(Verb::Watch, Fault::EndAfter(30), "ended inside an event", true).await;
    survives(Verb::Watch, Fault::EndAfter(30), "ended inside an event", false).await;
}

#[tokio::test]
async fn survives_huge_frames() {
    let huge = Fault::GarbageAfter(0, vec![0x7f, 0xff, 0xff, 0xff, 1, 2, 3]);
    survives(Verb::Watch, huge, "claims an object of 2147483647 bytes", true).await;
}

#[tokio::test]
async fn survives_resets() {
    survives(Verb::Watch, Fault::Reset, "cannot reach the server", true).await;
    survives(Verb::Watch, Fault::ResetAfter(30), "the connection broke", true).await;
    survives(Verb::List, Fault::ResetAfter(30), "the connection broke", false).await;
}

#[tokio::test]
async fn survives_silence() {
    survives(Verb::List, Fault::Hang, "no answer within", true).await;
    survives(Verb::List, Fault::HangAfter(100), "nothing came for", true).await;
    survives(Verb::Watch, Fault::Hang, "no answer within", false).await;
}

#[tokio::test]
async fn survives_slowness_without_a_word() {
    let mut world = World::start(options(true, WatchList::Served), |server| {
        fill(server);
        server.inject(FaultRule::new(Fault::Slow(Duration::from_millis(20))));
    });
    world.until_equal().await;
    assert!(world.log.warnings("").is_empty(), "{:?}", world.log.lines());
}

#[tokio::test]
async fn a_watch_that_is_silently_stuck_is_noticed_by_its_missing_bookmarks() {
    let behaviour = Behaviour { bookmark_interval: Duration::from_millis(100), ..Behaviour::default() };
    let mut world = World::start(Options { behaviour, ..Options::default() }, fill);
    world.until_equal().await;
    world.server.stop();
    // A bookmark comes through, then nothing.
    world
        .server
        .inject(FaultRule::new(Fault::HangAfter(300)).on(Resource::Services).verb(Verb::Watch).times(1));
    world.server.restart().unwrap();
    world.log.wait_for("nothing came for 600ms").await;
    world.server.apply(service("new"));
    world.until_equal().await;
}

#[tokio::test]
async fn a_stuck_watch_without_bookmarks_ends_with_its_time() {
    let mut world = World::start(Options::default(), fill);
    world.until_equal().await;
    world.server.stop();
    world
        .server
        .inject(FaultRule::new(Fault::HangAfter(0)).on(Resource::Services).verb(Verb::Watch).times(1));
    world.server.restart().unwrap();
    // Time enough for the watch to be stuck before anything changes.
    world.during(Duration::from_millis(400)).await;
    world.server.apply(service("new"));
    world.until_equal().await;
    assert!(world.fold.lists[&Kind::Service] >= 2, "nothing came through it, so a list made sure");
}

#[tokio::test]
async fn an_object_that_cannot_be_read_is_named_and_the_rest_goes_on() {
    for watch_list in [WatchList::Served, WatchList::Forbidden] {
        let mut world = World::start(options(false, watch_list), |server| {
            fill(server);
            server.apply_as_is(json!({"kind": "Service", "apiVersion": "v1",
                "metadata": {"name": "odd", "namespace": "shop"}, "spec": "nonsense"}));
        });
        world.until("synced", |world| world.fold.synced.len() == 4).await;
        assert_eq!(world.fold.names(Kind::Service), ["shop/api", "shop/web"]);
        world.server.apply(service("new"));
        world.until("goes on", |world| world.fold.names(Kind::Service).len() == 3).await;
        let warnings = world.log.warnings("shop/odd");
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("kind=Service") && warnings[0].contains("spec: invalid type"));
    }
}

/// Answers the whole list of Services with this, once, and expects that nothing changes but the log.
async fn is_not_believed(list: serde_json::Value, says: &str) {
    let mut world = World::start(options(false, WatchList::Forbidden), fill);
    world.until_equal().await;
    let list = Fault::Answer {
        code: 200,
        content_type: "application/json".into(),
        body: list.to_string().into_bytes(),
    };
    // The first question after the restart is how far the server is.
    world.server.inject(FaultRule::new(list).on(Resource::Services).verb(Verb::List).skip(1).times(1));
    world.server.inject(FaultRule::new(Fault::GoneEvent).on(Resource::Services).verb(Verb::Watch).times(1));
    world.server.stop();
    world.server.restart().unwrap();
    world.log.wait_for(says).await;
    let events = world.during(Duration::from_millis(300)).await;
    assert!(!events.iter().any(|event| matches!(event, Event::Deleted(_))), "{events:?}");
    assert_eq!(world.fold.names(Kind::Service), ["shop/api", "shop/web"]);
    world.until_equal().await;
}

#[tokio::test]
async fn lists_that_make_no_sense_are_not_believed() {
    let list = |kind: &str, revision: &str, items: serde_json::Value| json!({"kind": kind, "metadata": {"resourceVersion": revision}, "items": items});
    is_not_believed(list("ServiceList", "5", json!([{}])), "is no valid JSON").await;
    is_not_believed(list("ServiceList", "5", json!([{"metadata": {}}])), "an item without a name").await;
    is_not_believed(list("NodeList", "5", json!([])), "is of kind").await;
    is_not_believed(list("ServiceList", "", json!([])), "has no resourceVersion").await;
    is_not_believed(json!({}), "is of kind").await;
}

#[tokio::test]
async fn a_streamed_list_that_ends_in_the_middle_removes_nothing() {
    for protobuf in [true, false] {
        for fault in [Fault::EndAfter(900), Fault::ResetAfter(900), Fault::HangAfter(900)] {
            let mut world = World::start(options(protobuf, WatchList::Served), |server| {
                fill(server);
                for number in 0..10 {
                    server.apply(service(&format!("s{number}")));
                }
            });
            world.until_equal().await;
            let before = world.fold.names(Kind::Service);
            world.server.stop();
            world.server.compact();
            world.server.inject(
                FaultRule::new(fault.clone()).on(Resource::Services).verb(Verb::Watch).skip(1).times(1),
            );
            world
                .server
                .inject(FaultRule::new(Fault::GoneEvent).on(Resource::Services).verb(Verb::Watch).times(1));
            world.server.delete("Service", "shop", "s7");
            world
                .server
                .inject(FaultRule::new(Fault::internal_error()).on(Resource::Services).verb(Verb::List));
            world.server.restart().unwrap();
            world.log.wait_for("etcdserver").await;
            world.during(Duration::from_millis(100)).await;
            assert_eq!(world.fold.names(Kind::Service), before, "{fault:?}, protobuf {protobuf}");
            world.server.clear_faults();
            world.until_equal().await;
            assert_eq!(world.fold.names(Kind::Service).len(), before.len() - 1);
        }
    }
}

#[tokio::test]
async fn a_server_behind_its_own_past_is_listed_anew() {
    // As after a restore from a backup: 504, and the revision of the watch is never reached.
    let ahead = Refusal::new(504, "Timeout", "Too large resource version: 999, current: 7");
    let mut world = World::start(options(true, WatchList::Served), fill);
    world.until_equal().await;
    world
        .server
        .inject(FaultRule::new(Fault::refusal(&ahead)).on(Resource::Services).verb(Verb::Watch).times(1));
    world.server.stop();
    world.server.restart().unwrap();
    world.until("listed again", |world| world.fold.lists[&Kind::Service] == 2).await;
    world.until_equal().await;
    assert!(world.log.warnings("Too large").is_empty(), "it is no failure");
}

#[tokio::test]
async fn a_server_that_was_restored_from_a_backup_is_listed_anew() {
    for protobuf in [true, false] {
        // Nothing but the comparison of revisions could tell: a watch would live for minutes.
        let patient = Timing { watch_life: Duration::from_secs(300), ..hasty() };
        let mut world = World::start_with(options(protobuf, WatchList::Served), patient, fill);
        let backup = world.server.revision();
        world.until_equal().await;
        world.server.apply(service("young"));
        world.server.apply(slice("web", &["10.244.1.5"]));
        world.server.delete("Service", "shop", "api");
        world.until_equal().await;
        world.server.stop();
        world.log.wait_for("cannot reach the server").await;
        world.server.restore(backup);
        world.server.restart().unwrap();
        world.until_equal().await;
        assert_eq!(world.fold.names(Kind::Service), ["shop/api", "shop/web"]);
        world.log.wait_for("it went back from revision").await;
        // Less than it had before is new again.
        world.server.apply(service("other"));
        world.until_equal().await;
    }
}

#[tokio::test]
async fn a_server_that_comes_back_as_it_was_is_asked_for_its_revision_only() {
    let mut world = World::start(options(true, WatchList::Served), fill);
    world.until_equal().await;
    world.server.stop();
    world.log.wait_for("cannot reach the server").await;
    world.server.apply(service("meanwhile"));
    world.server.take_requests();
    world.server.restart().unwrap();
    world.until_equal().await;
    assert!(world.fold.lists.values().all(|lists| *lists == 1), "{:?}", world.fold.lists);
    let requests = world.server.take_requests();
    let services = requests.iter().filter(|record| record.path == "/api/v1/services").collect::<Vec<_>>();
    assert_eq!(services[0].parameter("limit"), Some("1"), "{services:?}");
    assert!(services[1].parameter("resourceVersion").is_some(), "{services:?}");
}

#[tokio::test]
async fn every_kind_may_be_stuck_at_once_anywhere_in_a_watch() {
    // Before the first byte, inside the first event, and after some; with bookmarks and without.
    const NEVER: u64 = 60_000;
    for (protobuf, bytes, bookmarks) in
        [(true, 0, 100), (false, 0, NEVER), (false, 25, 100), (true, 25, NEVER), (true, 1500, 100)]
    {
        let bookmark_interval = Duration::from_millis(bookmarks);
        let behaviour = Behaviour { protobuf, bookmark_interval, ..Behaviour::default() };
        let mut world = World::start(Options { behaviour, ..Options::default() }, fill);
        world.until_equal().await;
        let known: Vec<_> = world.fold.objects.keys().cloned().collect();
        world.server.stop();
        world.server.inject(FaultRule::new(Fault::HangAfter(bytes)).verb(Verb::Watch).times(8));
        world.server.restart().unwrap();
        for round in 0..5 {
            world.server.apply(service(&format!("s{round}")));
            let events = world.during(Duration::from_millis(100)).await;
            let lost = |event: &&Event| matches!(event, Event::Deleted(_));
            assert_eq!(events.iter().find(lost), None, "{bytes} bytes, bookmarks {bookmarks}");
        }
        world.server.delete("Service", "shop", "s3");
        world.until_equal().await;
        assert!(known.iter().all(|key| world.fold.objects.contains_key(key)));
    }
}

/// Answers how often Services are asked for within a second.
async fn requests_in_a_second(world: &mut World) -> usize {
    world.server.take_requests();
    world.during(Duration::from_secs(1)).await;
    world.server.take_requests().iter().filter(|record| record.path == "/api/v1/services").count()
}

#[tokio::test]
async fn a_server_in_trouble_is_not_asked_without_pause() {
    let bookmark = |server: &testkit::apiserver::ApiServer| {
        let metadata = json!({"resourceVersion": server.revision().to_string()});
        let object = json!({"kind": "Service", "apiVersion": "v1", "metadata": metadata});
        let body = format!("{}\n", json!({"type": "BOOKMARK", "object": object})).into_bytes();
        Fault::Answer { code: 200, content_type: "application/json".into(), body }
    };
    let busy = Fault::refusal(&Refusal::new(429, "TooManyRequests", "later"));
    // Waits are 10 ms at first and 40 to 80 ms in the end; a watch that ends after an event is a success each time.
    for (fault, most) in
        [(Some(Fault::internal_error()), 40), (Some(busy), 40), (Some(Fault::GoneEvent), 60), (None, 110)]
    {
        let mut world = World::start(options(false, WatchList::Served), fill);
        world.until_equal().await;
        let fault = fault.unwrap_or_else(|| bookmark(&world.server));
        world.server.inject(FaultRule::new(fault.clone()).on(Resource::Services));
        world.server.stop();
        world.server.restart().unwrap();
        let asked = requests_in_a_second(&mut world).await;
        assert!((5..=most).contains(&asked), "{fault:?}: asked {asked} times");
        world.server.clear_faults();
        world.until_equal().await;
    }
}
