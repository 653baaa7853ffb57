"""The protocol with the CNI agent, row by row (contract section 2)."""

import os
import signal

import pytest

from mesh import servers, zds
from mesh.clients import Client
from mesh.topology import Mesh
from mesh.wait import stays, until

PORT = 8080


def listens(pod, port=15008):
    """Whether somebody accepts on a proxy port of the pod."""
    table = "".join(pod.ns.run(["cat", f"/proc/self/net/tcp{six}"]).stdout for six in ("", "6"))
    return any(f":{port:04X} " in line and " 0A " in line for line in table.splitlines())


def gone(pod):
    until(lambda: not listens(pod), f"{pod.name} is served no longer")


class Town(Mesh):
    """One node whose agent is the test itself."""

    def __init__(self):
        super().__init__()
        self.one = self.node("node1")
        self.one.agent = zds.Agent(self.one.uds, manual=True)
        self.a = self.pod("a", self.one)
        self.b = self.pod("b", self.one)
        self.c = self.pod("c", self.one)
        self.servers = [servers.Server(self.b.ns, PORT)]
        self.link = None

    def begin(self, *pods):
        """A new connection with these pods in its snapshot."""
        self.link = self.one.agent.accept()
        assert self.link.read_hello() == {1: 1}
        for pod in pods:
            assert self.link.add(pod) == ""
        assert self.link.request(zds.snapshot_sent()) == ""
        self.one.proxy.wait_ready()
        return self.link

    def close(self):
        for server in self.servers:
            server.close()
        super().close()


@pytest.fixture(scope="module")
def shared():
    with Town() as made:
        made.start(wait=False)
        made.begin(made.a, made.b)
        yield made


@pytest.fixture
def town(shared):
    """A proxy that has pods a and b, connected; the next test finds it so again."""
    yield shared
    if shared.link.open:
        shared.link.close()
    assert shared.one.proxy.alive()
    shared.begin(shared.a, shared.b)


@pytest.fixture
def fresh():
    """A proxy of its own, for what ends the process."""
    with Town() as made:
        made.start(wait=False)
        yield made


def test_snapshot_makes_ready(fresh):
    link = fresh.one.agent.accept()
    assert link.read_hello() == {1: 1}
    status, text = fresh.one.proxy.ready()
    assert status == 500 and "workload proxy manager" in text
    assert text.startswith("not ready, pending: ")
    assert link.add(fresh.a) == ""
    until(lambda: listens(fresh.a), "the pod's listeners, before the snapshot ends")
    assert fresh.one.proxy.ready()[0] == 500
    assert link.request(zds.snapshot_sent()) == ""
    fresh.one.proxy.wait_ready()
    assert fresh.one.proxy.ready() == (200, "ready\n")


def test_empty_snapshot_makes_ready(fresh):
    fresh.begin()


def test_pods_come_and_go(town):
    assert not listens(town.c)
    assert town.link.add(town.c) == ""
    until(lambda: listens(town.c), "listeners")
    for port in (15001, 15006, 15008):
        assert listens(town.c, port)
    assert town.link.request(zds.delete(town.c.uid)) == ""
    gone(town.c)
    assert town.link.request(zds.delete(town.c.uid)) == "", "an unknown uid is fine"
    assert listens(town.a) and listens(town.b)


def test_metrics_count_proxies(town):
    before = town.one.proxy.metrics()
    assert before.value("workload_manager_active_proxy_count") == 2
    assert town.link.add(town.c) == ""
    town.one.proxy.wait_metric(lambda m: m.value("workload_manager_active_proxy_count") == 3, "three pods")
    assert town.link.request(zds.delete(town.c.uid)) == ""
    town.one.proxy.wait_metric(lambda m: m.value("workload_manager_active_proxy_count") == 2, "two pods")
    after = town.one.proxy.metrics()
    for name in ("workload_manager_proxies_started_total", "workload_manager_proxies_stopped_total"):
        assert after.value(name) == before.value(name) + 1


def test_same_pod_again_restarts_nothing(town, family):
    with Client(town.a.ns, town.b.ip[family], PORT) as client:
        client.echo()
        assert town.link.add(town.b) == ""
        assert town.link.add(town.a) == ""
        client.echo(b"still the same connection")


