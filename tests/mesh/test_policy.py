"""Who may call whom (contract sections 3.7, 6.1, 6.3): deny, allow, strict, and a change that reaches live connections."""

import pytest

from mesh import hbone, servers
from mesh.ca import Authority
from mesh.clients import Client, refused_after_accept
from mesh.standard import host_port
from mesh.topology import Mesh
from mesh.wait import until

PORT, OTHER = 8080, 8081


def exact(identity):
    return {"principals": [{"Exact": identity.removeprefix("spiffe://")}]}


@pytest.fixture(scope="module")
def town():
    """alice, bob (namespace other) and an outsider call pods of which each has one policy."""
    with Mesh() as mesh:
        node1, node2 = mesh.node("node1"), mesh.node("node2")
        mesh.alice = mesh.pod("alice", node1)
        mesh.bob = mesh.pod("bob", node1, namespace="other")
        mesh.outsider = mesh.pod("outsider", node1, captured=False)
        alice = [f"{mesh.alice.ip[4]}/32", f"{mesh.alice.ip[6]}/128"]
        rules = {
            "allow-alice": ("Allow", exact(mesh.alice.identity)),
            "deny-other": ("Deny", {"namespaces": [{"Exact": "other"}]}),
            "deny-port": ("Deny", {"destinationPorts": [OTHER]}),
            "allow-ip": ("Allow", {"sourceIps": alice}),
            "strict": ("Deny", {"notPrincipals": [{"Presence": []}]}),
            "allow-account": ("Allow", {"serviceAccounts": [{"namespace": "other", "serviceAccount": "bob"}]}),
            "deny-prefix": ("Deny", {"principals": [{"Prefix": "cluster.local/ns/other/"}]}),
            "allow-nobody": ("Allow", None),
        }
        mesh.targets = {}
        for name, (action, match) in rules.items():
            policy = mesh.policy(name, action, scope="WorkloadSelector", rules=[[[match]]] if match else [])
            mesh.targets[name] = mesh.pod(name, node2, authorizationPolicies=[f"default/{policy['name']}"])
        mesh.policy("dry", "Deny", scope="WorkloadSelector", rules=[[[{"destinationPorts": [PORT]}]]], dry_run=True)
        mesh.targets["dry"] = mesh.pod("dry", node2, authorizationPolicies=["default/dry", "default/not-there"])
        mesh.targets["open"] = mesh.pod("open", node2)
        # The namespace's own policy, and the order: deny before allow.
        mesh.policy("closed", "Deny", "vault", "Namespace", [[[{"notNamespaces": [{"Exact": "default"}]}]]])
        mesh.targets["vault"] = mesh.pod("vault", node2, namespace="vault")
        mesh.running = [servers.Server(p.ns, port) for p in mesh.targets.values() for port in (PORT, OTHER)]
        mesh.start()
        yield mesh
        for server in mesh.running:
            server.close()


# target: (alice, bob, outsider) let through on PORT
VERDICTS = {
    "open": (True, True, True),
    "allow-alice": (True, False, False),
    "deny-other": (True, False, True),
    "deny-port": (True, True, True),
    "allow-ip": (True, False, False),
    "strict": (True, True, False),
    "allow-account": (False, True, False),
    "deny-prefix": (True, False, True),
    "allow-nobody": (False, False, False),
    "dry": (True, True, True),
    "vault": (True, False, False),
}


def passes(source, target, family, port=PORT):
    with Client(source.ns, target.ip[family], port) as client:
        try:
            client.send(b"hello")
            return client.read(5) == b"hello"
        except (EOFError, ConnectionError):
            return False


@pytest.mark.parametrize("target", VERDICTS)
def test_verdict(town, family, target):
    pod = town.targets[target]
    got = tuple(passes(source, pod, family) for source in (town.alice, town.bob, town.outsider))
    assert got == VERDICTS[target]


def test_policy_is_about_the_port_that_is_dialled(town, family):
    pod = town.targets["deny-port"]
    assert passes(town.alice, pod, family, PORT)
    assert not passes(town.alice, pod, family, OTHER)


@pytest.mark.parametrize(
    "target, reason",
    [
        ("deny-other", "explicitly denied by: default/deny-other"),
        ("allow-alice", "allow policies exist, but none allowed"),
        ("vault", "explicitly denied by: vault/closed"),
    ],
)
def test_denial_is_explained_and_counted(town, family, target, reason):
    pod = town.targets[target]
    labels = {"reporter": "destination", "destination_workload": pod.name, "response_flags": "DENY"}
    before = pod.proxy.metrics()
    marks = town.bob.proxy.mark(), pod.proxy.mark()
    assert not passes(town.bob, pod, family)
    address = host_port(pod.ip[family], PORT)
    line = pod.proxy.wait_access(marks[1], direction="inbound", dst_hbone_addr=address)
    assert line.level == "error" and reason in line["error"]
    assert line["src.identity"] == town.bob.identity
    line = town.bob.proxy.wait_access(marks[0], direction="outbound", dst_hbone_addr=address)
    assert line.level == "error" and "http status: 401" in line["error"]
    for name in ("istio_tcp_connections_failed_total", "istio_tcp_connections_closed_total"):
        pod.proxy.wait_metric(lambda m: m.value(name, **labels) == before.value(name, **labels) + 1, name)


