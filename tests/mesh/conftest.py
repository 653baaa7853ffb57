"""Set-up shared by the mesh tests: root, namespaces, a proxy to test."""

import os

import pytest

from mesh import netns, ztunnel
from mesh.standard import Standard


# What a sanitized build is run with: hostile input, ends of all kinds, changes under way.
SANITIZED = """
    test_bad_tls test_crl test_double_hbone test_hbone_server_side test_lifecycle test_limits test_policy test_pool
    test_shutdown_semantics test_socks5 test_static_file test_zds
""".split()


def pytest_configure(config):
    config.addinivalue_line("markers", "ours: asserts what we do better than the contract; other proxies are not asked")
    config.addinivalue_line("markers", "sanitize: part of the run with a sanitized build")


def pytest_sessionstart(session):
    if os.geteuid() != 0:
        pytest.exit("the mesh tests make network namespaces: run them as root", returncode=2)
    if not os.access(ztunnel.binary(), os.X_OK):
        pytest.exit(f"no ztunnel at {ztunnel.binary()}: build it, or set GAUZE_ZTUNNEL", returncode=2)
    netns.remove_leftovers()
    netns.guard()


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(config, items):
    for item in items:
        if item.module.__name__ in SANITIZED:
            item.add_marker("sanitize")
    if ztunnel.is_ours():
        return
    left, kept = [], []
    for item in items:
        (left if item.get_closest_marker("ours") else kept).append(item)
    config.hook.pytest_deselected(items=left)
    items[:] = kept


def pytest_unconfigure(config):
    netns.cleanup()


@pytest.fixture(params=[4, 6], ids=["v4", "v6"])
def family(request):
    return request.param


def backends():
    """Unless told which, the standard topology is run on both kernel interfaces; other tests on the default one."""
    chosen = os.environ.get("GAUZE_IO")
    if chosen or not ztunnel.is_ours():
        return [chosen]
    return [None, "epoll"]


@pytest.fixture(scope="module", params=backends(), ids=lambda name: name or "default")
def mesh(request):
    """The standard topology with one proxy per node, ready."""
    with Standard() as made:
        made.start(**({"GAUZE_IO": request.param} if request.param else {}))
        made.backend = request.param
        yield made
