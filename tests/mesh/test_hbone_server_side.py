"""The proxy as an HBONE server, asked by a client that is not ours (contract sections 5.2, 5.3, 6.1)."""

import struct

import h2.errors
import h2.settings
import pytest

from mesh import hbone
from mesh.ca import Authority
from mesh.hbone import frame
from mesh.standard import ECHO, PEER, host_port, vip_of
from mesh.wait import stays, until

CALLER = "spiffe://cluster.local/ns/default/sa/caller"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


@pytest.fixture(scope="module")
def caller(mesh):
    return Authority.of_mesh(mesh).issue(CALLER)


@pytest.fixture
def tunnel(mesh, caller):
    with hbone.Client(mesh.outsider.ns, mesh.server.ip[4], caller) as client:
        yield client


def serves(mesh, caller):
    """The proxy still does its work for others."""
    with hbone.Client(mesh.outsider.ns, mesh.server.ip[4], caller) as client:
        client.echo(client.request(host_port(mesh.server.ip[4], ECHO)))


# ---- answers --------------------------------------------------------------------------------------------------------


def test_200_and_bytes_both_ways(mesh, caller, family):
    with hbone.Client(mesh.outsider.ns, mesh.server.ip[family], caller) as client:
        stream = client.request(host_port(mesh.server.ip[family], ECHO))
        assert stream.status == 200
        client.echo(stream)
        client.echo(stream, b"y" * 300000)
        stream.end()
        until(lambda: stream.ended, "the end of the stream comes back")
        assert stream.reset is None


def test_application_sees_the_tunnels_address(mesh, caller, family):
    """Not the one in `forwarded`: behind a waypoint the application sees the waypoint."""
    with hbone.Client(mesh.outsider.ns, mesh.server.ip[family], caller) as client:
        stream = client.request(host_port(mesh.server.ip[family], PEER), [("forwarded", 'for="192.0.2.1:99"')])
        until(lambda: b"\n" in stream.data, "the application's line")
        assert stream.data.decode().strip() == mesh.outsider.ip[family]


def test_answer_carries_the_baggage_of_the_destination(mesh, tunnel):
    stream = tunnel.request(host_port(mesh.server.ip[4], ECHO))
    pairs = dict(pair.split("=", 1) for pair in stream.headers["baggage"].split(","))
    assert pairs == {
        "k8s.cluster.name": "Kubernetes",
        "k8s.namespace.name": "default",
        "k8s.deployment.name": "server",
        "service.name": "server",
        "service.version": "v1",
    }


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_400_if_not_connect(mesh, tunnel, method):
    stream = tunnel.request(
        host_port(mesh.server.ip[4], ECHO), [(":scheme", "https"), (":path", "/")], method=method, end=True
    )
    assert stream.status == 400 or stream.reset is not None
    tunnel.echo(tunnel.request(host_port(mesh.server.ip[4], ECHO)))


@pytest.mark.parametrize(
    "authority",
    ["nonsense", "192.0.2.1", "192.0.2.1:", "192.0.2.1:99999", "192.0.2.1:-1", "[::1", "[::1]", "::1:80", "a:b:80"],
)
def test_400_if_authority_does_not_parse(mesh, tunnel, authority):
    stream = tunnel.request(authority)
    assert stream.status == 400 or stream.reset is not None
    if stream.status:
        until(lambda: stream.ended or stream.reset is not None, "an error ends the stream")
        assert "baggage" not in stream.headers
    tunnel.echo(tunnel.request(host_port(mesh.server.ip[4], ECHO)))


@pytest.mark.parametrize("foreign", ["192.0.2.7:8080", "[2001:db8::7]:8080", "127.0.0.1:8080", "local"])
def test_400_if_the_address_is_not_the_pods(mesh, tunnel, foreign):
    authority = host_port(mesh.local.ip[4], ECHO) if foreign == "local" else foreign
    mark = mesh.node2.proxy.mark()
    assert tunnel.request(authority).status == 400
    line = mesh.node2.proxy.wait_log("ip mismatch", mark)
    assert authority.rpartition(":")[0].strip("[]") in line.text


