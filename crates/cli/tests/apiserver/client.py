"""What programs do that use Kubernetes' client library for Python. The only argument is a kubeconfig."""

import sys
import threading
import time

from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException

NAMESPACE = "python"


def typed(core):
    """Creates, reads, lists, patches, replaces and deletes with typed objects."""
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=NAMESPACE)))
    service = client.V1Service(
        metadata=client.V1ObjectMeta(name="web", labels={"app": "web"}),
        spec=client.V1ServiceSpec(
            type="NodePort",
            selector={"app": "web"},
            ports=[client.V1ServicePort(name="http", port=80, target_port="http")],
        ),
    )
    made = core.create_namespaced_service(NAMESPACE, service)
    assert made.spec.cluster_ip and made.spec.ports[0].node_port >= 30000, made
    assert made.spec.ports[0].target_port == "http" and made.metadata.creation_timestamp is not None, made
    try:
        core.create_namespaced_service(NAMESPACE, service)
        raise AssertionError("created twice")
    except ApiException as error:
        assert error.status == 409 and "AlreadyExists" in error.body, error
    listed = core.list_namespaced_service(NAMESPACE, label_selector="app=web")
    assert [item.metadata.name for item in listed.items] == ["web"], listed
    assert core.list_service_for_all_namespaces(field_selector="metadata.name=web").items[0].metadata.uid == made.metadata.uid

    patch = {"metadata": {"labels": {"tier": "x"}}, "spec": {"ports": [{"port": 81, "name": "other"}]}}
    patched = core.patch_namespaced_service("web", NAMESPACE, patch)
    assert patched.metadata.labels == {"app": "web", "tier": "x"}, patched
    assert sorted(port.port for port in patched.spec.ports) == [80, 81], patched
    assert int(patched.metadata.resource_version) > int(made.metadata.resource_version)

    old = patched.metadata.resource_version
    patched.spec.session_affinity = "ClientIP"
    replaced = core.replace_namespaced_service("web", NAMESPACE, patched)
    assert replaced.spec.session_affinity_config.client_ip.timeout_seconds == 10800, replaced
    patched.metadata.resource_version = old
    try:
        core.replace_namespaced_service("web", NAMESPACE, patched)
        raise AssertionError("an old resourceVersion was taken")
    except ApiException as error:
        assert error.status == 409, error

    status = client.V1ServiceStatus(load_balancer=client.V1LoadBalancerStatus(ingress=[]))
    core.patch_namespaced_service_status("web", NAMESPACE, {"status": status.to_dict()})
    core.delete_namespaced_service("web", NAMESPACE)
    try:
        core.read_namespaced_service("web", NAMESPACE)
        raise AssertionError("it is still there")
    except ApiException as error:
        assert error.status == 404, error
    print("typed calls")


def others(core):
    """Kinds of other groups, through their own classes."""
    slices = client.DiscoveryV1Api()
    endpoint_slice = client.V1EndpointSlice(
        metadata=client.V1ObjectMeta(name="web-1", labels={"kubernetes.io/service-name": "web"}),
        address_type="IPv4",
        endpoints=[client.V1Endpoint(addresses=["10.0.0.1"], conditions=client.V1EndpointConditions(ready=True))],
        ports=[client.DiscoveryV1EndpointPort(name="http", port=8080, protocol="TCP")],
    )
    made = slices.create_namespaced_endpoint_slice(NAMESPACE, endpoint_slice)
    assert made.endpoints[0].addresses == ["10.0.0.1"] and made.ports[0].port == 8080, made

    apps = client.AppsV1Api()
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels={"app": "web"}),
        spec=client.V1PodSpec(containers=[client.V1Container(name="c", image="i")]),
    )
    deployment = client.V1Deployment(
        metadata=client.V1ObjectMeta(name="web"),
        spec=client.V1DeploymentSpec(selector=client.V1LabelSelector(match_labels={"app": "web"}), template=template),
    )
    assert apps.create_namespaced_deployment(NAMESPACE, deployment).spec.replicas == 1
    scaled = apps.patch_namespaced_deployment_scale("web", NAMESPACE, {"spec": {"replicas": 3}})
    assert scaled.spec.replicas == 3, scaled
    assert apps.read_namespaced_deployment("web", NAMESPACE).spec.replicas == 3

    leases = client.CoordinationV1Api()
    lease = client.V1Lease(metadata=client.V1ObjectMeta(name="l"), spec=client.V1LeaseSpec(holder_identity="me"))
    assert leases.create_namespaced_lease(NAMESPACE, lease).spec.holder_identity == "me"
    assert client.VersionApi().get_code().major == "1"
    assert any(group.name == "apps" for group in client.ApisApi().get_api_versions().groups)
    print("other groups")


