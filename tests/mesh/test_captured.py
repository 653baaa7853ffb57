"""Traffic of captured and uncaptured pods, on one node and across nodes: bytes, source, secrecy, metrics, log.

Contract sections 1.4, 1.5, 4, 6, 9, 10; reference rows local_captured, cross_node_captured, server_uncaptured,
client_uncaptured.
"""

import pytest

from mesh.capture import Capture
from mesh.clients import Client, refused_after_accept
from mesh.servers import Server
from mesh.standard import ECHO, PEER, SINK, host_port, vip_of
from mesh.wait import until

SECRET = b"nobody between the nodes reads this"
CASES = {
    # name: client, server, how the source node's proxy sends it, how the target node's proxy gets it
    "cross_node": ("client", "server", "mutual_tls", "mutual_tls"),
    "local": ("client", "local", "mutual_tls", "mutual_tls"),
    "nft_rules": ("client", "nft", "mutual_tls", "mutual_tls"),
    "server_uncaptured": ("client", "plain", "unknown", None),
    "client_uncaptured": ("outsider", "server", None, "unknown"),
    "both_uncaptured": ("outsider", "plain", None, None),
}


@pytest.fixture(params=CASES, ids=list(CASES))
def case(request, mesh):
    source, target, outbound, inbound = CASES[request.param]
    return mesh.pods[source], mesh.pods[target], outbound, inbound


def traffic(metrics, name, reporter, source, target):
    return metrics.find(name, reporter=reporter, source_workload=source.name, destination_workload=target.name)


def total(metrics, name, reporter, source, target, **labels):
    found = traffic(metrics, name, reporter, source, target)
    return sum(value for have, value in found if labels.items() <= have.items())


def test_bytes_come_back(mesh, case, family):
    source, target, _, _ = case
    with Client(source.ns, target.ip[family], ECHO) as client:
        client.echo(b"hello").echo(bytes(range(256)) * 2000)
        client.half_close()
        assert client.end() == "fin"


def test_application_sees_the_pod_that_calls(mesh, case, family):
    source, target, _, _ = case
    with Client(source.ns, target.ip[family], PEER) as client:
        client.half_close()
        assert client.read_all().decode().strip() == source.ip[family]


def test_tunnel_hides_the_bytes(mesh, case, family):
    source, target, outbound, _ = case
    with Capture(mesh.node2.ns, "up0") as wire, Capture(target.node.ns, target.name) as access:
        with Client(source.ns, target.ip[family], ECHO) as client:
            client.echo(SECRET)
        hidden = outbound == "mutual_tls"
        assert access.holds(SECRET) != hidden
        if source.node is not target.node:
            assert wire.holds(SECRET) != hidden
        ports = {segment.target_port for segment in access.segments()}
        assert (15008 in ports) == hidden


def test_metrics_count_connection_and_bytes(mesh, case, family):
    source, target, outbound, inbound = case
    sides = [(source, "source", outbound), (target, "destination", inbound)]
    before = [pod.proxy.metrics() for pod, _, _ in sides]
    with Client(source.ns, target.ip[family], SINK) as client:
        client.send(b"x" * 10000).half_close()
        assert client.read_all() == b"10000\n"
    for (pod, reporter, security), old in zip(sides, before):
        if security is None:
            new = pod.proxy.metrics()
            assert not traffic(new, "istio_tcp_connections_opened_total", reporter, source, target)
            continue

        def moved(new, name):
            key = (name, reporter, source, target)
            return total(new, *key, connection_security_policy=security) - total(
                old, *key, connection_security_policy=security
            )

        pod.proxy.wait_metric(
            lambda new: moved(new, "istio_tcp_connections_closed_total") == 1, f"a closed connection ({reporter})"
        )
        new = pod.proxy.metrics()
        assert moved(new, "istio_tcp_connections_opened_total") == 1
        assert moved(new, "istio_tcp_received_bytes_total") == 10000
        assert moved(new, "istio_tcp_sent_bytes_total") == 6
        labels = traffic(new, "istio_tcp_connections_opened_total", reporter, source, target)[-1][0]
        assert labels["source_canonical_service"] == source.name
        assert labels["source_canonical_revision"] == "v1"
        assert labels["source_workload_namespace"] == "default"
        assert labels["destination_canonical_service"] == target.name
        assert labels["destination_principal"] == target.identity
        assert labels["source_principal"] == (source.identity if security == "mutual_tls" else "unknown")
        assert labels["request_protocol"] == "tcp"
        assert labels["response_flags"] == "-"


