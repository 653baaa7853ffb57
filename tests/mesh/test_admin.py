"""Readiness, metrics and admin pages (contract section 9) and the log (section 10)."""

import base64
import datetime
import json
import re

import pytest
from cryptography import x509

from mesh.clients import Client
from mesh.standard import ECHO, Standard
from mesh.wait import until
from mesh.ztunnel import Connection, is_ours


@pytest.fixture(scope="module")
def proxy(mesh):
    with Client(mesh.client.ns, mesh.server.ip[4], ECHO) as client:
        client.echo()
    with Client(mesh.client.ns, "10.96.0.2", 80) as client:
        client.echo()
    zt = mesh.node1.proxy
    zt.wait_access(direction="outbound")
    return zt


# ---- readiness ----------------------------------------------------------------------------------------------------------


def test_ready(proxy):
    status, _, body = proxy.http(15021, "/healthz/ready")
    assert (status, body) == (200, b"ready\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_readiness_is_get_only(proxy, method):
    assert proxy.http(15021, "/healthz/ready", method)[0] == 405


@pytest.mark.parametrize("port", [15000, 15020, 15021])
def test_unknown_path(proxy, port):
    status, _, body = proxy.http(port, "/no/such/page")
    assert (status, body) == (404, b"")


def test_where_pages_are_open(mesh, proxy):
    for host in ("127.0.0.1", "::1", mesh.node1.ip[4], mesh.node1.ip[6]):
        assert proxy.http(15021, "/healthz/ready", host=host)[0] == 200
        assert proxy.http(15020, "/metrics", host=host)[0] == 200
    for host in ("127.0.0.1", "::1"):
        assert proxy.http(15000, "/config_dump", host=host)[0] == 200
    for host in (mesh.node1.ip[4], mesh.node1.ip[6]):
        with pytest.raises(ConnectionRefusedError):
            proxy.http(15000, "/config_dump", host=host)


def test_connection_serves_several_requests(mesh, proxy):
    link = Connection(mesh.node1.ns, 15000)
    for _ in range(3):
        link.request("GET", "/config_dump")
        answer = link.getresponse()
        assert answer.status == 200 and json.loads(answer.read())
    link.close()


@pytest.mark.parametrize("port", [15000, 15020, 15021])
def test_slow_and_broken_requests_are_ended(mesh, proxy, port):
    for data in (b"GET / HT", b"\x16\x03\x01\x00\x05hello", b"GET /" + b"a" * 20000, b"\r\n" * 20000):
        with Client(mesh.node1.ns, "127.0.0.1", port) as client:
            try:
                client.send(data)
            except ConnectionError:
                pass
            assert client.end(5) != "open", data[:20]
    assert proxy.ready()[0] == 200


# ---- metrics ------------------------------------------------------------------------------------------------------------

FAMILIES = {
    "istio_build": ("gauge", "Istio component build info"),
    "istio_tcp_connections_opened": ("counter", "The total number of TCP connections opened"),
    "istio_tcp_connections_closed": ("counter", "The total number of TCP connections closed"),
    "istio_tcp_received_bytes": ("counter", "The size of total bytes received during request in case of a TCP connection"),
    "istio_tcp_sent_bytes": ("counter", "The size of total bytes sent during response in case of a TCP connection"),
    "workload_manager_active_proxy_count": ("gauge", None),
    "workload_manager_pending_proxy_count": ("gauge", None),
    "workload_manager_proxies_started": ("counter", None),
    "process_open_fds": ("gauge", None),
    "process_max_fds": ("gauge", None),
}
LABELS = (
    "reporter source_workload source_canonical_service source_canonical_revision source_workload_namespace"
    " source_principal source_app source_version source_cluster destination_service destination_service_namespace"
    " destination_service_name destination_workload destination_canonical_service destination_canonical_revision"
    " destination_workload_namespace destination_principal destination_app destination_version destination_cluster"
    " request_protocol response_flags connection_security_policy source_region source_zone destination_region"
    " destination_zone"
).split()


def test_families_and_their_help(proxy):
    metrics = proxy.metrics()
    for name, (kind, words) in FAMILIES.items():
        assert metrics.types.get(name) == kind, name
        if words:
            assert metrics.help[name].startswith(words), metrics.help[name]
            assert metrics.help[name].endswith(".")


def test_counters_end_in_total_and_the_page_in_eof(proxy):
    metrics = proxy.metrics()
    counters = [name for name, kind in metrics.types.items() if kind == "counter"]
    for name, _, _ in metrics.samples:
        for counter in counters:
            if name == counter:
                raise AssertionError(f"{name} has no _total")
    assert metrics.text.endswith("# EOF\n")


def test_traffic_labels_in_order(proxy):
    lines = [x for x in proxy.metrics().text.splitlines() if x.startswith("istio_tcp_connections_opened_total{")]
    assert lines
    for line in lines:
        assert re.findall(r'(\w+)="', line) == LABELS


def test_missing_labels_say_unknown(proxy):
    labels, _ = proxy.metrics().find("istio_tcp_connections_opened_total", reporter="source")[0]
    assert labels["source_region"] == labels["source_zone"] == "unknown"
    assert "" not in labels.values()


def test_build_and_open_descriptors(proxy):
    metrics = proxy.metrics()
    assert metrics.find("istio_build", component="ztunnel", tag="unknown")[0][1] == 1
    assert 0 < metrics.value("process_open_fds") < metrics.value("process_max_fds")


@pytest.mark.parametrize("path", ["/metrics", "/stats/prometheus"])
def test_content_type_follows_accept(proxy, path):
    text, openmetrics = "text/plain; charset=utf-8", "application/openmetrics-text;charset=utf-8;version=1.0.0"
    for accept, want in [
        (None, text),
        ("text/plain", text),
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", openmetrics),
    ]:
        status, headers, _ = proxy.http(15020, path, headers={"Accept": accept} if accept else {})
        assert status == 200 and headers["content-type"] == want, accept


@pytest.mark.ours
def test_metrics_that_the_original_lacks(mesh, proxy):
    metrics = proxy.metrics()
    for word in ("handshake", "connect", "certificate_expir", "buffered", "active"):
        assert any(word in name for name in metrics.types if name.startswith("gauze_")), word
    kinds = {name: kind for name, kind in metrics.types.items() if name.startswith("gauze_")}
    assert any(kind == "histogram" and "handshake" in name for name, kind in kinds.items())
    assert any(kind == "histogram" and "connect" in name for name, kind in kinds.items())
    assert all(metrics.help.get(name) for name in kinds)


@pytest.mark.ours
def test_metrics_say_which_kernel_interface_is_used(mesh, proxy):
    found = proxy.metrics().find("gauze_io_backend_info")
    assert len(found) == 1 and found[0][1] == 1
    assert found[0][0]["backend"] == (mesh.backend or "uring")


# ---- config dump --------------------------------------------------------------------------------------------------------


def test_dump_has_its_parts(proxy):
    status, headers, body = proxy.http(15000, "/config_dump")
    assert status == 200 and headers["content-type"] == "application/json"
    dump = json.loads(body)
    assert list(dump) == sorted(dump)
    parts = "certificates config policies services stagedServices version workloadState workloads"
    assert set(parts.split()) <= set(dump)


def test_dump_of_workloads_and_services(mesh, proxy):
    dump = proxy.config_dump()
    uids = [each["uid"] for each in dump["workloads"]]
    assert uids == sorted(uids) == sorted(w["uid"] for w in mesh.workloads)
    client = next(each for each in dump["workloads"] if each["name"] == "client")
    for key in ("workloadIps", "protocol", "networkMode", "name", "namespace", "status", "clusterId", "capacity"):
        assert key in client
    assert client["protocol"] == "HBONE" and set(client["workloadIps"]) == set(mesh.client.ip.values())
    assert "waypoint" not in client and "hostname" not in client
    service = next(each for each in dump["services"] if each["name"] == "server")
    for key in "name namespace hostname vips ports endpoints subjectAltNames canonical visibility".split():
        assert key in service
    assert service["ports"] == {"80": ECHO}
    assert list(service["endpoints"]) == [mesh.server.uid]
    assert service["endpoints"][mesh.server.uid]["port"] == {"80": ECHO}


def test_dump_of_certificates(mesh, proxy):
    dump = proxy.config_dump()["certificates"]
    names = [each["identity"] for each in dump]
    assert names == sorted(names) and mesh.client.identity in names
    mine = dump[names.index(mesh.client.identity)]
    assert mine["state"] == "Available"
    for each in mine["certChain"] + mine["rootCerts"]:
        certificate = x509.load_pem_x509_certificate(base64.b64decode(each["pem"]))
        assert str(certificate.serial_number) == each["serialNumber"]
        assert datetime.datetime.fromisoformat(each["expirationTime"].replace("Z", "+00:00")).timestamp() == (
            pytest.approx(certificate.not_valid_after_utc.timestamp(), abs=1)
        )
        assert each["validFrom"].endswith("Z")
    leaf = x509.load_pem_x509_certificate(base64.b64decode(mine["certChain"][0]["pem"]))
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [mesh.client.identity]


def test_dump_names_no_key(proxy):
    _, _, body = proxy.http(15000, "/config_dump")
    assert b"PRIVATE" not in body
    for blob in re.findall(rb'"pem": *"([^"]+)"', body):
        assert b"PRIVATE" not in base64.b64decode(blob)


def test_dump_of_pods_and_connections(mesh, proxy):
    with Client(mesh.client.ns, mesh.server.ip[4], ECHO) as client:
        client.echo()
        state = proxy.config_dump()["workloadState"]
        assert set(state) == {mesh.client.uid, mesh.local.uid}
        mine = state[mesh.client.uid]
        assert mine["state"] == "Up"
        assert mine["info"] == {"name": "client", "namespace": "default", "serviceAccount": "client"}
        source = f"{mesh.client.ip[4]}:{client.port}"
        ours = [each for each in mine["connections"]["outbound"] if each["src"] == source]
        assert ours == [
            {
                "src": source,
                "originalDst": f"{mesh.server.ip[4]}:{ECHO}",
                "actualDst": f"{mesh.server.ip[4]}:15008",
                "protocol": "HBONE",
            }
        ]
        inbound = mesh.node2.proxy.config_dump()["workloadState"][mesh.server.uid]["connections"]["inbound"]
        assert [each for each in inbound if each["protocol"] == "HBONE" and each["src"].startswith(mesh.client.ip[4])]

    def gone():
        link = proxy.config_dump()["workloadState"][mesh.client.uid].get("connections") or {}
        return not [each for each in link.get("outbound", []) if each["src"] == source]

    until(gone, "the connection leaves the dump")


def test_dump_of_the_version(proxy):
    version = proxy.config_dump()["version"]
    assert {"version", "gitRevision", "buildProfile", "buildStatus", "istioVersion", "cryptoProvider"} <= set(version)


# ---- log levels ---------------------------------------------------------------------------------------------------------


def test_log_level_is_shown_and_changed(mesh, proxy):
    def post(query=""):
        status, _, body = proxy.http(15000, f"/logging{query}", "POST")
        return status, body.decode()

    status, before = post()
    assert status == 200 and before.startswith("current log level is ")
    assert proxy.http(15000, "/logging")[0] == 405
    try:
        mark = proxy.mark()
        with Client(mesh.client.ns, mesh.server.ip[4], ECHO) as client:
            client.echo()
        proxy.wait_access(mark, direction="outbound", src_addr=client.source)
        assert not proxy.access(mark, "connection opened")
        assert post("?level=debug")[0] == 200
        mark = proxy.mark()
        with Client(mesh.client.ns, mesh.server.ip[4], ECHO) as client:
            client.echo()
            until(lambda: proxy.access(mark, "connection opened"), "a debug line")
        assert post("?level=access=off")[0] == 200
        status, text = post("?level=nonsense")
        assert status == 400 and text.startswith("Invalid level provided")
    finally:
        status, text = post("?reset")
    assert status == 200
    assert post() == (200, before)


def test_index_page(proxy):
    status, headers, body = proxy.http(15000, "/")
    assert status == 200 and "html" in headers["content-type"] and b"config_dump" in body


def test_quitquitquit_wants_post(proxy):
    assert proxy.http(15000, "/quitquitquit")[0] == 405
    assert proxy.ready()[0] == 200


# ---- the log ------------------------------------------------------------------------------------------------------------


def test_plain_lines(proxy):
    lines = proxy.log()
    assert len(lines) > 5
    for line in lines:
        if not is_ours() and not line.text.startswith("20"):
            continue
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z\t(trace|debug|info|warn|error)\t", line.text), line.text
    line = proxy.access()[0].text
    assert re.search(r"\taccess\tconnection complete\tsrc\.addr=[0-9.]+:\d+ src\.workload=\"client\" ", line), line
    assert re.search(r' bytes_sent=\d+ bytes_recv=\d+ duration="\d+ms"$', line), line


def test_json_lines():
    with Standard() as made:
        made.start(LOG_FORMAT="json")
        with Client(made.client.ns, made.server.ip[4], ECHO) as client:
            client.echo()

        def access():
            lines = [json.loads(line.text) for line in made.node1.proxy.log()]
            return [line for line in lines if line.get("scope") == "access"]

        line = until(access, "an access line in JSON")[0]
        assert line["message"] == "connection complete" and line["level"] == "info"
        assert line["src.workload"] == "client" and line["direction"] == "outbound"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["time"])
        assert int(line["bytes_sent"]) == 5
