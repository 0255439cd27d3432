//! Which endpoints are used: conditions, hints, scopes (5.1) and how slices become endpoints (5.2).

use crate::text::check;

/// The fates of these endpoint lines, cluster scope first, of a Service with the given words; the node is n1 in z1.
#[track_caller]
fn check_fates(words: &str, endpoints: &str, expected: &str) {
    let given = format!(
        "node n1 zone=z1 addresses=192.168.77.11\n service a/a 10.96.0.1 ports=:80/tcp {words}\n slice a/a-1 :8080/tcp\n
         {endpoints}\n ? fates a/a"
    );
    check(&given, &format!("tcp/80:\n{expected}"));
}

/// The routes that these endpoint lines lead to.
#[track_caller]
fn check_routes(words: &str, endpoints: &str, expected: &str) {
    let given = format!(
        "node n1 zone=z1 addresses=192.168.77.11\n service a/a 10.96.0.1 ports=:80/tcp {words}\n slice a/a-1 :8080/tcp\n
         {endpoints}\n ? routes a/a"
    );
    check(&given, expected);
}

#[test]
fn rule_1_terminating_endpoints_are_not_used_while_any_is_ready() {
    check_fates(
        "",
        "10.1.0.1 n1 terminating\n 10.1.0.2 n2",
        "10.1.0.1:8080 on n1 (here): Terminating, ScopeUnused
         10.1.0.2:8080 on n2: Used, ScopeUnused",
    );
}

#[test]
fn rule_2_serving_ones_that_terminate_are_used_when_none_is_ready() {
    check_fates(
        "",
        "10.1.0.1 n1 terminating\n 10.1.0.2 n2 notready\n 10.1.0.3 n3 gone\n 10.1.0.4 n3 terminating",
        "10.1.0.1:8080 on n1 (here): Fallback, ScopeUnused
         10.1.0.2:8080 on n2: NotReady, ScopeUnused
         10.1.0.3:8080 on n3: NotReady, ScopeUnused
         10.1.0.4:8080 on n3: Fallback, ScopeUnused",
    );
}

#[test]
fn rules_3_and_4_each_scope_falls_back_on_its_own() {
    check_fates(
        "external=198.51.100.1 etp=local",
        "10.1.0.1 n1 terminating\n 10.1.0.2 n2",
        "10.1.0.1:8080 on n1 (here): Terminating, Fallback
         10.1.0.2:8080 on n2: Used, NotLocal",
    );
    check_fates(
        "external=198.51.100.1 etp=local",
        "10.1.0.1 n1\n 10.1.0.2 n1 terminating\n 10.1.0.3 n2 terminating",
        "10.1.0.1:8080 on n1 (here): Used, Used
         10.1.0.2:8080 on n1 (here): Terminating, Terminating
         10.1.0.3:8080 on n2: Terminating, Terminating",
    );
}

#[test]
fn rule_5_what_is_not_ready_and_not_terminating_is_never_used() {
    check_routes("", "10.1.0.1 n1 serving-only\n 10.1.0.2 n1 notready", "tcp/80: reject | reject | reject");
}

#[test]
fn rule_7_terminating_without_serving_is_no_endpoint() {
    check_routes("itp=local external=198.51.100.1", "10.1.0.1 n1 gone", "tcp/80: reject | reject | reject");
}

#[test]
fn rule_8_the_fallback_ignores_hints() {
    check_routes(
        "",
        "10.1.0.1 n1 terminating zones=z1 nodes=n1\n 10.1.0.2 n2 terminating zones=z2 nodes=n2",
        "tcp/80: cluster 10.1.0.1:8080 10.1.0.2:8080 | cluster 10.1.0.1:8080 10.1.0.2:8080 | cluster 10.1.0.1:8080 10.1.0.2:8080",
    );
}

#[test]
fn rule_9_zone_hints_leave_endpoints_to_other_zones() {
    check_fates(
        "",
        "10.1.0.1 n1 zones=z1\n 10.1.0.2 n2 zones=z2\n 10.1.0.3 n1 zones=z2",
        "10.1.0.1:8080 on n1 (here): Used, ScopeUnused
         10.1.0.2:8080 on n2: OtherZone, ScopeUnused
         10.1.0.3:8080 on n1 (here): OtherZone, ScopeUnused",
    );
}

#[test]
fn rule_10_one_ready_endpoint_without_a_hint_and_no_hint_counts() {
    for missing in ["", "zones="] {
        check_fates(
            "",
            &format!("10.1.0.1 n1 zones=z1\n 10.1.0.2 n2 zones=z2\n 10.1.0.3 n2 {missing}"),
            "10.1.0.1:8080 on n1 (here): Used, ScopeUnused
             10.1.0.2:8080 on n2: Used, ScopeUnused
             10.1.0.3:8080 on n2: Used, ScopeUnused",
        );
    }
}

