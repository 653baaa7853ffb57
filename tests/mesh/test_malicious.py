"""Calls to the proxy's own ports, from inside and outside the mesh, are refused after the accept (section 4, 6, 13)."""

import pytest

from mesh.clients import Client, refused_after_accept
from mesh.standard import ECHO

OWN = (15001, 15006, 15008)
ENDED = ("fin", "rst", "refused")
TLS_GARBAGE = b"GET / HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize("port", OWN)
@pytest.mark.parametrize("source", ["client", "outsider"])
@pytest.mark.parametrize("target", ["server", "local", "plain"])
def test_own_ports_of_a_pod(mesh, family, source, target, port):
    got = refused_after_accept(mesh.pods[source].ns, mesh.pods[target].ip[family], port, TLS_GARBAGE)
    assert got in ENDED


@pytest.mark.parametrize("port", OWN)
@pytest.mark.parametrize("to", ["itself", "loopback"])
def test_own_ports_from_inside_the_pod(mesh, family, to, port):
    """Loopback and the pod's own address are not captured: the call reaches the listener itself."""
    host = mesh.client.ip[family] if to == "itself" else {4: "127.0.0.1", 6: "::1"}[family]
    assert refused_after_accept(mesh.client.ns, host, port, TLS_GARBAGE) in ENDED


@pytest.mark.parametrize("port", OWN)
@pytest.mark.parametrize("source", ["client", "outsider"])
def test_own_ports_of_the_node(mesh, family, source, port):
    assert refused_after_accept(mesh.pods[source].ns, mesh.node2.ip[family], port, TLS_GARBAGE) in ENDED


@pytest.mark.parametrize("port", OWN)
def test_own_ports_from_the_node(mesh, family, port):
    assert refused_after_accept(mesh.node2.ns, mesh.server.ip[family], port, TLS_GARBAGE) in ENDED


def test_loopback_call_is_named_in_the_log(mesh, family):
    mark = mesh.node1.proxy.mark()
    host = {4: "127.0.0.1", 6: "::1"}[family]
    assert refused_after_accept(mesh.client.ns, host, 15001) in ENDED
    line = mesh.node1.proxy.wait_log("connection failed", mark)
    assert line.level == "warn" and line["direction"] == "outbound"
    assert "attempted recursive call to ourselves" in line["error"]


def test_admin_page_is_not_open_to_pods(mesh, family):
    with pytest.raises(OSError):
        Client(mesh.outsider.ns, mesh.node1.ip[family], 15000, timeout=2)


def test_all_of_it_did_no_harm(mesh, family):
    for target in (mesh.server, mesh.local, mesh.plain):
        with Client(mesh.client.ns, target.ip[family], ECHO) as client:
            client.echo()
