# SPDX-License-Identifier: Apache-2.0
"""The story that deploy/demo tells. Everything it prints is read from the running system; see deploy/demo --help."""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
import uuid

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(ROOT, "tests/mesh"), os.path.join(ROOT, "deploy")]
from demo_capture import APPLICATION_DATA, TLS13, Tcpdump, chosen_version, records  # noqa: E402
from demo_forward import Forwarder  # noqa: E402
from mesh import netns  # noqa: E402
from mesh.standard import vip_of  # noqa: E402
from mesh.topology import Mesh  # noqa: E402
from mesh.wait import until  # noqa: E402

NAMESPACE = "demo"
HTTP, BULK = 8080, 5201
CALLS = 5
BULK_SECONDS = 3
LIFETIME = 20  # seconds that a certificate lives: it is renewed at half of that
FILE_BYTES, FILE_RATE = 64 << 20, "4M"
ROTATION_SECONDS = 60
NO_BATCH, ONLY_TLS = "web-not-for-batch", "web-only-mutual-tls"

NGINX = """
daemon off; pid {dir}/nginx.pid; error_log stderr error; worker_processes 1; user root;
events {{ worker_connections 256; }}
http {{
	access_log {dir}/{name}.access.log combined; client_body_temp_path {dir}/{name}.body; proxy_temp_path {dir}/{name}.p;
	fastcgi_temp_path {dir}/{name}.f; uwsgi_temp_path {dir}/{name}.u; scgi_temp_path {dir}/{name}.s;
	server {{
		listen {port}; listen [::]:{port}; root {dir}/files;
		location = / {{ default_type text/plain; return 200 "{name} says hello, $http_x_demo\\n"; }}
	}}
}}
"""


class Claims:
    """What was verified and what was not."""

    def __init__(self):
        self.good = self.bad = 0
        self.colour = sys.stdout.isatty()

    def __call__(self, holds, text, detail=""):
        word, code = ("ok", "32") if holds else ("FAILED", "31")
        mark = f"\033[{code}m{word:<6}\033[0m" if self.colour else f"{word:<6}"
        print(f"  {mark}  {text}" + (f"\n          {detail}" if detail and not holds else ""), flush=True)
        self.good += bool(holds)
        self.bad += not holds
        return holds

    def total(self):
        print(f"\n{self.good} claims verified, {self.bad} FAILED", flush=True)


def show(*lines):
    for line in lines:
        print(f"          {line}", flush=True)