class Informer(threading.Thread):
    """Lists, watches from there, and lists again when its place in the history is gone."""

    def __init__(self, core):
        super().__init__(daemon=True)
        self.core, self.known, self.lists, self.expired = core, {}, 0, 0

    def run(self):
        while True:
            try:
                self.follow()
            except ApiException as error:
                if error.status != 410:
                    print("the informer met", error.status, error.reason)
                self.expired += error.status == 410
            except Exception:  # the server is away
                pass
            time.sleep(0.05)

    def follow(self):
        listed = self.core.list_namespaced_config_map(NAMESPACE)
        self.known = {item.metadata.name: item.data["n"] for item in listed.items}
        self.lists += 1
        at = listed.metadata.resource_version
        while True:
            for event in watch.Watch().stream(
                self.core.list_namespaced_config_map, NAMESPACE, resource_version=at, timeout_seconds=30
            ):
                at = event["object"].metadata.resource_version
                name = event["object"].metadata.name
                if event["type"] == "DELETED":
                    del self.known[name]
                else:
                    self.known[name] = event["object"].data["n"]

    def wait(self, expected):
        for _ in range(400):
            if self.known == expected:
                return
            time.sleep(0.025)
        raise AssertionError("the informer knows %s, not %s" % (self.known, expected))


def config_map(name, number):
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name), data={"n": str(number)})


def informer(core):
    follower = Informer(core)
    follower.start()
    follower.wait({})
    for number in range(20):
        core.create_namespaced_config_map(NAMESPACE, config_map("m%d" % number, number))
    core.replace_namespaced_config_map("m3", NAMESPACE, config_map("m3", 33))
    core.patch_namespaced_config_map("m4", NAMESPACE, {"data": {"n": "44"}})
    core.delete_namespaced_config_map("m5", NAMESPACE)
    expected = {"m%d" % number: str(number) for number in range(20) if number != 5}
    expected.update(m3="33", m4="44")
    follower.wait(expected)
    assert follower.lists == 1, follower.lists

    # The history begins anew with a restart. Somewhere in the middle of it is no place to go on from.
    at = core.list_namespaced_config_map(NAMESPACE).metadata.resource_version
    core.create_namespaced_config_map(NAMESPACE, config_map("late", 1))
    follower.wait(dict(expected, late="1"))
    print("restart, please", flush=True)
    sys.stdin.readline()
    try:
        for event in watch.Watch().stream(
            core.list_namespaced_config_map, NAMESPACE, resource_version=at, timeout_seconds=5
        ):
            raise AssertionError("an event of a forgotten time: %s" % event)
        raise AssertionError("a watch from a forgotten time went on")
    except ApiException as error:
        assert error.status == 410, error
    core.delete_collection_namespaced_config_map(NAMESPACE, field_selector="metadata.name!=m7")
    follower.wait({"m7": "7"})
    print("an informer, which listed %d times" % follower.lists)


def main():
    config.load_kube_config(sys.argv[1])
    core = client.CoreV1Api()
    typed(core)
    others(core)
    informer(core)
    print("all is well")


main()
