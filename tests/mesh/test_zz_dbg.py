"""Certificates change under traffic and nobody notices (contract section 8; issuing by the development CA, and files)."""

import datetime
import threading

import pytest

from mesh import hbone
from mesh.ca import UTC, Authority, Folder
from mesh.clients import Client
from mesh.servers import Server
from mesh.standard import ECHO, host_port
from mesh.topology import Mesh
from mesh.wait import until

pytestmark = pytest.mark.ours


class Pair(Mesh):
    def __init__(self):
        super().__init__()
        self.node1, self.node2 = self.node("node1"), self.node("node2")
        self.client, self.server = self.pod("client", self.node1), self.pod("server", self.node2)
        self.outsider = self.pod("outsider", self.node1, captured=False)
        self.echo = Server(self.server.ns, ECHO, backlog=1024)

    def close(self):
        self.echo.close()
        super().close()


def serial(pod):
    """Of the certificate that the pod's proxy has for it now; None if there is none."""
    for each in pod.proxy.config_dump()["certificates"]:
        if each["identity"] == pod.identity and each["certChain"]:
            return each["certChain"][0]["serialNumber"]
    return None


def expiry(pod):
    return pod.proxy.metrics().value("gauze_certificate_expiry_timestamp_seconds", identity=pod.identity)


class Traffic:
    """Connections that never pause, and new ones all the time; whatever fails is kept."""

    def __init__(self, mesh, lasting=6):
        self.mesh = mesh
        self.failures = []
        self.rounds = self.made = 0
        self.running = True
        self.threads = [threading.Thread(target=self._last, args=(4 if i % 2 else 6,)) for i in range(lasting)]
        self.threads.append(threading.Thread(target=self._renew))
        for thread in self.threads:
            thread.start()

    def _connect(self, family):
        return Client(self.mesh.client.ns, self.mesh.server.ip[family], ECHO)

    def _last(self, family):
        try:
            with self._connect(family) as client:
                while self.running:
                    client.echo(b"lasting" * 3000)
                    self.rounds += 1
        except (OSError, EOFError, AssertionError) as err:
            self.failures.append(f"lasting: {err!r}")

    def _renew(self):
        while self.running:
            try:
                with self._connect(4 if self.made % 2 else 6) as client:
                    client.echo(b"new")
                self.made += 1
            except (OSError, EOFError, AssertionError) as err:
                self.failures.append(f"new: {err!r}")

    def stop(self):
        self.running = False
        for thread in self.threads:
            thread.join(10)


def test_rotation_at_half_life_loses_nothing():
    with Pair() as mesh:
        mesh.start(SECRET_TTL="6s")
        traffic = Traffic(mesh)
        try:
            seen = {pod.name: {serial(pod)} for pod in (mesh.client, mesh.server)}
            first = expiry(mesh.server)

            def rotated():
                for pod in (mesh.client, mesh.server):
                    seen[pod.name].add(serial(pod))
                return traffic.failures or all(len(numbers) >= 4 for numbers in seen.values())

            until(rotated, lambda: f"three rotations; {seen}", 20)
            assert expiry(mesh.server) > first + 5
            # New tunnels are made with the new certificate.
            caller = Authority.of_mesh(mesh).issue(mesh.client.identity)
            with hbone.Client(mesh.outsider.ns, mesh.server.ip[4], caller) as tunnel:
                tunnel.echo(tunnel.request(host_port(mesh.server.ip[4], ECHO)))
        finally:
            traffic.stop()
        assert not traffic.failures, traffic.failures[:5]
        assert traffic.rounds > 100 and traffic.made > 20


@pytest.fixture
def filed():
    """A pair whose certificates come from files of a CA that the test is itself."""
    with Pair() as mesh:
        mesh.folder = Folder(f"{mesh.dir}/certs")
        mesh.authority = Authority.new(f"{mesh.dir}/own-ca")
        mesh.first = {
            pod.name: mesh.folder.put(pod.identity, mesh.authority.issue(pod.identity))
            for pod in (mesh.client, mesh.server)
        }
        mesh.start(FAKE_CA=None, GAUZE_CERT_DIR=mesh.folder.path)
        yield mesh


def works(mesh):
    with Client(mesh.client.ns, mesh.server.ip[4], ECHO) as client:
        client.echo()


def test_files_are_used_and_taken_again_when_they_change(filed):
    works(filed)
    assert serial(filed.server) == str(filed.first["server"].serial)
    with Client(filed.client.ns, filed.server.ip[6], ECHO) as client:
        client.echo()
        new = filed.folder.put(filed.server.identity, filed.authority.intermediate().issue(filed.server.identity))
        until(lambda: serial(filed.server) == str(new.serial), "the new certificate")
        client.echo(b"old tunnel")
        with hbone.Client(
            filed.outsider.ns, filed.server.ip[4], filed.authority.issue(filed.client.identity)
        ) as tunnel:
            tunnel.echo(tunnel.request(host_port(filed.server.ip[4], ECHO)))
        works(filed)


