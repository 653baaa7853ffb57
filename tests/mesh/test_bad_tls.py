"""Peers whose TLS is not good enough, on both sides of the proxy; each loses only itself (contract section 5.1)."""

import datetime
import os
import socket
import ssl

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from mesh import hbone
from mesh.ca import UTC, Authority
from mesh.clients import Client
from mesh.servers import Server
from mesh.standard import ECHO, Standard, host_port
from mesh.wait import until

GOOD = "spiffe://cluster.local/ns/default/sa/caller"
HOUR = datetime.timedelta(hours=1)


@pytest.fixture(scope="module")
def authority(mesh):
    return Authority.of_mesh(mesh)


@pytest.fixture(scope="module")
def stranger(mesh):
    return Authority.new(f"{mesh.dir}/stranger")


def serves(mesh, identity):
    with hbone.Client(mesh.outsider.ns, mesh.server.ip[4], identity) as client:
        client.echo(client.request(host_port(mesh.server.ip[4], ECHO)))
        return client.address


def refused(mesh, identity, **how):
    """A handshake, or the first request after it, that must not succeed."""
    with hbone.Client(mesh.outsider.ns, mesh.server.ip[4], identity, wait=False, **how) as client:
        client.wait_closed()
        assert not client.tunnel.streams
        return client.tunnel.error


CLIENTS = {
    "no_certificate": lambda ca, other: None,
    "foreign_ca": lambda ca, other: other.issue(GOOD),
    "foreign_trust_domain": lambda ca, other: ca.issue("spiffe://elsewhere.example/ns/default/sa/caller"),
    "expired": lambda ca, other: ca.issue(GOOD, starts=datetime.datetime.now(UTC) - 3 * HOUR, lifetime=HOUR),
    "not_yet_valid": lambda ca, other: ca.issue(GOOD, starts=datetime.datetime.now(UTC) + HOUR),
    "server_usage_only": lambda ca, other: ca.issue(GOOD, usages=[ExtendedKeyUsageOID.SERVER_AUTH]),
    "no_name": lambda ca, other: ca.issue([]),
    "dns_name_only": lambda ca, other: ca.issue([], dns=["caller.default.svc"]),
    "uri_that_is_no_identity": lambda ca, other: ca.issue("https://cluster.local/ns/default/sa/caller"),
    "spiffe_of_other_shape": lambda ca, other: ca.issue("spiffe://cluster.local/default/caller"),
}


@pytest.mark.parametrize("name", CLIENTS)
def test_client_is_refused(mesh, authority, stranger, name):
    identity = CLIENTS[name](authority, stranger)
    error = refused(mesh, identity, verify=name != "foreign_ca")
    assert error is not None
    serves(mesh, authority.issue(GOOD))


def test_tls_1_2_is_refused(mesh, authority):
    assert refused(mesh, authority.issue(GOOD), tls12=True) is not None


def test_other_alpn_is_refused(mesh, authority):
    assert refused(mesh, authority.issue(GOOD), alpn=("http/1.1",)) is not None


def test_no_alpn_is_accepted(mesh, authority):
    with hbone.Client(mesh.outsider.ns, mesh.server.ip[4], authority.issue(GOOD), alpn=()) as client:
        client.echo(client.request(host_port(mesh.server.ip[4], ECHO)))


def test_intermediate_is_accepted(mesh, authority):
    serves(mesh, authority.intermediate().issue(GOOD))


def test_several_names_first_identity_counts(mesh, authority):
    names = ["https://example.com/x", GOOD, "spiffe://cluster.local/ns/default/sa/second"]
    source = serves(mesh, authority.issue(names))
    assert mesh.node2.proxy.wait_access(src_addr=source)["src.identity"] == GOOD


def test_session_is_not_resumed(mesh, authority):
    """The server hands out nothing that a later connection could resume."""
    context = hbone.tls_context(authority.issue(GOOD), False)
    session = None
    for _ in range(2):
        sock = mesh.outsider.ns.socket()
        sock.settimeout(5)
        sock.connect((mesh.server.ip[4], 15008))
        with context.wrap_socket(sock, session=session) as tls:
            tls.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + hbone.frame(4, 0, 0))
            tls.recv(4096)
            assert not tls.session_reused
            session = tls.session