def test_400_for_the_vip_without_a_waypoint(mesh, tunnel):
    assert tunnel.request(host_port(vip_of(mesh.vip, 4), 80)).status == 400


def test_hostname_goes_to_the_target_port(mesh, tunnel):
    stream = tunnel.request("server.default.svc.cluster.local:80")
    assert stream.status == 200
    tunnel.echo(stream)


@pytest.mark.parametrize("authority", ["server.default.svc.cluster.local:81", "unheard.of.example:80"])
def test_503_if_hostname_or_port_is_unknown(tunnel, authority):
    assert tunnel.request(authority).status == 503


@pytest.mark.parametrize("port", [15001, 15006, 15008])
def test_503_for_our_own_ports(mesh, tunnel, port):
    assert tunnel.request(host_port(mesh.server.ip[4], port)).status == 503


def test_503_if_the_application_is_not_there(mesh, tunnel):
    mark = mesh.node2.proxy.mark()
    assert tunnel.request(host_port(mesh.server.ip[4], 9)).status == 503
    line = mesh.node2.proxy.wait_access(mark, src_addr=tunnel.address)
    assert line.level == "error" and line["src.identity"] == CALLER


@pytest.mark.ours  # the original does not attribute to services that come from the file
def test_forwarded_host_names_the_service(mesh, tunnel):
    mark = mesh.node2.proxy.mark()
    host = "server.default.svc.cluster.local"
    stream = tunnel.request(
        host_port(mesh.server.ip[4], ECHO), [("forwarded", f'for="192.0.2.1:99";host={host}'), ("traceparent", TRACE)]
    )
    tunnel.echo(stream)
    stream.end()
    assert mesh.node2.proxy.wait_access(mark, src_addr=tunnel.address)["dst.service"] == host


def test_baggage_describes_an_unknown_source(mesh, tunnel):
    """Of a caller on another network only its baggage says who it is."""
    mark = mesh.node2.proxy.mark()
    stream = tunnel.request(
        host_port(mesh.server.ip[4], ECHO),
        [
            ("x-forwarded-network", "elsewhere"),
            ("baggage", "k8s.cluster.name=c2,k8s.namespace.name=far,k8s.deployment.name=away,service.name=svc"),
        ],
    )
    tunnel.echo(stream)
    stream.end()
    line = mesh.node2.proxy.wait_access(mark, src_addr=tunnel.address)
    assert (line["src.workload"], line["src.namespace"], line["src.cluster"]) == ("svc", "far", "c2")
    labels = mesh.node2.proxy.metrics().find("istio_tcp_connections_opened_total", source_workload="away")[0][0]
    assert labels["source_app"] == "away" and labels["source_canonical_service"] == "svc"
    assert labels["source_principal"] == CALLER and labels["source_cluster"] == "c2"


def test_broken_helper_headers_do_no_harm(mesh, tunnel):
    for name, value in [
        ("baggage", "=,=,;;;k8s=,,,=x" + "a" * 2000),
        ("forwarded", 'host="' + "\\" * 50),
        ("traceparent", "00-zz"),
        ("x-forwarded-network", ""),
    ]:
        stream = tunnel.request(host_port(mesh.server.ip[4], ECHO), [(name, value)])
        assert stream.status == 200, name
        tunnel.echo(stream)


@pytest.mark.parametrize("extra", [(":scheme", "https"), (":path", "/")])
def test_scheme_or_path_on_connect_is_malformed(mesh, tunnel, extra):
    stream = tunnel.request(host_port(mesh.server.ip[4], ECHO), [extra])
    assert stream.status != 200
    assert stream.reset is not None or stream.status == 400
    tunnel.echo(tunnel.request(host_port(mesh.server.ip[4], ECHO)))


def test_oversize_head_is_refused(mesh, caller, tunnel):
    stream = tunnel.request(host_port(mesh.server.ip[4], ECHO), [(f"x-{i}", "v" * 10000) for i in range(10)])
    assert stream.status == 431 or stream.reset is not None or tunnel.tunnel.goaway is not None
    serves(mesh, caller)


# ---- HTTP/2 ---------------------------------------------------------------------------------------------------------


