"""Which endpoint a connection to a service gets (contract sections 3.5, 3.6)."""

import collections
import re

import pytest

from mesh import servers
from mesh.clients import Client
from mesh.standard import vip_of
from mesh.topology import Mesh

PORT = 8080


def place(region, zone, subzone=""):
    return {"region": region, "zone": zone, "subzone": subzone}


@pytest.fixture(scope="module")
def town():
    """near (this zone), mid (this region), far (elsewhere, not captured); each says its name."""
    with Mesh() as mesh:
        node1, node2 = mesh.node("node1"), mesh.node("node2")
        mesh.client = mesh.pod("client", node1, locality=place("r1", "z1"))
        near = mesh.pod("near", node1, locality=place("r1", "z1"))
        mid = mesh.pod("mid", node2, locality=place("r1", "z2"))
        far = mesh.pod("far", node2, captured=False, locality=place("r2", "z9"))
        sick = mesh.pod("sick", node2, status="Unhealthy", locality=place("r1", "z1"))
        every = [near, mid, far]

        def prefer(mode, *scopes, health="OnlyHealthy"):
            return {"loadBalancer": {"mode": mode, "routingPreferences": list(scopes), "healthPolicy": health}}

        mesh.service("spread", {"80": PORT}, every)
        mesh.service("failover", {"80": PORT}, every, **prefer("Failover", "Region", "Zone"))
        mesh.service("failover-far", {"80": PORT}, [mid, far], **prefer("Failover", "Region", "Zone"))
        mesh.service("strict", {"80": PORT}, every, **prefer("Strict", "Region", "Zone"))
        mesh.service("strict-nobody", {"80": PORT}, [mid, far], **prefer("Strict", "Region", "Zone"))
        mesh.service("healthy", {"80": PORT}, [mid, sick])
        mesh.service("all", {"80": PORT}, [mid, sick], **prefer("Standard", health="AllowAll"))
        mesh.service("only-sick", {"80": PORT}, [sick])
        mesh.service("nobody", {"80": PORT}, [])
        mesh.service("node", {"80": PORT}, every, **prefer("Failover", "Node"))
        mesh.service("named", {"80": 0}, [mid], targets={"80": PORT})
        mesh.service("undeclared", {"81": PORT}, [mid])
        mesh.service("v4-only", {"80": PORT}, [mid], ipFamilies="IPv4")
        mesh.service("wide", {"80": PORT}, [mid], cidrVips=[{"network": "", "cidr": "10.97.0.0/24"}])
        mesh.service("private", {"80": PORT}, [mid], namespace="other", visibility="Namespace")
        heavy = mesh.pod("heavy", node2, capacity=9)
        light = mesh.pod("light", node2, capacity=1)
        mesh.service("weighted", {"80": PORT}, [heavy, light])
        mesh.by_name = {service["name"]: service for service in mesh.services}
        running = [servers.Server(p.ns, PORT, servers.named(p.name)) for p in mesh.pods.values() if p is not mesh.client]
        mesh.start()
        yield mesh
        for server in running:
            server.close()


def who(town, host, port=80):
    """The name of the endpoint that answers, None if the connection is refused."""
    with Client(town.client.ns, host, port) as client:
        try:
            name = b""
            while not name.endswith(b"\n"):
                name += client.read(1)
            return name.decode().strip()
        except (EOFError, ConnectionError):
            return None


def ask(town, name, family, times):
    return collections.Counter(who(town, vip_of(town.by_name[name], family)) for _ in range(times))


def test_all_endpoints_get_their_share(town, family):
    got = ask(town, "spread", family, 60)
    assert set(got) == {"near", "mid", "far"} and min(got.values()) >= 6, got


@pytest.mark.parametrize(
    "name, only",
    [
        ("failover", "near"),
        ("failover-far", "mid"),
        ("strict", "near"),
        ("strict-nobody", None),
        ("healthy", "mid"),
        ("only-sick", None),
        ("nobody", None),
        ("node", "near"),
        ("named", "mid"),
        ("undeclared", None),
    ],
)
def test_only_one_is_chosen(town, family, name, only):
    assert set(ask(town, name, family, 8)) == {only}


def test_health_may_be_ignored(town, family):
    assert set(ask(town, "all", family, 30)) == {"mid", "sick"}


def test_capacity_is_a_weight(town, family):
    got = ask(town, "weighted", family, 100)
    assert got["heavy"] > 70 and got["heavy"] + got["light"] == 100, got


def test_refusal_is_logged_as_early_denial(town, family):
    mark = town.client.proxy.mark()
    with Client(town.client.ns, vip_of(town.by_name["nobody"], family), 80) as client:
        assert client.end() in ("fin", "rst")
    line = town.client.proxy.wait_log(f"connection failed.*{re.escape(client.source)}", mark)
    assert line.level == "warn" and "no healthy upstream" in line["error"].lower()


def test_range_of_addresses_names_a_service(town):
    assert who(town, "10.97.0.77") == "mid"


def test_family_of_the_endpoint_follows_the_service(town):
    """A v6 address of a service that is v4 only leads to the pod's v4 address."""
    with Client(town.client.ns, vip_of(town.by_name["v4-only"], 6), 80) as client:
        client.read(4)
    line = town.client.proxy.wait_access(src_addr=client.source)
    assert line["dst.hbone_addr"] == f"{town.pods['mid'].ip[4]}:{PORT}"