def test_access_log_says_who_and_where(mesh, case, family):
    source, target, outbound, inbound = case
    marks = [source.proxy.mark(), target.proxy.mark()]
    with Client(source.ns, target.ip[family], SINK) as client:
        client.send(b"x" * 1234).half_close()
        assert client.read_all() == b"1234\n"
        address = client.source
    if outbound:
        line = source.proxy.wait_access(marks[0], direction="outbound", src_addr=address)
        port = 15008 if outbound == "mutual_tls" else SINK
        assert line.level == "info"
        assert line["dst.addr"] == host_port(target.ip[family], port)
        assert line.get("dst.hbone_addr") == (
            host_port(target.ip[family], SINK) if outbound == "mutual_tls" else None
        )
        assert line["bytes_sent"] == "1234" and line["bytes_recv"] == "5"
        assert line["src.workload"] == source.name and line["src.namespace"] == "default"
        assert line["dst.workload"] == target.name and line["dst.namespace"] == "default"
        identities = (source.identity, target.identity) if outbound == "mutual_tls" else (None, None)
        assert (line.get("src.identity"), line.get("dst.identity")) == identities
        assert "error" not in line
        assert line["duration"].endswith("ms")
        assert list(line) == [key for key in ORDER if key in line]
    if inbound:
        # The tunnel's own port is the source of an HBONE stream; only its address is the pod's.
        def lines():
            found = target.proxy.access(marks[1], direction="inbound", bytes_recv="1234")
            return [line for line in found if line["src.addr"].startswith(address.rpartition(":")[0])]

        line = until(lines, lambda: f"inbound access line\n{target.proxy.text(marks[1])}")[0]
        assert line["bytes_sent"] == "5"
        assert line["dst.addr"] == host_port(target.ip[family], 15008 if inbound == "mutual_tls" else SINK)
        assert line.get("src.identity") == (source.identity if inbound == "mutual_tls" else None)
        assert line["src.workload"] == source.name
        assert line["dst.workload"] == target.name
        assert list(line) == [key for key in ORDER if key in line]


ORDER = (
    "src.addr src.workload src.namespace src.identity src.cluster dst.addr dst.hbone_addr dst.service dst.workload"
    " dst.namespace dst.identity dst.cluster direction bytes_sent bytes_recv duration error"
).split()


def test_service_address_is_translated(mesh, family):
    mark = mesh.node1.proxy.mark()
    with Client(mesh.client.ns, vip_of(mesh.vip, family), 80) as client:
        client.echo()
    line = mesh.node1.proxy.wait_access(mark, direction="outbound", src_addr=client.source)
    assert line["dst.service"] == "server.default.svc.cluster.local"
    assert line["dst.hbone_addr"] == host_port(mesh.server.ip[family], ECHO)
    labels = mesh.node1.proxy.metrics().find("istio_tcp_connections_opened_total", destination_service_name="server")
    assert labels and labels[0][0]["destination_service"] == "server.default.svc.cluster.local"
    assert labels[0][0]["destination_service_namespace"] == "default"


def test_address_unknown_to_the_mesh_is_passed_through(mesh, family):
    """The fabric's other node is no workload: plaintext, no destination labels."""
    mark = mesh.node1.proxy.mark()
    with Server(mesh.node2.ns, 9000) as server, Client(mesh.client.ns, mesh.node2.ip[family], 9000) as client:
        client.echo()
        assert server.records[0].peer == mesh.client.ip[family]
    line = mesh.node1.proxy.wait_access(mark, direction="outbound", src_addr=client.source)
    assert line["dst.addr"] == host_port(mesh.node2.ip[family], 9000)
    assert "dst.workload" not in line and "dst.service" not in line


def test_pod_that_calls_itself_is_not_captured(mesh, family):
    mark = mesh.node2.proxy.mark()
    with Client(mesh.server.ns, mesh.server.ip[family], PEER) as client:
        client.half_close()
        assert client.read_all().decode().strip() == mesh.server.ip[family]
    with Client(mesh.server.ns, {4: "127.0.0.1", 6: "::1"}[family], ECHO) as client:
        client.echo()
    assert not mesh.node2.proxy.access(mark)


def test_nobody_listens_closes_the_client(mesh, family):
    """The proxy has accepted before it knows: the application sees an end, never a refused SYN."""
    mark = mesh.node1.proxy.mark()
    assert refused_after_accept(mesh.client.ns, mesh.server.ip[family], 9) in ("fin", "rst")
    line = mesh.node1.proxy.wait_access(mark, dst_hbone_addr=host_port(mesh.server.ip[family], 9))
    assert line.level == "error" and "503" in line["error"]
    assert refused_after_accept(mesh.client.ns, mesh.plain.ip[family], 9) in ("fin", "rst")


def test_many_connections_share_a_tunnel(mesh, family):
    """One tunnel per (identity, destination) and worker, not one per connection."""
    with Capture(mesh.node1.ns, "up0") as wire:
        clients = [Client(mesh.client.ns, mesh.server.ip[family], ECHO) for _ in range(30)]
        for client in clients:
            client.echo()
        for client in clients:
            client.close()
        syns = [s for s in wire.segments() if s.flags & 0x12 == 0x02 and s.target_port == 15008]
    assert len(syns) <= 2
