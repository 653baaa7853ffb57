"""ztunnel's own workload: scrapes of 15020 over HBONE, under policy (contract section 1.6)."""

import http.client

import pytest

from mesh.standard import Standard, host_port
from mesh.wait import until
from mesh.ztunnel import Connection


@pytest.fixture(scope="module")
def town():
    with Standard() as made:
        node = made.node2
        made.workloads.append(
            dict(
                made.server.workload,
                uid="cluster1//Pod/istio-system/ztunnel-x",
                name="ztunnel-x",
                namespace="istio-system",
                serviceAccount="ztunnel",
                workloadIps=[node.ip[4], node.ip[6]],
                workloadName="ztunnel",
                canonicalName="ztunnel",
                services={},
            )
        )
        made.start(wait=False)
        node.proxy.kill()
        made.proxy(node, POD_NAME="ztunnel-x", POD_NAMESPACE="istio-system", SERVICE_ACCOUNT="ztunnel")
        for each in made.nodes.values():
            each.proxy.wait_ready()
        yield made


def scrape(town, family, pod=None):
    link = Connection((pod or town.client).ns, 15020, town.node2.ip[family])
    try:
        link.request("GET", "/metrics")
        answer = link.getresponse()
        return answer.status, answer.read().decode()
    finally:
        link.close()


def test_scrape_over_hbone(town, family):
    mark = town.node1.proxy.mark()
    status, text = scrape(town, family)
    assert status == 200 and text.endswith("# EOF\n")
    line = town.node1.proxy.wait_access(mark, direction="outbound")
    assert line["dst.addr"] == host_port(town.node2.ip[family], 15008)
    assert line["dst.identity"] == "spiffe://cluster.local/ns/istio-system/sa/ztunnel"
    assert line["src.identity"] == town.client.identity


def test_self_listener_is_no_pod(town):
    assert set(town.node2.proxy.config_dump()["workloadState"]) == {town.server.uid, town.nft.uid}
    assert town.node2.proxy.metrics().value("workload_manager_active_proxy_count") == 2


def test_policy_holds_for_ztunnel_itself(town):
    town.policy("only-local", namespace="istio-system", rules=[[[{"principals": [{"Exact": "cluster.local/ns/default/sa/local"}]}]]])
    town.write()

    def answer(pod):
        try:
            return scrape(town, 4, pod)[0]
        except (OSError, http.client.HTTPException):
            return None  # an end without an answer

    try:
        until(lambda: answer(town.client) != 200, "the scrape is refused")
        until(lambda: answer(town.local) == 200, "the allowed one is served")
    finally:
        town.policies.pop()
        town.write()
    until(lambda: answer(town.client) == 200, "the scrape is served again")