def test_other_namespace_under_the_same_uid_moves_the_proxy(town):
    assert town.link.add(town.c) == ""
    until(lambda: listens(town.c), "listeners")
    moved = zds.add(town.c.uid, zds.info(town.c.name, town.c.namespace, town.c.account))
    other = town.pods.get("spare") or town.pod("spare", town.one, listed=False)
    assert town.link.request(moved, [other.ns.fd]) == ""
    gone(town.c)
    until(lambda: listens(other), "listeners in the new namespace")
    assert town.link.request(zds.delete(town.c.uid)) == ""
    gone(other)


def test_pod_deleted_in_mid_transfer(town, family):
    """No grace: its connections end at once, its neighbours' do not."""
    with servers.Server(town.c.ns, PORT) as _:
        assert town.link.add(town.c) == ""
        until(lambda: listens(town.c), "listeners")
        with Client(town.a.ns, town.c.ip[family], PORT) as client, Client(town.a.ns, town.b.ip[family], PORT) as other:
            client.echo()
            other.echo()
            client.sock.setblocking(False)
            try:
                while True:
                    client.sock.send(b"x" * 65536)
            except BlockingIOError:
                pass
            assert town.link.request(zds.delete(town.c.uid)) == ""
            client.sock.setblocking(True)
            assert client.end() != "open"
            gone(town.c)
            other.echo(b"not concerned")


def test_lost_connection_keeps_pods_and_loses_readiness(town, family):
    with Client(town.a.ns, town.b.ip[family], PORT) as client:
        client.echo()
        town.link.close()
        until(lambda: town.one.proxy.ready()[0] == 500, "not ready")
        assert "workload proxy manager" in town.one.proxy.ready()[1]
        client.echo(b"still here")
        town.begin(town.a, town.b)
        client.echo(b"and after the new snapshot")


def test_snapshot_removes_what_it_does_not_name(town):
    assert town.link.add(town.c) == ""
    until(lambda: listens(town.c), "listeners")
    town.link.close()
    town.begin(town.a, town.b)
    gone(town.c)
    assert listens(town.a)


def test_keep_protects_a_pod(town, family):
    with Client(town.a.ns, town.b.ip[family], PORT) as client:
        client.echo()
        town.link.close()
        link = town.one.agent.accept()
        link.read_hello()
        assert link.request(zds.keep(town.b.uid)) == ""
        assert link.add(town.a) == ""
        assert link.request(zds.snapshot_sent()) == ""
        town.link = link
        client.echo(b"kept")
        assert listens(town.b)


def test_delete_before_the_snapshot_counts(town):
    assert town.link.add(town.c) == ""
    town.link.close()
    link = town.one.agent.accept()
    link.read_hello()
    for pod in (town.a, town.b, town.c):
        assert link.add(pod) == ""
    assert link.request(zds.delete(town.c.uid)) == ""
    assert link.request(zds.snapshot_sent()) == ""
    town.link = link
    gone(town.c)
    assert listens(town.a)


