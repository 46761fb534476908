"""Services of manifests, with real guests: addresses, names, who answers, and what happens while hyperd is away."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

import busybox_image
from audit import kill_process
from free_port import free_port
from hyper import Hyper
from manifests import FOREVER, Cluster, Document, container, golden, lines, pod, thing
from reach import http_get

BUSYBOX = busybox_image.REFERENCE


def web(pods: int, node_port: int) -> list[Document]:
    """The golden deployment with its service, and a pod that asks for the page by the service's name."""
    serve = f"hostname > /tmp/index.html; httpd -p 80 -h /tmp; {FOREVER}"
    names = ("web", "web.default", "web.default.svc.cluster.local")
    one = "wget -qO- http://{}:8080/ || exit 1"
    ask = "; ".join(f"for i in 1 2 3 4 5 6 7 8; do {one.format(name)}; done" for name in names)

    def listens(spec: Document) -> None:
        # Without it a pod is one of the service's as soon as its program runs, whether that listens yet or not.
        probe = {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1}
        spec["containers"][0]["readinessProbe"] = probe

    deployment, service = golden("deployment", {"web": serve}, listens)
    deployment["spec"]["replicas"] = pods
    service["spec"]["ports"] = [{"port": 8080, "targetPort": "http", "nodePort": node_port}]
    return [deployment, service, pod("client", container("client", ask))]


def service(cluster: Cluster, name: str) -> Document:
    """As it is shown: ``VIP``, ``Ports``, ``Tasks``."""
    [shown] = cluster.hyper.json("network", "inspect", "bridge")
    found: Document = shown["Services"][name]
    return found


def answers(address: str) -> set[bytes]:
    return {http_get(address)[1] for _ in range(16)}


def test_a_service_in_front_of_two_pods(cluster: Cluster) -> None:
    node_port = free_port()
    documents = web(2, node_port)
    expected = ("deployment/web", "service/web", "pod/client")
    assert cluster.play(*documents[:2]) == dict.fromkeys(expected[:2], "created")
    cluster.until_pod("web-0", "Ready", True)
    cluster.until_pod("web-1", "Ready", True)
    known = dict.fromkeys(expected[:2], "unchanged")
    assert cluster.play(*documents) == {**known, "pod/client": "created"}
    status, text = cluster.ends("client-client")
    assert (status, len(lines(text)), set(lines(text))) == (0, 24, {"web-0", "web-1"})
    own, host = f"{service(cluster, 'web')['VIP']}:8080", f"127.0.0.1:{node_port}"
    assert service(cluster, "web")["Ports"] == ["8080/tcp"]
    for address in (own, host):
        assert answers(address) == {b"web-0\n", b"web-1\n"}
    # One of them is away: the other has all.
    cluster.hyper("pod", "stop", "web-0")
    assert answers(own) == {b"web-1\n"}
    # hyperd is away: nothing changes, then or after.
    kill_process(cluster.hyper.daemon_pid())
    assert answers(own) == answers(host) == {b"web-1\n"}
    assert cluster.play(*documents) == dict.fromkeys(expected, "unchanged")
    cluster.until_pod("web-0", "Ready", True)
    assert answers(own) == answers(host) == {b"web-0\n", b"web-1\n"}
    # Nobody is behind it.
    cluster.hyper("pod", "stop", "web-0", "web-1")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((own.partition(":")[0], 8080), timeout=5)
    assert cluster.down(*documents) == dict.fromkeys(expected, "removed")
    assert cluster.hyper.out("ps", "-aq") == ""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", node_port), timeout=5)


def test_a_pod_waits_for_the_service_of_one_that_comes_later(cluster: Cluster) -> None:
    wait = "until wget -qO- http://backend:8080/ 2>&-; do sleep 0.2; done"
    serve = f"echo answer > /tmp/index.html; httpd -p 80 -h /tmp; {FOREVER}"
    backend = pod("backend", container("a", serve))
    backend["metadata"]["labels"] = {"app": "backend"}
    ports = [{"port": 8080, "targetPort": 80}]
    cluster.play(
        pod("waits", container("a", "echo works"), initContainers=[container("asks", wait)]),
        thing("v1", "Service", "backend", spec={"selector": {"app": "backend"}, "ports": ports}),
        backend,
    )
    assert cluster.ends("waits-asks") == (0, "answer\n")
    assert cluster.ends("waits-a") == (0, "works\n")


