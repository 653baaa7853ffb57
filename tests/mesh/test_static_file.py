"""The static file (contract section 3.8): every key, both syntaxes, reload, and files that are wrong."""

import json
import os
import subprocess

import pytest

from mesh import servers
from mesh.clients import Client
from mesh.standard import ECHO, vip_of
from mesh.topology import Mesh, as_yaml
from mesh.wait import until
from mesh.ztunnel import binary

WHOLE = """\
workloads:
- uid: cluster1//Pod/default/a
  name: a
  namespace: default
  serviceAccount: default
  trustDomain: cluster.local
  workloadIps: ["10.0.0.2", "2001:db8::2"]
  hostname: ""
  protocol: HBONE
  networkMode: Standard
  network: ""
  node: node1
  workloadName: a
  workloadType: deployment
  canonicalName: a
  canonicalRevision: v1
  clusterId: Kubernetes
  status: Healthy
  capacity: 1
  nativeTunnel: false
  locality: {region: r, zone: z, subzone: s}
  authorizationPolicies: ["default/p1"]
  waypoint: {destination: "/10.0.0.9", hboneMtlsPort: 15008}
  networkGateway: {destination: "istio-system/eastwest.example", hboneMtlsPort: 15008}
  applicationTunnel: {protocol: PROXY, port: 15088}
  services:
    "default/a.default.svc.cluster.local": {80: 8080}
services:
- name: a
  namespace: default
  hostname: a.default.svc.cluster.local
  vips: ["/10.96.0.5"]
  cidrVips: [{network: "", cidr: 10.96.8.0/24}]
  ports: {80: 8080}
  endpoints: {}
  subjectAltNames: ["spiffe://cluster.local/ns/default/sa/default"]
  waypoint: {destination: "/10.0.0.9", hboneMtlsPort: 15008}
  weightedWaypoints: [{destination: {destination: "/10.0.0.9", hboneMtlsPort: 15008}, weight: 100}]
  loadBalancer: {mode: Failover, routingPreferences: [Network, Region, Zone], healthPolicy: OnlyHealthy}
  ipFamilies: IPv4
  canonical: false
  visibility: Public
policies:
- name: p1
  namespace: default
  scope: Namespace
  action: Allow
  dryRun: false
  rules:
  - - - notDestinationPorts: [9999]
        namespaces: MATCH
        sourceIps: ["10.0.0.0/8"]
        serviceAccounts: [{namespace: default, serviceAccount: a}]
"""
AS_MAPS = "[{Exact: default}, {Presence: []}]"
AS_TAGS = "[!Exact default, !Presence []]"


@pytest.fixture(scope="module")
def lone():
    """A node on which proxies are started with files of all kinds; no pods."""
    with Mesh() as mesh:
        mesh.one = mesh.node("node1")
        yield mesh


def start(mesh, text=None, **env):
    """A proxy with that file; the namespace is its own, the last one may still be there."""
    if text is not None:
        mesh.write(text)
    ns = mesh.spare_namespace()
    return mesh.proxy(mesh.one, ns=ns, INPOD_UDS=f"{mesh.dir}/nobody.sock", **env)


def dump(proxy):
    until(lambda: proxy.ready()[0], lambda: f"the proxy is up\n{proxy.text()}")
    return proxy.config_dump()


@pytest.mark.parametrize(
    "matches", [pytest.param(AS_MAPS, marks=pytest.mark.ours), AS_TAGS], ids=["maps", "tags"]
)
def test_every_key(lone, matches):
    proxy = start(lone, WHOLE.replace("MATCH", matches))
    got = dump(proxy)
    workload, service, policy = got["workloads"][0], got["services"][0], got["policies"][0]
    assert workload["uid"] == "cluster1//Pod/default/a"
    assert workload["locality"] == {"region": "r", "zone": "z", "subzone": "s"}
    assert workload["waypoint"] == {"destination": "/10.0.0.9", "hboneMtlsPort": 15008}
    assert workload["networkGateway"] == {"destination": "istio-system/eastwest.example", "hboneMtlsPort": 15008}
    assert workload["applicationTunnel"] == {"protocol": "PROXY", "port": 15088}
    assert workload["authorizationPolicies"] == ["default/p1"]
    assert service["vips"] == ["/10.96.0.5"] and service["ports"] == {"80": 8080}
    assert service["loadBalancer"]["mode"] == "Failover"
    assert service["loadBalancer"]["routingPreferences"] == ["Network", "Region", "Zone"]
    assert service["endpoints"]["cluster1//Pod/default/a"]["port"] == {"80": 8080}
    assert (policy["name"], policy["scope"], policy["action"]) == ("p1", "Namespace", "Allow")
    match = policy["rules"][0][0][0]
    assert match["notDestinationPorts"] == [9999] and {"Exact": "default"} in match["namespaces"]
    proxy.kill()


