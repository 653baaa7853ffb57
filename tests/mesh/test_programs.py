"""Programs as they are: curl and nginx, iperf3, redis, through two tunnels, v4 and v6."""

import hashlib
import json
import os
import subprocess

import pytest

from mesh import netns
from mesh.clients import Client
from mesh.standard import Standard, vip_of
from mesh.wait import until

NGINX = """\
daemon off; worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/nginx.err;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fcgi;
  uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
  client_max_body_size 64m;
  server {{ listen 80; listen [::]:80; root {dir}/www;
    location /who {{ return 200 "$remote_addr\\n"; }}
  }}
}}
"""


@pytest.fixture(scope="module")
def town():
    with Standard() as made:
        made.web = made.service("web", {"80": 80}, [made.server])
        os.makedirs(f"{made.dir}/www")
        os.chmod(made.dir, 0o755)
        made.blob = os.urandom(8 << 20)
        for name, content in (("blob", made.blob), ("small", b"small\n")):
            with open(f"{made.dir}/www/{name}", "wb") as file:
                file.write(content)
        with open(f"{made.dir}/nginx.conf", "w", encoding="ascii") as file:
            file.write(NGINX.format(dir=made.dir))
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
        children = [
            made.server.ns.popen(["nginx", "-c", f"{made.dir}/nginx.conf"], **quiet),
            made.server.ns.popen(["iperf3", "-s"], **quiet),
            made.server.ns.popen(
                ["redis-server", "--port", "6379", "--bind", "*", "::*", "--protected-mode", "no", "--save", ""],
                cwd=made.dir,
                **quiet,
            ),
        ]
        made.start()
        for port in (80, 5201, 6379):
            until(lambda: up(made, port), f"the server on {port}", 20)
        yield made
        for child in reversed(children):
            child.terminate()
            child.wait(10)
            netns.reap(child)


def up(town, port):
    try:
        Client(town.server.ns, "127.0.0.1", port).close()
        return True
    except OSError:
        return False


def url(host, path):
    return f"http://{f'[{host}]' if ':' in host else host}{path}"


def curl(town, *argv, source=None):
    return (source or town.client).ns.run(["curl", "-sS", "--fail", "--max-time", "30", *argv], text=False).stdout


def test_curl_gets_a_file(town, family):
    for host in (town.server.ip[family], vip_of(town.web, family)):
        got = curl(town, url(host, "/blob"))
        assert hashlib.sha256(got).digest() == hashlib.sha256(town.blob).digest()


def test_curl_from_outside_the_mesh(town, family):
    assert curl(town, url(town.server.ip[family], "/small"), source=town.outsider) == b"small\n"


def test_nginx_sees_the_pod(town, family):
    assert curl(town, url(town.server.ip[family], "/who")).decode().strip() == town.client.ip[family]


def test_curl_keeps_its_connection(town, family):
    target = url(town.server.ip[family], "/small")
    got = curl(town, "-w", "%{num_connects}\n", *[target] * 20)
    assert got.count(b"small") == 20 and got.splitlines()[1::2] == [b"1"] + [b"0"] * 19


def test_many_curls_at_once(town, family):
    target = url(vip_of(town.web, family), "/small?[1-200]")
    got = curl(town, "--no-keepalive", "--parallel", "--parallel-max", "40", "-H", "Connection: close", target)
    assert got == b"small\n" * 200


@pytest.mark.parametrize("direction", [[], ["-R"], ["--bidir"]], ids=["up", "down", "both"])
def test_iperf3(town, family, direction):
    done = town.client.ns.run(
        ["iperf3", "-c", town.server.ip[family], "-n", "64M", "-P", "4", "-J", *direction], timeout=60
    )
    end = json.loads(done.stdout)["end"]
    assert end["sum_sent"]["bytes"] >= 32 << 20 and end["sum_received"]["bytes"] > 16e6


def test_redis(town, family):
    host = town.server.ip[family]

    def failed():
        return town.node1.proxy.metrics().value("istio_tcp_connections_failed_total", reporter="source")

    before = failed()

    def run(*argv):
        return town.client.ns.run(["redis-cli", "-h", host, *argv]).stdout.strip()

    assert run("set", "key", "value") == "OK"
    assert run("get", "key") == "value"
    bench = town.client.ns.run(
        ["redis-benchmark", "-h", host, "-q", "-n", "4000", "-c", "40", "-P", "4", "-t", "set,get", "--csv"], timeout=60
    )
    assert '"GET"' in bench.stdout
    assert failed() == before
