"""Start, drain, forced end, and a second instance that takes over (contract sections 2, 5.6, 12)."""

import signal
import threading
import time

import pytest

from mesh import hbone, servers
from mesh.ca import Authority
from mesh.clients import Client, refused_after_accept
from mesh.servers import Server
from mesh.standard import ECHO, Standard, host_port
from mesh.topology import Mesh
from mesh.wait import until


class Pair(Mesh):
    """A client on node1, a server on node2, an uncaptured pod next to the client."""

    def __init__(self):
        super().__init__()
        self.node1, self.node2 = self.node("node1"), self.node("node2")
        self.client = self.pod("client", self.node1)
        self.outsider = self.pod("outsider", self.node1, captured=False)
        self.server = self.pod("server", self.node2)
        self.echo = Server(self.server.ns, ECHO, backlog=1024)

    def close(self):
        self.echo.close()
        super().close()


@pytest.fixture
def pair():
    with Pair() as made:
        yield made


# ---- the end ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "quitquitquit"])
def test_idle_process_ends_at_once(pair, how):
    pair.start(CONNECTION_TERMINATION_DEADLINE="30s")
    proxy = pair.node1.proxy
    if how == "quitquitquit":
        assert proxy.http(15000, "/quitquitquit", "POST")[::2] == (200, b"shutdown now\n")
    else:
        proxy.signal(getattr(signal, how))
    assert proxy.wait(5) == 0


def test_second_interrupt_ends_now(pair):
    pair.start(CONNECTION_TERMINATION_DEADLINE="60s")
    with Client(pair.client.ns, pair.server.ip[4], ECHO) as client:
        client.echo()
        pair.node1.proxy.signal(signal.SIGINT)
        until(lambda: pair.node1.proxy.ready()[0] == 0, "the readiness page is gone")
        client.echo(b"draining")
        pair.node1.proxy.signal(signal.SIGINT)
        assert pair.node1.proxy.wait(2) == 0


@pytest.mark.parametrize("side", ["node1", "node2"])
def test_open_connection_outlives_the_signal(pair, family, side):
    """It works while draining, and the process ends with it."""
    pair.start(CONNECTION_TERMINATION_DEADLINE="60s")
    proxy = pair.nodes[side].proxy
    with Client(pair.client.ns, pair.server.ip[family], ECHO) as client:
        client.echo()
        proxy.signal(signal.SIGTERM)
        until(lambda: proxy.ready()[0] == 0, "the readiness page is gone")
        for _ in range(5):
            client.echo(b"z" * 100000)
        assert proxy.alive()
        client.half_close()
        assert client.end() == "fin"
    assert proxy.wait(5) == 0


@pytest.mark.parametrize("side", ["node1", "node2"])
def test_deadline_ends_what_is_left(pair, family, side):
    pair.start(CONNECTION_TERMINATION_DEADLINE="1s")
    proxy = pair.nodes[side].proxy
    with Client(pair.client.ns, pair.server.ip[family], ECHO) as client:
        client.echo()
        begin = time.monotonic()
        proxy.signal(signal.SIGTERM)
        assert client.end() != "open"
        assert proxy.wait(5) == 0
        assert 0.9 < time.monotonic() - begin < 4


def test_grace_period_sets_the_deadline(pair):
    pair.start(CONNECTION_TERMINATION_DEADLINE=None, TERMINATION_GRACE_PERIOD_SECONDS="2")
    with Client(pair.client.ns, pair.server.ip[4], ECHO) as client:
        client.echo()
        begin = time.monotonic()
        pair.node1.proxy.signal(signal.SIGTERM)
        assert pair.node1.proxy.wait(5) == 0
        assert 0.9 < time.monotonic() - begin < 3


def test_listeners_close_at_once(pair, family):
    pair.start(CONNECTION_TERMINATION_DEADLINE="60s")
    with Client(pair.client.ns, pair.server.ip[family], ECHO) as client:
        client.echo()
        pair.node1.proxy.signal(signal.SIGTERM)

        def refused():
            got = refused_after_accept(pair.client.ns, pair.server.ip[family], ECHO, seconds=0.2)
            return got == "refused"

        until(refused, "new connections are refused")
        client.echo(b"still here")


def test_peers_get_goaway_and_keep_their_streams(pair, family):
    pair.start(CONNECTION_TERMINATION_DEADLINE="60s")
    identity = Authority.of_mesh(pair).issue(pair.client.identity)
    with hbone.Client(pair.outsider.ns, pair.server.ip[family], identity) as tunnel:
        stream = tunnel.request(host_port(pair.server.ip[family], ECHO))
        tunnel.echo(stream)
        pair.node2.proxy.signal(signal.SIGTERM)
        until(lambda: tunnel.tunnel.goaway is not None, "GOAWAY")
        assert tunnel.tunnel.goaway == 0
        tunnel.echo(stream, b"y" * 200000)
        until(lambda: tunnel.tunnel.goaway_last == stream.id, "the last GOAWAY names our stream")
        assert pair.node2.proxy.alive()
        stream.end()
        until(lambda: stream.ended, "the stream ends as ever")
        tunnel.wait_closed()
    assert pair.node2.proxy.wait(5) == 0


def test_peers_proxy_is_gone(pair, family):
    """The client's proxy still accepts; data goes nowhere and the client learns it."""
    pair.start()
    with Client(pair.client.ns, pair.server.ip[family], ECHO) as client:
        client.echo()
        pair.node2.proxy.kill()
        assert client.end() != "open"
    with Client(pair.client.ns, pair.server.ip[family], ECHO) as client:
        try:
            client.send(b"x")
        except ConnectionError:
            pass
        assert client.end() in ("fin", "rst")


