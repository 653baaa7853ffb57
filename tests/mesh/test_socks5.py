"""SOCKS5 inside the pod (contract section 7): destinations of each kind, and what is refused."""

import socket
import struct
import time

import pytest

from mesh.clients import Client
from mesh.standard import ECHO, PEER, Standard, vip_of


@pytest.fixture(scope="module")
def town():
    with Standard() as made:
        made.start(UNSTABLE_ENABLE_SOCKS5="true")
        yield made


def v4(host, port):
    return b"\x01" + socket.inet_aton(host) + struct.pack("!H", port)


def v6(host, port):
    return b"\x04" + socket.inet_pton(socket.AF_INET6, host) + struct.pack("!H", port)


def address(host, port):
    return (v6 if ":" in host else v4)(host, port)


def socks(town):
    return Client(town.client.ns, "127.0.0.1", 15080)


def greet(client):
    client.send(b"\x05\x01\x00")
    assert client.read(2) == b"\x05\x00"
    return client


def request(client, target, command=1):
    client.send(b"\x05" + bytes([command]) + b"\x00" + target)
    return client.read(10)


def test_pod(town, family):
    with greet(socks(town)) as client:
        assert request(client, address(town.server.ip[family], ECHO)) == b"\x05\x00\x00\x01" + bytes(6)
        client.echo().echo(b"s" * 200000)
        client.half_close()
        assert client.end() == "fin"


def test_pod_sees_the_caller(town, family):
    with greet(socks(town)) as client:
        request(client, address(town.server.ip[family], PEER))
        client.half_close()
        assert client.read_all().decode().strip() == town.client.ip[family]


def test_uncaptured_pod_and_service(town, family):
    for host, port in ((town.plain.ip[family], ECHO), (vip_of(town.vip, family), 80)):
        with greet(socks(town)) as client:
            request(client, address(host, port))
            client.echo()


def test_it_goes_through_the_tunnel(town):
    mark = town.node1.proxy.mark()
    with greet(socks(town)) as client:
        request(client, address(town.server.ip[4], ECHO))
        client.echo()
    line = town.node1.proxy.wait_access(mark, direction="outbound", dst_workload="server")
    assert line["dst.identity"] == town.server.identity


def test_bytes_right_behind_the_request_are_not_lost(town):
    with greet(socks(town)) as client:
        client.send(b"\x05\x01\x00" + address(town.server.ip[4], ECHO) + b"early")
        assert client.read(10)[1] == 0
        assert client.read(5) == b"early"


def test_bytes_in_single_pieces(town):
    with socks(town) as client:
        for byte in b"\x05\x02\x02\x00":
            client.send(bytes([byte]))
        assert client.read(2) == b"\x05\x00"
        for byte in b"\x05\x01\x00" + address(town.server.ip[4], ECHO):
            client.send(bytes([byte]))
        client.read(10)
        client.echo()


@pytest.mark.parametrize(
    "data",
    [b"\x04\x01\x00\x50\x01\x02\x03\x04\x00", b"\x05\x01\x02", b"\x05\x00", b"GET / HTTP/1.1\r\n\r\n"],
    ids=["version_4", "no_method_we_know", "no_methods", "http"],
)
def test_bad_greeting_gets_code_7(town, data):
    with socks(town) as client:
        client.send(data)
        answer = client.read_rest()
        assert answer[:2] in (b"\x05\x07", b"\x05\xff")


@pytest.mark.parametrize(
    "data",
    [b"\x05\x02\x00" + v4("192.0.2.1", 1), b"\x05\x03\x00" + v4("192.0.2.1", 1), b"\x05\x01\x00\x07abc", b"\x04\x01\x00\x01aaaaaa"],
    ids=["bind", "udp", "address_type", "version"],
)
def test_bad_request_gets_code_7(town, data):
    with greet(socks(town)) as client:
        client.send(data)
        assert client.read_rest()[:2] == b"\x05\x07"


def test_own_port_is_refused(town):
    with greet(socks(town)) as client:
        client.send(b"\x05\x01\x00" + v4("127.0.0.1", 15080))
        assert client.end() in ("fin", "rst")


def test_a_silent_client_is_given_up(town):
    """After the time of a handshake, and not before."""
    with Client(town.client.ns, "127.0.0.1", 15080, timeout=15) as client:
        greet(client)
        began = time.monotonic()
        assert client.end(14) == "fin"
        assert 8 < time.monotonic() - began < 12


def test_only_loopback_listens(town, family):
    with pytest.raises(ConnectionRefusedError):
        Client(town.client.ns, town.client.ip[family], 15080)


def test_off_unless_asked_for(mesh):
    with pytest.raises(ConnectionRefusedError):
        Client(mesh.client.ns, "127.0.0.1", 15080)
