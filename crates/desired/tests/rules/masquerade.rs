//! Who reaches which endpoints, and who is masqueraded (5.3).

use crate::text::check;

/// Node n1 with one endpoint here and one on n2, behind a Service with every kind of frontend.
fn given(words: &str, questions: &str) -> String {
    format!(
        "node n1 addresses=192.168.77.11 pods=10.244.1.0/24
         cidr 10.96.0.0/16
         service a/a 10.96.0.1 ports=:80/tcp@30080 external=198.51.100.1 lb=203.0.113.1 {words}
         slice a/a-1 :8080/tcp
         10.244.1.2 n1
         10.244.2.2 n2
         {questions}"
    )
}

const POD: &str = "10.244.1.7";
const NODE: &str = "192.168.77.11";
const OUTSIDE: &str = "192.168.77.100";
const ALL: &str = "reaches 10.244.1.2:8080; reaches 10.244.2.2:8080";
const ALL_MASQUERADED: &str = "reaches 10.244.1.2:8080, masqueraded; reaches 10.244.2.2:8080, masqueraded";
const EXTERNAL: [&str; 3] = ["198.51.100.1:80", "203.0.113.1:80", "192.168.77.11:30080"];

#[test]
fn rules_38_and_39_pods_keep_their_address_to_a_cluster_ip_others_do_not() {
    check(&given("", &format!("? tcp {POD} 10.96.0.1:80")), ALL);
    check(&given("", &format!("? tcp {NODE} 10.96.0.1:80 via node")), ALL_MASQUERADED);
    check(&given("", &format!("? tcp {OUTSIDE} 10.96.0.1:80")), ALL_MASQUERADED);
}

#[test]
fn rule_40_everybody_is_masqueraded_at_external_addresses_with_policy_cluster() {
    for to in EXTERNAL {
        for from in [format!("{POD} {to}"), format!("{NODE} {to} via node"), format!("{OUTSIDE} {to}")] {
            check(&given("", &format!("? tcp {from}")), ALL_MASQUERADED);
        }
    }
}

#[test]
fn rule_41_outside_clients_reach_local_endpoints_with_their_own_address() {
    for to in EXTERNAL {
        check(&given("etp=local", &format!("? tcp {OUTSIDE} {to}")), "reaches 10.244.1.2:8080");
    }
}

#[test]
fn rule_42_pods_reach_all_endpoints_of_a_local_service_with_their_own_address() {
    for to in EXTERNAL {
        check(&given("etp=local", &format!("? tcp {POD} {to}")), ALL);
    }
}

#[test]
fn rule_43_the_node_itself_reaches_all_endpoints_masqueraded() {
    for to in EXTERNAL {
        check(&given("etp=local", &format!("? tcp {NODE} {to} via node")), ALL_MASQUERADED);
        check(&given("etp=local", &format!("? tcp 127.0.0.1 {to} via node")), ALL_MASQUERADED);
    }
}

#[test]
fn rule_44_the_internal_policy_acts_on_the_cluster_ip_only() {
    check(&given("itp=local", &format!("? tcp {POD} 10.96.0.1:80")), "reaches 10.244.1.2:8080");
    for to in EXTERNAL {
        check(&given("itp=local", &format!("? tcp {OUTSIDE} {to}")), ALL_MASQUERADED);
    }
}

#[test]
fn rule_45_the_node_is_masqueraded_on_its_way_to_its_own_endpoint() {
    check(
        &given("itp=local", &format!("? tcp {NODE} 10.96.0.1:80 via node")),
        "reaches 10.244.1.2:8080, masqueraded",
    );
}

#[test]
fn rule_46_each_kind_of_address_follows_its_own_policy() {
    let words = "itp=local etp=local";
    check(&given(words, &format!("? tcp {POD} 10.96.0.1:80")), "reaches 10.244.1.2:8080");
    check(&given(words, &format!("? tcp {POD} 203.0.113.1:80")), ALL);
    check(&given(words, &format!("? tcp {OUTSIDE} 203.0.113.1:80")), "reaches 10.244.1.2:8080");
}