@pytest.mark.ours
def test_denials_are_counted_by_policy(town):
    pod = town.targets["deny-other"]
    before = sum(v for n, _, v in pod.proxy.metrics().samples if "denial" in n)
    assert not passes(town.bob, pod, 4)
    until(
        lambda: [
            n
            for n, labels, v in pod.proxy.metrics().samples
            if "denial" in n and "default/deny-other" in labels.values() and v > 0
        ],
        "a metric of denials with the policy's name",
    )
    assert sum(v for n, _, v in pod.proxy.metrics().samples if "denial" in n) > before


def test_plaintext_denial(town, family):
    """Without a tunnel there is no identity; the connection is closed, nobody is told why but the log."""
    pod = town.targets["strict"]
    mark = pod.proxy.mark()
    assert refused_after_accept(town.outsider.ns, pod.ip[family], PORT) in ("fin", "rst")
    line = pod.proxy.wait_access(mark, direction="inbound", dst_addr=host_port(pod.ip[family], PORT))
    assert "explicitly denied by: default/strict" in line["error"]
    assert "src.identity" not in line


def test_denied_tunnel_client_gets_401(town, family):
    pod = town.targets["allow-alice"]
    identity = Authority.of_mesh(town).issue(town.bob.identity)
    with hbone.Client(town.outsider.ns, pod.ip[family], identity) as client:
        stream = client.request(host_port(pod.ip[family], PORT))
        assert stream.status == 401
        until(lambda: stream.ended, "the stream ends with the answer")
        assert set(stream.headers) <= {":status", "date", "content-length"}
    allowed = Authority.of_mesh(town).issue(town.alice.identity)
    with hbone.Client(town.outsider.ns, pod.ip[family], allowed) as client:
        client.echo(client.request(host_port(pod.ip[family], PORT)))


# ---- changes ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def changing(town):
    """A town whose policies are put back at the end."""
    policies = list(town.policies)
    yield town
    town.policies[:] = policies
    town.write()
    wait_policies(town)


def wait_policies(mesh):
    """Until every proxy has the file's policies, by name."""
    want = sorted(f"{p['namespace']}/{p['name']}" for p in mesh.policies)

    def have():
        return all(
            sorted(f"{p['namespace']}/{p['name']}" for p in node.proxy.config_dump()["policies"]) == want
            for node in mesh.nodes.values()
        )

    until(have, f"policies {want} in every proxy")


@pytest.mark.ours
@pytest.mark.parametrize("source", ["alice", "outsider"])
def test_new_denial_ends_live_connections(changing, family, source):
    pod, caller = changing.targets["open"], changing.pods[source]
    bystander = changing.targets["strict"]
    with Client(caller.ns, pod.ip[family], PORT) as client, Client(
        changing.alice.ns, bystander.ip[family], PORT
    ) as other:
        client.echo()
        other.echo()
        mark = pod.proxy.mark()
        changing.policy(
            "now-denied",
            "Deny",
            scope="Namespace",
            rules=[[[{"destinationIps": [f"{pod.ip[family]}/{32 if family == 4 else 128}"]}]]],
        )
        changing.write()
        assert client.end() != "open"
        line = pod.proxy.wait_access(mark, direction="inbound", dst_workload=pod.name)
        assert "policy" in line["error"]
        other.echo(b"not concerned")
        assert not passes(caller, pod, family)
    del changing.policies[-1]
    changing.write()
    until(lambda: passes(caller, pod, family), "the policy's end lets new connections through")


@pytest.mark.ours
def test_selector_policy_ends_live_connections(changing, family):
    """A policy that was named by the workload but did not exist yet."""
    pod = changing.targets["dry"]
    with Client(changing.alice.ns, pod.ip[family], PORT) as client:
        client.echo()
        changing.policy("not-there", "Deny", scope="WorkloadSelector", rules=[[[{"destinationPorts": [PORT]}]]])
        changing.write()
        assert client.end() != "open"


@pytest.mark.ours
def test_change_that_denies_nobody_ends_nothing(changing, family):
    pod = changing.targets["open"]
    with Client(changing.alice.ns, pod.ip[family], PORT) as client:
        client.echo()
        changing.policy("others", "Deny", scope="Namespace", rules=[[[{"destinationPorts": [4]}]]])
        changing.write()
        wait_policies(changing)
        client.echo(b"still here")