@pytest.mark.ours
def test_json(lone):
    proxy = start(lone, json.dumps(MINIMAL))
    assert dump(proxy)["workloads"][0]["name"] == "a"
    proxy.kill()


def test_inline(lone):
    proxy = start(lone, LOCAL_XDS_PATH=None, LOCAL_XDS=WHOLE.replace("MATCH", "[]"))
    assert dump(proxy)["workloads"][0]["name"] == "a"
    proxy.kill()


MINIMAL = {
    "workloads": [{"uid": "u", "name": "a", "namespace": "n", "workloadIps": ["10.0.0.2"], "services": {}}],
    "services": [
        {"name": "s", "namespace": "n", "hostname": "s.n", "vips": ["/10.96.0.1"], "ports": {"80": 80}},
    ],
    "policies": [
        {"name": "p", "namespace": "n", "scope": "Namespace", "action": "Allow", "dryRun": False, "rules": []},
    ],
}


def broken(kind, **change):
    """MINIMAL with one object's keys changed (None takes a key away), as YAML lines with one key per line."""
    document = json.loads(json.dumps(MINIMAL))
    for key, value in change.items():
        if value is None:
            document[kind][0].pop(key, None)
        else:
            document[kind][0][key] = value
    return json.dumps(document, indent=1)


WRONG = {
    # name: (text, what the error must name)
    "not_yaml": ("workloads: [", None),
    "not_a_map": ("- just\n- a list\n", None),
    "unknown_top_key": ("workload: []\n", "workload"),
    "unknown_key": (broken("workloads", colour="red"), "colour"),
    "unknown_protocol": (broken("workloads", protocol="QUIC"), "QUIC"),
    "legacy_protocol": (broken("workloads", protocol="LEGACY_ISTIO_MTLS"), "LEGACY_ISTIO_MTLS"),
    "unknown_status": (broken("workloads", status="Tired"), "Tired"),
    "bad_address": (broken("workloads", workloadIps=["10.0.0"]), "10.0.0"),
    "no_namespace": (broken("workloads", namespace=None), "namespace"),
    "no_addresses": (broken("workloads", workloadIps=None), "workloadIps"),
    "no_services": (broken("workloads", services=None), "services"),
    "service_key_without_namespace": (broken("workloads", services={"a.b": {"80": 80}}), None),
    "port_too_large": (broken("workloads", services={"n/s.n": {"80": 70000}}), "70000"),
    "port_is_text": (broken("services", ports={"http": 80}), "http"),
    "vip_without_network": (broken("services", vips=["10.96.0.1"]), "vips"),
    "bad_mode": (broken("services", loadBalancer={"mode": "Random", "routingPreferences": []}), "Random"),
    "no_ports": (broken("services", ports=None), "ports"),
    "waypoint_without_port": (broken("workloads", waypoint={"destination": "/10.0.0.9"}), "hboneMtlsPort"),
    "unknown_scope": (broken("policies", scope="World"), "World"),
    "unknown_action": (broken("policies", action="Maybe"), "Maybe"),
    "no_dry_run": (broken("policies", dryRun=None), "dryRun"),
    "duplicate_top_key": ("workloads: []\nworkloads: []\n", "workloads"),
}


@pytest.mark.ours
@pytest.mark.parametrize("name", WRONG)
def test_wrong_file_stops_the_start(lone, name):
    text, word = WRONG[name]
    proxy = start(lone, text)
    assert proxy.wait(10) == 1
    assert os.path.basename(lone.file) in proxy.text()
    if word:
        assert word in proxy.text()


def check(lone, text):
    lone.write(text)
    return subprocess.run([binary(), "check", lone.file], capture_output=True, text=True, timeout=20, check=False)


@pytest.mark.ours
def test_check_accepts(lone):
    assert check(lone, WHOLE.replace("MATCH", AS_MAPS)).returncode == 0


@pytest.mark.ours
@pytest.mark.parametrize("name", WRONG)
def test_check_says_where(lone, name):
    text, word = WRONG[name]
    done = check(lone, text)
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert f"{lone.file}:" in said, said
    if word:
        assert word in said
        line = int(said.split(f"{lone.file}:")[1].split(":")[0])
        lines = text.splitlines()
        missing = "missing" in said
        assert missing or any(word in each for each in lines[max(line - 2, 0) : line + 1]), said


@pytest.mark.ours
def test_check_tells_all_errors_at_once(lone):
    text = WHOLE.replace("MATCH", AS_MAPS).replace("protocol: HBONE", "protocol: QUIC").replace("Public", "Secret")
    said = check(lone, text)
    assert "QUIC" in said.stdout + said.stderr and "Secret" in said.stdout + said.stderr


def test_file_and_inline_at_once_is_an_error(lone):
    proxy = start(lone, WHOLE.replace("MATCH", "[]"), LOCAL_XDS="workloads: []")
    assert proxy.wait(10) == 1


