"""HBONE as another implementation speaks it: mutual TLS 1.3 and HTTP/2 CONNECT, both ends, in python.

Tunnel holds TLS and HTTP/2 over memory, so that it runs over a socket and inside a stream of another tunnel alike.
"""

import queue
import socket
import ssl
import struct
import threading

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from .clients import family_of
from .wait import until

PORT = 15008
WINDOW = 4 << 20


def tls_context(identity, server, alpn=("h2",), verify=True, tls12=False):
    """identity None = a client that shows no certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    if tls12:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    else:
        context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED if verify and identity else ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if identity:
        context.load_cert_chain(identity.chain, identity.key)
        context.load_verify_locations(identity.roots)
    return context


class Writer:
    """Sends what it is given, in order, on a thread of its own, so that nobody who reads ever waits to write."""

    def __init__(self, sock):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.queue = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def __call__(self, data):
        self.queue.put(data)

    def _run(self):
        while data := self.queue.get():
            try:
                self.sock.sendall(data)
            except OSError:
                return

    def close(self):
        self.queue.put(b"")


class Stream:
    """One CONNECT as either side sees it."""

    def __init__(self, tunnel, number, headers=()):
        self.tunnel = tunnel
        self.id = number
        self.request = dict(headers)
        self.status = None
        self.headers = {}
        self.data = bytearray()
        self.ended = False
        self.reset = None
        self.pending = bytearray()
        self.pending_end = False
        self.handler = None

    @property
    def authority(self):
        return self.request.get(":authority")

    def write(self, data, end=False):
        with self.tunnel.lock:
            self.pending += data
            self.pending_end |= end
            self.tunnel.push(self)
        self.tunnel.flush()

    def end(self):
        self.write(b"", end=True)

    def abort(self, code=h2.errors.ErrorCodes.CANCEL):
        with self.tunnel.lock:
            self.tunnel.h2.reset_stream(self.id, code)
        self.tunnel.flush()


class Tunnel:
    """One TLS session with HTTP/2 inside. `write` carries ciphertext off; feed() takes it in.

    accept(stream) is called on the server for each request and answers it; credit=False stops returning windows.
    """

    def __init__(self, context, server, write, accept=None, credit=True, settings=None):
        self.server = server
        self.write = write
        self.accept = accept
        self.credit = credit
        self.lock = threading.RLock()
        self.streams = {}
        self.goaway = None
        self.goaway_last = None
        self.buffer = bytearray()
        self.preface = False
        self.error = None
        self.closed = False
        self.pings = 0
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=server)
        self.handshaken = False
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(
                client_side=not server,
                header_encoding="utf-8",
                validate_inbound_headers=False,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        codes = h2.settings.SettingCodes
        self.h2.local_settings = h2.settings.Settings(
            client=not server,
            initial_values={
                codes.INITIAL_WINDOW_SIZE: WINDOW,
                codes.MAX_CONCURRENT_STREAMS: 200,
                codes.ENABLE_PUSH: 0,
                **(settings or {}),
            },
        )
        if server:
            del self.h2.local_settings[codes.ENABLE_PUSH]

    # ---- bytes --------------------------------------------------------------------------------------------------

    def start(self):
        with self.lock:
            self._handshake()
        self.flush()

    def feed(self, data):
        """Ciphertext from the peer; b'' is its end of stream."""
        with self.lock:
            if data:
                self.incoming.write(data)
            else:
                self.incoming.write_eof()
            try:
                self._handshake()
                if self.handshaken:
                    self._read()
            except (ssl.SSLError, h2.exceptions.ProtocolError) as err:
                self.error = self.error or err
                self.closed = True
            if not data:
                self.closed = True
        self.flush()

    def _handshake(self):
        if self.handshaken:
            return
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return
        self.handshaken = True
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(WINDOW * 4 - 65535)

    def _read(self):
        while True:
            try:
                data = self.tls.read(1 << 17)
            except ssl.SSLWantReadError:
                return
            if not data:
                self.closed = True
                return
            self.buffer += data
            while frame_bytes := self._next():
                for event in self.h2.receive_data(frame_bytes):
                    self._event(event)

    def _next(self):
        """One frame at a time. GOAWAY stays here: to h2 it is the end of all streams, to us it is a fact to assert."""
        while True:
            if self.server and not self.preface:
                size = 24
                self.preface = len(self.buffer) >= size
            elif len(self.buffer) < 9:
                return b""
            else:
                size = 9 + int.from_bytes(self.buffer[:3], "big")
            if len(self.buffer) < size:
                return b""
            out = bytes(self.buffer[:size])
            del self.buffer[:size]
            if out[3] != 7 or out[:3] == b"PRI":
                return out
            self.goaway = int.from_bytes(out[13:17], "big")
            self.goaway_last = int.from_bytes(out[9:13], "big")

    def flush(self):
        with self.lock:
            if self.handshaken and not self.closed:
                data = self.h2.data_to_send()
                if data:
                    self.tls.write(data)
            # Under the lock: records must leave in the order they were sealed.
            out = self.outgoing.read()
            if out:
                self.write(out)

    def raw(self, data):
        """Bytes of the HTTP/2 layer as they are."""
        with self.lock:
            pending = self.h2.data_to_send()
            self.tls.write(pending + data)
        self.flush()

    # ---- events -------------------------------------------------------------------------------------------------

    def _event(self, event):
        kind, e = type(event).__name__, event
        stream = self.streams.get(getattr(e, "stream_id", None) or 0)
        if kind == "RequestReceived":
            stream = self.streams[e.stream_id] = Stream(self, e.stream_id, e.headers)
            self.accept(stream)
        elif kind == "ResponseReceived" and stream:
            stream.headers = dict(e.headers)
            stream.status = int(stream.headers[":status"])
        elif kind == "DataReceived" and stream:
            if self.credit and e.flow_controlled_length:
                self.h2.acknowledge_received_data(e.flow_controlled_length, e.stream_id)
            if stream.handler:
                stream.handler.data(stream, e.data)
            else:
                stream.data += e.data
        elif kind == "StreamEnded" and stream:
            stream.ended = True
            if stream.handler:
                stream.handler.end(stream)
        elif kind == "StreamReset" and stream:
            stream.reset = int(e.error_code)
        elif kind == "PingReceived":
            self.pings += 1
        elif kind in ("WindowUpdated", "RemoteSettingsChanged"):
            for each in list(self.streams.values()):
                self.push(each)

    def push(self, stream):
        """Sends what the windows let through."""
        try:
            while stream.pending:
                room = min(
                    self.h2.local_flow_control_window(stream.id), self.h2.max_outbound_frame_size, len(stream.pending)
                )
                if room <= 0:
                    return
                self.h2.send_data(stream.id, bytes(stream.pending[:room]))
                del stream.pending[:room]
            if stream.pending_end:
                stream.pending_end = False
                self.h2.end_stream(stream.id)
        except (h2.exceptions.StreamClosedError, h2.exceptions.ProtocolError):
            stream.pending.clear()

    def connect(self, authority, headers=(), method="CONNECT", end=False):
        """Opens a stream; its answer comes later."""
        with self.lock:
            number = self.h2.get_next_available_stream_id()
            head = [(":method", method), (":authority", authority), *headers]
            self.h2.send_headers(number, head, end_stream=end)
            stream = self.streams[number] = Stream(self, number, head)
        self.flush()
        return stream

    def answer(self, stream, status=200, headers=(), end=None):
        """A server's response head; anything but 200 ends the stream."""
        end = status != 200 if end is None else end
        self.h2.send_headers(stream.id, [(":status", str(status)), *headers], end_stream=end)