def test_pods_find_one_another_and_know_where_they_are(cluster: Cluster) -> None:
    """A service without an address of its own, as stateful sets have them."""
    told = [
        {"name": name, "valueFrom": {"fieldRef": {"fieldPath": f"status.{name}"}}}
        for name in ("podIP", "hostIP")
    ]
    env = [*told, {"name": "URL", "value": "http://$(podIP):80"}]
    say = f"echo $URL; ip -4 -o addr show eth0; ip route; {FOREVER}"
    peers = thing(
        "apps/v1",
        "StatefulSet",
        "db",
        spec={
            "serviceName": "db",
            "replicas": 2,
            "selector": {"matchLabels": {"app": "db"}},
            "template": {
                "metadata": {"labels": {"app": "db"}},
                "spec": {"containers": [container("c", say, env=env)], "terminationGracePeriodSeconds": 2},
            },
        },
    )
    headless = {"clusterIP": "None", "selector": {"app": "db"}, "ports": [{"port": 5432}]}
    cluster.play(thing("v1", "Service", "db", spec=headless), peers)
    addresses = {one["Name"]: one["EndpointIP"] for one in service(cluster, "db")["Tasks"]}
    assert set(addresses) == {"db-0", "db-1"}
    found = cluster.sh("db-0-c", "nslookup db-1.db.default.svc.cluster.local; nslookup db.default")
    assert found.count(addresses["db-1"]) == 2
    assert found.count(addresses["db-0"]) == 1
    for name, address in addresses.items():
        cluster.hyper.wait_for_log(f"{name}-c", f"http://{address}:80".encode())
        assert cluster.sh(f"{name}-c", "echo $podIP") == address
        assert cluster.sh(f"{name}-c", "wget -qO- http://$hostIP:1 2>&1").count("refused") == 1


def front(service_ip: str, *peers: str) -> Document:
    """A podfile: a pod in the network ``shop``, with a service of its own in front of these."""
    hosts = [{"hostIP": peer, "hostPort": 80} for peer in peers]
    return {
        "id": "front",
        "containers": [{"name": "front", "image": BUSYBOX, "command": ["sh", "-c", FOREVER]}],
        "interfaces": [{"bridge": "shop", "ip": "10.233.77.20/24", "ifname": "eth0"}],
        "services": [{"serviceIP": service_ip, "servicePort": 8080, "hosts": hosts}],
    }


@pytest.fixture
def shop(hyper: Hyper) -> Iterator[dict[str, str]]:
    """Two containers of a network that say their names, and their addresses."""
    serve = f"hostname > /tmp/index.html; httpd -p 80 -h /tmp; echo up; {FOREVER}"
    hyper("network", "create", "--subnet", "10.233.77.0/24", "shop")
    made = {"a": "10.233.77.8", "b": "10.233.77.9"}
    for name, address in made.items():
        place = ("--hostname", name, "--network", f"name=shop,ip={address}")
        hyper("run", "-d", "--name", name, *place, BUSYBOX, "sh", "-c", serve)
        hyper.wait_for_log(name, b"up")
    yield made
    hyper("pod", "rm", "-f", "front", check=False)
    hyper("rm", "-f", *made)
    hyper("network", "rm", "shop")


def test_a_podfiles_services_are_the_pods_alone(cluster: Cluster, shop: dict[str, str]) -> None:
    hyper = cluster.hyper
    told = hyper(
        "create",
        "--podfile",
        "-",
        stdin=json.dumps(front("10.233.77.99", *shop.values())).encode(),
        check=False,
    )
    assert b"own network" in told.stderr
    hyper("run", "-d", "--podfile", "-", stdin=json.dumps(front("10.254.0.1", *shop.values())).encode())
    assert "10.233.77.20/24" in cluster.sh("front", "ip -4 addr show eth0")
    ask = "for i in $(seq 16); do wget -qO- http://10.254.0.1:8080/; done"
    assert set(lines(cluster.sh("front", ask))) == {"a", "b"}
    kill_process(hyper.daemon_pid())
    assert set(lines(cluster.sh("front", ask))) == {"a", "b"}