class Demo:
    def __init__(self, mesh):
        self.mesh = mesh
        self.claim = Claims()
        self.number = 0

    def step(self, title, run):
        self.number += 1
        print(f"\n{self.number}. {title}", flush=True)
        try:
            run()
        except (AssertionError, OSError, ValueError, LookupError, subprocess.SubprocessError) as err:
            self.claim(False, f"this step came to an end: {err!r:.2000}")

    # ---- the mesh -------------------------------------------------------------------------------------------------

    def build(self):
        mesh = self.mesh
        self.node1, self.node2 = mesh.node("node1"), mesh.node("node2")
        self.shop = mesh.pod("shop", self.node1, NAMESPACE)
        self.batch = mesh.pod("batch", self.node1, NAMESPACE)
        self.web = mesh.pod("web", self.node2, NAMESPACE)
        self.store = mesh.pod("store", self.node2, NAMESPACE)
        self.legacy = mesh.pod("legacy", self.node2, NAMESPACE, captured=False)
        self.web_service = mesh.service("web", {"80": HTTP}, [self.web], NAMESPACE)
        mesh.service("store", {str(BULK): BULK}, [self.store], NAMESPACE)
        for name, match in (
            (NO_BATCH, {"principals": [{"Exact": self.batch.identity.removeprefix("spiffe://")}]}),
            (ONLY_TLS, {"notPrincipals": [{"Presence": []}]}),
        ):
            mesh.policy(name, "Deny", NAMESPACE, "WorkloadSelector", [[[match]]])
        self.web.workload["authorizationPolicies"] = [f"{NAMESPACE}/{NO_BATCH}", f"{NAMESPACE}/{ONLY_TLS}"]
        os.mkdir(f"{mesh.dir}/files")
        with open(f"{mesh.dir}/files/big", "wb") as file:
            file.write(os.urandom(FILE_BYTES))
        for pod in (self.web, self.legacy):
            self.start_nginx(pod)
        self.background(self.store, "iperf3", "-s", "-p", str(BULK))

    def background(self, pod, *argv):
        return pod.ns.popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def start_nginx(self, pod):
        path = f"{self.mesh.dir}/{pod.name}.conf"
        with open(path, "w", encoding="ascii") as file:
            file.write(NGINX.format(dir=self.mesh.dir, name=pod.name, port=HTTP))
        self.background(pod, "nginx", "-e", "stderr", "-p", self.mesh.dir, "-c", path)
        until(lambda: pod.ns.run(["curl", "-s", f"127.0.0.1:{HTTP}/"], check=False).returncode == 0, "nginx answers")

    def curl(self, pod, url, header="", family=4):
        """(exit code, body, error) of one curl that resolves web to its service address."""
        vip = vip_of(self.web_service, family)
        name = self.web_service["hostname"]
        argv = ["curl", "-sS", "--fail", "--max-time", "10", "--resolve", f"{name}:80:{vip}", url]
        done = pod.ns.run(argv + (["-H", f"X-Demo: {header}"] if header else []), check=False)
        return done.returncode, done.stdout, done.stderr.strip()

    @property
    def url(self):
        return f"http://{self.web_service['hostname']}/"

    def start(self):
        started = time.monotonic()
        self.mesh.start(SECRET_TTL=f"{LIFETIME}s")
        show(f"{'pod':<8}{'node':<8}{'address':<14}identity")
        for pod in self.mesh.pods.values():
            who = pod.identity if pod.captured else "(not in the mesh)"
            show(f"{pod.name:<8}{pod.node.name:<8}{pod.ip[4]:<14}{who}")
        for node in (self.node1, self.node2):
            status, text = node.proxy.ready()
            states = node.proxy.config_dump()["workloadState"]
            up = {uid for uid, state in states.items() if state["state"] == "Up"}
            want = {pod.uid for pod in self.mesh.pods.values() if pod.captured and pod.node is node}
            names = ", ".join(sorted(uid.rsplit("/", 1)[1] for uid in up))
            self.claim(status == 200 and up == want, f"the ztunnel of {node.name} is ready and serves {names}", text)
        show(f"both were ready within {time.monotonic() - started:.1f} s")
        self.before = {node: node.proxy.metrics() for node in (self.node1, self.node2)}

    # ---- traffic, watched -----------------------------------------------------------------------------------------

    def traffic(self):
        self.secret, self.open = f"secret-{uuid.uuid4()}", f"open-{uuid.uuid4()}"
        self.marks = {node: node.proxy.mark() for node in (self.node1, self.node2)}
        directory = self.mesh.dir
        self.between = Tcpdump(self.mesh.fabric, "node1", f"{directory}/between.pcap")
        self.inside = Tcpdump(self.shop.ns, "lo", f"{directory}/inside.pcap")
        bodies = [self.curl(self.shop, self.url, self.secret) for _ in range(CALLS)]
        six = self.curl(self.shop, self.url, self.secret, family=6)
        plain = self.curl(self.shop, f"http://{self.legacy.ip[4]}:{HTTP}/", self.open)
        self.between.stop()
        self.inside.stop()
        want = (0, f"web says hello, {self.secret}\n", "")
        show(f"shop$ curl {self.url}", f"web says hello, {self.secret}")
        self.claim(bodies == [want] * CALLS, f"{CALLS} calls of shop to the service web were answered by nginx", bodies)
        self.claim(six == want, "one over IPv6, too", six)
        self.claim(plain[1].startswith("legacy says hello"), "shop also reaches legacy, outside the mesh", plain)
        with open(f"{directory}/web.access.log", encoding="utf-8") as file:
            callers = {line.split()[0] for line in file} - {"127.0.0.1"}
        self.claim(
            callers == {self.shop.ip[4], self.shop.ip[6]},
            f"nginx saw shop's own addresses: {', '.join(sorted(callers))}",
        )

    def identities(self):
        shop, web = self.shop.identity, self.web.identity
        hbone = f"{self.web.ip[4]}:{HTTP}"
        for node, direction in ((self.node1, "outbound"), (self.node2, "inbound")):
            line = node.proxy.wait_access(self.marks[node], direction=direction, dst_hbone_addr=hbone)
            show(f"{node.name}: {line.text}")
            seen = line.get("src.identity"), line.get("dst.identity")
            self.claim(
                seen == (shop, web),
                f"the access log of {node.name} knows both ends, proved by certificates",
                f"{seen} is not {(shop, web)}",
            )
        line = self.node1.proxy.wait_access(self.marks[self.node1], dst_addr=f"{self.legacy.ip[4]}:{HTTP}")
        self.claim("src.identity" not in line, "and claims no identity for the plaintext call to legacy", line.text)

    def encryption(self):
        tunnels = self.between.with_port(15008)
        sealed = sum(1 for data in tunnels.values() for kind, _ in records(data) if kind == APPLICATION_DATA)
        versions = [chosen_version(data) for key, data in tunnels.items() if key[1] == 15008]
        show(
            f"tcpdump between the nodes: {len(self.between.packets)} TCP packets, {len(tunnels) // 2} tunnels to port "
            f"15008, {sealed} encrypted records, {sum(map(len, tunnels.values()))} bytes"
        )
        self.claim(
            bool(versions) and all(version == TLS13 for version in versions) and sealed >= 2 * CALLS,
            f"every server hello on port 15008 chose TLS 1.3 ({len(versions)} seen)",
            [version and hex(version) for version in versions],
        )
        held = self.inside.holds(self.secret)
        self.claim(bool(held), f"the header {self.secret[:15]}... is readable inside the pod ({len(held)} streams)")
        self.claim(sealed and not self.between.holds(self.secret), "and nowhere between the nodes")
        self.claim(
            bool(self.between.holds(self.open)),
            "while the call to legacy can be read there, as the capture would show any other",
        )

    def bulk(self):
        argv = ["iperf3", "-c", self.store.ip[4], "-p", str(BULK), "-t", str(BULK_SECONDS), "-J"]
        report = json.loads(self.shop.ns.run(argv, timeout=60).stdout)
        sent, received = (report["end"][f"sum_{way}"] for way in ("sent", "received"))
        self.bulk_bytes = received["bytes"]
        rate = received["bits_per_second"] / 1e9
        self.claim(
            0 < received["bytes"] <= sent["bytes"],
            f"iperf3 from shop to store: {received['bytes'] / 1e6:.0f} MB in {BULK_SECONDS} s, {rate:.2f} Gb/s",
        )

    def denials(self):
        for pod, policy, who in (
            (self.batch, NO_BATCH, self.batch.identity),
            (self.legacy, ONLY_TLS, "nobody: no certificate"),
        ):
            mark, before = self.node2.proxy.mark(), self.denied(policy)
            target = self.url if pod.captured else f"http://{self.web.ip[4]}:{HTTP}/"
            code, _, error = self.curl(pod, target)
            show(f"{pod.name}$ curl {target}", error)
            self.claim(code != 0, f"the call of {pod.name} ({who}) fails")
            line = self.node2.proxy.wait_log(f"explicitly denied by: {NAMESPACE}/{policy}", mark)
            show(f"node2: {line.text}")
            self.claim(line.target == "access", f"the access log names the policy {NAMESPACE}/{policy}")
            moved = until(lambda n=policy, b=before: self.denied(n) - b, "the denial is counted")
            self.claim(moved == 1, f"and gauze_policy_denials_total of that policy went up by {moved:g}")

    def denied(self, policy):
        return self.node2.proxy.metrics().value("gauze_policy_denials_total", policy=f"{NAMESPACE}/{policy}")

    def metrics(self):
        shop_web = {"source_workload": "shop", "destination_workload": "web", "response_flags": "-"}
        shop_store = {"source_workload": "shop", "destination_workload": "store", "response_flags": "-"}
        rows = []
        for node, reporter in ((self.node1, "source"), (self.node2, "destination")):
            for name, labels, least, most in (
                ("istio_tcp_connections_opened_total", shop_web, CALLS + 1, CALLS + 1),
                ("istio_tcp_connections_closed_total", shop_web, CALLS + 1, CALLS + 1),
                ("istio_tcp_received_bytes_total", shop_store, self.bulk_bytes, None),
            ):
                labels = labels | {"reporter": reporter}
                was = self.before[node].value(name, **labels)

                def moved(node=node, name=name, labels=labels, was=was):
                    return node.proxy.metrics().value(name, **labels) - was

                with contextlib.suppress(AssertionError):  # the claim below says what is wrong
                    until(lambda: moved() >= least, "it moves", 5)
                rows.append((node, name, labels, was, was + moved(), least, most))
        for node, name, labels, was, now, least, most in rows:
            good = now - was >= least and (most is None or now - was <= most)
            pair = f"{labels['source_workload']} -> {labels['destination_workload']}"
            self.claim(good, f"{node.name} {name}, {pair}: {was:g} -> {now:.0f}", f"expected at least {least} more")

    # ---- rotation -------------------------------------------------------------------------------------------------

    def serial(self, pod):
        for entry in pod.proxy.config_dump()["certificates"]:
            if entry["identity"] == pod.identity and entry["certChain"]:
                return entry["certChain"][0]["serialNumber"]
        return None

    def rotation(self):
        pods = (self.shop, self.web)
        first = {pod: self.serial(pod) for pod in pods}
        expiry = {pod: self.expiry(pod) for pod in pods}
        path = f"{self.mesh.dir}/received"
        name, vip = self.web_service["hostname"], vip_of(self.web_service, 4)
        download = self.shop.ns.popen(
            ["curl", "-sS", "--fail", "--limit-rate", FILE_RATE, "--resolve", f"{name}:80:{vip}", "-o", path]
            + [f"{self.url}big"],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        show(f"certificates live {LIFETIME} s; shop downloads {FILE_BYTES >> 20} MiB at {FILE_RATE}B/s and goes on calling")
        calls, lost, rotated_while = 0, [], False
        deadline = time.monotonic() + ROTATION_SECONDS
        while time.monotonic() < deadline and (download.poll() is None or not rotated_while):
            code, body, error = self.curl(self.shop, self.url, str(calls))
            if code != 0 or body != f"web says hello, {calls}\n":
                lost.append((code, body, error))
            calls += 1
            if download.poll() is None and all(self.serial(pod) not in (None, first[pod]) for pod in pods):
                rotated_while = True
            time.sleep(0.05)
        for pod in pods:
            now = self.serial(pod)
            show(f"{pod.name}: serial {first[pod]} -> {now}")
            self.claim(
                None not in (first[pod], now) and now != first[pod] and self.expiry(pod) > expiry[pod],
                f"the certificate of {pod.name} was replaced, the new one expires {self.expiry(pod) - expiry[pod]:.0f} s later",
            )
        self.claim(rotated_while, "both were replaced while the download ran")
        self.claim(calls > 0 and not lost, f"{calls} calls meanwhile, {len(lost)} lost", lost[:3])
        with contextlib.suppress(subprocess.TimeoutExpired):
            download.wait(30)
        error = b"" if download.poll() is None else download.stderr.read()
        same = download.returncode == 0 and digest(path) == digest(f"{self.mesh.dir}/files/big")
        self.claim(same, f"the download arrived whole, SHA-256 {digest(path)[:16]}...", error.decode())

    @staticmethod
    def expiry(pod):
        return pod.proxy.metrics().value("gauze_certificate_expiry_timestamp_seconds", identity=pod.identity)

    # ---- who talked to whom ---------------------------------------------------------------------------------------

    def summary(self):
        pairs = {}
        for line in self.node2.proxy.access(direction="inbound"):
            key = line.get("src.identity", "(no certificate)"), line.get("dst.workload", "?"), "error" in line
            count, size = pairs.get(key, (0, 0))
            pairs[key] = count + 1, size + int(line.get("bytes_recv", 0)) + int(line.get("bytes_sent", 0))
        for (source, target, failed), (count, size) in sorted(pairs.items()):
            word = "denied" if failed else f"{size / 1e6:.1f} MB"
            show(f"{source} -> {target}: {count} connections, {word}")
        self.claim(len(pairs) >= 4, "the access log of node2 tells who called: under which identity, and how it ended", pairs)
        for node in (self.node1, self.node2):
            with open(f"/proc/{node.proxy.process.pid}/smaps_rollup", encoding="ascii") as file:
                resident = next(int(line.split()[1]) for line in file if line.startswith("Rss:"))
            self.claim(node.proxy.alive(), f"the ztunnel of {node.name} is alive, {resident / 1024:.1f} MiB resident")

    def run(self):
        self.step("A mesh out of network namespaces: two nodes, five pods, a ztunnel on each node", self.start)
        self.step("Calls between the nodes, watched by tcpdump", self.traffic)
        self.step("Identities", self.identities)
        self.step("What an onlooker saw", self.encryption)
        self.step("Bulk", self.bulk)
        self.step("Denied", self.denials)
        self.step("Metrics that moved", self.metrics)
        self.step("Certificates rotate under traffic", self.rotation)
        self.step("Who talked to whom", self.summary)

    def stay(self):
        """Until Ctrl-C: admin pages on this machine's loopback, a little traffic to look at."""
        print("\nThe mesh stays up until Ctrl-C. One call of each kind a second goes on.")
        for node in (self.node1, self.node2):
            admin, stats = (Forwarder(node.ns, port, port + 100 * (node.index - 1)) for port in (15000, 15020))
            print(f"  {node.name}: admin page http://127.0.0.1:{admin.port}/  metrics http://127.0.0.1:{stats.port}/metrics")
        print(flush=True)
        while all(node.proxy.alive() for node in (self.node1, self.node2)):
            self.curl(self.shop, self.url, "again")
            self.curl(self.batch, self.url)
            time.sleep(1)
        print("deploy/demo: a ztunnel ended by itself", file=sys.stderr)


def digest(path):
    hasher = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            hasher.update(block)
    return hasher.hexdigest()


def main():
    netns.guard()
    once = "--once" in sys.argv[1:]
    mesh, ended, complete = Mesh(), [], False
    demo = Demo(mesh)
    try:
        demo.build()
        demo.run()
        complete = True
        if not once:
            demo.claim.total()
            demo.stay()
    except (KeyboardInterrupt, SystemExit):
        print("\ndeploy/demo: taking the mesh down", file=sys.stderr)
    finally:
        threading.Thread(target=lambda: (time.sleep(60), os._exit(1)), daemon=True).start()  # not for ever
        try:
            mesh.close()
        except AssertionError as err:
            ended.append(str(err))
    print()
    demo.claim(not ended, "both ztunnels ended in good order, nothing is left behind", "\n".join(ended))
    demo.claim.total()
    sys.exit(1 if demo.claim.bad or not complete else 0)


if __name__ == "__main__":
    main()