#[test]
fn rule_47_without_a_detector_nobody_is_a_pod() {
    let with = |words: &str, question: String| given(words, &format!("options detect=\n? tcp {question}"));
    check(&with("", format!("{OUTSIDE} 10.96.0.1:80")), ALL);
    check(&with("", format!("{NODE} 10.96.0.1:80 via node")), ALL);
    check(&with("etp=local", format!("{POD} 203.0.113.1:80")), "reaches 10.244.1.2:8080");
    check(&with("etp=local", format!("{NODE} 203.0.113.1:80 via node")), ALL_MASQUERADED);
    check(&with("", format!("{POD} 203.0.113.1:80")), ALL_MASQUERADED);
}

#[test]
fn rule_47_each_family_has_its_own_detector() {
    check(
        "options detect=10.244.0.0/16
         service a/a 10.96.0.1,fd00:10:96::1 ports=:80/tcp
         slice a/a-1 :80/tcp\n 10.244.1.2 n1\n slice a/a-2 :80/tcp 6\n fd00:10:244:1::2 n1
         ? tcp 192.168.77.100 10.96.0.1:80
         ? tcp fd77::100 [fd00:10:96::1]:80",
        "reaches 10.244.1.2:80, masqueraded
         reaches [fd00:10:244:1::2]:80",
    );
}

#[test]
fn rule_48_masquerade_all_is_about_cluster_ips() {
    let with = |words: &str, question: &str| {
        given(words, &format!("options masquerade-all\n? tcp {POD} {question}"))
    };
    check(&with("", "10.96.0.1:80"), ALL_MASQUERADED);
    check(&with("etp=local", "203.0.113.1:80"), ALL);
    let no_detector = format!("options masquerade-all detect=\n? tcp {POD} 10.96.0.1:80");
    check(&given("", &no_detector), ALL_MASQUERADED);
}

#[test]
fn rule_49_a_pod_that_reaches_itself_is_masqueraded() {
    check(
        &given("", "? tcp 10.244.1.2 10.96.0.1:80"),
        "reaches 10.244.1.2:8080, masqueraded; reaches 10.244.2.2:8080",
    );
    check(
        &given("etp=local", "? tcp 10.244.1.2 203.0.113.1:80"),
        "reaches 10.244.1.2:8080, masqueraded; reaches 10.244.2.2:8080",
    );
    // Only endpoints of this node: whoever has the address of another node's pod here is not that pod.
    check(&given("", "? tcp 10.244.2.2 10.96.0.1:80"), ALL);
}

#[test]
fn pods_may_be_told_by_the_interface_they_come_through() {
    for (options, pods, others) in [("bridge=cni0", "cni0", "cni01"), ("prefix=veth", "veth7", "eth0")] {
        let with =
            |words: &str, question: String| given(words, &format!("options {options}\n? tcp {question}"));
        check(&with("", format!("{OUTSIDE} 10.96.0.1:80 via {pods}")), ALL);
        check(&with("", format!("{POD} 10.96.0.1:80 via {others}")), ALL_MASQUERADED);
        check(&with("etp=local", format!("{POD} 203.0.113.1:80 via {pods}")), ALL);
        check(&with("etp=local", format!("{POD} 203.0.113.1:80 via {others}")), "reaches 10.244.1.2:8080");
        // What the node itself sends arrives through no interface, whatever its source.
        check(&with("", format!("{POD} 10.96.0.1:80 via node")), ALL_MASQUERADED);
    }
}

#[test]
fn affinity_is_handed_on() {
    check(
        "service a/a 10.96.0.1 ports=:80/tcp affinity=30\n ? routes a/a",
        "tcp/80 sticky for 30 s: reject | reject | reject",
    );
}