BROKEN = {
    "add_without_descriptor": lambda t: (zds.add(t.c.uid, zds.info("c", "default", "c")), ()),
    "delete_with_descriptor": lambda t: (zds.delete(t.c.uid), (t.c.ns.fd,)),
    "keep_with_descriptor": lambda t: (zds.keep(t.c.uid), (t.c.ns.fd,)),
    "two_descriptors": lambda t: (zds.add(t.c.uid, zds.info("c", "default", "c")), (t.c.ns.fd, t.b.ns.fd)),
    "garbage": lambda t: (b"\xff" * 40, ()),
    "truncated_message": lambda t: (zds.add(t.c.uid, zds.info("c", "default", "c"))[:-3], (t.c.ns.fd,)),
    "no_payload": lambda t: (b"\x3a\x00", ()),
    "too_long": lambda t: (zds.add("u" * 2000, zds.info("c", "default", "c")), (t.c.ns.fd,)),
    "wrong_utf8": lambda t: (zds.add(b"\xff\xfe", zds.info("c", "default", "c")), (t.c.ns.fd,)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_message_is_refused_and_the_connection_made_anew(town, name):
    data, fds = BROKEN[name](town)
    before = len(os.listdir(f"/proc/{town.one.proxy.process.pid}/fd"))
    error = town.link.request(data, fds)
    assert error.startswith("failure to read message"), error
    town.link.wait_closed()
    town.begin(town.a, town.b)
    assert listens(town.a) and not listens(town.c)
    until(
        lambda: len(os.listdir(f"/proc/{town.one.proxy.process.pid}/fd")) <= before + 2,
        "the descriptors that came along are closed",
    )


def test_descriptor_that_is_no_namespace_is_refused(town):
    with open("/dev/null", "rb") as file:
        error = town.link.request(zds.add(town.c.uid, zds.info("c", "default", "c")), [file.fileno()])
    assert error
    assert town.link.request(zds.delete(town.c.uid)) == "", "the connection is kept"


def test_long_uid_gives_a_short_ack(town):
    with open("/dev/null", "rb") as file:
        error = town.link.request(zds.add("u" * 900, zds.info("c", "default", "c")), [file.fileno()])
    assert error and len(error) < 1000


@pytest.mark.parametrize("case", ["add_without_info", "second_snapshot", "keep_after_snapshot"])
def test_breach_of_the_protocol_ends_the_process(fresh, case):
    fresh.begin(fresh.a)
    if case == "add_without_info":
        error = fresh.link.request(zds.add(fresh.c.uid), [fresh.c.ns.fd])
    elif case == "second_snapshot":
        error = fresh.link.request(zds.snapshot_sent())
    else:
        error = fresh.link.request(zds.keep(fresh.a.uid))
    assert error
    assert fresh.one.proxy.wait(5) == 1


def test_port_that_is_taken_is_retried_every_5_s(town):
    """The pod stays pending, the connection is kept, and the retry succeeds once the port is free."""
    with servers.Server(town.c.ns, 15008):
        error = town.link.add(town.c)
        assert error.startswith("failure to start proxy"), error
        assert town.one.proxy.metrics().value("workload_manager_pending_proxy_count") == 1
        dump = town.one.proxy.config_dump()["workloadState"][town.c.uid]
        assert dump["state"] == "Pending"
        assert town.link.request(zds.delete("nobody")) == ""
        until(lambda: town.one.proxy.ready()[0] == 500, "not ready while one is pending")
    until(lambda: listens(town.c), "the retry starts it", 8)
    until(lambda: town.one.proxy.ready()[0] == 200, "ready again")
    assert town.one.proxy.metrics().value("workload_manager_pending_proxy_count") == 0
    assert town.link.request(zds.delete(town.c.uid)) == ""
    # The ack says that the pod ends, not that its sockets are gone already.
    until(lambda: not listens(town.c), "its ports are free")


def test_pending_pod_may_be_deleted(town):
    with servers.Server(town.c.ns, 15008):
        assert town.link.add(town.c)
        assert town.link.request(zds.delete(town.c.uid)) == ""
        until(lambda: town.one.proxy.ready()[0] == 200, "ready: nothing pends")


def test_nothing_is_sent_unasked(town):
    def quiet():
        town.link.poll()
        return town.link.open and not town.link.unsolicited

    stays(quiet, "the proxy sent something nobody asked for", 1)


def test_agent_that_is_not_there_is_waited_for(fresh):
    fresh.one.agent.close()
    fresh.one.proxy.wait_log("", seconds=5)
    until(lambda: fresh.one.proxy.ready()[0] == 500, "readiness page answers")
    fresh.one.agent = zds.Agent(fresh.one.uds, manual=True)
    link = fresh.one.agent.accept(20)
    while True:
        try:
            link.read_hello()
            break
        except zds.Closed:
            link = fresh.one.agent.accept(20)
    assert link.request(zds.snapshot_sent()) == ""
    fresh.one.proxy.wait_ready()


def test_drain_closes_the_connection(fresh):
    link = fresh.begin(fresh.a)
    fresh.one.proxy.signal(signal.SIGTERM)
    link.wait_closed()
    assert fresh.one.proxy.wait(5) == 0
