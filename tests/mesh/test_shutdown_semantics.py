"""How a connection ends on one side is how it ends on the other: half close, FIN stays FIN, RST stays RST (5.5, 14)."""

import hashlib
import os
import time

import h2.errors
import pytest

from mesh import hbone, servers
from mesh.ca import Authority
from mesh.clients import Client
from mesh.standard import ECHO, SINK, host_port
from mesh.wait import until

HELD = 8090
PATHS = {"tunnel": ("client", "server"), "plain_out": ("client", "plain"), "plain_in": ("outsider", "server")}


@pytest.fixture(params=PATHS, ids=list(PATHS))
def path(request, mesh):
    source, target = PATHS[request.param]
    return mesh.pods[source], mesh.pods[target]


@pytest.fixture
def pair(path, family):
    """A client, and the server's record of the same connection; the test drives both ends."""
    source, target = path
    with servers.Server(target.ns, HELD, servers.hold) as server:
        with Client(source.ns, target.ip[family], HELD) as client:
            client.send(b"first")
            record = server.next(0)
            record.sock.settimeout(8)
            assert record.sock.recv(5) == b"first"
            yield client, record


def test_client_half_close_leaves_the_other_way_open(pair):
    client, record = pair
    client.half_close()
    assert record.read() == b"" and record.end == "fin"
    record.sock.sendall(b"late answer")
    assert client.read(11) == b"late answer"
    record.sock.close()
    assert client.end() == "fin"


def test_server_half_close_leaves_the_other_way_open(pair):
    client, record = pair
    record.half_close()
    assert client.sock.recv(10) == b""
    client.send(b"late request")
    assert record.read(12) == b"late request"
    client.half_close()
    assert record.read() == b"" and record.end == "fin"


def test_server_fin_is_fin(pair):
    client, record = pair
    record.sock.sendall(b"all there is")
    record.half_close()
    assert client.read_all() == b"all there is"


@pytest.mark.ours
def test_client_reset_is_a_reset(pair):
    client, record = pair
    client.reset()
    assert record.read() == b"" and record.end == "rst"


@pytest.mark.ours
def test_server_reset_is_a_reset(pair):
    client, record = pair
    record.reset()
    assert client.end() == "rst"


@pytest.mark.ours
def test_reset_after_half_close_is_a_reset(pair):
    client, record = pair
    client.half_close()
    assert record.read() == b"" and record.end == "fin"
    record.sock.sendall(b"part of it")
    assert client.read(10) == b"part of it"
    record.reset()
    assert client.end() == "rst"


@pytest.mark.ours
def test_bytes_before_a_server_reset_do_not_look_complete(pair):
    """A truncated answer must not end with FIN."""
    client, record = pair
    record.sock.sendall(b"a" * 200000)
    assert client.read(1000)
    record.reset()
    assert client.end() == "rst"


def test_everything_arrives_before_the_end(path, family):
    """A close right behind the last byte of a large transfer loses nothing."""
    source, target = path
    data = os.urandom(3 << 20)

    def source_of_bytes(record):
        record.sock.sendall(data)

    with servers.Server(target.ns, HELD, source_of_bytes):
        with Client(source.ns, target.ip[family], HELD, timeout=30) as client:
            assert hashlib.sha256(client.read_all()).digest() == hashlib.sha256(data).digest()
    with Client(source.ns, target.ip[family], SINK, timeout=30) as client:
        client.send(data).half_close()
        assert client.read_all() == b"%d\n" % len(data)


def test_slow_reader_holds_the_sender_and_loses_nothing(path, family):
    """Backpressure reaches the sender's socket; what it sent arrives once the reader goes on."""
    source, target = path
    with servers.Server(target.ns, HELD, servers.hold) as server:
        with Client(source.ns, target.ip[family], HELD) as client:
            client.sock.setblocking(False)
            sent, block, idle = 0, os.urandom(1 << 16), 0
            while idle < 25 and sent < 200 << 20:
                try:
                    sent += client.sock.send(block)
                    idle = 0
                except BlockingIOError:
                    idle += 1
                    time.sleep(0.02)
            assert sent < 100 << 20, "nothing held the sender back"
            client.sock.setblocking(True)
            client.half_close()
            record = server.next(0)
            record.keep = False
            while record.read(1 << 20):
                pass
            assert record.received == sent and record.end == "fin"


# ---- towards other implementations --------------------------------------------------------------------------------------


@pytest.fixture
def caller(mesh):
    identity = Authority.of_mesh(mesh).issue("spiffe://cluster.local/ns/default/sa/caller")
    with hbone.Client(mesh.outsider.ns, mesh.server.ip[4], identity) as tunnel:
        yield tunnel


@pytest.mark.ours
def test_application_reset_becomes_a_stream_reset_that_is_no_cancel(mesh, caller):
    with servers.Server(mesh.server.ns, HELD, servers.hold) as server:
        stream = caller.request(host_port(mesh.server.ip[4], HELD))
        server.next(0).reset()
        until(lambda: stream.reset is not None, "RST_STREAM")
        assert stream.reset not in (h2.errors.ErrorCodes.NO_ERROR, h2.errors.ErrorCodes.CANCEL)
        assert not stream.ended


def test_application_fin_becomes_end_of_stream(mesh, caller):
    with servers.Server(mesh.server.ns, HELD, servers.hold) as server:
        stream = caller.request(host_port(mesh.server.ip[4], HELD))
        record = server.next(0)
        record.half_close()
        until(lambda: stream.ended, "END_STREAM")
        stream.write(b"other way")
        record.sock.settimeout(8)
        assert record.sock.recv(9) == b"other way"
        stream.end()
        assert record.read() == b"" and record.end == "fin"
        assert stream.reset is None


@pytest.mark.parametrize("code", [h2.errors.ErrorCodes.NO_ERROR, h2.errors.ErrorCodes.CANCEL])
def test_peers_cancel_is_an_end_for_the_application(mesh, caller, code):
    with servers.Server(mesh.server.ns, HELD, servers.hold) as server:
        stream = caller.request(host_port(mesh.server.ip[4], HELD))
        record = server.next(0)
        stream.abort(code)
        record.sock.settimeout(8)
        assert record.read() == b""
        assert record.end in ("fin", "rst")
    caller.echo(caller.request(host_port(mesh.server.ip[4], ECHO)))


@pytest.mark.ours
def test_peers_error_is_a_reset_for_the_application(mesh, caller):
    with servers.Server(mesh.server.ns, HELD, servers.hold) as server:
        stream = caller.request(host_port(mesh.server.ip[4], HELD))
        record = server.next(0)
        stream.abort(h2.errors.ErrorCodes.INTERNAL_ERROR)
        record.sock.settimeout(8)
        assert record.read() == b"" and record.end == "rst"
