"""Nodes, pods and what the static file says of them (contract section 3.8).

Each node is a namespace with a bridge for its pods and an uplink to a fabric that joins the nodes:

    pod eth0 -- br0 [node] up0 -- fab [fabric] -- up0 [node] br0 -- eth0 pod

Node i has 192.168.77.i and fd00:77::i; its pods are in 10.244.i.0/24 and fd00:244:i::/64.
"""

import copy
import itertools
import json
import os
import re
import shutil
import tempfile

from . import cni, netns
from .zds import Agent
from .ztunnel import Ztunnel, is_ours

SERIAL = itertools.count()


def as_yaml(document):
    """YAML in flow style: JSON, but for port numbers, which are bare keys."""
    text = re.sub(r'"(\d+)": ', r"\1: ", json.dumps(document, indent=1)) + "\n"
    if not is_ours():
        # The original reads matches as YAML tags only.
        text = re.sub(r'\{\s*"(Exact|Prefix|Suffix|Presence)": ("[^"]*"|\[\])\s*\}', r"!\1 \2", text)
    return text


class Node:
    def __init__(self, mesh, name, index):
        self.mesh = mesh
        self.name = name
        self.index = index
        self.count = 1
        self.ip = {4: f"192.168.77.{index}", 6: f"fd00:77::{index:x}"}
        self.ns = netns.Namespace(f"{mesh.serial}-{name}")
        self.uds = f"{mesh.dir}/{name}.sock"
        self.agent = None
        self.proxies = []
        self._wire()

    def _wire(self):
        i = self.index
        self.ns.batch(
            f"link add up0 type veth peer name {self.name} netns {self.mesh.fabric}",
            "link set up0 up",
            f"addr add {self.ip[4]}/24 dev up0",
            f"addr add {self.ip[6]}/64 dev up0 nodad",
            "link add br0 type bridge",
            "link set br0 up",
            f"addr add 10.244.{i}.1/24 dev br0",
            f"addr add fd00:244:{i:x}::1/64 dev br0 nodad",
        )
        self.mesh.fabric.batch(f"link set dev {self.name} master fab up")
        self.ns.sysctl("net/ipv4/ip_forward", 1)
        self.ns.sysctl("net/ipv6/conf/all/forwarding", 1)
        for other in self.mesh.nodes.values():
            self.route_to(other)
            other.route_to(self)

    def route_to(self, other):
        self.ns.batch(
            f"route add 10.244.{other.index}.0/24 via {other.ip[4]}",
            f"-6 route add fd00:244:{other.index:x}::/64 via {other.ip[6]}",
        )

    @property
    def proxy(self):
        return self.proxies[-1]


class Pod:
    """A namespace on a node; its workload entry is .workload, a dict of the static file's keys."""

    def __init__(self, mesh, name, node, namespace, account, captured, rules, workload):
        self.mesh = mesh
        self.name = name
        self.node = node
        self.namespace = namespace
        self.account = account or name
        self.captured = captured
        self.uid = f"cluster1//Pod/{namespace}/{name}"
        node.count += 1
        n, i = node.count, node.index
        self.ip = {4: f"10.244.{i}.{n}", 6: f"fd00:244:{i:x}::{n:x}"}
        self.ns = netns.Namespace(f"{mesh.serial}-{node.name}-{name}")
        node.ns.batch(
            f"link add name {name[:15]} type veth peer name eth0 netns {self.ns}",
            f"link set dev {name[:15]} master br0 up",
        )
        self.ns.batch(
            "link set eth0 up",
            f"addr add {self.ip[4]}/24 dev eth0",
            f"addr add {self.ip[6]}/64 dev eth0 nodad",
            f"route add default via 10.244.{i}.1",
            f"-6 route add default via fd00:244:{i:x}::1",
        )
        if captured:
            cni.redirect(self.ns, **(rules or {}))
        self.workload = {
            "uid": self.uid,
            "name": name,
            "namespace": namespace,
            "serviceAccount": self.account,
            "trustDomain": "cluster.local",
            "workloadIps": [self.ip[4], self.ip[6]],
            "protocol": "HBONE" if captured else "TCP",
            "node": node.name,
            "workloadName": name,
            "workloadType": "deployment",
            "canonicalName": name,
            "canonicalRevision": "v1",
            "clusterId": "Kubernetes",
            "services": {},
        }
        self.workload.update(workload)

    @property
    def identity(self):
        return f"spiffe://{self.workload['trustDomain']}/ns/{self.namespace}/sa/{self.account}"

    @property
    def proxy(self):
        return self.node.proxy


