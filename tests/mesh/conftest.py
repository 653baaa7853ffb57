"""Set-up shared by the mesh tests: root, namespaces, a proxy to test."""

import os

import pytest

from mesh import netns, ztunnel
from mesh.standard import Standard


def pytest_configure(config):
    config.addinivalue_line("markers", "ours: asserts what we do better than the contract; other proxies are not asked")


def pytest_sessionstart(session):
    if os.geteuid() != 0:
        pytest.exit("the mesh tests make network namespaces: run them as root", returncode=2)
    if not os.access(ztunnel.binary(), os.X_OK):
        pytest.exit(f"no ztunnel at {ztunnel.binary()}: build it, or set GAUZE_ZTUNNEL", returncode=2)
    netns.remove_leftovers()
    netns.guard()


def pytest_collection_modifyitems(config, items):
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


@pytest.fixture(scope="module")
def mesh():
    """The standard topology with one proxy per node, ready."""
    with Standard() as made:
        made.start()
        yield made
