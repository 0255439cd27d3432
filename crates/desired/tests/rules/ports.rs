//! Ports, protocols and addresses (5.4).

use crate::text::check;

const NODE: &str = "node n1 addresses=192.168.77.11,192.168.78.11,fd77::11\n cidr 10.96.0.0/16";

#[track_caller]
fn check_at_node(given: &str, expected: &str) {
    check(&format!("{NODE}\n{given}"), expected);
}

#[test]
fn rule_53_protocols_with_the_same_number_are_independent() {
    check_at_node(
        "service a/a 10.96.0.1 ports=t:53/tcp,u:53/udp,s:53/sctp
         slice a/a-1 t:1/tcp,u:2/udp\n 10.244.1.2 n1
         ? tcp 10.244.1.7 10.96.0.1:53
         ? udp 10.244.1.7 10.96.0.1:53
         ? sctp 10.244.1.7 10.96.0.1:53",
        "reaches 10.244.1.2:1
         reaches 10.244.1.2:2
         rejected",
    );
}

#[test]
fn rules_54_and_55_a_cluster_ip_refuses_other_protocols_and_ports() {
    check_at_node(
        "service a/one 10.96.0.1 ports=:80/tcp\n slice a/one-1 :8080/tcp\n 10.244.1.2 n1
         service a/two 10.96.0.2 ports=:81/tcp\n slice a/two-1 :8081/tcp\n 10.244.1.3 n1
         ? udp 10.244.1.7 10.96.0.1:80
         ? tcp 10.244.1.7 10.96.0.1:81
         ? tcp 192.168.77.11 10.96.0.1:81 via node
         ? tcp 192.168.77.100 10.96.0.2:80",
        "rejected\n rejected\n rejected\n rejected",
    );
}

#[test]
fn other_ports_of_external_addresses_are_left_alone() {
    check_at_node(
        "service a/a 10.96.0.1 ports=:80/tcp external=198.51.100.1 lb=203.0.113.1\n slice a/a-1 :8080/tcp\n 10.244.1.2 n1
         ? tcp 192.168.77.100 198.51.100.1:81
         ? udp 192.168.77.100 203.0.113.1:80",
        "untouched\n untouched",
    );
}

#[test]
fn addresses_of_the_service_range_that_nobody_has_are_dropped() {
    check_at_node(
        "service a/a 10.96.0.1 ports=:80/tcp
         ? tcp 10.244.1.7 10.96.0.9:80
         ? udp 192.168.77.11 10.96.0.9:53 via node
         ? tcp 192.168.77.100 10.96.0.9:80
         ? tcp 10.244.1.7 10.97.0.1:80
         ? tcp 10.244.1.7 [fd00:10:96::9]:80",
        "dropped\n dropped\n dropped\n untouched\n untouched",
    );
}

#[test]
fn an_address_of_the_node_inside_the_service_range_is_the_nodes_own_business() {
    check(
        "node n1 addresses=10.96.0.200\n cidr 10.96.0.0/16
         ? tcp 192.168.77.100 10.96.0.200:22
         ? tcp 192.168.77.100 10.96.0.201:22",
        "untouched\n dropped",
    );
}

#[test]
fn rule_56_the_target_port_comes_from_the_slices() {
    check_at_node(
        "service a/a 10.96.0.1 ports=:80/tcp
         slice a/a-1 :8080/tcp\n 10.244.1.2 n1\n slice a/a-2 :9090/tcp\n 10.244.2.2 n2
         ? tcp 10.244.1.7 10.96.0.1:80
         ? tcp 10.244.1.7 10.96.0.1:8080",
        "reaches 10.244.1.2:8080; reaches 10.244.2.2:9090
         rejected",
    );
}

#[test]
fn rule_58_addresses_are_used_in_their_own_family() {
    check_at_node(
        "service a/a 10.96.0.1,fd00:10:96::1 ports=:80/tcp@30080 external=198.51.100.1,2001:db8:51::1 lb=203.0.113.1,2001:db8:113::1
         ? frontends a/a
         ? frontends a/a 6",
        "tcp/80: cluster 10.96.0.1:80, external 198.51.100.1:80, lb 203.0.113.1:80, nodeport 30080
         tcp/80: cluster [fd00:10:96::1]:80, external [2001:db8:51::1]:80, lb [2001:db8:113::1]:80, nodeport 30080",
    );
}

#[test]
fn a_service_without_a_cluster_ip_of_a_family_does_not_exist_in_it() {
    check_at_node(
        "service a/a 10.96.0.1 ports=:80/tcp@30080 external=2001:db8:51::1
         ? services
         ? services 6
         ? tcp fd77::100 [fd77::11]:30080
         ? tcp fd77::100 [2001:db8:51::1]:80",
        "services: a/a\n services: -\n untouched\n untouched",
    );
}

