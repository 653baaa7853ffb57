# SPDX-License-Identifier: Apache-2.0
"""What an onlooker saw: packets taken by tcpdump, put back into streams, and the TLS records in them."""

import select
import signal
import struct
import subprocess
import time

from mesh.capture import parse
from mesh.netns import reap

HANDSHAKE, APPLICATION_DATA = 22, 23
SERVER_HELLO, SUPPORTED_VERSIONS, TLS13 = 2, 43, 0x0304


class Tcpdump:
    """tcpdump on an interface of a namespace, from start until stop; then .streams and .packets."""

    def __init__(self, ns, interface, path):
        self.path = path
        with open(path, "wb") as file:
            self.process = ns.popen(
                ["tcpdump", "-i", interface, "--immediate-mode", "-B", "65536", "-Z", "root", "-U", "-w", "-", "tcp"],
                stdout=file,
                stderr=subprocess.PIPE,
                stdin=subprocess.DEVNULL,
            )
        said, deadline = b"", time.monotonic() + 10
        while b"listening on" not in said:
            if not select.select([self.process.stderr], [], [], deadline - time.monotonic())[0]:
                raise AssertionError("tcpdump does not start")
            line = self.process.stderr.readline()
            assert line, f"tcpdump: {said.decode()}"
            said += line

    def stop(self):
        time.sleep(0.3)  # for the last packets
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(10)
        reap(self.process)
        self.packets = list(segments(self.path))
        self.streams = {}
        for one in self.packets:
            key = (one.source, one.source_port, one.target, one.target_port)
            self.streams.setdefault(key, bytearray()).extend(one.payload)

    def with_port(self, port):
        """The streams to or from that port."""
        return {key: data for key, data in self.streams.items() if port in (key[1], key[3])}

    def holds(self, text):
        """The streams in which that text can be read."""
        return [key for key, data in self.streams.items() if text.encode() in data]


def segments(path):
    """The TCP segments in a pcap file."""
    with open(path, "rb") as file:
        data = file.read()
    order = {b"\xd4\xc3\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">"}[data[:4]]
    at = 24
    while at + 16 <= len(data):
        size = struct.unpack_from(order + "I", data, at + 8)[0]
        segment = parse(data[at + 16 : at + 16 + size])
        if segment:
            yield segment
        at += 16 + size


def records(stream):
    """(type, body) of each TLS record of a stream that was seen from its beginning; ends at what is none."""
    at = 0
    while at + 5 <= len(stream):
        kind, version, size = struct.unpack_from("!BHH", stream, at)
        if not 20 <= kind <= 23 or version >> 8 != 3 or size > 16384 + 256:
            return
        yield kind, bytes(stream[at + 5 : at + 5 + size])
        at += 5 + size


def chosen_version(stream):
    """What the server hello of this direction settles on; None without one."""
    for kind, body in records(stream):
        if kind != HANDSHAKE or not body or body[0] != SERVER_HELLO:
            continue
        at = 4 + 2 + 32
        at += 1 + body[at]  # session id
        at += 2 + 1  # suite, compression
        end = at + 2 + struct.unpack_from("!H", body, at)[0]
        at += 2
        while at + 4 <= end:
            extension, size = struct.unpack_from("!HH", body, at)
            if extension == SUPPORTED_VERSIONS:
                return struct.unpack_from("!H", body, at + 4)[0]
            at += 4 + size
        return struct.unpack_from("!H", body, 4)[0]
    return None
