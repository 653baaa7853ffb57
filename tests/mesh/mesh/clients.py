"""A TCP client inside a pod, with exact ends: half close, FIN, RST."""

import errno
import socket
import struct
import time

FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}


def family_of(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _own_address(ns, host, port):
    """The address that connections from here to there have; a reset socket has forgotten it."""
    with ns.socket(family_of(host), socket.SOCK_DGRAM) as probe:
        probe.connect((host, port))
        return probe.getsockname()[0]


class Client:
    """Its port is one that no connection of this namespace had before: redirection would else change it in the log."""

    def __init__(self, ns, host, port, timeout=8):
        self.sock = ns.socket(family_of(host))
        self.sock.settimeout(timeout)
        self.gone = False
        try:
            self._bind(ns)
            self.address = self.sock.getsockname()[:2]
            self.sock.connect((host, port))
        except ConnectionResetError:
            # Accepted, and reset before connect() had returned: that is an end after the accept, too.
            self.gone = True
            self.address = (_own_address(ns, host, port), self.address[1])
        except BaseException:
            self.sock.close()
            raise
        if not self.gone:
            self.address = self.sock.getsockname()[:2]

    def _bind(self, ns):
        while True:
            try:
                self.sock.bind(("", next(ns.ports)))
                return
            except OSError as err:
                if err.errno != errno.EADDRINUSE:
                    raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def port(self):
        return self.address[1]

    @property
    def source(self):
        """Its address as the access log writes it: what tells this connection from all others."""
        return ("[{}]:{}" if ":" in self.address[0] else "{}:{}").format(*self.address)

    def _recv(self, size):
        if self.gone:
            raise ConnectionResetError
        return self.sock.recv(size)

    def send(self, data):
        if self.gone:
            raise ConnectionResetError
        self.sock.sendall(data)
        return self

    def read(self, size):
        """Exactly that many bytes."""
        out = bytearray()
        while len(out) < size:
            data = self._recv(size - len(out))
            if not data:
                raise EOFError(f"{len(out)} of {size} bytes")
            out += data
        return bytes(out)

    def echo(self, data=b"hello"):
        """Sends and expects the same back."""
        self.send(data)
        got = self.read(len(data))
        assert got == data, f"{got[:80]!r} is not {data[:80]!r}"
        return self

    def half_close(self):
        if self.gone:
            raise ConnectionResetError
        self.sock.shutdown(socket.SHUT_WR)
        return self

    def read_all(self):
        """Bytes up to the FIN."""
        out = bytearray()
        while data := self._recv(65536):
            out += data
        return bytes(out)

    def read_rest(self):
        """Bytes up to the end, of whatever kind."""
        out = bytearray()
        try:
            while data := self._recv(65536):
                out += data
        except ConnectionError:
            pass
        return bytes(out)

    def end(self, seconds=8):
        """How the other side ended it: 'fin', 'rst', or 'open' after that time. Bytes on the way are dropped."""
        deadline = time.monotonic() + seconds
        try:
            while True:
                self.sock.settimeout(max(deadline - time.monotonic(), 0.001))
                if not self._recv(65536):
                    return "fin"
        except (TimeoutError, BlockingIOError):
            return "open"
        except ConnectionError:
            return "rst"

    def reset(self):
        """Closes with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self):
        self.sock.close()


def refused_after_accept(ns, host, port, data=b"x", seconds=8):
    """Connects, sends, and says how it ends: 'refused', 'fin', 'rst' or 'open'."""
    try:
        client = Client(ns, host, port, timeout=seconds)
    except (ConnectionError, TimeoutError, OSError):
        return "refused"
    with client:
        try:
            client.send(data)
        except ConnectionError:
            return "rst"
        return client.end(seconds)
