"""Envoy, unchanged, on the other end of the tunnel: as client and as server, with mutual TLS from the mesh's CA."""

import hashlib
import os

import pytest

from mesh import envoy, servers
from mesh.ca import Authority
from mesh.clients import Client
from mesh.standard import ECHO, SINK, Standard, host_port

ENTRY = 10000


@pytest.fixture(scope="module", params=[4, 6], ids=["v4", "v6"])
def town(request):
    """`gateway` runs Envoy as client of server's proxy; `waypoint` runs it as server for client's proxy."""
    with Standard() as made:
        made.family = request.param
        made.gateway = made.pod("gateway", made.node1, captured=False, protocol="HBONE")
        made.waypoint = made.pod("waypoint", made.node2, captured=False, protocol="HBONE")
        made.start()
        authority = Authority.of_mesh(made)
        target = made.server.ip[made.family]
        resources = envoy.client(
            authority.issue(made.gateway.identity), made.server.identity, target, host_port(target, ECHO), ENTRY
        )
        local = {4: "127.0.0.1", 6: "::1"}[made.family]
        back = envoy.server(authority.issue(made.waypoint.identity), made.client.identity, local, ECHO)
        with servers.Server(made.waypoint.ns, ECHO), servers.Server(made.waypoint.ns, SINK, servers.sink):
            with envoy.Envoy(made.gateway.ns, f"out{made.family}", made.dir, resources) as made.out:
                with envoy.Envoy(made.waypoint.ns, f"in{made.family}", made.dir, back) as made.back:
                    yield made


def through_envoy_client(town):
    """From the client's node to Envoy, from there through the tunnel to our proxy."""
    return Client(town.outsider.ns, town.gateway.ip[town.family], ENTRY)


def through_envoy_server(town):
    """From a captured pod through our proxy to Envoy."""
    return Client(town.client.ns, town.waypoint.ip[town.family], ECHO)


WAYS = {"envoy_client": through_envoy_client, "envoy_server": through_envoy_server}


@pytest.fixture(params=WAYS, ids=list(WAYS))
def connect(request, town):
    return lambda: WAYS[request.param](town)


def test_bytes_come_back(connect):
    with connect() as client:
        client.echo(b"hello").echo(os.urandom(500000))
        client.half_close()
        assert client.end() == "fin"


def test_bulk(connect):
    data = os.urandom(8 << 20)
    got = hashlib.sha256()
    with connect() as client:
        client.sock.settimeout(20)
        sent = size = 0
        while size < len(data):
            if sent < len(data) and sent - size < 1 << 19:
                client.send(data[sent : sent + 65536])
                sent += 65536
            else:
                part = client.sock.recv(1 << 17)
                assert part
                got.update(part)
                size += len(part)
    assert got.digest() == hashlib.sha256(data).digest()


def test_many_streams_share_few_tunnels(connect):
    clients = [connect() for _ in range(60)]
    for i, client in enumerate(clients):
        client.echo(b"%d" % i)
    for client in clients:
        client.half_close()
    for client in clients:
        assert client.end() == "fin"
        client.close()


def test_our_log_names_envoy_by_its_certificate(town):
    mark = town.node2.proxy.mark()
    with through_envoy_client(town) as client:
        client.echo()
    line = town.node2.proxy.wait_access(mark, direction="inbound", src_identity=town.gateway.identity)
    assert line["dst.hbone_addr"] == host_port(town.server.ip[town.family], ECHO)
    assert "error" not in line


def test_our_log_of_the_way_to_envoy(town):
    with through_envoy_server(town) as client:
        client.echo()
    line = town.node1.proxy.wait_access(src_addr=client.source)
    assert line["dst.identity"] == town.waypoint.identity and "error" not in line
    assert line["dst.addr"] == host_port(town.waypoint.ip[town.family], 15008)


def test_envoy_saw_no_protocol_error(town):
    for name in ("cluster.tunnel.http2.tx_reset", "cluster.tunnel.upstream_cx_protocol_error"):
        assert not town.out.stat(name)
    assert not town.out.stat("cluster.tunnel.ssl.fail_verify_san")
    for name in ("listener.[__]_15008.ssl.fail_verify_san", "http.hbone.downstream_cx_protocol_error"):
        assert not town.back.stat(name)
    assert town.back.stat("http.hbone.downstream_rq_total") > 60
    assert town.back.stat("http.hbone.downstream_cx_total") < 20


def test_application_that_is_not_there(town):
    authority = Authority.of_mesh(town)
    target = town.server.ip[town.family]
    resources = envoy.client(
        authority.issue(town.gateway.identity), town.server.identity, target, host_port(target, 9), ENTRY
    )
    with envoy.Envoy(town.local.ns, f"nobody{town.family}", town.dir, resources):
        with Client(town.local.ns, {4: "127.0.0.1", 6: "::1"}[town.family], ENTRY) as client:
            client.send(b"x")
            assert client.end() in ("fin", "rst")
