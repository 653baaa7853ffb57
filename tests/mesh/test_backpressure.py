"""Slow readers: what waits for them is bounded, nobody else waits with them, and memory comes back."""

import os
import time

import pytest

from mesh import servers
from mesh.clients import Client
from mesh.standard import ECHO, Standard
from mesh.wait import until

pytestmark = pytest.mark.ours
HELD = 8091
SLOW = 24


@pytest.fixture(scope="module")
def town():
    with Standard() as made:
        made.start()
        yield made


def resident_mb(proxy):
    with open(f"/proc/{proxy.process.pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def buffered(proxy):
    return proxy.metrics().value("gauze_buffer_bytes")


def fill(clients):
    """Writes until no socket takes any more for a while; the bytes that went."""
    total = 0
    block = bytes(1 << 16)
    quiet = time.monotonic()
    for client in clients:
        client.sock.setblocking(False)
    while time.monotonic() - quiet < 0.7:
        for client in clients:
            try:
                total += client.sock.send(block)
                quiet = time.monotonic()
            except BlockingIOError:
                pass
        time.sleep(0.005)
        assert total < 1 << 30, "nothing holds the senders back"
    return total


def test_slow_readers_are_bounded_and_block_nobody(town, family):
    proxies = [town.node1.proxy, town.node2.proxy]
    with servers.Server(town.server.ns, HELD, servers.hold) as server:
        before = [resident_mb(proxy) for proxy in proxies]
        clients = [Client(town.client.ns, town.server.ip[family], HELD) for _ in range(SLOW)]
        try:
            fill(clients)
            assert len(server.records) == SLOW
            for proxy, old in zip(proxies, before):
                # One tunnel per worker: its window is what may wait on the receiving side.
                assert buffered(proxy) < 40e6
                if "asan" not in os.environ.get("GAUZE_ZTUNNEL", ""):
                    assert resident_mb(proxy) - old < 80
            begin = time.monotonic()
            with Client(town.client.ns, town.server.ip[family], ECHO) as other:
                for _ in range(50):
                    other.echo(b"q" * 1000)
            assert time.monotonic() - begin < 3, "others wait for the slow ones"
        finally:
            for client in clients:
                client.reset()
    for proxy in proxies:
        until(lambda: buffered(proxy) < 4e6, lambda: f"buffers are given back; {buffered(proxy)}", 10)


def test_slow_reader_gets_every_byte_at_last(town, family):
    with servers.Server(town.server.ns, HELD, servers.hold) as server:
        client = Client(town.client.ns, town.server.ip[family], HELD)
        sent = fill([client])
        client.half_close()
        record = server.next(0)
        record.keep = False
        record.sock.settimeout(10)
        while record.read(1 << 20):
            pass
        assert (record.received, record.end) == (sent, "fin")
        client.close()


def test_idle_connections_hold_no_buffers(town, family):
    clients = [Client(town.client.ns, town.server.ip[family], ECHO) for _ in range(300)]
    for client in clients:
        client.echo()
    try:
        for proxy in (town.node1.proxy, town.node2.proxy):
            until(lambda: buffered(proxy) < 4e6, lambda: f"{buffered(proxy)} bytes of buffers for idle connections", 10)
        for client in clients:
            client.echo(b"and back")
    finally:
        for client in clients:
            client.close()
