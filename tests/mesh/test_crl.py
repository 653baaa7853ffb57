"""Revoked certificates: refused at the handshake, cut off when the list changes (contract section 5.6)."""

import os

import pytest

from mesh import hbone
from mesh.ca import Authority, Folder
from mesh.clients import Client
from mesh.servers import Server
from mesh.standard import ECHO, host_port
from mesh.topology import Mesh
from mesh.wait import until

pytestmark = pytest.mark.ours
CALLER = "spiffe://cluster.local/ns/default/sa/caller"
RELOAD_S = 6  # watched with 2 s of debounce


@pytest.fixture(scope="module")
def town():
    """A mesh with a CA of the test's own; `target` speaks HBONE, served by the test."""
    with Mesh() as mesh:
        node1, node2 = mesh.node("node1"), mesh.node("node2")
        mesh.client, mesh.server = mesh.pod("client", node1), mesh.pod("server", node2)
        mesh.outsider = mesh.pod("outsider", node1, captured=False)
        mesh.target = mesh.pod("target", node2, captured=False, protocol="HBONE")
        mesh.authority = Authority.new(f"{mesh.dir}/own-ca")
        mesh.inter = mesh.authority.intermediate()
        folder = Folder(f"{mesh.dir}/certs")
        for pod in (mesh.client, mesh.server):
            folder.put(pod.identity, mesh.authority.issue(pod.identity))
        os.mkdir(f"{mesh.dir}/crl")
        mesh.crl = f"{mesh.dir}/crl/crl.pem"
        with Server(mesh.server.ns, ECHO):
            mesh.start(FAKE_CA=None, GAUZE_CERT_DIR=folder.path, CRL_PATH=mesh.crl)
            yield mesh


def publish(town, data):
    """Puts the list in place and waits until both proxies have taken it."""
    marks = [node.proxy.mark() for node in town.nodes.values()]
    with open(f"{town.crl}.new", "wb") as file:
        file.write(data)
    os.rename(f"{town.crl}.new", town.crl)
    for node, mark in zip(town.nodes.values(), marks):
        node.proxy.wait_log("CRL", mark, RELOAD_S)


def calls(town, identity):
    """A tunnel of that identity to the server; None if it is refused."""
    tunnel = hbone.Client(town.outsider.ns, town.server.ip[4], identity, wait=False)
    until(lambda: tunnel.tunnel.handshaken or tunnel.tunnel.closed, "the handshake ends")
    try:
        if tunnel.tunnel.handshaken:
            stream = tunnel.request(host_port(town.server.ip[4], ECHO))
            if stream.status == 200:
                tunnel.echo(stream)
                return tunnel
    except OSError:
        pass
    tunnel.close()
    return None


def test_no_file_revokes_nobody(town):
    assert not os.path.exists(town.crl)
    calls(town, town.authority.issue(CALLER)).close()


@pytest.mark.parametrize("der", [False, True], ids=["pem", "der"])
def test_revoked_client_is_refused(town, der):
    good, bad = town.authority.issue(CALLER), town.authority.issue(CALLER)
    publish(town, town.authority.crl([bad.serial], der))
    rejected = town.server.proxy.metrics().value("istio_crl_policy_rejections_total", reporter="destination")
    assert calls(town, bad) is None
    calls(town, good).close()
    town.server.proxy.wait_metric(
        lambda m: m.value("istio_crl_policy_rejections_total", reporter="destination") == rejected + 1, "a rejection"
    )


def test_revoked_intermediate_is_refused(town):
    leaf = town.inter.issue(CALLER)
    calls(town, leaf).close()
    publish(town, town.authority.crl([town.inter.chain[0].serial_number]))
    assert calls(town, leaf) is None
    calls(town, town.authority.issue(CALLER)).close()


def test_lists_of_several_issuers_in_one_file(town):
    leaf, other, root_leaf = town.inter.issue(CALLER), town.inter.issue(CALLER), town.authority.issue(CALLER)
    publish(town, town.inter.crl([leaf.serial]) + town.authority.crl([root_leaf.serial]))
    assert calls(town, leaf) is None and calls(town, root_leaf) is None
    calls(town, other).close()


def test_serial_counts_with_its_issuer_only(town):
    leaf = town.authority.issue(CALLER)
    publish(town, town.inter.crl([leaf.serial]))
    calls(town, leaf).close()


def test_wrong_list_keeps_the_one_before(town):
    bad = town.authority.issue(CALLER)
    publish(town, town.authority.crl([bad.serial]))
    publish(town, b"-----BEGIN X509 CRL-----\nbm8gbGlzdA==\n-----END X509 CRL-----\n")
    assert calls(town, bad) is None


def test_empty_file_revokes_nobody(town):
    bad = town.authority.issue(CALLER)
    publish(town, town.authority.crl([bad.serial]))
    publish(town, b"")
    calls(town, bad).close()


def test_live_inbound_tunnel_is_cut(town):
    good, bad = town.authority.issue(CALLER), town.authority.issue(CALLER)
    publish(town, town.authority.crl())
    cut, kept = calls(town, bad), calls(town, good)
    try:
        mark = town.server.proxy.mark()
        publish(town, town.authority.crl([bad.serial]))
        cut.wait_closed()
        assert cut.tunnel.goaway in (0, None)
        line = town.server.proxy.wait_access(mark, src_addr=cut.address)
        assert "connection closed: peer certificate revoked by CRL" in line["error"]
        town.server.proxy.wait_metric(
            lambda m: m.value("istio_tcp_connections_failed_total", response_flags="CERT_REVOKED") >= 1, "CERT_REVOKED"
        )
        kept.echo(list(kept.tunnel.streams.values())[0], b"not concerned")
    finally:
        cut.close()
        kept.close()


def ends(town, client):
    line = town.client.proxy.wait_access(src_addr=client.source)
    assert line.level == "error"
    return line


def test_revoked_server_is_refused(town, family):
    bad = town.authority.issue(town.target.identity)
    publish(town, town.authority.crl([bad.serial]))
    with hbone.Server(town.target.ns, bad) as server:
        with Client(town.client.ns, town.target.ip[family], 80) as client:
            try:
                client.send(b"x")
            except ConnectionError:
                pass
            assert client.end() in ("fin", "rst")
        ends(town, client)
        assert not server.requests
    with hbone.Server(town.target.ns, town.authority.issue(town.target.identity)):
        with Client(town.client.ns, town.target.ip[family], 80) as client:
            client.echo()


def test_live_outbound_tunnel_is_cut(town):
    bad = town.authority.issue(town.target.identity)
    publish(town, town.authority.crl())
    with hbone.Server(town.target.ns, bad):
        with Client(town.client.ns, town.target.ip[4], 80) as client, Client(
            town.client.ns, town.server.ip[4], ECHO
        ) as other:
            client.echo()
            other.echo()
            publish(town, town.authority.crl([bad.serial]))
            assert client.end() != "open"
            assert "revoked by CRL" in ends(town, client)["error"]
            other.echo(b"not concerned")