class Echo:
    """Stream handler: what comes goes back."""

    def data(self, stream, data):
        stream.data += data
        stream.write(data)

    def end(self, stream):
        stream.end()


class Collect:
    """Stream handler: what comes is kept."""

    def data(self, stream, data):
        stream.data += data

    def end(self, stream):
        pass


class Inner:
    """Stream handler: the stream carries a tunnel of its own, as a network gateway's does."""

    def __init__(self, context, accept):
        self.context = context
        self.accept = accept
        self.tunnel = None

    def data(self, stream, data):
        if self.tunnel is None:
            self.tunnel = Tunnel(self.context, True, stream.write, self.accept)
        self.tunnel.feed(data)

    def end(self, stream):
        if self.tunnel:
            self.tunnel.feed(b"")
        stream.end()


class Client:
    """An HBONE client in a namespace. Answers are read by a thread; tests wait on conditions."""

    def __init__(self, ns, host, identity, port=PORT, alpn=("h2",), source=None, wait=True, **tunnel):
        self.sock = ns.socket(family_of(host))
        self.sock.settimeout(8)
        if source:
            self.sock.bind(source)
        self.sock.connect((host, port))
        self.address = "[{}]:{}" if ":" in host else "{}:{}"
        self.address = self.address.format(*self.sock.getsockname()[:2])
        tls12 = tunnel.pop("tls12", False)
        context = tls_context(identity, False, alpn, verify=tunnel.pop("verify", True), tls12=tls12)
        self.sock.settimeout(None)
        self.writer = Writer(self.sock)
        self.tunnel = Tunnel(context, False, self.writer, **tunnel)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        self.tunnel.start()
        if wait:
            until(lambda: self.tunnel.handshaken or self.tunnel.closed, "the handshake ends", 8)
            assert self.tunnel.handshaken, self.tunnel.error

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _run(self):
        data = b"x"
        while data and not (self.tunnel.closed and self.tunnel.error):
            try:
                data = self.sock.recv(1 << 17)
            except OSError as err:
                self.tunnel.error = self.tunnel.error or err
                data = b""
            self.tunnel.feed(data)

    def open(self, authority, headers=(), **more):
        return self.tunnel.connect(authority, headers, **more)

    def request(self, authority, headers=(), seconds=8, **more):
        """Opens a stream and waits for the answer (a status, a reset, or the end of the tunnel)."""
        stream = self.open(authority, headers, **more)
        until(
            lambda: stream.status or stream.reset is not None or self.tunnel.closed,
            lambda: f"an answer to CONNECT {authority}",
            seconds,
        )
        return stream

    def echo(self, stream, data=b"hello", seconds=8):
        before = len(stream.data)
        stream.write(data)
        until(lambda: len(stream.data) >= before + len(data) or stream.reset is not None, "echo in the stream", seconds)
        assert bytes(stream.data[before:]) == data
        return stream

    def wait_closed(self, seconds=8):
        until(lambda: self.tunnel.closed, "the tunnel is closed by the server", seconds)

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.writer.close()
        self.sock.close()
        self.thread.join(2)