#[test]
fn rule_11_endpoints_that_are_not_ready_have_no_say_about_hints() {
    check_fates(
        "",
        "10.1.0.1 n1 zones=z1\n 10.1.0.2 n2 zones=z2\n 10.1.0.3 n2 notready\n 10.1.0.4 n2 terminating",
        "10.1.0.1:8080 on n1 (here): Used, ScopeUnused
         10.1.0.2:8080 on n2: OtherZone, ScopeUnused
         10.1.0.3:8080 on n2: NotReady, ScopeUnused
         10.1.0.4:8080 on n2: Terminating, ScopeUnused",
    );
    check_fates(
        "",
        "10.1.0.1 n1 zones=z1 notready\n 10.1.0.2 n2 zones=z2",
        "10.1.0.1:8080 on n1 (here): NotReady, ScopeUnused
         10.1.0.2:8080 on n2: Used, ScopeUnused",
    );
}

#[test]
fn rule_12_a_hint_for_two_zones_counts_in_both() {
    let endpoints = "10.1.0.1 n1 zones=z2,z1\n 10.1.0.2 n2 zones=z2,z3";
    check_fates(
        "",
        endpoints,
        "10.1.0.1:8080 on n1 (here): Used, ScopeUnused
         10.1.0.2:8080 on n2: OtherZone, ScopeUnused",
    );
    let in_z2 = format!(
        "node n1 zone=z2\n service a/a 10.96.0.1 ports=:80/tcp\n slice a/a-1 :80/tcp\n{endpoints}\n? routes a/a"
    );
    let both = "cluster 10.1.0.1:80 10.1.0.2:80";
    check(&in_z2, &format!("tcp/80: {both} | {both} | {both}"));
}

#[test]
fn rule_13_a_node_without_a_zone_follows_no_zone_hint() {
    for node in ["node n1", "node n1 zone=", ""] {
        let given = format!(
            "{node}\n service a/a 10.96.0.1 ports=:80/tcp\n slice a/a-1 :80/tcp\n 10.1.0.1 n2 zones=z1,\n 10.1.0.2 n2 zones=z2
             ? fates a/a"
        );
        check(
            &given,
            "tcp/80:
             10.1.0.1:80 on n2: Used, ScopeUnused
             10.1.0.2:80 on n2: Used, ScopeUnused",
        );
    }
}

#[test]
fn rule_14_hints_that_name_nothing_here_mean_all_endpoints() {
    check_fates(
        "",
        "10.1.0.1 n1 zones=z2\n 10.1.0.2 n2 zones=z3",
        "10.1.0.1:8080 on n1 (here): Used, ScopeUnused
         10.1.0.2:8080 on n2: Used, ScopeUnused",
    );
}

#[test]
fn rule_15_node_hints_come_before_zone_hints() {
    check_fates(
        "",
        "10.1.0.1 n2 zones=z1 nodes=n1\n 10.1.0.2 n1 zones=z1 nodes=n2",
        "10.1.0.1:8080 on n2: Used, ScopeUnused
         10.1.0.2:8080 on n1 (here): OtherNode, ScopeUnused",
    );
}

#[test]
fn rule_16_node_hints_for_others_only_give_way_to_zone_hints_and_those_to_all() {
    check_fates(
        "",
        "10.1.0.1 n2 zones=z1 nodes=n2\n 10.1.0.2 n3 zones=z2 nodes=n3",
        "10.1.0.1:8080 on n2: Used, ScopeUnused
         10.1.0.2:8080 on n3: OtherZone, ScopeUnused",
    );
    check_fates(
        "",
        "10.1.0.1 n2 zones=z3 nodes=n2\n 10.1.0.2 n3 zones=z2 nodes=n3",
        "10.1.0.1:8080 on n2: Used, ScopeUnused
         10.1.0.2:8080 on n3: Used, ScopeUnused",
    );
}

#[test]
fn rule_17_one_node_hint_missing_and_the_zone_hints_decide() {
    check_fates(
        "",
        "10.1.0.1 n1 zones=z2 nodes=n1\n 10.1.0.2 n2 zones=z1",
        "10.1.0.1:8080 on n1 (here): OtherZone, ScopeUnused
         10.1.0.2:8080 on n2: Used, ScopeUnused",
    );
}

#[test]
fn rule_18_the_local_scope_ignores_hints() {
    check_fates(
        "itp=local external=198.51.100.1",
        "10.1.0.1 n1 zones=z2 nodes=n2\n 10.1.0.2 n2 zones=z1 nodes=n1",
        "10.1.0.1:8080 on n1 (here): OtherNode, Used
         10.1.0.2:8080 on n2: Used, NotLocal",
    );
}

