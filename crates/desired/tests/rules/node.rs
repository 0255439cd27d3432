//! The node's own view.

use crate::text::check;

#[test]
fn a_node_of_both_families() {
    check(
        "node n1 zone=z1 addresses=192.168.77.11,fd77::11,192.168.76.11 pods=10.244.1.0/24
         cidr 10.96.0.0/16,fd00:10:96::/112\n cidr 10.96.4.0/24\n cidr 10.200.0.0/24
         ? node\n ? node 6",
        "n1 IPv4: addresses 192.168.76.11 192.168.77.11; local from 10.244.0.0/16; nodeports 192.168.77.11/32; service ranges 10.96.0.0/16 10.200.0.0/24; mark 0x4000
         n1 IPv6: addresses fd77::11; local from fd00:10:244::/48; nodeports fd77::11/128; service ranges fd00:10:96::/112; mark 0x4000",
    );
}

#[test]
fn a_node_of_which_nothing_is_known() {
    check(
        "options detect=node bit=31 masquerade-all\n ? node",
        "n1 IPv4: addresses -; local unknown; nodeports -; service ranges -; mark 0x80000000; masquerade all",
    );
}

#[test]
fn the_options_say_the_primary_address_first() {
    check(
        "options addresses=192.168.79.11,0.0.0.0\n node n1 addresses=192.168.77.11\n ? node",
        "n1 IPv4: addresses 192.168.77.11 192.168.79.11; local from 10.244.0.0/16; nodeports 192.168.79.11/32; service ranges -; mark 0x4000",
    );
}

#[test]
fn how_pods_are_told() {
    for (options, local) in [
        ("detect=", "unknown"),
        ("detect=fd00::/48", "unknown"),
        ("detect=10.1.2.3/8", "from 10.0.0.0/8"),
        ("detect=node", "from 10.244.1.0/24"),
        ("bridge=cni0", "through cni0"),
        ("prefix=veth", "through veth*"),
    ] {
        check(
            &format!(
                "options {options}\n node n1 pods=fd00:10:244:1::/64,10.244.1.0/24,10.244.9.0/24\n ? node"
            ),
            &format!("n1 IPv4: addresses -; local {local}; nodeports -; service ranges -; mark 0x4000"),
        );
    }
}

#[test]
fn rules_62_and_63_where_nodeports_answer() {
    for (options, v4, v6) in [
        ("primary", "192.168.77.11/32", "-"),
        ("192.168.0.0/16,192.168.77.0/24,10.0.0.1/8", "10.0.0.0/8 192.168.0.0/16", "::/0"),
        ("fd77::/64", "0.0.0.0/0", "fd77::/64"),
    ] {
        check(
            &format!("options nodeports={options} detect=\n node n1 addresses=192.168.77.11\n ? node\n ? node 6"),
            &format!(
                "n1 IPv4: addresses 192.168.77.11; local unknown; nodeports {v4}; service ranges -; mark 0x4000
                 n1 IPv6: addresses -; local unknown; nodeports {v6}; service ranges -; mark 0x4000"
            ),
        );
    }
}