class Server:
    """An HBONE server in a namespace: waypoint, gateway or other proxy. answer(stream) -> status; handler of the bytes."""

    def __init__(self, ns, identity, port=PORT, answer=None, handler=Echo, headers=(), host="::", **tunnel):
        self.context = tls_context(identity, True)
        self.answer = answer or (lambda stream: 200)
        self.handler = handler
        self.headers = headers
        self.options = tunnel
        self.requests = []
        self.tunnels = []
        self.peers = []
        self.sock = ns.socket(family_of(host))
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind((host, port))
        self.sock.listen(128)
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _accept(self):
        while True:
            try:
                sock, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self._run, args=(sock,), daemon=True).start()

    def _run(self, sock):
        writer = Writer(sock)
        tunnel = Tunnel(self.context, True, writer, self._request, **self.options)
        tunnel.sock = sock
        self.tunnels.append(tunnel)
        named = False
        while not tunnel.closed:
            try:
                data = sock.recv(1 << 17)
            except OSError:
                data = b""
            tunnel.feed(data)
            if tunnel.handshaken and not named:
                named = True
                names = tunnel.tls.getpeercert().get("subjectAltName", ())
                self.peers.append([value for kind, value in names if kind == "URI"])
        writer.close()
        sock.close()

    def _request(self, stream):
        self.requests.append(stream)
        status = self.answer(stream)
        if status is None:
            return
        if status == 200:
            stream.handler = self.handler()
        stream.tunnel.answer(stream, status, self.headers if status == 200 else ())

    def wait_request(self, count=0, seconds=8):
        until(lambda: len(self.requests) > count, f"request {count} at the HBONE server", seconds)
        return self.requests[count]

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()
        self.thread.join(2)
        for tunnel in self.tunnels:
            try:
                tunnel.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def frame(kind, flags, stream, payload=b""):
    """One HTTP/2 frame as bytes."""
    return struct.pack("!I", len(payload))[1:] + bytes([kind, flags]) + struct.pack("!I", stream) + payload