def test_settings_of_the_server(tunnel):
    until(lambda: tunnel.tunnel.h2.remote_settings.max_concurrent_streams == 200, "SETTINGS with 200 streams")
    have = tunnel.tunnel.h2.remote_settings
    assert have.max_header_list_size == 65536
    assert have.initial_window_size <= 4 << 20
    assert 16384 <= have.max_frame_size <= 1 << 20


def test_ping_is_answered(tunnel):
    pongs = []
    on_event = tunnel.tunnel._event
    tunnel.tunnel._event = lambda e: (
        pongs.append(e.ping_data) if type(e).__name__ == "PingAckReceived" else on_event(e)
    )
    tunnel.tunnel.h2.ping(b"12345678")
    tunnel.tunnel.flush()
    until(lambda: pongs == [b"12345678"], "the PING comes back")


def test_stream_that_is_not_read_does_not_block_others(mesh, caller):
    """No credit for one stream: its bytes wait at their source, the others go on."""
    window = {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 65535}
    with hbone.Client(mesh.outsider.ns, mesh.server.ip[4], caller, credit=False, settings=window) as client:
        stuck = client.request(host_port(mesh.server.ip[4], ECHO))
        stuck.write(b"z" * (1 << 20))
        until(lambda: len(stuck.data) >= 65535, "the window is used up")
        other = client.request(host_port(mesh.server.ip[4], ECHO))
        client.echo(other, b"still here")
        stays(lambda: len(stuck.data) == 65535, "more came than the window allows", 0.3)


def test_more_streams_than_allowed_are_refused(mesh, caller):
    with hbone.Client(mesh.outsider.ns, mesh.server.ip[4], caller) as client:
        until(lambda: client.tunnel.h2.remote_settings.max_concurrent_streams == 200, "SETTINGS")
        streams = [client.open(host_port(mesh.server.ip[4], ECHO)) for _ in range(200)]
        until(lambda: all(s.status == 200 for s in streams), "200 streams open", 20)
        codes = h2.settings.SettingCodes
        client.tunnel.h2.remote_settings[codes.MAX_CONCURRENT_STREAMS] = 1000
        client.tunnel.h2.remote_settings.acknowledge()
        extra = client.open(host_port(mesh.server.ip[4], ECHO))
        until(lambda: extra.reset is not None or client.tunnel.goaway is not None, "stream 201 is refused")
        assert extra.status is None
        if client.tunnel.goaway is None:
            assert extra.reset == h2.errors.ErrorCodes.REFUSED_STREAM
            client.echo(streams[0])


