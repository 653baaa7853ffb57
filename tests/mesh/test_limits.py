"""At a limit new work is refused cleanly and old work goes on: connections of a pod, of the process, descriptors."""

import contextlib

import h2.settings
import pytest

from mesh import hbone
from mesh.ca import Authority
from mesh.clients import Client
from mesh.standard import ECHO, Standard, host_port
from mesh.wait import until

pytestmark = pytest.mark.ours


@contextlib.contextmanager
def town(**env):
    with Standard() as made:
        made.start(**env)
        yield made


def served(client):
    try:
        client.echo()
        return True
    except (ConnectionError, EOFError, AssertionError, TimeoutError):
        return False


def open_some(made, count, pod=None):
    """That many clients at once, those that are served and how many were not."""
    kept, refused = [], 0
    for _ in range(count):
        client = Client((pod or made.client).ns, made.plain.ip[4], ECHO, timeout=2)
        if served(client):
            kept.append(client)
        else:
            client.close()
            refused += 1
    return kept, refused


def close_all(clients):
    for client in clients:
        client.close()


def test_connections_of_one_pod():
    with town(GAUZE_POD_CONNECTIONS=10) as made:
        proxy = made.node1.proxy
        kept, refused = open_some(made, 14)
        try:
            assert (len(kept), refused) == (10, 4)
            assert proxy.metrics().value("gauze_limit_hits_total", limit="limit_pod_flows") == 4
            assert proxy.metrics().value("gauze_pod_active_connections", pod="client") == 10
            # Others have their own share, and what was let in goes on.
            with Client(made.local.ns, made.plain.ip[4], ECHO) as other:
                other.echo()
            for client in kept:
                client.echo(b"still here")
        finally:
            close_all(kept)
        until(lambda: proxy.metrics().value("gauze_pod_active_connections", pod="client") == 0, "all are gone")
        with Client(made.client.ns, made.plain.ip[4], ECHO) as again:
            again.echo()


def test_connections_of_the_process():
    with town(GAUZE_CONNECTIONS=12) as made:
        proxy = made.node1.proxy
        kept, refused = open_some(made, 8)
        more, refused_more = open_some(made, 8, made.local)
        try:
            assert refused == 0 and (len(more), refused_more) == (4, 4)
            assert proxy.metrics().value("gauze_limit_hits_total", limit="limit_process_flows") == 4
            for client in kept + more:
                client.echo(b"still here")
        finally:
            close_all(kept + more)


def test_who_never_reads_stops_only_its_own_pod():
    """A peer opens streams and no windows: what waits for it is bounded, and the other pods' share is not touched."""
    no_window = {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0}
    with town(ZTUNNEL_WORKER_THREADS=1) as made:
        proxy = made.node2.proxy
        caller = Authority.of_mesh(made).issue("spiffe://cluster.local/ns/default/sa/caller")
        tunnels = [
            hbone.Client(made.outsider.ns, made.server.ip[4], caller, credit=False, settings=no_window)
            for _ in range(8)
        ]
        try:
            streams = [each.request(host_port(made.server.ip[4], ECHO)) for each in tunnels for _ in range(100)]
            assert {stream.status for stream in streams} == {200}
            for stream in streams:
                stream.write(b"z" * 300000)
            held = 128 << 20
            proxy.wait_metric(lambda m: m.value("gauze_pod_buffered_bytes", pod="server") >= held, "much waits", 30)
            with Client(made.client.ns, made.server.ip[4], ECHO) as late:
                assert not served(late)
            assert proxy.metrics().value("gauze_limit_hits_total", limit="limit_pod_buffered") >= 1
            for _ in range(3):
                with Client(made.client.ns, made.nft.ip[4], ECHO) as other:
                    other.echo(b"x" * 60000)
        finally:
            for each in tunnels:
                each.close()
        proxy.wait_metric(lambda m: m.value("gauze_pod_buffered_bytes", pod="server") == 0, "it is given back", 30)
        with Client(made.client.ns, made.server.ip[4], ECHO) as again:
            again.echo()


def test_out_of_descriptors():
    with Standard() as made:
        made.start()
        made.node1.proxy.kill()
        until(lambda: not made.node1.agent.alive(), "the agent sees the first proxy's end")
        proxy = made.proxy(made.node1, before=["prlimit", "--nofile=110"], GAUZE_CONNECTIONS=1000)
        proxy.wait_ready()
        kept, refused = open_some(made, 60)
        try:
            assert kept and refused
            for client in kept:
                client.echo(b"still here")
            # Its own pages answer, and a pod can still be withdrawn and announced.
            assert proxy.ready()[0] == 200
            assert made.node1.agent.delete(made.local) == [""]
            assert made.node1.agent.add(made.local) == ""
        finally:
            close_all(kept)

        def one_more():
            with Client(made.client.ns, made.plain.ip[4], ECHO) as again:
                return served(again)

        until(one_more, "the next one is served")
