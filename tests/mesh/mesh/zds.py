"""The CNI agent's end of ZDS (contract section 2): a seqpacket socket that hands out pods' namespaces.

Agent behaves as istio-cni does: a snapshot for each new connection, one request at a time, 5 s for each ack, Add to
the newest connection only, Del to all, and an unsolicited message is a protocol error that drops the connection.
Link is one connection; tests of the protocol itself drive it directly (Agent(..., manual=True)).
"""

import array
import os
import queue
import socket
import threading

from .proto import field, fields
from .wait import until

ACK_SECONDS = 5
ACK_BYTES = 1024


def info(name, namespace, account):
    return field(1, name) + field(2, namespace) + field(3, account)


def add(uid, workload_info=None):
    body = field(1, uid) + (field(2, workload_info) if workload_info is not None else b"")
    return field(1, body)


def delete(uid):
    return field(2, field(2, uid))


def snapshot_sent():
    return field(3, b"")


def keep(uid):
    return field(5, field(1, uid))


class Closed(Exception):
    """The proxy closed the connection."""


class Link:
    def __init__(self, sock):
        self.sock = sock
        self.lock = threading.RLock()
        self.open = True
        self.hello = None
        self.unsolicited = []

    def read_hello(self):
        self.hello = fields(self._recv())
        return self.hello

    def _recv(self, seconds=ACK_SECONDS):
        self.sock.settimeout(seconds)
        try:
            data, _, flags, _ = self.sock.recvmsg(ACK_BYTES)
        except ConnectionError as err:
            self.close()
            raise Closed() from err
        assert not flags & socket.MSG_TRUNC, "the proxy sent more than the agent reads"
        if not data:
            self.close()
            raise Closed()
        return data

    def send(self, data, fds=()):
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.sock.settimeout(ACK_SECONDS)
        try:
            self.sock.sendmsg([data], control)
        except (BrokenPipeError, ConnectionError) as err:
            self.close()
            raise Closed() from err

    def ack(self, seconds=ACK_SECONDS):
        """The error text of the next ack, empty on success."""
        message = fields(self._recv(seconds))
        assert set(message) == {1}, f"not an ack: {message}"
        return fields(message[1]).get(1, b"").decode()

    def request(self, data, fds=()):
        with self.lock:
            self.send(data, fds)
            return self.ack()

    def add(self, pod):
        return self.request(add(pod.uid, info(pod.name, pod.namespace, pod.account)), [pod.ns.fd])

    def poll(self):
        """Reads what nobody asked for: end of stream, or a breach of the protocol."""
        with self.lock:
            if not self.open:
                return
            try:
                data = self._recv(0.001)
            except (TimeoutError, BlockingIOError):
                return
            except Closed:
                return
            self.unsolicited.append(data)
            self.close()

    def wait_closed(self, seconds=5):
        def gone():
            self.poll()
            return not self.open

        until(gone, "the proxy drops the ZDS connection", seconds)

    def close(self):
        if self.open:
            self.open = False
            self.sock.close()


class Agent:
    def __init__(self, path, manual=False):
        self.path = path
        self.manual = manual
        self.pods = {}
        self.kept = set()
        self.links = []
        self.accepted = queue.Queue()
        self.problems = []
        self.lock = threading.RLock()
        self.running = True
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if os.path.exists(path):
            os.unlink(path)
        self.sock.bind(path)
        self.sock.listen(16)
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        self.sock.settimeout(0.1)
        while self.running:
            try:
                peer, _ = self.sock.accept()
            except TimeoutError:
                for link in list(self.links):
                    link.poll()
                continue
            except OSError:
                return
            link = Link(peer)
            try:
                if not self.manual:
                    with self.lock:
                        self._greet(link)
                        self.links.append(link)
                self.accepted.put(link)
            except (Closed, TimeoutError, AssertionError) as err:
                self.problems.append(repr(err))
                link.close()

    def _greet(self, link):
        assert link.read_hello().get(1) == 1, "hello is not V1"
        for pod in self.pods.values():
            error = link.request(keep(pod.uid)) if pod.uid in self.kept else link.add(pod)
            if error:
                self.problems.append(f"{pod.uid}: {error}")
        error = link.request(snapshot_sent())
        if error:
            self.problems.append(f"snapshot: {error}")

    def accept(self, seconds=10):
        """The next connection. Manual agents: nothing has been read from it yet."""
        return self.accepted.get(timeout=seconds)

    def alive(self):
        self.links = [link for link in self.links if link.open]
        return self.links

    def add(self, pod):
        """Announces a pod to the newest connection; the ack's error text (None without a connection)."""
        with self.lock:
            self.pods[pod.uid] = pod
            links = self.alive()
            return links[-1].add(pod) if links else None

    def delete(self, pod):
        """Withdraws a pod from every connection; their acks' error texts."""
        with self.lock:
            self.pods.pop(pod.uid, None)
            return [link.request(delete(pod.uid)) for link in self.alive()]

    def disconnect(self):
        with self.lock:
            for link in self.alive():
                link.close()

    def close(self):
        self.running = False
        self.thread.join(5)
        self.sock.close()
        self.disconnect()
        if os.path.exists(self.path):
            os.unlink(self.path)
