"""Traffic that goes through a waypoint: which one is asked, for what, as whom (contract sections 4, 5.2, 6.1)."""

import re
import struct

import pytest

from mesh import hbone, servers
from mesh.ca import Authority
from mesh.clients import Client
from mesh.standard import host_port, vip_of
from mesh.topology import Mesh
from mesh.wait import until

PORT = 8080


@pytest.fixture(scope="module")
def town():
    """One waypoint that is not our program, and pods and services that are reached through it in every way."""
    with Mesh() as mesh:
        node1, node2 = mesh.node("node1"), mesh.node("node2")
        mesh.client = mesh.pod("client", node1)
        mesh.wp = mesh.pod("waypoint", node2, captured=False, protocol="HBONE", hostname="pod.waypoint.example")
        wp_service = mesh.service("waypoint", {"15008": 15008}, [mesh.wp])
        by_address = {"destination": f"/{mesh.wp.ip[4]}", "hboneMtlsPort": 15008}
        by_service = {"destination": f"default/{wp_service['hostname']}", "hboneMtlsPort": 15008}
        by_hostname = {"destination": "default/pod.waypoint.example", "hboneMtlsPort": 15008}
        by_vip = {"destination": wp_service["vips"][0], "hboneMtlsPort": 15008}
        mesh.workload_wp = mesh.pod("workload-wp", node2, waypoint=by_address)
        mesh.backend = mesh.pod("backend", node2)
        mesh.service("by-address", {"80": PORT}, [mesh.backend], waypoint=by_address)
        mesh.service("by-service", {"80": PORT}, [mesh.backend], waypoint=by_service)
        mesh.service("by-hostname", {"80": PORT}, [mesh.backend], waypoint=by_hostname)
        mesh.service("by-vip", {"80": PORT}, [mesh.backend], waypoint=by_vip)
        mesh.service("weighted", {"80": PORT}, [mesh.backend], weightedWaypoints=[{"destination": by_address, "weight": 1}])
        mesh.service("zero-weight", {"80": PORT}, [mesh.backend], weightedWaypoints=[{"destination": by_address, "weight": 0}])
        nowhere = {"destination": "default/no.such.waypoint", "hboneMtlsPort": 15008}
        mesh.service("unresolved", {"80": PORT}, [mesh.backend], waypoint=nowhere)
        mesh.service("to-workload-wp", {"80": PORT}, [mesh.workload_wp])
        mesh.by_name = {service["name"]: service for service in mesh.services}
        # Waypoints that sit behind our own proxy: the tunnel ends there, the application gets plain bytes.
        mesh.sandwich = {}
        for kind, tunnel in (("plain", {"protocol": "NONE", "port": 15088}), ("proxy", {"protocol": "PROXY", "port": 15088})):
            pod = mesh.pod(f"sandwich-{kind}", node2, applicationTunnel=tunnel)
            reference = {"destination": f"/{pod.ip[4]}", "hboneMtlsPort": 15008}
            mesh.service(f"via-{kind}", {"80": PORT}, [mesh.backend], waypoint=reference)
            mesh.sandwich[kind] = pod
        mesh.by_name = {service["name"]: service for service in mesh.services}
        mesh.start()
        mesh.identity = Authority.of_mesh(mesh).issue(mesh.wp.identity)
        with servers.Server(mesh.backend.ns, PORT) as mesh.backend_server, servers.Server(mesh.workload_wp.ns, PORT):
            yield mesh


@pytest.fixture
def waypoint(town):
    with hbone.Server(town.wp.ns, town.identity) as server:
        yield server


def test_workload_waypoint_gets_the_pods_address(town, waypoint, family):
    with Client(town.client.ns, town.workload_wp.ip[family], PORT) as client:
        client.echo()
    request = waypoint.wait_request().request
    assert request[":authority"] == host_port(town.workload_wp.ip[family], PORT)


@pytest.mark.parametrize("name", ["by-address", "by-service", "by-hostname", "by-vip", "weighted"])
def test_service_waypoint_gets_the_service_address(town, waypoint, family, name):
    service = town.by_name[name]
    with Client(town.client.ns, vip_of(service, family), 80) as client:
        client.echo()
    request = waypoint.wait_request().request
    assert request[":authority"] == host_port(vip_of(service, family), 80)
    assert waypoint.peers[0] == [town.client.identity]


def test_head_of_the_request_is_exact(town, waypoint, family):
    service = town.by_name["by-address"]
    with Client(town.client.ns, vip_of(service, family), 80) as client:
        client.echo()
        address = client.source
    request = dict(waypoint.wait_request().request)
    assert request.pop(":method") == "CONNECT"
    assert request.pop(":authority") == host_port(vip_of(service, family), 80)
    assert request.pop("baggage") == (
        "k8s.cluster.name=Kubernetes,k8s.namespace.name=default,k8s.deployment.name=client,"
        "service.name=client,service.version=v1"
    )
    assert request.pop("forwarded") == f'for="{address}";host={service["hostname"]}'
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-00", request.pop("traceparent"))
    assert request == {}


