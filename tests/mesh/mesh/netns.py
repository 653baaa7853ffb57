"""Network namespaces: made, entered, and removed on any exit.

Every name holds the pid of its maker (gz<pid>-<name>), who holds a lock on /run/gz<pid>.lock as long as it lives: so a
later run knows what a dead one left behind, even where it cannot see the other's processes.
"""

import atexit
import contextlib
import ctypes
import fcntl
import functools
import itertools
import os
import re
import shutil
import signal
import socket
import string
import subprocess
import tempfile
import threading

ROOT = "/run/netns"
LOCKS = "/run"
CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
_live = {}
_children = []
folders = set()  # of temporary files, removed with the rest
_lock = threading.Lock()


def locked(fd):
    """Takes the lock on an open file or folder; False if somebody else has it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False


@functools.cache
def tag():
    """The prefix of our names. Two runs may have one pid, in two pid namespaces."""
    for suffix in ("", *string.ascii_lowercase):
        name = f"gz{os.getpid()}{suffix}"
        fd = os.open(f"{LOCKS}/{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if locked(fd):
            return name
        os.close(fd)
    raise RuntimeError("no free prefix")


def _setns(fd):
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        err = ctypes.get_errno()
        raise OSError(err, f"setns: {os.strerror(err)}")


class Namespace:
    def __init__(self, name):
        self.name = f"{tag()}-{name}"
        self.path = f"{ROOT}/{self.name}"
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        with _lock:
            _live[self.name] = self
        self.fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        self.sysctl("net/ipv6/conf/all/accept_dad", 0)
        self.sysctl("net/ipv6/conf/default/accept_dad", 0)
        self.sysctl("net/ipv6/conf/default/accept_ra", 0)
        self.sysctl("net/ipv4/ip_local_port_range", "20000 31999")
        self.ports = itertools.count(32768)
        self.batch("link set lo up")

    def __str__(self):
        return self.name

    @contextlib.contextmanager
    def entered(self):
        """The calling thread is inside for the length of the block; sockets stay where they were made."""
        _setns(self.fd)
        try:
            yield
        finally:
            _setns(_own)

    def socket(self, family=socket.AF_INET, kind=socket.SOCK_STREAM, proto=0):
        with self.entered():
            return socket.socket(family, kind, proto)

    def sysctl(self, key, value):
        with self.entered(), open(f"/proc/sys/{key}", "w", encoding="ascii") as file:
            file.write(str(value))

    def command(self, argv):
        """argv as it runs inside; setpriv ends it should we die without cleaning up."""
        return ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net={self.path}", "--", *argv]

    def run(self, argv, check=True, timeout=60, **kw):
        kw.setdefault("capture_output", True)
        kw.setdefault("text", True)
        done = subprocess.run(self.command(argv), check=False, timeout=timeout, **kw)
        if check and done.returncode != 0:
            raise AssertionError(f"{argv} in {self}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def popen(self, argv, **kw):
        """A process that ends with us. Only from the main thread: the parent-death signal follows the thread."""
        assert threading.current_thread() is threading.main_thread()
        child = subprocess.Popen(self.command(argv), **kw)
        with _lock:
            _children.append(child)
        return child

    def batch(self, *lines):
        """Lines for ip; those that begin with -6 come last."""
        for option, part in (
            ([], [line for line in lines if not line.startswith("-6 ")]),
            (["-6"], [line[3:] for line in lines if line.startswith("-6 ")]),
        ):
            if part:
                self.run(["ip", *option, "-batch", "-"], input="\n".join(part) + "\n")

    def close(self):
        with _lock:
            if _live.pop(self.name, None) is None:
                return
        os.close(self.fd)
        subprocess.run(["ip", "netns", "del", self.name], check=False, capture_output=True)


def reap(child, seconds=5):
    """Ends a child of popen() for good."""
    if child.poll() is None:
        child.kill()
        child.wait(seconds)
    with _lock:
        if child in _children:
            _children.remove(child)


def cleanup():
    with _lock:
        children, spaces = list(_children), list(_live.values())
    for child in children:
        with contextlib.suppress(Exception):
            reap(child)
    for space in spaces:
        with contextlib.suppress(Exception):
            space.close()
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        os.unlink(f"{LOCKS}/{tag()}.lock")


def remove_leftovers():
    """What runs left that were killed: their locks are free, and so is all that carries their names."""
    names = os.listdir(ROOT) if os.path.isdir(ROOT) else []
    for lock in os.listdir(LOCKS):
        owner = re.fullmatch(r"(gz\d+[a-z]?)\.lock", lock)
        if not owner:
            continue
        fd = os.open(f"{LOCKS}/{lock}", os.O_RDWR | os.O_CLOEXEC)
        if locked(fd):
            for name in names:
                if name.startswith(f"{owner[1]}-"):
                    _remove(name)
            os.unlink(f"{LOCKS}/{lock}")
        os.close(fd)
    for name in os.listdir(tempfile.gettempdir()):
        path = os.path.join(tempfile.gettempdir(), name)
        if re.fullmatch(r"gz\d+[a-z]?-mesh-.*", name) and os.path.isdir(path):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            if locked(fd):
                shutil.rmtree(path, ignore_errors=True)
            os.close(fd)


def _remove(name):
    pids = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False)
    for pid in pids.stdout.split():
        with contextlib.suppress(OSError):
            os.kill(int(pid), signal.SIGKILL)
    subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def _leave(number, _frame):
    raise SystemExit(128 + number)


def guard():
    """Clean-up at exit and on the signals that end a run."""
    atexit.register(cleanup)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
