"""At a limit new work is refused cleanly and old work goes on: connections of a pod, of the process, descriptors."""

import contextlib

import pytest

from mesh.clients import Client
from mesh.standard import ECHO, Standard
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