def test_key_that_does_not_fit_is_not_taken(filed):
    works(filed)
    wrong = filed.authority.issue(filed.server.identity)
    with open(wrong.key, "wb") as file, open(filed.first["client"].key, "rb") as other:
        file.write(other.read())
    mark = filed.server.proxy.mark()
    filed.folder.put(filed.server.identity, wrong)
    filed.server.proxy.wait_log("(?i)warn.*(key|cert)", mark)
    assert serial(filed.server) == str(filed.first["server"].serial)
    works(filed)
    new = filed.folder.put(filed.server.identity, filed.authority.issue(filed.server.identity))
    until(lambda: serial(filed.server) == str(new.serial), "the next good pair is taken")


def test_certificate_of_another_identity_is_not_taken(filed):
    works(filed)
    mark = filed.server.proxy.mark()
    filed.folder.put(filed.server.identity, filed.authority.issue(filed.client.identity))
    filed.server.proxy.wait_log("(?i)warn.*identit", mark)
    works(filed)


@pytest.mark.parametrize("key_id", [True, False], ids=["leaf_names_key", "leaf_names_issuer_only"])
def test_two_roots_are_trusted_at_once(filed, key_id):
    """How a root is replaced: both have one subject and are trusted at once, then leaves of the new one appear."""
    other = Authority.new(f"{filed.dir}/next-ca")
    roots = filed.authority.roots_pem + other.roots_pem
    old_ca = Authority(f"{filed.dir}/both", filed.authority.key, filed.authority.chain)
    new_ca = Authority(f"{filed.dir}/both", other.key, other.chain)
    old_ca.roots_pem = new_ca.roots_pem = roots
    stranger = new_ca.issue(filed.client.identity, key_id=key_id)
    local = filed.authority.issue(filed.client.identity, key_id=key_id)
    with hbone.Client(filed.outsider.ns, filed.server.ip[4], stranger, wait=False) as tunnel:
        tunnel.wait_closed()
    new = filed.folder.put(filed.server.identity, old_ca.issue(filed.server.identity))
    until(lambda: serial(filed.server) == str(new.serial), "the certificate with both roots")
    with hbone.Client(filed.outsider.ns, filed.server.ip[4], stranger) as tunnel:
        tunnel.echo(tunnel.request(host_port(filed.server.ip[4], ECHO)))
    with hbone.Client(filed.outsider.ns, filed.server.ip[4], local, verify=False) as tunnel:
        mark=filed.server.proxy.mark()
        st=tunnel.request(host_port(filed.server.ip[4], ECHO)); import time; time.sleep(1); print("DBG", filed.server.proxy.text()[-1500:])
        tunnel.echo(st)
    works(filed)


def test_expired_certificate_is_not_used(filed):
    """Nobody renews: at expiry new tunnels are refused; a new certificate makes them work again."""
    works(filed)
    short = filed.authority.issue(
        filed.server.identity, starts=datetime.datetime.now(UTC), lifetime=datetime.timedelta(seconds=4)
    )
    filed.folder.put(filed.server.identity, short)
    until(lambda: serial(filed.server) == str(short.serial), "the short-lived certificate")
    caller = filed.authority.issue(filed.client.identity)

    def refused():
        try:
            with hbone.Client(filed.outsider.ns, filed.server.ip[4], caller, verify=False) as tunnel:
                stream = tunnel.request(host_port(filed.server.ip[4], ECHO))
                return stream.status != 200
        except (OSError, AssertionError):
            return True

    assert not refused()
    until(refused, "handshakes with the expired certificate end", 10, every=0.2)
    filed.folder.put(filed.server.identity, filed.authority.issue(filed.server.identity))
    until(lambda: not refused(), "the new certificate serves", 10, every=0.2)


def test_no_certificate_is_an_identity_error(filed):
    """A pod without files: its calls fail with a flag of their own, the others' do not."""
    lonely = filed.pod("lonely", filed.node1)
    filed.write()
    until(lambda: len(filed.node1.proxy.config_dump()["workloads"]) == 4, "the pod is known")
    assert filed.node1.agent.add(lonely) == ""
    with Client(lonely.ns, filed.server.ip[4], ECHO) as client:
        try:
            client.send(b"x")
        except ConnectionError:
            pass
        assert client.end(12) in ("fin", "rst")
    filed.node1.proxy.wait_metric(
        lambda m: m.value(
            "istio_tcp_connections_failed_total", source_workload="lonely", response_flags="IDENTITY_ERROR"
        )
        == 1,
        "IDENTITY_ERROR",
    )
    works(filed)
