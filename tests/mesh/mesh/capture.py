"""Packets on an interface: what an onlooker between the nodes, or next to a pod, would see."""

import socket
import struct
from dataclasses import dataclass

ETH_P_ALL = 0x0003
FIN, SYN, RST = 0x01, 0x02, 0x04


@dataclass
class Segment:
    source: str
    source_port: int
    target: str
    target_port: int
    flags: int
    payload: bytes


def parse(frame):
    """The TCP segment of an Ethernet frame, or None."""
    kind = struct.unpack_from("!H", frame, 12)[0]
    ip = frame[14:]
    if kind == 0x0800 and ip[9] == 6:
        at, end, family, hosts = (ip[0] & 15) * 4, struct.unpack_from("!H", ip, 2)[0], socket.AF_INET, (12, 16, 20)
    elif kind == 0x86DD and ip[6] == 6:
        at, end, family, hosts = 40, 40 + struct.unpack_from("!H", ip, 4)[0], socket.AF_INET6, (8, 24, 40)
    else:
        return None
    tcp = ip[at:end]
    source_port, target_port = struct.unpack_from("!HH", tcp)
    return Segment(
        socket.inet_ntop(family, ip[hosts[0] : hosts[1]]),
        source_port,
        socket.inet_ntop(family, ip[hosts[1] : hosts[2]]),
        target_port,
        tcp[13],
        tcp[(tcp[12] >> 4) * 4 :],
    )


SO_RCVBUFFORCE = 33


class Capture:
    """Packets wait in the kernel until somebody asks, so what has been sent before the question is in the answer."""

    def __init__(self, ns, interface):
        self.frames = []
        self.sock = ns.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        self.sock.bind((interface, 0))
        self.sock.setblocking(False)
        self._drain(keep=False)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _drain(self, keep=True):
        try:
            while True:
                frame = self.sock.recv(1 << 17)
                if keep:
                    self.frames.append(frame)
        except BlockingIOError:
            pass

    def segments(self):
        self._drain()
        return [segment for segment in map(parse, self.frames) if segment]

    def holds(self, data):
        """Whether those bytes were on the wire in one packet."""
        self._drain()
        return any(data in frame for frame in self.frames)

    def close(self):
        self.sock.close()