#[test]
fn rule_19_the_external_policy_means_nothing_without_an_external_address() {
    check_fates(
        "etp=local",
        "10.1.0.1 n1\n 10.1.0.2 n2",
        "10.1.0.1:8080 on n1 (here): Used, ScopeUnused
         10.1.0.2:8080 on n2: Used, ScopeUnused",
    );
    let both = "cluster 10.1.0.1:8080 10.1.0.2:8080";
    check_routes("etp=local", "10.1.0.1 n1\n 10.1.0.2 n2", &format!("tcp/80: {both} | {both} | {both}"));
    // An external address of the other family is none in this one.
    check_routes(
        "etp=local external=2001:db8::1",
        "10.1.0.1 n1\n 10.1.0.2 n2",
        &format!("tcp/80: {both} | {both} | {both}"),
    );
}

#[test]
fn rule_20_the_internal_policy_alone_leaves_the_cluster_scope_unused() {
    check_fates(
        "itp=local",
        "10.1.0.1 n1\n 10.1.0.2 n2\n 10.1.0.3 n2 notready",
        "10.1.0.1:8080 on n1 (here): ScopeUnused, Used
         10.1.0.2:8080 on n2: ScopeUnused, NotLocal
         10.1.0.3:8080 on n2: ScopeUnused, NotReady",
    );
}

#[test]
fn rule_21_each_scope_has_its_own_endpoints() {
    check_routes(
        "external=198.51.100.1 etp=local",
        "10.1.0.1 n1 terminating\n 10.1.0.2 n2 zones=z1\n 10.1.0.3 n3 zones=z2",
        "tcp/80 (external policy Local): cluster 10.1.0.2:8080 | local 10.1.0.1:8080 | cluster 10.1.0.2:8080",
    );
}

#[test]
fn rule_22_endpoints_elsewhere_and_a_local_policy_drop() {
    check_routes("itp=local", "10.1.0.2 n2", "tcp/80: drop | drop | drop");
    check_routes("itp=local", "10.1.0.2 n2 terminating", "tcp/80: drop | drop | drop");
    check_routes("itp=local", "10.1.0.2", "tcp/80: drop | drop | drop");
}

#[test]
fn rule_23_ready_alone_decides() {
    check_fates(
        "",
        "10.1.0.1 n1 ready-terminating\n 10.1.0.2 n2 ready-not-serving\n 10.1.0.3 n2 terminating",
        "10.1.0.1:8080 on n1 (here): Used, ScopeUnused
         10.1.0.2:8080 on n2: Used, ScopeUnused
         10.1.0.3:8080 on n2: Terminating, ScopeUnused",
    );
}

#[test]
fn rule_24_slices_are_united_per_port() {
    check(
        "service a/a 10.96.0.1 ports=http:80/tcp,admin:81/tcp
         slice a/a-1 http:8080/tcp,admin:8081/tcp
         10.1.0.3 n2
         slice a/a-2 http:9090/tcp
         10.1.0.1 n1
         slice b/b-1 http:8080/tcp
         10.1.0.9 n1
         ? fates a/a",
        "http tcp/80:
         10.1.0.1:9090 on n1 (here): Used, ScopeUnused
         10.1.0.3:8080 on n2: Used, ScopeUnused
         admin tcp/81:
         10.1.0.3:8081 on n2: Used, ScopeUnused",
    );
}

#[test]
fn rule_25_an_endpoint_that_does_not_terminate_replaces_one_that_does() {
    let (new, old) = ("10.1.0.1 n1", "10.1.0.1 n2 terminating");
    for (first, second) in [(new, old), (old, new)] {
        let given = format!(
            "service a/a 10.96.0.1 ports=:80/tcp\n slice a/a-1 :80/tcp\n {first}\n slice a/a-2 :80/tcp\n {second}\n ? fates a/a"
        );
        check(&given, "tcp/80:\n10.1.0.1:80 on n1 (here): Used, ScopeUnused");
    }
}

#[test]
fn rule_25_a_new_pod_that_is_not_ready_replaces_an_old_one_that_still_serves() {
    check(
        "service a/a 10.96.0.1 ports=:80/tcp\n slice a/a-1 :80/tcp\n 10.1.0.1 n2 ready-terminating\n 10.1.0.1 n1 notready
         ? fates a/a",
        "tcp/80:\n10.1.0.1:80 on n1 (here): NotReady, ScopeUnused",
    );
}

#[test]
fn rule_26_an_address_may_appear_with_two_ports_and_under_two_names() {
    check(
        "service a/a 10.96.0.1 ports=x:80/tcp,y:81/tcp
         slice a/a-1 x:8080/tcp,y:8080/tcp
         10.1.0.1
         slice a/a-2 x:8081/tcp
         10.1.0.1
         ? fates a/a",
        "x tcp/80:
         10.1.0.1:8080: Used, ScopeUnused
         10.1.0.1:8081: Used, ScopeUnused
         y tcp/81:
         10.1.0.1:8080: Used, ScopeUnused",
    );
}

