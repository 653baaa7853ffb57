"""One proxy in the pod's own namespace, without an agent (contract section 1.6)."""

import pytest

from mesh import servers
from mesh.clients import Client
from mesh.standard import ECHO, PEER, host_port
from mesh.topology import Mesh
from mesh.wait import until


@pytest.fixture(scope="module")
def town():
    with Mesh() as mesh:
        node1, node2 = mesh.node("node1"), mesh.node("node2")
        mesh.client = mesh.pod("client", node1)
        mesh.server = mesh.pod("server", node2)
        mesh.outsider = mesh.pod("outsider", node1, captured=False)
        mesh.plain = mesh.pod("plain", node2, captured=False)
        running = [servers.Server(p.ns, ECHO) for p in (mesh.server, mesh.plain)]
        running += [servers.Server(p.ns, PEER, servers.peer) for p in (mesh.server, mesh.plain)]
        mesh.write()
        for pod in (mesh.client, mesh.server):
            pod.own = mesh.proxy(pod.node, ns=pod.ns, **dedicated(pod))
        for pod in (mesh.client, mesh.server):
            pod.own.wait_ready()
        yield mesh
        for server in running:
            server.close()


def dedicated(pod, **more):
    return {
        "PROXY_MODE": "dedicated",
        "PROXY_WORKLOAD_INFO": f"{pod.namespace}/{pod.name}/{pod.account}",
        "PACKET_MARK": "1337",
        **more,
    }


@pytest.mark.parametrize(
    "source, target", [("client", "server"), ("client", "plain"), ("outsider", "server")], ids="-".join
)
def test_traffic(town, family, source, target):
    source, target = town.pods[source], town.pods[target]
    with Client(source.ns, target.ip[family], ECHO) as client:
        client.echo().echo(b"d" * 200000)
        client.half_close()
        assert client.end() == "fin"
    with Client(source.ns, target.ip[family], PEER) as client:
        client.half_close()
        assert client.read_all().decode().strip() == source.ip[family]


def test_tunnel_and_log(town, family):
    marks = town.client.own.mark(), town.server.own.mark()
    with Client(town.client.ns, town.server.ip[family], ECHO) as client:
        client.echo()
    line = town.client.own.wait_access(marks[0], direction="outbound", src_addr=client.source)
    assert line["dst.hbone_addr"] == host_port(town.server.ip[family], ECHO)
    assert (line["src.identity"], line["dst.identity"]) == (town.client.identity, town.server.identity)
    town.server.own.wait_access(marks[1], direction="inbound", src_identity=town.client.identity)


def test_dump_has_no_pods(town):
    assert "workloadState" not in town.client.own.config_dump()


def test_ready_without_an_agent(town):
    assert town.client.own.ready() == (200, "ready\n")


@pytest.mark.parametrize("value", [None, "default/client", pytest.param("a/b/c/d", marks=pytest.mark.ours), ""])
def test_workload_info_must_be_whole(town, value):
    spare = town.spare_namespace()
    proxy = town.proxy(town.nodes["node1"], ns=spare, **dedicated(town.client, PROXY_WORKLOAD_INFO=value))
    assert proxy.wait(10) == 1
    text = proxy.text()
    assert "PROXY_WORKLOAD_INFO" in text or "workload" in text.lower()


@pytest.mark.parametrize("port", [15001, 15006, 15008])
def test_busy_port_stops_the_start(town, port):
    spare = town.spare_namespace()
    with servers.Server(spare, port):
        proxy = town.proxy(town.nodes["node1"], ns=spare, **dedicated(town.client))
        assert proxy.wait(10) == 1
        until(lambda: "in use" in proxy.text().lower(), "the reason is in the log", 1)
