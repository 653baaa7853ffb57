"""Workloads that have a hostname and no address (contract section 3.6)."""

import pytest

from mesh.clients import Client
from mesh.names import NameServer, with_resolv_conf
from mesh.standard import ECHO, Standard, vip_of


@pytest.fixture(scope="module")
def town():
    with Standard() as made:
        for name, host in (("external", "app.example"), ("missing", "no-such-host.example"), ("v4only", "four.example")):
            service = made.service(name, {"80": ECHO})
            made.workloads.append(
                {
                    "uid": f"external/{name}",
                    "name": name,
                    "namespace": "default",
                    "workloadIps": [],
                    "hostname": host,
                    "protocol": "TCP",
                    "services": {f"default/{service['hostname']}": {"80": ECHO}},
                }
            )
        made.by_name = {service["name"]: service for service in made.services}
        resolv = f"{made.dir}/resolv.conf"
        with open(resolv, "w", encoding="ascii") as file:
            file.write("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
        records = {
            "app.example": [made.plain.ip[4], made.plain.ip[6]],
            "four.example": [made.plain.ip[4]],
        }
        with NameServer(made.node1.ns, records) as made.names:
            made.start(before=with_resolv_conf(resolv))
            yield made


def call(town, name, family):
    return Client(town.client.ns, vip_of(town.by_name[name], family), 80)


def test_name_is_resolved_for_the_connection(town, family):
    mark = town.node1.proxy.mark()
    with call(town, "external", family) as client:
        client.echo()
    line = town.node1.proxy.wait_access(mark, src_addr=client.source)
    assert line["dst.addr"].startswith(("[" if family == 6 else "") + town.plain.ip[family])
    metrics = town.node1.proxy.metrics()
    assert metrics.value("istio_on_demand_dns_total", hostname="app.example", source_workload="client") >= 1


def test_answer_is_kept_for_its_time(town):
    call(town, "external", 4).echo().close()
    before = len(town.names.asked)
    for _ in range(5):
        call(town, "external", 4).echo().close()
    assert len(town.names.asked) == before


def test_other_family_will_do(town):
    with call(town, "v4only", 6) as client:
        client.echo()


def test_name_that_does_not_exist_fails(town, family):
    with call(town, "missing", family) as client:
        assert client.end() in ("fin", "rst")
    with call(town, "external", family) as client:
        client.echo()