#[test]
fn an_address_in_several_lists_is_one_frontend() {
    check_at_node(
        "service a/a 10.96.0.1 ports=:80/tcp external=10.96.0.1,203.0.113.1 lb=203.0.113.1 ranges=192.0.2.0/24
         ? frontends a/a
         ? problems a/a",
        "tcp/80: cluster 10.96.0.1:80, lb 203.0.113.1:80 only from 192.0.2.0/24
         no problem",
    );
}

#[test]
fn ports_are_sorted_and_only_the_first_of_two_equal_ones_is_in_force() {
    check_at_node(
        "service a/a 10.96.0.1 ports=b:81/tcp@30081,u:53/udp,a:80/tcp,again:81/tcp@30082
         slice a/a-1 b:1/tcp,again:2/tcp\n 10.244.1.2 n1
         ? frontends a/a
         ? problems a/a
         ? tcp 10.244.1.7 10.96.0.1:81
         ? tcp 192.168.77.100 192.168.77.11:30082",
        "a tcp/80: cluster 10.96.0.1:80
         b tcp/81: cluster 10.96.0.1:81, nodeport 30081
         u udp/53: cluster 10.96.0.1:53
         Service a/a: spec.ports[3].port: tcp/81 is the number of spec.ports[0] already; this port is left out
         reaches 10.244.1.2:1
         untouched",
    );
}

#[test]
fn rule_61_nodeports_never_answer_on_loopback() {
    check(
        "options nodeports=0.0.0.0/0,::/0\n node n1 addresses=127.0.0.1,::1,192.168.77.11
         service a/a 10.96.0.1,fd00:10:96::1 ports=:80/tcp@30080
         slice a/a-1 :8080/tcp\n 10.244.1.2 n1\n slice a/a-2 :8080/tcp 6\n fd00:10:244:1::2 n1
         ? tcp 127.0.0.1 127.0.0.1:30080 via node
         ? tcp ::1 [::1]:30080 via node
         ? tcp 127.0.0.1 192.168.77.11:30080 via node",
        "untouched
         untouched
         reaches 10.244.1.2:8080, masqueraded",
    );
}

const NODE_PORT: &str = "service a/a 10.96.0.1 ports=:80/tcp@30080\n slice a/a-1 :8080/tcp\n 10.244.1.2 n1
    ? tcp 192.168.77.100 192.168.77.11:30080
    ? tcp 192.168.77.100 192.168.78.11:30080
    ? tcp 192.168.77.100 192.168.77.12:30080";

#[test]
fn rules_62_63_and_64_nodeports_answer_on_the_addresses_that_the_options_say() {
    let (yes, no) = ("reaches 10.244.1.2:8080, masqueraded", "untouched");
    for (options, first, second) in [
        ("nodeports=192.168.78.0/24", no, yes),
        ("nodeports=192.168.0.0/16", yes, yes),
        ("nodeports=fd77::/64", yes, yes),
        ("nodeports=primary", yes, no),
        ("nodeports=primary addresses=192.168.78.11", no, yes),
    ] {
        check_at_node(&format!("options {options}\n{NODE_PORT}"), &format!("{first}\n{second}\n{no}"));
    }
}

#[test]
fn nodeports_answer_nowhere_while_the_primary_address_is_unknown() {
    check(NODE_PORT, "untouched\n untouched\n untouched");
}

#[test]
fn rule_65_a_services_address_wins_over_a_nodeport_on_it() {
    let given = "service a/port 10.96.0.1 ports=:80/tcp@8443 created=1
         slice a/port-1 :1/tcp\n 10.244.1.2 n1
         service a/address 10.96.0.2 ports=:8443/tcp external=192.168.77.11 created=2
         slice a/address-1 :2/tcp";
    let question = "? tcp 192.168.77.100 192.168.77.11:8443\n ? problems a/port\n ? problems a/address";
    check_at_node(
        &format!("{given}\n 10.244.1.3 n1\n {question}"),
        "reaches 10.244.1.3:2, masqueraded\n no problem\n no problem",
    );
    // Without endpoints there is nothing to win for: the NodePort answers.
    check_at_node(
        &format!("{given}\n {question}"),
        "reaches 10.244.1.2:1, masqueraded\n no problem\n no problem",
    );
}

#[test]
fn an_address_of_the_node_may_be_a_services_and_its_other_ports_stay_the_nodes() {
    check_at_node(
        "service a/a 10.96.0.1 ports=:18080/tcp external=192.168.77.11
         slice a/a-1 :8080/tcp\n 10.244.2.2 n2
         ? problems a/a
         ? tcp 192.168.77.100 192.168.77.11:18080
         ? tcp 192.168.77.11 192.168.77.11:18080 via node
         ? tcp 192.168.77.100 192.168.77.11:18081",
        "no problem
         reaches 10.244.2.2:8080, masqueraded
         reaches 10.244.2.2:8080, masqueraded
         untouched",
    );
}