#[test]
fn rule_27_a_port_needs_its_name_and_the_empty_one_is_a_name() {
    check(
        "service a/a 10.96.0.1 ports=x:80/tcp
         slice a/a-1 :8080/tcp
         10.1.0.1
         service b/b 10.96.0.2 ports=:80/tcp
         slice b/b-1 :8080/tcp
         10.1.0.2
         ? routes a/a
         ? routes b/b",
        "x tcp/80: reject | reject | reject
         tcp/80: cluster 10.1.0.2:8080 | cluster 10.1.0.2:8080 | cluster 10.1.0.2:8080",
    );
}

#[test]
fn rule_28_ports_that_differ_in_the_protocol_only_are_apart() {
    check(
        "service a/a 10.96.0.1 ports=dns:53/tcp,dns:53/udp
         slice a/a-1 dns:53/tcp
         10.1.0.1
         slice a/a-2 dns:1053/udp
         10.1.0.2
         ? fates a/a",
        "dns tcp/53:
         10.1.0.1:53: Used, ScopeUnused
         dns udp/53:
         10.1.0.2:1053: Used, ScopeUnused",
    );
}

#[test]
fn rule_30_slices_of_the_other_family_fqdn_and_without_a_service_say_nothing() {
    check(
        "service a/a 10.96.0.1,fd00::1 ports=:80/tcp
         slice a/a-1 :8080/tcp 6
         fd01::1
         slice a/a-2 :8080/tcp fqdn
         10.1.0.3
         slice a/a-3 :8080/tcp unlabelled
         10.1.0.4
         ? fates a/a
         ? fates a/a 6",
        "tcp/80:
         tcp/80:
         [fd01::1]:8080: Used, ScopeUnused",
    );
}

#[test]
fn rule_34_local_means_the_name_of_the_node() {
    // The address of the second one looks like this node's, and this node's own address is on another node.
    check(
        "options name=n1\n node n1 addresses=192.168.77.11 pods=10.244.1.0/24
         service a/a 10.96.0.1 ports=:80/tcp itp=local
         slice a/a-1 :80/tcp\n 10.244.2.1 n1\n 10.244.1.2 N1\n 192.168.77.11 n2
         ? fates a/a",
        "tcp/80:
         10.244.1.2:80 on N1: ScopeUnused, NotLocal
         10.244.2.1:80 on n1 (here): ScopeUnused, Used
         192.168.77.11:80 on n2: ScopeUnused, NotLocal",
    );
}

#[test]
fn rule_36_a_new_number_is_a_new_port() {
    check(
        "service a/a 10.96.0.1 ports=x:81/tcp\n slice a/a-1 x:8081/tcp\n 10.1.0.1\n ? routes a/a\n ? tcp 10.244.1.1 10.96.0.1:80",
        "x tcp/81: cluster 10.1.0.1:8081 | cluster 10.1.0.1:8081 | cluster 10.1.0.1:8081
         rejected",
    );
}

#[test]
fn rule_37_headless_services_external_names_and_other_proxies_have_no_view() {
    check(
        "service a/headless headless ports=:80/tcp@30000
         service a/name 10.96.0.2 external-name ports=:80/tcp external=198.51.100.1
         service a/other 10.96.0.3 other-proxy ports=:80/tcp
         service a/empty 10.96.0.4 ports=:80/tcp
         service a/portless 10.96.0.5
         ? services
         ? routes a/empty
         ? tcp 10.244.1.1 198.51.100.1:80",
        "services: a/empty
         tcp/80: reject | reject | reject
         untouched",
    );
}

#[test]
fn a_thousand_endpoints_and_every_one_is_there_once() {
    use std::fmt::Write as _;
    let mut given = "service a/a 10.96.0.1 ports=:80/tcp\n".to_owned();
    for slice in 0..12 {
        writeln!(given, "slice a/a-{slice} :80/tcp").expect("strings take everything");
        for endpoint in 0..100 {
            // Every slice repeats ten endpoints of the next one.
            let number = slice * 90 + endpoint;
            writeln!(given, "10.1.{}.{} n2", number / 250, number % 250).expect("strings take everything");
        }
    }
    let all: Vec<String> =
        (0..1090).map(|number| format!("10.1.{}.{}:80", number / 250, number % 250)).collect();
    let all = all.join(" ");
    check(
        &format!("{given}\n? routes a/a"),
        &format!("tcp/80: cluster {all} | cluster {all} | cluster {all}"),
    );
}
