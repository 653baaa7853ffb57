"""Another network is reached through its gateway: a tunnel inside a tunnel (contract section 4, step 9)."""

import re

import pytest

from mesh import hbone
from mesh.ca import Authority
from mesh.clients import Client
from mesh.servers import Server
from mesh.standard import vip_of
from mesh.topology import Mesh
from mesh.wait import until

REMOTE = "spiffe://cluster.local/ns/default/sa/remote"


@pytest.fixture(scope="module")
def town():
    """Services whose only endpoint has no address here, behind a gateway named in each possible way."""
    with Mesh() as mesh:
        node1, node2 = mesh.node("node1"), mesh.node("node2")
        mesh.client = mesh.pod("client", node1)
        mesh.gateway = mesh.pod("gateway", node2, captured=False, protocol="HBONE")
        gateway = mesh.service("gateway", {"15008": 15008}, [mesh.gateway])
        mesh.remotes = {
            "by-address": {"destination": f"/{mesh.gateway.ip[4]}", "hboneMtlsPort": 15008},
            "by-service": {"destination": f"default/{gateway['hostname']}", "hboneMtlsPort": 15008},
            "missing": {"destination": "default/no.such.gateway", "hboneMtlsPort": 15008},
            "no-names": {"destination": f"/{mesh.gateway.ip[4]}", "hboneMtlsPort": 15008},
        }
        for name, reference in mesh.remotes.items():
            service = mesh.service(name, {"80": 8080}, subjectAltNames=[] if name == "no-names" else [REMOTE])
            mesh.workloads.append(
                {
                    "uid": f"cluster2//Pod/default/{name}",
                    "name": name,
                    "namespace": "default",
                    "serviceAccount": "remote",
                    "trustDomain": "cluster.local",
                    "workloadIps": [],
                    "protocol": "HBONE",
                    "network": "remote",
                    "networkGateway": reference,
                    "clusterId": "cluster2",
                    "services": {f"default/{service['hostname']}": {"80": 8080}},
                }
            )
        # A workload of the other network that is only known by an address.
        mesh.workloads.append(
            {
                "uid": "cluster2//Pod/default/far",
                "name": "far",
                "namespace": "default",
                "trustDomain": "cluster.local",
                "workloadIps": [mesh.gateway.node.ip[4]],
                "protocol": "HBONE",
                "network": "remote",
                "services": {},
            }
        )
        mesh.by_name = {service["name"]: service for service in mesh.services}
        mesh.start(NETWORK="")
        mesh.authority = Authority.of_mesh(mesh)
        yield mesh


class Gateway:
    """The gateway's server; inside each of its streams, the remote proxy's."""

    def __init__(self, mesh, inner=REMOTE, outer=None):
        self.inner = []
        context = hbone.tls_context(mesh.authority.issue(inner), True)

        def accept(stream):
            self.inner.append(stream)
            stream.handler = hbone.Echo()
            stream.tunnel.answer(stream, 200, [("baggage", "k8s.namespace.name=default,k8s.deployment.name=there")])

        identity = mesh.authority.issue(outer or mesh.gateway.identity)
        self.server = hbone.Server(mesh.gateway.ns, identity, handler=lambda: hbone.Inner(context, accept))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.close()


@pytest.mark.parametrize("name", ["by-address", "by-service"])
def test_both_tunnels_ask_for_the_hostname(town, family, name):
    service = town.by_name[name]
    mark = town.client.proxy.mark()
    with Gateway(town) as gateway:
        with Client(town.client.ns, vip_of(service, family), 80) as client:
            client.echo().echo(b"w" * 300000)
            client.half_close()
            assert client.end() == "fin"
        outer, inner = gateway.server.requests[0].request, gateway.inner[0].request
        assert gateway.server.peers[0] == [town.client.identity]
    assert outer[":authority"] == inner[":authority"] == f"{service['hostname']}:80"
    assert "x-forwarded-network" not in outer and inner["x-forwarded-network"] == ""
    assert outer["traceparent"] == inner["traceparent"]
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-00", inner["traceparent"])
    for head in (outer, inner):
        assert head["forwarded"].endswith(f";host={service['hostname']}")
        assert "k8s.deployment.name=client" in head["baggage"]
        assert not {":scheme", ":path"} & set(head)
    line = town.client.proxy.wait_access(mark, direction="outbound", src_addr=client.source)
    assert line["dst.service"] == service["hostname"] and "error" not in line
    assert town.client.proxy.metrics().find("istio_tcp_connections_opened_total", destination_workload="there")


def test_outer_tunnel_is_shared_inner_is_not(town):
    with Gateway(town) as gateway:
        clients = [Client(town.client.ns, vip_of(town.by_name["by-address"], 4), 80) for _ in range(4)]
        for client in clients:
            client.echo()
        assert len(gateway.inner) == 4
        assert len({id(stream.tunnel) for stream in gateway.inner}) == 4
        assert len(gateway.server.tunnels) <= 2
        for client in clients:
            client.close()


def refused(town, name, **gateway):
    """A connection that must fail; its address, to find it in the log."""
    with Gateway(town, **gateway) as server:
        with Client(town.client.ns, vip_of(town.by_name[name], 4), 80) as client:
            try:
                client.send(b"x")
            except ConnectionError:
                pass
            assert client.end() in ("fin", "rst")
        assert not server.inner
    return client.source


def test_inner_peer_must_have_a_name_of_the_service(town):
    source = refused(town, "by-address", inner="spiffe://cluster.local/ns/default/sa/impostor")
    line = town.client.proxy.wait_access(src_addr=source)
    assert "expected SAN" in line["error"]


def test_service_without_names_trusts_nobody(town):
    source = refused(town, "no-names")
    assert town.client.proxy.wait_access(src_addr=source).level == "error"


def test_gateway_must_be_the_gateway(town):
    source = refused(town, "by-service", outer="spiffe://cluster.local/ns/default/sa/impostor")
    assert "expected SAN" in town.client.proxy.wait_access(src_addr=source)["error"]


def test_gateway_that_is_unknown_fails(town):
    source = refused(town, "missing")
    line = town.client.proxy.wait_log(f"connection failed.*{re.escape(source)}")
    assert "gateway" in line["error"].lower()


def test_address_of_a_workload_on_another_network_is_passed_through(town):
    """Only (our network, address) names a workload."""
    mark = town.client.proxy.mark()
    with Server(town.gateway.node.ns, 9001), Client(town.client.ns, town.gateway.node.ip[4], 9001) as client:
        client.echo()
    line = town.client.proxy.wait_access(mark, direction="outbound", src_addr=client.source)
    assert "dst.workload" not in line and "dst.hbone_addr" not in line


def test_gateway_that_hangs_up_on_the_inner_tunnel(town):
    with hbone.Server(
        town.gateway.ns, town.authority.issue(town.gateway.identity), handler=lambda: HangUp()
    ) as server:
        with Client(town.client.ns, vip_of(town.by_name["by-address"], 4), 80) as client:
            try:
                client.send(b"x")
            except ConnectionError:
                pass
            assert client.end() in ("fin", "rst")
        until(lambda: server.requests, "the outer request")


class HangUp:
    def data(self, stream, data):
        stream.abort()

    def end(self, stream):
        pass
