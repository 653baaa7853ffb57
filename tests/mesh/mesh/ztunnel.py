"""One proxy process in a node's namespace: its environment, log, metrics and admin pages."""

import http.client
import json
import os
import re
import signal
import subprocess

from . import netns
from .metrics import Metrics
from .wait import until

PASSED_ON = ("PATH", "HOME", "LANG", "GAUZE_IO", "ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS", "TSAN_OPTIONS")
BAD_SIGNS = ("AddressSanitizer", "UndefinedBehaviorSanitizer", "ThreadSanitizer", "LeakSanitizer", "runtime error:")
FIELD = re.compile(r'([\w.]+)=("(?:[^"\\]|\\.)*"|\S+)')


def binary():
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    return os.path.abspath(os.environ.get("GAUZE_ZTUNNEL") or f"{root}/build/ztunnel/ztunnel")


def is_ours():
    """False for another implementation of the contract: tests of what we do better are left out then."""
    return os.environ.get("GAUZE_REFERENCE") != "1"


class Line(dict):
    """A log line: its fields, and .level, .target, .message, .text."""

    def __init__(self, text):
        parts = text.rstrip("\n").split("\t")
        super().__init__()
        self.text = text
        self.level = parts[1] if len(parts) > 1 else ""
        self.target = parts[2] if len(parts) > 2 else ""
        self.message = parts[3] if len(parts) > 3 else ""
        for key, value in FIELD.findall(parts[4] if len(parts) > 4 else ""):
            self[key] = json.loads(value) if value.startswith('"') else value


class Connection(http.client.HTTPConnection):
    def __init__(self, ns, port, host="127.0.0.1", timeout=10):
        super().__init__(host, port, timeout=timeout)
        self.ns = ns

    def connect(self):
        with self.ns.entered():
            super().connect()


class Ztunnel:
    def __init__(self, ns, name, directory, env, argv=("proxy", "ztunnel"), before=()):
        """before: a command that runs it, such as prlimit."""
        self.ns = ns
        self.name = name
        self.env = env
        self.expected_end = False
        serial = len([f for f in os.listdir(directory) if f.startswith(f"{name}.log")])
        self.log_path = f"{directory}/{name}.log{serial}"
        self.cwd = f"{directory}/{name}.cwd{serial}"
        os.mkdir(self.cwd)
        with open(self.log_path, "wb") as log:
            self.process = ns.popen(
                [*before, binary(), *argv],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=self.cwd,
                env={key: os.environ[key] for key in PASSED_ON if key in os.environ} | env,
            )

    # ---- what it says -------------------------------------------------------------------------------------------

    def mark(self):
        """A place in the log, for log(since=...)."""
        return os.path.getsize(self.log_path)

    def log(self, since=0):
        with open(self.log_path, "rb") as file:
            file.seek(since)
            text = file.read().decode(errors="replace")
        return [Line(line) for line in text.splitlines()]

    def text(self, since=0):
        return "\n".join(line.text for line in self.log(since))

    def access(self, since=0, message="connection complete", **want):
        """Access lines; keyword a_b=c keeps those whose field a.b is c."""
        want = {re.sub("^(src|dst)_", r"\1.", key): value for key, value in want.items()}
        lines = [line for line in self.log(since) if line.target == "access" and line.message == message]
        return [line for line in lines if all(line.get(key) == value for key, value in want.items())]

    def wait_access(self, since=0, seconds=10, **want):
        return until(
            lambda: self.access(since, **want),
            lambda: f"access line with {want} from {self.name}; its log says:\n{self.text(since)}",
            seconds,
        )[0]

    def wait_log(self, pattern, since=0, seconds=10):
        return until(
            lambda: [line for line in self.log(since) if re.search(pattern, line.text)],
            lambda: f"log line like {pattern!r} from {self.name}; its log says:\n{self.text(since)}",
            seconds,
        )[0]

    # ---- its pages ----------------------------------------------------------------------------------------------

    def http(self, port, path, method="GET", headers=None, host="127.0.0.1", body=None):
        """(status, headers, body) from inside the node's namespace."""
        link = Connection(self.ns, port, host)
        try:
            link.request(method, path, body=body, headers=headers or {})
            answer = link.getresponse()
            return answer.status, dict((k.lower(), v) for k, v in answer.getheaders()), answer.read()
        finally:
            link.close()

    def ready(self):
        """(status, text) of the readiness page; (0, reason) when nobody answers."""
        try:
            status, _, body = self.http(15021, "/healthz/ready")
            return status, body.decode()
        except (OSError, http.client.HTTPException) as err:
            return 0, repr(err)

    def wait_ready(self, seconds=20):
        def check():
            assert self.process.poll() is None, f"{self.name} ended: {self.process.returncode}\n{self.text()}"
            return self.ready()[0] == 200

        until(check, lambda: f"{self.name} ready; {self.ready()}\n{self.text()}", seconds)

    def metrics(self):
        return Metrics(self.http(15020, "/metrics")[2].decode())

    def wait_metric(self, check, what, seconds=10):
        """Waits until check(metrics) holds."""
        return until(lambda: check(self.metrics()), what, seconds, every=0.05)

    def config_dump(self):
        status, _, body = self.http(15000, "/config_dump")
        assert status == 200
        return json.loads(body)

    # ---- its end ------------------------------------------------------------------------------------------------

    def alive(self):
        return self.process.poll() is None

    def signal(self, number):
        if self.alive():
            self.process.send_signal(number)

    def terminate(self):
        if self.alive():
            self.expected_end = True
            self.signal(signal.SIGTERM)

    def wait(self, seconds=10):
        """Its exit status."""
        self.expected_end = True
        return self.process.wait(seconds)

    def kill(self):
        self.expected_end = True
        netns.reap(self.process)

    def close(self):
        """Ends it; returns what was wrong with it: an end nobody asked for, a sanitizer's report."""
        problems = []
        if not self.alive() and not self.expected_end:
            problems.append(f"{self.name} ended by itself with {self.process.returncode}\n{self.text()[-4000:]}")
        self.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            problems.append(f"{self.name} did not end within 10 s of SIGTERM\n{self.text()[-4000:]}")
        netns.reap(self.process)
        if self.process.returncode not in (0, 1, -signal.SIGKILL, -signal.SIGTERM):
            problems.append(f"{self.name}: exit {self.process.returncode}\n{self.text()[-4000:]}")
        text = self.text()
        found = [text.index(sign) for sign in BAD_SIGNS if sign in text]
        if found:
            problems.append(f"{self.name}: a sanitizer's report\n{text[min(found) :][:6000]}")
        return problems