# ---- the beginning --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("port", [15000, 15020, 15021])
def test_port_that_is_taken_stops_the_start(pair, port):
    host = "127.0.0.1" if port == 15000 else "::"
    with servers.Server(pair.node1.ns, port, host=host):
        pair.write()
        proxy = pair.proxy(pair.node1)
        assert proxy.wait(10) == 1
        text = proxy.text().lower()
        assert "in use" in text
        assert str(port) in text or {15000: "admin", 15020: "stats", 15021: "readiness"}[port] in text


@pytest.mark.parametrize(
    "variable, value",
    [
        ("PROXY_MODE", "both"),
        ("ZTUNNEL_WORKER_THREADS", "many"),
        ("CONNECTION_TERMINATION_DEADLINE", "soon"),
        ("FAKE_CA", "yes"),
        ("IPV6_ENABLED", "1"),
        ("PACKET_MARK", "x"),
        ("ISTIO_META_DNS_PROXY_ADDR", "nowhere"),
    ],
)
def test_bad_value_stops_the_start_and_is_named(pair, variable, value):
    pair.write()
    proxy = pair.proxy(pair.node1, **{variable: value})
    assert proxy.wait(10) == 1
    name = variable.removeprefix("ISTIO_META_")
    assert name in proxy.text() or name.lower().replace("_", " ") in proxy.text().lower()


@pytest.mark.ours
@pytest.mark.parametrize("missing", [["sys_admin"], ["net_admin", "net_raw"]], ids="-".join)
def test_missing_capability_is_named(pair, missing):
    """NET_RAW allows marks and transparent sockets, too, so that either of the two will do."""
    pair.write()
    without = ",".join(f"-{name}" for name in missing)
    proxy = pair.proxy(pair.node1, before=["setpriv", f"--bounding-set={without}", f"--inh-caps={without}"])
    assert proxy.wait(10) == 1
    assert f"cap_{missing[0]}" in proxy.text().lower()


def test_version_and_help(pair):
    for argv, want in ((["version"], ""), (["help"], "")):
        proxy = pair.proxy(pair.node1, argv=argv)
        assert proxy.wait(5) == 0 and proxy.text() and want in proxy.text()
    proxy = pair.proxy(pair.node1, argv=["no-such-command"])
    assert proxy.wait(5) == 1 and "no-such-command" in proxy.text()


# ---- hand-over ------------------------------------------------------------------------------------------------------------


class Load:
    """Threads that connect, echo and close, one after the other, and count what went wrong."""

    def __init__(self, ns, host, port, threads=2):
        self.target = (ns, host, port)
        self.done = 0
        self.failures = []
        self.running = True
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]
        for thread in self.threads:
            thread.start()

    def _run(self):
        while self.running:
            try:
                with Client(*self.target, timeout=10) as client:
                    client.echo(b"hello")
                with self.lock:
                    self.done += 1
            except (OSError, EOFError, AssertionError) as err:
                with self.lock:
                    self.failures.append(repr(err))

    def wait(self, more, seconds=20):
        want = self.done + more
        until(lambda: self.done >= want or self.failures, lambda: f"{more} more connections", seconds)

    def stop(self):
        self.running = False
        for thread in self.threads:
            thread.join(12)


def hand_over(mesh, node, deadline):
    """A second instance starts on the node; once it is ready, the first is told to end."""
    old = node.proxy
    new = mesh.proxy(node, ns=mesh.spare_namespace(), CONNECTION_TERMINATION_DEADLINE=deadline)
    new.wait_ready()
    old.terminate()
    return old, new


@pytest.mark.parametrize("side", ["node1", "node2"])
def test_hand_over_keeps_old_connections_and_takes_new_ones(pair, family, side):
    pair.start(CONNECTION_TERMINATION_DEADLINE="60s")
    with Client(pair.client.ns, pair.server.ip[family], ECHO) as client:
        client.echo()
        old, new = hand_over(pair, pair.nodes[side], "60s")
        client.echo(b"through the old one")

        def taken_by_the_new_one():
            with Client(pair.client.ns, pair.server.ip[family], ECHO) as other:
                other.echo(b"through the new one")
            return new.access() if side == "node1" else True

        until(taken_by_the_new_one, "the new instance takes connections")
        assert old.alive()
        client.echo(b"still through the old one")
        client.half_close()
        assert client.end() == "fin"
    assert old.wait(8) == 0


@pytest.mark.ours
@pytest.mark.parametrize("side, source", [("node1", "client"), ("node2", "client"), ("node2", "outsider")])
def test_hand_over_loses_no_connection(pair, side, source):
    """Every connection that a client makes meanwhile is served: the accept queues of closing listeners, too."""
    pair.start(CONNECTION_TERMINATION_DEADLINE="10s")
    load = Load(pair.pods[source].ns, pair.server.ip[4], ECHO, threads=4)
    try:
        load.wait(100)
        for _ in range(3):
            old, _ = hand_over(pair, pair.nodes[side], "10s")
            load.wait(100)
            assert old.wait(15) == 0
        load.wait(50)
    finally:
        load.stop()
    assert not load.failures, load.failures[:5]
    assert load.done > 400


def test_standard_topology_starts_and_ends_cleanly():
    with Standard() as mesh:
        mesh.start()
        with Client(mesh.client.ns, mesh.server.ip[4], ECHO) as client:
            client.echo()