def test_log_names_service_and_next_hop(town, waypoint, family):
    service = town.by_name["by-service"]
    mark = town.client.proxy.mark()
    with Client(town.client.ns, vip_of(service, family), 80) as client:
        client.echo()
    line = town.client.proxy.wait_access(mark, direction="outbound", src_addr=client.source)
    assert line["dst.addr"].rpartition(":")[0].strip("[]") in town.wp.ip.values()
    assert line["dst.hbone_addr"] == host_port(vip_of(service, family), 80)
    assert line["dst.service"] == service["hostname"]


def test_service_traffic_ignores_the_workloads_waypoint(town, waypoint, family):
    with Client(town.client.ns, vip_of(town.by_name["to-workload-wp"], family), 80) as client:
        client.echo()
    assert not waypoint.requests


def test_weights_of_zero_fall_through(town, waypoint, family):
    with Client(town.client.ns, vip_of(town.by_name["zero-weight"], family), 80) as client:
        client.echo()
    assert not waypoint.requests


def test_waypoint_that_cannot_be_found_fails_closed(town, waypoint, family):
    mark = town.client.proxy.mark()
    before = len(town.backend_server.records)
    with Client(town.client.ns, vip_of(town.by_name["unresolved"], family), 80) as client:
        client.send(b"x")
        assert client.end() in ("fin", "rst")
    line = town.client.proxy.wait_log("connection failed", mark)
    assert line.level == "warn" and line["direction"] == "outbound" and "waypoint" in line["error"]
    assert len(town.backend_server.records) == before and not waypoint.requests


def test_waypoint_that_is_down_fails_closed(town, family):
    before = len(town.backend_server.records)
    with Client(town.client.ns, vip_of(town.by_name["by-address"], family), 80) as client:
        client.send(b"x")
        assert client.end() in ("fin", "rst")
    assert len(town.backend_server.records) == before


def test_waypoint_with_another_identity_is_not_used(town, family):
    other = Authority.of_mesh(town).issue("spiffe://cluster.local/ns/default/sa/impostor")
    mark = town.client.proxy.mark()
    with hbone.Server(town.wp.ns, other) as server:
        with Client(town.client.ns, vip_of(town.by_name["by-service"], family), 80) as client:
            client.send(b"x")
            assert client.end() in ("fin", "rst")
        assert not server.requests
    line = town.client.proxy.wait_access(mark, direction="outbound", src_addr=client.source)
    assert "peer did not present the expected SAN" in line["error"]


def test_waypoints_own_traffic_is_not_sent_to_it_again(town, family):
    """From the waypoint to its backend: the tunnel ends at the pod, whose own waypoint is not asked."""
    with hbone.Client(town.wp.ns, town.workload_wp.ip[family], town.identity) as tunnel:
        tunnel.echo(tunnel.request(host_port(town.workload_wp.ip[family], PORT)))


def test_waypoint_of_the_service_may_name_the_vip(town):
    """A pod that is the waypoint's endpoint accepts the addresses the waypoint stands for."""
    caller = Authority.of_mesh(town).issue(town.client.identity)
    pod = town.sandwich["plain"]
    with servers.Server(pod.ns, 15088), hbone.Client(town.wp.ns, pod.ip[4], caller) as tunnel:
        tunnel.echo(tunnel.request(host_port(vip_of(town.by_name["via-plain"], 4), 80)))


def test_plain_sandwich(town, family):
    pod = town.sandwich["plain"]
    with servers.Server(pod.ns, 15088) as server:
        with Client(town.client.ns, vip_of(town.by_name["via-plain"], family), 80) as client:
            client.echo(b"through the waypoint")
        assert server.records[0].peer == town.client.ip[4]


def test_proxy_protocol_sandwich(town, family):
    """PROXY v2 with the caller's address, the address that was asked for, and the caller's identity."""
    pod, service = town.sandwich["proxy"], town.by_name["via-proxy"]
    with servers.Server(pod.ns, 15088, servers.hold) as server:
        with Client(town.client.ns, vip_of(service, family), 80) as client:
            client.send(b"payload")
            record = server.next(0)
            head = read(record, 16)
            assert head[:12] == b"\r\n\r\n\0\r\nQUIT\n"
            assert head[12] == 0x21
            body = read(record, struct.unpack("!H", head[14:])[0])
            # The tunnel to the waypoint is v4 here, so for a v6 service the families differ.
            if family == 4:
                assert head[13] == 0x11
                source, target, source_port, port = struct.unpack_from("!4s4sHH", body)
                assert ".".join(map(str, source)) == town.client.ip[4] and source_port > 0
                assert (".".join(map(str, target)), port) == (vip_of(service, 4), 80)
                tail = body[12:]
            else:
                assert head[13] in (0x01, 0x00, 0x11, 0x21)
                tail = body[-(3 + len(town.client.identity)) :]
            kind, size = struct.unpack_from("!BH", tail)
            assert (kind, tail[3 : 3 + size].decode()) == (0xD0, town.client.identity)
            assert read(record, 7) == b"payload"
        assert record.peer == "127.0.0.1", "the application tunnel is dialled on loopback"
        record.sock.close()


def read(record, size):
    out = b""
    record.sock.settimeout(5)
    while len(out) < size:
        data = record.sock.recv(size - len(out))
        assert data, "the connection ended early"
        out += data
    return out