GARBAGE = {
    "zeros": bytes(512),
    "random": os.urandom(4096),
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "h2_without_tls": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + hbone.frame(4, 0, 0),
    "huge_record": b"\x16\x03\x01\xff\xff" + b"A" * 70000,
    "alert": b"\x15\x03\x03\x00\x02\x02\x28",
    "half_hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "sslv2": b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10",
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_instead_of_tls(mesh, authority, family, name):
    with Client(mesh.outsider.ns, mesh.server.ip[family], 15008) as client:
        try:
            client.send(GARBAGE[name])
            client.half_close()
        except OSError:
            pass
        assert client.end() in ("fin", "rst")
    serves(mesh, authority.issue(GOOD))


@pytest.mark.ours
def test_handshake_that_stalls_is_ended_and_counted(mesh, authority):
    with Client(mesh.outsider.ns, mesh.server.ip[4], 15008) as stalled:
        stalled.send(GARBAGE["half_hello"])
        serves(mesh, authority.issue(GOOD))
        assert stalled.end(13) in ("fin", "rst")


def test_garbage_after_the_handshake(mesh, authority):
    context = hbone.tls_context(authority.issue(GOOD), False)
    sock = mesh.outsider.ns.socket()
    sock.settimeout(8)
    sock.connect((mesh.server.ip[4], 15008))
    with context.wrap_socket(sock) as tls:
        tls.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 10)
        try:
            while tls.recv(65536):
                pass
        except (ConnectionError, ssl.SSLError):
            pass
    serves(mesh, authority.issue(GOOD))


def test_broken_record_after_the_handshake(mesh, authority):
    with hbone.Client(mesh.outsider.ns, mesh.server.ip[4], authority.issue(GOOD)) as client:
        client.echo(client.request(host_port(mesh.server.ip[4], ECHO)))
        client.sock.send(b"\x17\x03\x03\x00\x40" + os.urandom(64))
        client.wait_closed()
    serves(mesh, authority.issue(GOOD))


# ---- our proxy as the client ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def outbound():
    """`target` is said to speak HBONE, but no proxy of ours serves it."""
    with Standard() as made:
        made.target = made.pod("target", made.node2, captured=False, protocol="HBONE")
        made.start()
        yield made


def fails(mesh, reason=None, flags="CONNECT"):
    """A captured client's connection to the target ends; the log says why."""
    mark = mesh.node1.proxy.mark()
    with Client(mesh.client.ns, mesh.target.ip[4], 80) as client:
        try:
            client.send(b"x")
        except ConnectionError:
            pass
        assert client.end() in ("fin", "rst")
    line = mesh.node1.proxy.wait_access(mark, direction="outbound", src_addr=client.source)
    assert line.level == "error"
    if reason:
        assert reason in line["error"], line.text
    mesh.node1.proxy.wait_metric(
        lambda m: m.value("istio_tcp_connections_failed_total", reporter="source", response_flags=flags) > 0,
        "a failure is counted",
    )
    return line


SERVERS = {
    "right_one": lambda mesh, ca: ca.issue(mesh.target.identity),
    "several_names": lambda mesh, ca: ca.issue(["spiffe://cluster.local/ns/x/sa/y", mesh.target.identity]),
}


@pytest.mark.parametrize("name", SERVERS)
def test_server_is_accepted(outbound, name):
    identity = SERVERS[name](outbound, Authority.of_mesh(outbound))
    with hbone.Server(outbound.target.ns, identity) as server:
        with Client(outbound.client.ns, outbound.target.ip[4], 80) as client:
            client.echo()
        assert server.peers[0] == [outbound.client.identity]


def test_server_with_another_identity_is_refused(outbound):
    other = "spiffe://cluster.local/ns/default/sa/other"
    with hbone.Server(outbound.target.ns, Authority.of_mesh(outbound).issue(other)) as server:
        line = fails(outbound, "identity verification error: peer did not present the expected SAN")
        assert not server.requests
    assert outbound.target.identity in line["error"] and other in line["error"]


def test_server_of_another_ca_is_refused(outbound):
    stranger = Authority.new(f"{outbound.dir}/stranger")
    with hbone.Server(outbound.target.ns, stranger.issue(outbound.target.identity)) as server:
        fails(outbound)
        assert not server.requests


def test_server_with_an_expired_certificate_is_refused(outbound):
    past = datetime.datetime.now(UTC) - 3 * HOUR
    identity = Authority.of_mesh(outbound).issue(outbound.target.identity, starts=past, lifetime=HOUR)
    with hbone.Server(outbound.target.ns, identity) as server:
        fails(outbound)
        assert not server.requests


def test_server_with_client_usage_only_is_refused(outbound):
    identity = Authority.of_mesh(outbound).issue(outbound.target.identity, usages=[ExtendedKeyUsageOID.CLIENT_AUTH])
    with hbone.Server(outbound.target.ns, identity) as server:
        fails(outbound)
        assert not server.requests


def test_server_that_does_not_speak_tls(outbound):
    def banner(record):
        record.sock.sendall(b"220 this is no tunnel\r\n")
        record.read()

    with Server(outbound.target.ns, 15008, banner):
        fails(outbound)


def test_server_that_hangs_up(outbound):
    with Server(outbound.target.ns, 15008, lambda record: record.reset()):
        fails(outbound)


def test_nobody_listens(outbound):
    fails(outbound)


@pytest.mark.parametrize("status", [401, 404, 201, 204, 500, 503])
def test_any_status_but_200_is_an_error(outbound, status):
    identity = Authority.of_mesh(outbound).issue(outbound.target.identity)
    with hbone.Server(outbound.target.ns, identity, answer=lambda stream: status):
        fails(outbound, f"http status: {status}")
