//! What lies in the cluster, through the API server: Pods, Services and nodes, though they are in other networks than it.

use super::stage::Stage;

#[test]
fn pods_services_and_nodes_are_reached_through_the_api_server() {
    let Some(stage) = Stage::isolated(&["--nodes=2"]) else { return };
    stage.backend(2);
    let pods = stage.ok("get pods -l app=backend -o jsonpath={.items[*].metadata.name}");
    let pods: Vec<&str> = pods.split(' ').collect();
    let of_namespace = "get --raw /api/v1/namespaces/default";
    for pod in &pods {
        assert_eq!(stage.ok(&format!("{of_namespace}/pods/{pod}:8080/proxy/name")), *pod);
    }
    for service in ["backend", "backend:80", "http:backend:"] {
        let said = stage.ok(&format!("{of_namespace}/services/{service}/proxy/name"));
        assert!(pods.contains(&said.as_str()), "{service}: {said}");
    }
    assert_eq!(stage.ok("get --raw /api/v1/nodes/node-2/proxy/healthz"), "ok");
    let list = stage.ok("get --raw /api/v1/nodes/node-2/proxy/pods");
    assert!(list.contains("PodList"), "{list}");
    // What is not there is named.
    let (is_good, _, complaint) = stage.kubectl(&format!("{of_namespace}/services/nothing/proxy/"));
    assert!(!is_good && complaint.contains("services \"nothing\" not found"), "{complaint}");
    let (is_good, _, complaint) = stage.kubectl(&format!("{of_namespace}/services/backend:90/proxy/"));
    assert!(!is_good && complaint.contains("backend"), "{complaint}");
}