HEAD = b"\x00" * 3
MALFORMED = {
    "data_on_stream_0": frame(0, 0, 0, b"x"),
    "headers_on_stream_0": frame(1, 4, 0, b"\x82"),
    "headers_on_even_stream": frame(1, 4, 2, b"\x82"),
    "settings_of_odd_length": frame(4, 0, 0, b"12345"),
    "settings_ack_with_payload": frame(4, 1, 0, b"123456"),
    "settings_bad_window": frame(4, 0, 0, struct.pack("!HI", 4, 0x80000000)),
    "settings_bad_frame_size": frame(4, 0, 0, struct.pack("!HI", 5, 1)),
    "ping_of_wrong_length": frame(6, 0, 0, b"1234"),
    "ping_on_a_stream": frame(6, 0, 1, b"12345678"),
    "window_update_of_nothing": frame(8, 0, 0, b"\x00\x00\x00\x00"),
    "window_update_overflow": frame(8, 0, 0, struct.pack("!I", 0x7FFFFFFF)) * 2,
    "continuation_without_headers": frame(9, 4, 1, b"\x82"),
    "frame_too_long": struct.pack("!I", (1 << 24) - 1)[1:] + b"\x00\x00" + struct.pack("!I", 1) + b"x" * 20000,
    "bad_hpack": frame(1, 4, 1, b"\xff\xff\xff\xff\xff\xff\xff\xff"),
    "push_promise": frame(5, 4, 1, b"\x00\x00\x00\x02\x82"),
    "rst_of_idle_stream": frame(3, 0, 7, b"\x00\x00\x00\x08"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_frame_ends_that_tunnel_only(mesh, caller, tunnel, name):
    until(lambda: tunnel.tunnel.h2.remote_settings.max_concurrent_streams == 200, "SETTINGS")
    tunnel.tunnel.raw(MALFORMED[name])
    tunnel.wait_closed()
    serves(mesh, caller)


def test_unknown_frame_types_and_priority_are_ignored(mesh, tunnel):
    tunnel.tunnel.raw(frame(0xF7, 0xFF, 0, b"what is this") + frame(2, 0, 9, b"\x00\x00\x00\x00\x10"))
    tunnel.echo(tunnel.request(host_port(mesh.server.ip[4], ECHO)))


FLOODS = {
    # what, how many; an honest peer sends none of these in such number
    "continuation": (frame(9, 0, 1, b"\x40\x01a\x01b"), 20000),
    "empty_continuation": (frame(9, 0, 1, b""), 50000),
    "ping": (frame(6, 0, 0, b"12345678"), 100000),
    "settings": (frame(4, 0, 0, struct.pack("!HI", 4, 65535)), 50000),
    "empty_settings": (frame(4, 0, 0, b""), 100000),
    "empty_data": (frame(0, 0, 1, b""), 100000),
    "priority": (frame(2, 0, 9, b"\x00\x00\x00\x00\x10"), 200000),
    "window_update": (frame(8, 0, 0, b"\x00\x00\x00\x01"), 200000),
}


@pytest.mark.ours
@pytest.mark.parametrize("name", FLOODS)
def test_flood_ends_that_tunnel_or_costs_nothing(mesh, caller, tunnel, name):
    unit, count = FLOODS[name]
    if name.endswith("continuation"):
        head = tunnel.tunnel.h2.encoder.encode([(":method", "CONNECT"), (":authority", "a:1")])
        tunnel.tunnel.raw(frame(1, 0, 1, head))
    elif name == "empty_data":
        stream = tunnel.request(host_port(mesh.server.ip[4], ECHO))
        unit = frame(0, 0, stream.id, b"")
    for _ in range(20):
        if tunnel.tunnel.closed:
            break
        tunnel.tunnel.raw(unit * (count // 20))
    if name in ("continuation", "empty_continuation", "ping", "settings", "empty_settings"):
        tunnel.wait_closed()
    serves(mesh, caller)


@pytest.mark.ours
def test_rapid_reset_is_answered_with_goaway(mesh, caller, tunnel):
    until(lambda: tunnel.tunnel.h2.remote_settings.max_concurrent_streams == 200, "SETTINGS")
    head = [(":method", "CONNECT"), (":authority", host_port(mesh.server.ip[4], ECHO))]
    for base in range(0, 5000, 100):
        if tunnel.tunnel.closed:
            break
        data = b""
        for i in range(base, base + 100):
            number = 2 * i + 1
            data += frame(1, 4, number, tunnel.tunnel.h2.encoder.encode(head))
            data += frame(3, 0, number, struct.pack("!I", int(h2.errors.ErrorCodes.CANCEL)))
        tunnel.tunnel.raw(data)
    until(lambda: tunnel.tunnel.goaway is not None, "GOAWAY")
    assert tunnel.tunnel.goaway == h2.errors.ErrorCodes.ENHANCE_YOUR_CALM
    tunnel.wait_closed()
    serves(mesh, caller)


@pytest.mark.ours
def test_honest_churn_is_not_taken_for_a_rapid_reset(mesh, caller):
    with hbone.Client(mesh.outsider.ns, mesh.server.ip[4], caller) as client:
        for _ in range(150):
            stream = client.request(host_port(mesh.server.ip[4], ECHO))
            assert stream.status == 200
            stream.abort()
        client.echo(client.request(host_port(mesh.server.ip[4], ECHO)))


def test_tunnel_that_vanishes_frees_the_application(mesh, caller):
    server = mesh.server.servers[ECHO]
    before = len(server.records)
    with hbone.Client(mesh.outsider.ns, mesh.server.ip[4], caller) as client:
        client.echo(client.request(host_port(mesh.server.ip[4], ECHO)))
    server.next(before).wait_end()
