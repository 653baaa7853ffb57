"""Environment variables that change what the proxy does on the wire (contract section 11)."""

import socket

import pytest

from mesh import hbone, servers
from mesh.ca import Authority
from mesh.clients import Client, refused_after_accept
from mesh.standard import ECHO, PEER, Standard, host_port
from mesh.topology import Mesh
from mesh.wait import until

CALLER = "spiffe://cluster.local/ns/default/sa/caller"


@pytest.fixture
def town():
    with Standard() as made:
        yield made


def tunnel_to(mesh, **how):
    identity = Authority.of_mesh(mesh).issue(CALLER)
    return hbone.Client(mesh.outsider.ns, mesh.server.ip[4], identity, **how)


def test_response_baggage_off(town):
    town.start(ENABLE_RESPONSE_BAGGAGE="false")
    with tunnel_to(town) as tunnel:
        stream = tunnel.request(host_port(town.server.ip[4], ECHO))
        assert stream.status == 200 and "baggage" not in stream.headers


def test_tls_1_2_on(town):
    town.start(TLS12_ENABLED="true")
    with tunnel_to(town, tls12=True) as tunnel:
        assert tunnel.tunnel.tls.version() == "TLSv1.2"
        stream = tunnel.request(host_port(town.server.ip[4], ECHO))
        tunnel.echo(stream)
        tunnel.echo(stream, b"t" * 300000)
    with tunnel_to(town) as tunnel:
        assert tunnel.tunnel.tls.version() == "TLSv1.3"
        tunnel.echo(tunnel.request(host_port(town.server.ip[4], ECHO)))
    with Client(town.client.ns, town.server.ip[4], ECHO) as client:
        client.echo()


def test_post_quantum_only(town):
    """Our proxies agree with each other; a peer without the hybrid is refused."""
    town.start(COMPLIANCE_POLICY="pqc")
    with Client(town.client.ns, town.server.ip[4], ECHO) as client:
        client.echo()
    identity = Authority.of_mesh(town).issue(CALLER)
    with hbone.Client(town.outsider.ns, town.server.ip[4], identity, wait=False) as tunnel:
        tunnel.tunnel.tls.context.set_ecdh_curve("prime256v1")
        tunnel.wait_closed()
        assert not tunnel.tunnel.handshaken


def test_source_is_not_kept_if_so_asked(town, family):
    town.start(ENABLE_ORIG_SRC="false")
    for source in (town.client, town.outsider):
        with Client(source.ns, town.server.ip[family], PEER) as client:
            client.half_close()
            assert client.read_all().decode().strip() == town.server.ip[family]


def test_no_ipv6(town):
    town.start(IPV6_ENABLED="false")
    table = town.server.ns.run(["cat", "/proc/self/net/tcp6"]).stdout
    assert not any(f":{port:04X} 0000" in table for port in (15001, 15006, 15008))
    with Client(town.client.ns, town.server.ip[4], ECHO) as client:
        client.echo()
    assert town.node1.proxy.http(15021, "/healthz/ready")[0] == 200
    with pytest.raises(ConnectionRefusedError):
        town.node1.proxy.http(15021, "/healthz/ready", host="::1")


def test_policy_decisions_in_the_log(town):
    town.policy("p", "Allow", rules=[[[{"namespaces": [{"Exact": "default"}]}]]])
    town.start(AUTHZ_POLICY_INFO_LOGGING="true")
    mark = town.node2.proxy.mark()
    with Client(town.client.ns, town.server.ip[4], ECHO) as client:
        client.echo()
    town.node2.proxy.wait_log("default/p", mark)


def test_stats_and_admin_ports_from_the_proxy_config(town):
    town.start(wait=False, PROXY_CONFIG='{"proxyAdminPort": 15900, "statsPort": 15920, "proxyMetadata": {}}')
    for node in town.nodes.values():
        node.proxy.wait_ready()
        assert node.proxy.http(15920, "/metrics")[0] == 200
        assert node.proxy.http(15900, "/config_dump")[0] == 200
        with pytest.raises(ConnectionRefusedError):
            node.proxy.http(15020, "/metrics")


def test_version_in_the_build_metric(town):
    town.start(ISTIO_META_ISTIO_VERSION="1.99.0")
    assert town.node1.proxy.metrics().find("istio_build", tag="1.99.0")


def test_cluster_id_and_network(town):
    """Addresses are looked up on our own network; the cluster's name is in the log."""
    for workload in town.workloads:
        workload["network"] = "net1"
    for service in town.services:
        service["vips"] = [f"net1{vip}" for vip in service["vips"]]
    town.start(NETWORK="net1")
    mark = town.node1.proxy.mark()
    with Client(town.client.ns, "10.96.0.2", 80) as client:
        client.echo()
    line = town.node1.proxy.wait_access(mark, src_addr=client.source)
    assert line["dst.workload"] == "server" and line["dst.identity"] == town.server.identity


