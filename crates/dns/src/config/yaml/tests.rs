//! Texts in, settings or mistakes out.

use super::*;

fn read(text: &str) -> Result<Settings, String> {
    Settings::parse(text, &|_| None).map_err(|mistakes| mistakes.to_string())
}

#[test]
fn it_means_what_the_corefile_means() {
    let yaml = "
apiVersion: signalbox.dev/v1alpha1
kind: DNSConfiguration
health: {address: ':8080', lameduck: 5s}
ready: ':8181'
metrics: [':9153']
reload: 30s
servers:
- zones: [.]
  hosts: {file: /h, ttl: 5, entries: [{address: 10.0.0.1, names: [x.org]}], reverse: false, fallthrough: [.]}
  rewrite: [{suffix: .a.org, to: .b.org, answers: true, continue: true}, {exact: c.org, to: d.org}]
  kubernetes:
    zones: [cluster.local, in-addr.arpa]
    endpoint: https://10.0.0.1
    pods: verified
    ttl: 30
    namespaces: [a]
    endpointPodNames: true
    ignoreEmptyServices: true
    fallthrough: [in-addr.arpa]
    labels: a=b
    endpoints: false
    startupTimeout: 7s
    searches: pods
    tls: {certificate: c, key: k, authority: a}
  forward:
  - from: b.org
    to: [1.1.1.1, tls://9.9.9.9]
    except: [c.b.org]
    policy: round_robin
    maxFails: 3
    maxConcurrent: 9
    healthCheck: {interval: 1s, domain: x.org, recursionDesired: false}
    expire: 1m
    forceTCP: true
    preferUDP: true
    tls: {serverName: s, authority: a, certificate: c, key: k}
  cache:
    success: {entries: 10, longest: 20, shortest: 3}
    denial: {entries: 5}
    failure: 1m
    prefetch: {amount: 2, percentage: 20}
    stale: {age: 2h, verify: true}
    disable: {success: [cluster.local]}
    keepTTL: true
";
    let corefile = ". {\nerrors\nloop\nloadbalance\nprometheus :9153\nreload\nready\nhealth {\nlameduck 5s\n}\n\
        hosts /h {\n10.0.0.1 x.org\nttl 5\nno_reverse\nfallthrough\n}\n\
        rewrite continue name suffix .a.org .b.org answer auto\nrewrite name c.org d.org\n\
        kubernetes cluster.local in-addr.arpa {\nendpoint https://10.0.0.1\npods verified\nttl 30\nnamespaces a\n\
        endpoint_pod_names\nignore empty_service\nfallthrough in-addr.arpa\nlabels a=b\nnoendpoints\nstartup_timeout 7s\n\
        tls c k a\n}\nautopath @kubernetes\n\
        forward b.org 1.1.1.1 tls://9.9.9.9 {\nexcept c.b.org\npolicy round_robin\nmax_fails 3\nmax_concurrent 9\n\
        health_check 1s no_rec domain x.org\nexpire 1m\nforce_tcp\nprefer_udp\ntls c k a\ntls_servername s\n}\n\
        cache {\nsuccess 10 20 3\ndenial 5\nservfail 1m\nprefetch 2 1m 20%\nserve_stale 2h verify\ndisable success cluster.local\nkeepttl\n}\n}";
    let mut settings = read(corefile).expect("it is right");
    settings.has_cookies = true;
    assert_eq!(read(yaml), Ok(settings));
    assert_eq!(read(&format!("{yaml}cookies: false\n")), read(corefile));
}

#[test]
fn what_is_left_out_is_usual() {
    let settings = read(
        "apiVersion: signalbox.dev/v1alpha1\nkind: DNSConfiguration\nservers:\n- cache: {}\n  forward: [{to: [/etc/resolv.conf]}]\n",
    );
    let corefile =
        read(". {\nerrors\nloop\nloadbalance\ncache\nforward . /etc/resolv.conf\n}").map(|mut settings| {
            settings.servers[0].is_counted = true;
            settings.has_cookies = true;
            settings
        });
    assert_eq!(settings, corefile);
    assert!(settings.is_ok());
}

#[test]
fn every_mistake_has_its_field() {
    let text = "
apiVersion: v1
kind: DNSConfiguration
ready: 8181
port: 53
servers:
- port: 0
  cache: {bytes: -1, success: 5, failure: 6m}
  forward:
  - to: [x, 1.1.1.1, 7]
    policy: some
    tls: {key: k}
  kubernetes: {zones: [a..b], kubeconfig: k, endpoint: e, pods: all}
  rewrite: [{to: a}, {exact: a, suffix: b}]
- nothing
";
    let wanted = [
        "port: is no field; there are apiVersion, kind, health, ready, metrics, reload, cookies, servers",
        "apiVersion: must be `signalbox.dev/v1alpha1`",
        "ready: `8181` is not a text",
        "servers[1]: `\"nothing\"` is not an object",
        "servers[0].port: `0` is not a whole number from 1 to 65535",
        "servers[0].rewrite[0]: needs either `exact` or `suffix`",
        "servers[0].rewrite[1]: needs either `exact` or `suffix`",
        "servers[0].kubernetes.zones[0]: `a..b` is no domain name: it has an empty label",
        "servers[0].kubernetes.endpoint: the API server is given by `kubeconfig` already",
        "servers[0].kubernetes.pods: `all` is none of disabled, insecure, verified",
        "servers[0].cache.failure: `6m` is longer than 5m",
        "servers[0].cache.success: `5` is not an object",
        "servers[0].cache.bytes: `-1` is not a whole number from 0 on",
        "servers[0].forward[0].tls: `certificate` and `key` stand together",
        "servers[0].forward[0].to[0]: `x` is neither an IP address, with or without port, nor the path of a file, which begins with /",
        "servers[0].forward[0].to[2]: `7` is not a text",
        "servers[0].forward[0].policy: `some` is none of random, round_robin, sequential",
    ];
    assert_eq!(read(text), Err(wanted.join("\n")));
    let twice = "apiVersion: signalbox.dev/v1alpha1\nkind: DNSConfiguration\nservers: [{}, {forward: [{}]}]";
    let wanted = "servers[1]: `.` at port 53 is served by an earlier server\nservers[1]: forwarding `.` needs somebody to ask";
    assert_eq!(read(twice), Err(wanted.to_owned()));
}
