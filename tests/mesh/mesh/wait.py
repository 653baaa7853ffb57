"""Waiting on conditions with a deadline; nothing in the suite sleeps and hopes."""

import time


def until(check, what, seconds=10.0, every=0.02):
    """Calls check until it returns something true and returns that; fails after the deadline.

    `what` is a sentence, or a function that makes one when it is needed.
    """
    deadline = time.monotonic() + seconds
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what() if callable(what) else what}")
        time.sleep(every)


def stays(check, what, seconds=1.0, every=0.05):
    """Fails as soon as check is false within that time: for things that must not happen."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert check(), what
        time.sleep(every)
