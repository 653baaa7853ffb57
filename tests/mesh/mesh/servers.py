"""TCP servers inside a pod. Each connection is a thread and leaves a record of what came and how it ended."""

import socket
import struct
import threading

from .wait import until


class Record:
    """What one accepted connection saw."""

    def __init__(self, sock, peer):
        self.sock = sock
        self.peer = peer[0].removeprefix("::ffff:")
        self.port = peer[1]
        self.data = bytearray()
        self.received = 0
        self.end = None
        self.keep = True

    def read(self, size=65536):
        """Like recv, noting bytes and the end; b'' at either end."""
        try:
            data = self.sock.recv(size)
        except ConnectionError:
            self.end = "rst"
            return b""
        if not data:
            self.end = "fin"
        self.received += len(data)
        if self.keep and len(self.data) < 1 << 20:
            self.data += data
        return data

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def wait_end(self, want=None, seconds=8):
        until(lambda: self.end, "the server's connection ends", seconds)
        assert want is None or self.end == want, f"the server saw {self.end}, not {want}"

    def wait_received(self, size, seconds=8):
        until(lambda: self.received >= size, lambda: f"{size} bytes at the server, {self.received} came", seconds)


def echo(record):
    while data := record.read():
        record.sock.sendall(data)
    if record.end == "fin":
        record.half_close()


def sink(record):
    """Reads to the end, then says how much it was."""
    record.keep = False
    while record.read():
        pass
    if record.end == "fin":
        record.sock.sendall(b"%d\n" % record.received)


def peer(record):
    """Says who the client is, as the application sees it."""
    record.sock.sendall(f"{record.peer}\n".encode())
    while record.read():
        pass


def named(name):
    """Says a name, then echoes."""

    def handler(record):
        record.sock.sendall(f"{name}\n".encode())
        echo(record)

    return handler


def hold(record):
    """Does nothing with the connection; the test drives it through the record."""
    record.keep_open = True


class Server:
    def __init__(self, ns, port, handler=echo, host="::", backlog=128):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.sock = ns.socket(family)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind((host, port))
        self.sock.listen(backlog)
        self.port = self.sock.getsockname()[1]
        self.handler = handler
        self.records = []
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _accept(self):
        while True:
            try:
                sock, address = self.sock.accept()
            except OSError:
                return
            record = Record(sock, address)
            self.records.append(record)
            threading.Thread(target=self._run, args=(record,), daemon=True).start()

    def _run(self, record):
        try:
            self.handler(record)
        except OSError:
            record.end = record.end or "rst"
        finally:
            if not getattr(record, "keep_open", False):
                record.sock.close()

    def next(self, count, seconds=8):
        """The record number `count` (from 0) once it is there."""
        until(lambda: len(self.records) > count, f"connection {count} at the server", seconds)
        return self.records[count]

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()
        self.thread.join(2)
        for record in self.records:
            record.sock.close()
