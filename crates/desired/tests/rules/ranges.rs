//! loadBalancerSourceRanges (5.6).

use crate::text::check;

#[track_caller]
fn check_with(words: &str, questions: &str, expected: &str) {
    let given = format!(
        "node n1 addresses=192.168.77.11,fd77::11
         service a/a 10.96.0.1,fd00:10:96::1 ports=:80/tcp@30080 external=198.51.100.1 {words}
         slice a/a-1 :8080/tcp\n 10.244.1.2 n1
         {questions}"
    );
    check(&given, expected);
}

#[test]
fn rules_67_76_and_77_only_load_balancer_addresses_are_restricted() {
    check_with(
        "lb=203.0.113.1 ranges=192.0.2.0/24",
        "? tcp 192.0.2.7 203.0.113.1:80
         ? tcp 192.0.3.7 203.0.113.1:80
         ? tcp 192.0.3.7 192.168.77.11:30080
         ? tcp 192.0.3.7 198.51.100.1:80
         ? tcp 192.0.3.7 10.96.0.1:80",
        "reaches 10.244.1.2:8080, masqueraded
         dropped
         reaches 10.244.1.2:8080, masqueraded
         reaches 10.244.1.2:8080, masqueraded
         reaches 10.244.1.2:8080, masqueraded",
    );
    check(
        "service a/closed 10.96.0.1 ports=:80/tcp lb=203.0.113.1 ranges=192.0.2.0/24
         slice a/closed-1 :1/tcp\n 10.244.1.2 n1
         service a/open 10.96.0.2 ports=:81/tcp lb=203.0.113.1
         slice a/open-1 :2/tcp\n 10.244.1.2 n1
         ? tcp 192.0.3.7 203.0.113.1:80
         ? tcp 192.0.3.7 203.0.113.1:81",
        "dropped\n reaches 10.244.1.2:2, masqueraded",
    );
}

#[test]
fn rule_78_pods_outside_the_ranges_are_blocked_too() {
    check_with("lb=203.0.113.1 ranges=192.0.2.0/24", "? tcp 10.244.1.7 203.0.113.1:80", "dropped");
    check_with("lb=203.0.113.1 ranges=192.0.2.0/24 etp=local", "? tcp 10.244.1.7 203.0.113.1:80", "dropped");
}

#[test]
fn rule_79_a_node_that_may_use_its_load_balancer_may_come_from_that_address() {
    check_with(
        "lb=203.0.113.1,203.0.113.2 ranges=192.168.77.0/24",
        "? frontends a/a
         ? tcp 192.168.77.11 203.0.113.1:80 via node
         ? tcp 203.0.113.1 203.0.113.1:80 via node",
        "tcp/80: cluster 10.96.0.1:80, external 198.51.100.1:80, lb 203.0.113.1:80 only from 192.168.77.0/24 203.0.113.1/32, lb 203.0.113.2:80 only from 192.168.77.0/24 203.0.113.2/32, nodeport 30080
         reaches 10.244.1.2:8080, masqueraded
         reaches 10.244.1.2:8080, masqueraded",
    );
    check_with("lb=203.0.113.1 ranges=192.0.2.0/24", "? tcp 203.0.113.1 203.0.113.1:80 via node", "dropped");
}

#[test]
fn rules_80_and_81_everything_and_the_other_family_only_restrict_nobody() {
    let (open, closed) = ("reaches 10.244.1.2:8080, masqueraded", "dropped");
    for (ranges, outcome) in [
        ("192.0.2.0/24,0.0.0.0/0", open),
        ("fd00::/8", open),
        ("::/0,192.0.2.0/24", closed),
        ("fd00::/8,192.0.2.0/24", closed),
    ] {
        check_with(&format!("lb=203.0.113.1 ranges={ranges}"), "? tcp 192.0.3.7 203.0.113.1:80", outcome);
    }
}

#[test]
fn prefixes_that_others_contain_are_left_out() {
    check_with(
        "lb=203.0.113.1 ranges=192.0.2.0/24,192.0.2.128/25,10.0.0.0/8,10.1.0.0/16,192.0.2.0/24",
        "? frontends a/a",
        "tcp/80: cluster 10.96.0.1:80, external 198.51.100.1:80, lb 203.0.113.1:80 only from 10.0.0.0/8 192.0.2.0/24, nodeport 30080",
    );
}

#[test]
fn rule_83_every_load_balancer_address_has_the_same_filter() {
    check_with(
        "lb=203.0.113.1,203.0.113.2 ranges=192.0.2.0/24",
        "? tcp 192.0.3.7 203.0.113.1:80\n ? tcp 192.0.3.7 203.0.113.2:80\n ? tcp 192.0.2.7 203.0.113.2:80",
        "dropped\n dropped\n reaches 10.244.1.2:8080, masqueraded",
    );
}

#[test]
fn rule_84_the_filter_is_there_without_endpoints() {
    check(
        "service a/a 10.96.0.1 ports=:80/tcp lb=203.0.113.1 ranges=192.0.2.0/24
         ? tcp 192.0.3.7 203.0.113.1:80
         ? tcp 192.0.2.7 203.0.113.1:80",
        "dropped\n rejected",
    );
}

#[test]
fn rule_85_ranges_without_a_load_balancer_address_restrict_nothing() {
    check_with(
        "ranges=192.0.2.0/24",
        "? frontends a/a\n ? tcp 192.0.3.7 198.51.100.1:80",
        "tcp/80: cluster 10.96.0.1:80, external 198.51.100.1:80, nodeport 30080\n reaches 10.244.1.2:8080, masqueraded",
    );
}
