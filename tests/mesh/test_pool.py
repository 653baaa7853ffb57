"""Which connections share a tunnel, and when a tunnel ends (contract section 5.4)."""

import h2.errors
import pytest

from mesh import hbone
from mesh.ca import Authority
from mesh.clients import Client
from mesh.hbone import frame
from mesh.topology import Mesh
from mesh.wait import until


@pytest.fixture(scope="module")
def town():
    """Two clients of different identity on one node; the target's tunnels are served by the test."""
    with Mesh() as mesh:
        node1, node2 = mesh.node("node1"), mesh.node("node2")
        mesh.client, mesh.other = mesh.pod("client", node1), mesh.pod("other", node1)
        mesh.target = mesh.pod("target", node2, captured=False, protocol="HBONE")
        mesh.start(ZTUNNEL_WORKER_THREADS="1", POOL_MAX_STREAMS_PER_CONNECTION="4", POOL_UNUSED_RELEASE_TIMEOUT="1s")
        mesh.identity = Authority.of_mesh(mesh).issue(mesh.target.identity)
        yield mesh


@pytest.fixture
def server(town):
    with hbone.Server(town.target.ns, town.identity) as made:
        yield made


def dial(town, pod=None, family=4, port=80):
    return Client((pod or town.client).ns, town.target.ip[family], port).echo()


def live(server):
    return [tunnel for tunnel in server.tunnels if not tunnel.closed]


def close_all(clients):
    for client in clients:
        client.close()


def test_connections_one_after_the_other_share_a_tunnel(town, server, family):
    for _ in range(10):
        dial(town, family=family).close()
    assert len(server.tunnels) == 1


def test_ports_share_a_tunnel(town, server):
    clients = [dial(town, port=port) for port in (80, 81, 82)]
    assert len(server.tunnels) == 1
    assert [s.authority for s in server.requests] == [f"{town.target.ip[4]}:{port}" for port in (80, 81, 82)]
    close_all(clients)


def test_identities_do_not_share_a_tunnel(town, server):
    clients = [dial(town), dial(town, town.other)]
    assert len(server.tunnels) == 2
    assert sorted(server.peers) == sorted([[town.client.identity], [town.other.identity]])
    close_all(clients)


def test_families_do_not_share_a_tunnel(town, server):
    clients = [dial(town, family=4), dial(town, family=6)]
    assert len(server.tunnels) == 2
    close_all(clients)


def test_full_tunnel_is_not_used_again(town, server):
    """4 streams a tunnel; one that was full once leaves the pool for good, and ends with its last stream."""
    clients = [dial(town) for _ in range(9)]
    assert 2 < len(server.tunnels) <= 4
    for tunnel in server.tunnels:
        assert len(tunnel.streams) <= 4
        assert max(stream.id for stream in tunnel.streams.values()) <= 7
    close_all(clients)
    until(lambda: len(live(server)) <= 1, "full tunnels end with their last stream")


@pytest.mark.ours  # the original waits for a place on that tunnel, for ever if need be
def test_peers_lower_limit_is_kept(town):
    with hbone.Server(
        town.target.ns, town.identity, settings={hbone.h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 2}
    ) as server:
        dial(town).close()
        clients = [dial(town) for _ in range(5)]
        for tunnel in server.tunnels:
            open_now = [s for s in tunnel.streams.values() if not s.ended and s.reset is None]
            assert len(open_now) <= 2
        close_all(clients)


def test_idle_tunnel_ends(town, server):
    dial(town).close()
    until(lambda: not live(server), "the idle tunnel is closed", 5)
    dial(town).close()
    assert len(server.tunnels) == 2


def test_idle_time_does_not_end_a_stream(town, server):
    client = dial(town)
    dial(town, town.other).close()
    until(lambda: len(live(server)) == 1, "the other tunnel, which is idle, is closed", 5)
    client.echo(b"still here")
    client.close()


def test_goaway_moves_new_connections_to_a_new_tunnel(town, server):
    client = dial(town)
    tunnel = server.tunnels[0]
    tunnel.raw(frame(7, 0, 0, b"\x7f\xff\xff\xff" + b"\0\0\0\0"))
    other = dial(town)
    assert len(server.tunnels) == 2
    client.echo(b"the old stream goes on")
    close_all([client, other])


def test_tunnel_that_dies_is_replaced(town, server):
    client = dial(town)
    server.tunnels[0].sock.shutdown(2)
    assert client.end() != "open"
    dial(town).close()
    assert len(server.tunnels) == 2


def test_refused_stream_fails_that_connection_only(town, server):
    client = dial(town)
    server.answer = lambda stream: stream.abort(h2.errors.ErrorCodes.REFUSED_STREAM)
    refused = Client(town.client.ns, town.target.ip[4], 80)
    assert refused.end() in ("fin", "rst")
    server.answer = lambda stream: 200
    client.echo(b"not concerned")
    close_all([client, refused, dial(town)])


def test_many_at_once_wait_for_one_handshake(town, server):
    clients = [Client(town.client.ns, town.target.ip[4], 80) for _ in range(4)]
    for client in clients:
        client.echo()
    assert len(server.tunnels) <= 2
    close_all(clients)
