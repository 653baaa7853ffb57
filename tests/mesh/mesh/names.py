"""A name server with a handful of A and AAAA records, and a proxy start that uses it."""

import socket
import struct
import threading

A, AAAA = 1, 28


class NameServer:
    """Answers on 127.0.0.1:53 of a namespace; records = {name: [addresses]}. Unknown names do not exist."""

    def __init__(self, ns, records):
        self.records = records
        self.asked = []
        self.sock = ns.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 53))
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def _run(self):
        while True:
            try:
                query, peer = self.sock.recvfrom(4096)
                self.sock.sendto(self._answer(query), peer)
            except OSError:
                return

    def _answer(self, query):
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode())
            at += 1 + query[at]
        at += 1
        kind = struct.unpack_from("!H", query, at)[0]
        question = query[12 : at + 4]
        name = ".".join(labels).lower()
        self.asked.append((name, kind))
        known = self.records.get(name)
        found = [host for host in known or () if (":" in host) == (kind == AAAA)] if kind in (A, AAAA) else []
        head = query[:2] + struct.pack("!HHHHH", 0x8180 if known is not None else 0x8183, 1, len(found), 0, 0)
        body = b""
        for host in found:
            data = socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
            body += b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 30, len(data)) + data
        return head + question + body


def with_resolv_conf(path):
    """A command prefix: the process sees that file as /etc/resolv.conf, in a mount namespace of its own."""
    script = f'mount --bind "{path}" /etc/resolv.conf && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, "sh"]