class Mesh:
    """A topology and the files, agents and proxies that belong to it; a context manager."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix=f"{netns.tag()}-mesh-")
        self.lock = os.open(self.dir, os.O_RDONLY | os.O_CLOEXEC)
        assert netns.locked(self.lock)
        netns.folders.add(self.dir)
        self.file = f"{self.dir}/mesh.yaml"
        self.ca_dir = f"{self.dir}/ca"
        self.nodes = {}
        self.pods = {}
        self.workloads = []
        self.services = []
        self.policies = []
        self.vips = 1
        self.spares = []
        self.serial = next(SERIAL)
        self.fabric = netns.Namespace(f"{self.serial}-fabric")
        self.fabric.batch("link add fab type bridge", "link set fab up")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def node(self, name):
        self.nodes[name] = Node(self, name, len(self.nodes) + 1)
        return self.nodes[name]

    def pod(self, name, node, namespace="default", account=None, captured=True, rules=None, listed=True, **workload):
        """listed=False: the pod exists, but nothing is known of it."""
        pod = Pod(self, name, node, namespace, account, captured, rules, workload)
        self.pods[name] = pod
        if listed:
            self.workloads.append(pod.workload)
        return pod

    def service(self, name, ports, pods=(), namespace="default", targets=None, **more):
        """A service with a VIP of each family; every pod of `pods` is an endpoint. Returns its entry."""
        self.vips += 1
        hostname = f"{name}.{namespace}.svc.cluster.local"
        entry = {
            "name": name,
            "namespace": namespace,
            "hostname": hostname,
            "vips": [f"/10.96.0.{self.vips}", f"/fd00:96::{self.vips:x}"],
            "ports": ports,
            "canonical": False,
        }
        entry.update(more)
        self.services.append(entry)
        for pod in pods:
            pod.workload["services"][f"{namespace}/{hostname}"] = targets or ports
        return entry

    def policy(self, name, action="Allow", namespace="default", scope="Namespace", rules=(), dry_run=False):
        entry = {
            "name": name,
            "namespace": namespace,
            "scope": scope,
            "action": action,
            "dryRun": dry_run,
            "rules": list(rules),
        }
        self.policies.append(entry)
        return entry

    def document(self):
        return copy.deepcopy({"workloads": self.workloads, "services": self.services, "policies": self.policies})

    def write(self, text=None):
        """Writes the static file as editors and ConfigMaps do: aside, then renamed."""
        aside = f"{self.file}.new"
        with open(aside, "w", encoding="utf-8") as file:
            file.write(text if text is not None else as_yaml(self.document()))
        os.rename(aside, self.file)

    def start(self, wait=True, agent=True, before=(), **env):
        """Writes the file, starts an agent and a proxy on every node that has none, waits for readiness."""
        self.write()
        for node in self.nodes.values():
            if node.proxies:
                continue
            if agent and node.agent is None:
                node.agent = Agent(node.uds)
                for pod in self.pods.values():
                    if pod.node is node and pod.captured:
                        node.agent.pods[pod.uid] = pod
            self.proxy(node, before=before, **env)
        if wait:
            for node in self.nodes.values():
                node.proxy.wait_ready()
                assert not node.agent or not node.agent.problems, node.agent.problems

    def proxy(self, node, ns=None, argv=("proxy", "ztunnel"), before=(), **env):
        """One more ztunnel on that node, not waited for; ns = where it runs if not in the node's own namespace."""
        zt = Ztunnel(ns or node.ns, node.name, self.dir, self.environment(node, env), argv, before)
        node.proxies.append(zt)
        return zt

    def spare_namespace(self):
        """A namespace with nothing in it, for a second proxy process on a node."""
        self.spares.append(netns.Namespace(f"{self.serial}-spare{len(self.spares)}"))
        return self.spares[-1]

    def environment(self, node, env):
        """What a proxy of that node is started with; None in env takes a variable away."""
        out = {
            "LOCAL_XDS_PATH": self.file,
            "FAKE_CA": "true",
            "XDS_ADDRESS": "",
            "NODE_NAME": node.name,
            "INPOD_UDS": node.uds,
            "GAUZE_DEV_CA_DIR": self.ca_dir,
            "ISTIO_META_DNS_CAPTURE": "false",
            "CONNECTION_TERMINATION_DEADLINE": "1s",
            "ZTUNNEL_WORKER_THREADS": "2",
            "RUST_LOG": "info",
        }
        out.update({key: str(value) for key, value in env.items() if value is not None})
        for key in [key for key, value in env.items() if value is None]:
            out.pop(key, None)
        return out

    def close(self):
        problems = []
        for node in self.nodes.values():
            for zt in node.proxies:
                zt.terminate()
        for node in self.nodes.values():
            for zt in node.proxies:
                problems += zt.close()
            if node.agent:
                node.agent.close()
        for pod in self.pods.values():
            pod.ns.close()
        for node in self.nodes.values():
            node.ns.close()
        for ns in (*self.spares, self.fabric):
            ns.close()
        shutil.rmtree(self.dir, ignore_errors=True)
        netns.folders.discard(self.dir)
        os.close(self.lock)
        assert not problems, "\n".join(problems)