@pytest.mark.ours
def test_file_that_cannot_be_read_stops_the_start(lone):
    proxy = start(lone, LOCAL_XDS_PATH=f"{lone.dir}/missing.yaml")
    assert proxy.wait(10) == 1 and "missing.yaml" in proxy.text()
    proxy = start(lone, LOCAL_XDS_PATH=lone.dir)
    assert proxy.wait(10) == 1


# ---- reload -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def live():
    with Mesh() as mesh:
        node1, node2 = mesh.node("node1"), mesh.node("node2")
        mesh.client, mesh.server = mesh.pod("client", node1), mesh.pod("server", node2)
        mesh.echo = servers.Server(mesh.server.ns, ECHO)
        mesh.start()
        yield mesh
        mesh.echo.close()


def services_of(node):
    return {service["name"] for service in node.proxy.config_dump()["services"]}


def names(mesh):
    return {service["name"] for service in mesh.services}


def wait_services(mesh):
    until(
        lambda: all(services_of(node) == names(mesh) for node in mesh.nodes.values()),
        lambda: f"services {names(mesh)}; {[services_of(node) for node in mesh.nodes.values()]}",
    )


@pytest.mark.ours
@pytest.mark.parametrize("way", ["rename", "in_place", "symlink"])
def test_change_is_taken_and_drops_nothing(live, family, way):
    with Client(live.client.ns, live.server.ip[family], ECHO) as client:
        client.echo()
        service = live.service(f"new-{way}-{family}", {"80": ECHO}, [live.server])
        if way == "rename":
            live.write()
        elif way == "in_place":
            content = text_of(live)
            with open(live.file, "w", encoding="utf-8") as file:
                file.write(content)
        else:
            # As kubelet does with a ConfigMap: the file is a link into a folder that is itself a link.
            target = f"{live.dir}/data-{way}-{family}"
            os.mkdir(target)
            with open(f"{target}/mesh.yaml", "w", encoding="utf-8") as file:
                file.write(text_of(live))
            aside = f"{live.file}.link"
            os.symlink(f"{target}/mesh.yaml", aside)
            os.rename(aside, live.file)
        wait_services(live)
        with Client(live.client.ns, vip_of(service, family), 80) as other:
            other.echo()
        client.echo(b"still the same connection")


def text_of(mesh):
    return as_yaml(mesh.document())


@pytest.mark.ours
@pytest.mark.parametrize("text", ["workloads: [", "workloads: []\ncolour: red\n", "", "\x00\x01\x02"])
def test_wrong_change_is_refused_and_the_old_state_stays(live, family, text):
    live.write()
    wait_services(live)
    marks = [node.proxy.mark() for node in live.nodes.values()]
    with Client(live.client.ns, live.server.ip[family], ECHO) as client:
        client.echo()
        live.write(text)
        for node, mark in zip(live.nodes.values(), marks):
            node.proxy.wait_log(f"(?i)(error|warn).*{os.path.basename(live.file)}", mark)
            assert services_of(node) == names(live)
            assert node.proxy.metrics().value("gauze_config_loads_total", result="refused") >= 1
        client.echo(b"nothing happened")
        with Client(live.client.ns, live.server.ip[family], ECHO) as other:
            other.echo()
    live.write()
    live.service(f"after-{len(live.services)}", {"80": ECHO}, [live.server])
    live.write()
    wait_services(live)


@pytest.mark.ours
def test_file_that_goes_away_changes_nothing(live):
    live.write()
    wait_services(live)
    os.unlink(live.file)
    with Client(live.client.ns, live.server.ip[4], ECHO) as client:
        client.echo()
    assert services_of(live.nodes["node1"]) == names(live)
    live.service(f"again-{len(live.services)}", {"80": ECHO}, [live.server])
    live.write()
    wait_services(live)


@pytest.mark.ours
def test_endpoint_that_is_unhealthy_gets_no_new_connections(live, family):
    service = live.service(f"health-{family}", {"80": ECHO}, [live.server])
    live.write()
    wait_services(live)
    with Client(live.client.ns, vip_of(service, family), 80) as client:
        client.echo()
        live.server.workload["status"] = "Unhealthy"
        live.write()
        node = live.nodes["node1"]

        def endpoints():
            found = [s for s in node.proxy.config_dump()["services"] if s["name"] == service["name"]]
            return found[0]["endpoints"]

        try:
            until(lambda: not endpoints(), "the endpoint leaves the service")
            mark = node.proxy.mark()
            with Client(live.client.ns, vip_of(service, family), 80) as other:
                assert other.end() in ("fin", "rst")
            assert "upstream" in node.proxy.wait_log("connection failed", mark)["error"].lower()
            client.echo(b"the old connection goes on")
        finally:
            live.server.workload["status"] = "Healthy"
            live.write()
            until(endpoints, "the endpoint is back")
