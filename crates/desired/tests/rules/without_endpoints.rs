//! No endpoints, and Local policies without local endpoints (5.5).

use crate::text::check;

fn given(words: &str, endpoints: &str) -> String {
    format!(
        "node n1 addresses=192.168.77.11
         service a/a 10.96.0.1 ports=:80/tcp@30080 external=198.51.100.1 lb=203.0.113.1 {words}
         slice a/a-1 :8080/tcp\n {endpoints}"
    )
}

const EVERYWHERE: [&str; 4] = ["10.96.0.1:80", "198.51.100.1:80", "203.0.113.1:80", "192.168.77.11:30080"];

#[test]
fn rules_68_and_74_without_any_usable_endpoint_everybody_is_refused_everywhere() {
    for words in ["", "itp=local", "etp=local", "itp=local etp=local"] {
        for endpoints in ["", "10.244.1.2 n1 notready", "10.244.2.2 n2 gone"] {
            for to in EVERYWHERE {
                for from in [
                    format!("10.244.1.7 {to}"),
                    format!("192.168.77.11 {to} via node"),
                    format!("192.0.2.1 {to}"),
                ] {
                    check(&format!("{}\n? tcp {from}", given(words, endpoints)), "rejected");
                }
            }
        }
    }
}

#[test]
fn rule_69_endpoints_elsewhere_and_a_local_policy_are_silence() {
    let elsewhere = "10.244.2.2 n2";
    for to in &EVERYWHERE[1..] {
        check(&format!("{}\n? tcp 192.0.2.1 {to}", given("etp=local", elsewhere)), "dropped");
        // Inside the cluster the policy does not apply.
        check(
            &format!("{}\n? tcp 10.244.1.7 {to}", given("etp=local", elsewhere)),
            "reaches 10.244.2.2:8080",
        );
    }
    for from in ["10.244.1.7 10.96.0.1:80", "192.168.77.11 10.96.0.1:80 via node", "192.0.2.1 10.96.0.1:80"] {
        check(&format!("{}\n? tcp {from}", given("itp=local", elsewhere)), "dropped");
    }
}

#[test]
fn rule_72_when_the_endpoints_elsewhere_go_silence_becomes_refusal() {
    let question = "? tcp 192.0.2.1 192.168.77.11:30080";
    check(&format!("{}\n{question}", given("etp=local", "10.244.2.2 n2")), "dropped");
    check(&format!("{}\n{question}", given("etp=local", "10.244.2.2 n2 notready")), "rejected");
}

#[test]
fn rule_75_only_terminating_endpoints_elsewhere() {
    let terminating = "10.244.2.2 n2 terminating";
    check(
        &format!("{}\n? tcp 10.244.1.7 10.96.0.1:80", given("etp=local", terminating)),
        "reaches 10.244.2.2:8080",
    );
    check(&format!("{}\n? tcp 192.0.2.1 203.0.113.1:80", given("etp=local", terminating)), "dropped");
}

#[test]
fn rule_126_a_local_nodeport_answers_outsiders_only_where_endpoints_are() {
    let question = "? tcp 192.0.2.1 192.168.77.11:30080";
    check(
        &format!("{}\n{question}", given("etp=local", "10.244.1.2 n1\n 10.244.2.2 n2")),
        "reaches 10.244.1.2:8080",
    );
    check(&format!("{}\n{question}", given("etp=local", "10.244.2.2 n2")), "dropped");
}

#[test]
fn a_refused_address_does_not_hide_a_nodeport_but_a_silent_one_does() {
    let address = |endpoint: &str| {
        format!(
            "node n1 addresses=192.168.77.11
             service a/port 10.96.0.1 ports=:80/tcp@8443\n slice a/port-1 :1/tcp\n 10.244.1.2 n1
             service a/address 10.96.0.2 ports=:8443/tcp external=192.168.77.11 etp=local\n slice a/address-1 :2/tcp
             {endpoint}
             ? tcp 192.0.2.1 192.168.77.11:8443"
        )
    };
    check(&address(""), "reaches 10.244.1.2:1, masqueraded");
    check(&address("10.244.2.2 n2"), "dropped");
}