def test_application_tunnel_off_loopback():
    """LOCALHOST_APP_TUNNEL=false: the pod's address is dialled, with the caller's source."""
    with Mesh() as mesh:
        node1, node2 = mesh.node("node1"), mesh.node("node2")
        mesh.client = mesh.pod("client", node1)
        pod = mesh.pod("sandwich", node2, applicationTunnel={"protocol": "PROXY", "port": 15088})
        with servers.Server(pod.ns, 15088, servers.hold) as server:
            mesh.start(LOCALHOST_APP_TUNNEL="false")
            with Client(mesh.client.ns, pod.ip[4], 80) as client:
                client.send(b"x")
                record = server.next(0)
                record.sock.settimeout(5)
                assert record.sock.recv(12) == b"\r\n\r\n\0\r\nQUIT\n"
                assert record.peer == mesh.client.ip[4]


@pytest.mark.ours
def test_dead_peer_is_noticed_though_data_is_queued(town, family):
    """The wire goes dark with bytes under way: the connection ends after the user timeout, not after minutes."""
    town.start(GAUZE_USER_TIMEOUT="2s")
    with Client(town.client.ns, town.server.ip[family], ECHO) as client:
        client.echo()
        town.node2.ns.batch("link set dev up0 down")
        try:
            client.send(b"into the dark" * 100)
            assert client.end(12) != "open"
        finally:
            town.node2.ns.batch("link set dev up0 up")


def test_connect_timeouts(town):
    """10 s for a tunnel and for an application that does not answer; each is told apart."""
    silent = town.pod("silent", town.node2, captured=False, protocol="HBONE")
    town.start()
    silent.ns.run(["iptables", "-w", "-A", "INPUT", "-p", "tcp", "--dport", "15008", "-j", "DROP"])
    town.server.ns.run(["iptables", "-w", "-A", "INPUT", "-p", "tcp", "--dport", "8099", "-j", "DROP"])
    marks = town.node1.proxy.mark(), town.node2.proxy.mark()
    with Client(town.client.ns, silent.ip[4], 80) as one, Client(town.client.ns, town.server.ip[4], 8099) as two:
        assert one.end(14) in ("fin", "rst")
        assert two.end(4) in ("fin", "rst")
    line = town.node1.proxy.wait_access(marks[0], src_addr=one.source)
    assert "maybe a NetworkPolicy is blocking HBONE port 15008" in line["error"]
    assert "http status: 503" in town.node1.proxy.wait_access(marks[0], src_addr=two.source)["error"]
    labels = {"destination_workload": "silent", "response_flags": "NETWORK_POLICY"}
    town.node1.proxy.wait_metric(lambda m: m.value("istio_tcp_connections_failed_total", **labels) == 1, "its own flag")


@pytest.mark.ours
def test_certificates_follow_local_workloads(town):
    """Prefetched when a workload of the node appears, forgotten when its last one goes."""
    town.start()

    def identities():
        return {each["identity"] for each in town.node1.proxy.config_dump()["certificates"]}

    until(lambda: identities() == {town.client.identity, town.local.identity}, "certificates of this node's workloads")
    extra = {**town.local.workload, "uid": "extra", "name": "extra", "serviceAccount": "extra", "workloadIps": []}
    town.workloads.append(extra)
    town.write()
    name = "spiffe://cluster.local/ns/default/sa/extra"
    until(lambda: name in identities(), "the new workload's certificate")
    town.workloads.remove(extra)
    town.write()
    until(lambda: name not in identities(), "it is forgotten")


PROBE = {4: "169.254.7.127", 6: "fd16:9254:7127:1337:ffff:ffff:ffff:ffff"}


def test_kubelet_probe_bypasses_the_proxy(town, family):
    """The host's probes come from one address, which is not captured: no policy, no log."""
    town.policy("strict", "Deny", rules=[[[{"notPrincipals": [{"Presence": []}]}]]])
    town.start()
    bits = {4: 32, 6: 128}[family]
    town.node2.ns.batch(f"addr add {PROBE[family]}/{bits} dev br0" + (" nodad" if family == 6 else ""))
    mark = town.node2.proxy.mark()
    sock = town.node2.ns.socket(socket.AF_INET if family == 4 else socket.AF_INET6)
    sock.settimeout(5)
    sock.bind((PROBE[family], 0))
    sock.connect((town.server.ip[family], ECHO))
    sock.sendall(b"probe")
    assert sock.recv(5) == b"probe"
    sock.close()
    assert not town.node2.proxy.access(mark)
    assert refused_after_accept(town.node2.ns, town.server.ip[family], ECHO) in ("fin", "rst")


def test_ingress_mode_leaves_inbound_alone(family):
    """A gateway pod: what comes in is its own, what goes out is captured."""
    with Standard() as mesh:
        gateway = mesh.pod("gateway", mesh.node2, rules={"ingress": True})
        mesh.serve(gateway, PEER, servers.peer)
        mesh.start()
        mark = mesh.node2.proxy.mark()
        with Client(mesh.outsider.ns, gateway.ip[family], PEER) as client:
            client.half_close()
            assert client.read_all().decode().strip() == mesh.outsider.ip[family]
        assert not mesh.node2.proxy.access(mark)
        with Client(gateway.ns, mesh.local.ip[family], ECHO) as client:
            client.echo()
        line = mesh.node2.proxy.wait_access(mark, direction="outbound", src_addr=client.source)
        assert line["dst.identity"] == mesh.local.identity
