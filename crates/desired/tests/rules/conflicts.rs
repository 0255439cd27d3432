//! Two Services, one address or NodePort.

use crate::text::check;

#[test]
fn the_older_service_keeps_the_address_and_the_loser_is_told() {
    check(
        "service a/young 10.96.0.1 ports=:80/tcp,x:81/tcp external=198.51.100.1 created=9
         slice a/young-1 :1/tcp,x:2/tcp\n 10.244.1.2 n1
         service b/old 10.96.0.2 ports=:80/tcp external=198.51.100.1 created=5
         slice b/old-1 :3/tcp\n 10.244.1.3 n1
         ? frontends a/young
         ? frontends b/old
         ? problems a/young
         ? problems b/old
         ? tcp 192.0.2.1 198.51.100.1:80
         ? tcp 192.0.2.1 198.51.100.1:81
         ? tcp 10.244.1.7 10.96.0.1:80",
        "tcp/80: cluster 10.96.0.1:80, external 198.51.100.1:80 shadowed by b/old
         x tcp/81: cluster 10.96.0.1:81, external 198.51.100.1:81
         tcp/80: cluster 10.96.0.2:80, external 198.51.100.1:80
         Service a/young: spec.externalIPs: 198.51.100.1 tcp/80 is used by the older Service b/old; not served for this one
         no problem
         reaches 10.244.1.3:3, masqueraded
         reaches 10.244.1.2:2, masqueraded
         reaches 10.244.1.2:1",
    );
}

#[test]
fn ties_of_age_are_broken_by_uid_and_then_by_name() {
    check(
        "service a/a 10.96.0.1 ports=:80/tcp uid=2\n service b/b 10.96.0.1 ports=:80/tcp uid=1
         ? problems a/a\n ? problems b/b",
        "Service a/a: spec.clusterIPs: 10.96.0.1 tcp/80 is used by the older Service b/b; not served for this one\n no problem",
    );
    check(
        "service b/b 10.96.0.1 ports=:80/tcp\n service a/a 10.96.0.1 ports=:80/tcp\n ? frontends a/a\n ? frontends b/b",
        "tcp/80: cluster 10.96.0.1:80\n tcp/80: cluster 10.96.0.1:80 shadowed by a/a",
    );
}

#[test]
fn all_kinds_of_addresses_compete() {
    check(
        "service a/a 10.96.0.1 ports=:80/tcp created=1
         service b/b 10.96.0.2 ports=:80/tcp external=10.96.0.1 lb=10.96.0.3 created=2
         service c/c 10.96.0.3 ports=:80/tcp created=3
         ? frontends b/b\n ? problems b/b\n ? frontends c/c",
        "tcp/80: cluster 10.96.0.2:80, external 10.96.0.1:80 shadowed by a/a, lb 10.96.0.3:80
         Service b/b: spec.externalIPs: 10.96.0.1 tcp/80 is used by the older Service a/a; not served for this one
         tcp/80: cluster 10.96.0.3:80 shadowed by b/b",
    );
}

#[test]
fn nodeports_compete_with_nodeports_of_their_family_and_protocol() {
    check(
        "node n1 addresses=192.168.77.11
         service a/a 10.96.0.1 ports=:80/tcp@30080 created=1
         service b/b 10.96.0.2,fd00:10:96::2 ports=t:80/tcp@30080,u:80/udp@30080 created=2
         ? frontends b/b\n ? frontends b/b 6\n ? problems b/b\n ? problems b/b 6",
        "t tcp/80: cluster 10.96.0.2:80, nodeport 30080 shadowed by a/a
         u udp/80: cluster 10.96.0.2:80, nodeport 30080
         t tcp/80: cluster [fd00:10:96::2]:80, nodeport 30080
         u udp/80: cluster [fd00:10:96::2]:80, nodeport 30080
         Service b/b: spec.ports[0].nodePort: NodePort tcp/30080 is used by the older Service a/a; not served for this one
         no problem",
    );
}

#[test]
fn two_ports_of_one_service_with_one_nodeport() {
    check(
        "service a/a 10.96.0.1 ports=b:81/tcp@30080,a:80/tcp@30080\n ? frontends a/a\n ? problems a/a",
        "a tcp/80: cluster 10.96.0.1:80, nodeport 30080 shadowed by a/a
         b tcp/81: cluster 10.96.0.1:81, nodeport 30080
         Service a/a: spec.ports[1].nodePort: NodePort tcp/30080 is used by an earlier port of this Service; not served for this port",
    );
}

#[test]
fn services_that_get_no_traffic_claim_nothing() {
    check(
        "service a/a 10.96.0.1 ports=:80/tcp external-name\n service b/b 10.96.0.1 ports=:80/tcp other-proxy
         service c/c headless ports=:80/tcp external=10.96.0.1\n service d/d 10.96.0.1 ports=:80/tcp created=7
         ? frontends d/d",
        "tcp/80: cluster 10.96.0.1:80",
    );
}
