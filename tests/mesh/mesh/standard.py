"""The topology that most tests share: two nodes, pods inside and outside the mesh, servers on all of them.

    node1: client (captured)  local (captured)  outsider (not captured, a client)
    node2: server (captured)  nft (captured, by nft rules)  plain (not captured, a server)

Port 8080 echoes, 8081 says who is calling, 8082 counts. Service `server` maps 80 to server:8080.
"""

from . import servers
from .topology import Mesh

ECHO, PEER, SINK = 8080, 8081, 8082


class Standard(Mesh):
    def __init__(self):
        super().__init__()
        self.running = []
        self.node1, self.node2 = self.node("node1"), self.node("node2")
        self.client = self.pod("client", self.node1)
        self.local = self.pod("local", self.node1)
        self.outsider = self.pod("outsider", self.node1, captured=False)
        self.server = self.pod("server", self.node2)
        self.nft = self.pod("nft", self.node2, rules={"flavour": "nft"})
        self.plain = self.pod("plain", self.node2, captured=False)
        self.vip = self.service("server", {"80": ECHO}, [self.server])
        for pod in (self.local, self.server, self.nft, self.plain):
            for port, handler in ((ECHO, servers.echo), (PEER, servers.peer), (SINK, servers.sink)):
                self.serve(pod, port, handler)

    def serve(self, pod, port, handler=servers.echo, **more):
        server = servers.Server(pod.ns, port, handler, **more)
        pod.servers = getattr(pod, "servers", {})
        pod.servers[port] = server
        self.running.append(server)
        return server

    def close(self):
        for server in self.running:
            server.close()
        super().close()


def vip_of(service, family):
    """The service's address of that family."""
    return next(vip[1:] for vip in service["vips"] if (":" in vip) == (family == 6))


def host_port(host, port):
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
