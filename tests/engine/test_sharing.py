"""Threads that sessions take from each other and give back."""

from __future__ import annotations

import subprocess
import sys
import threading

from ortolan.engine import sharing


def test_a_share_that_outlives_its_module() -> None:
    """One that is left when the interpreter ends goes without a word."""
    code = (
        "import sys, __main__; from ortolan.engine import sharing; sys.kept = [__main__, sharing]; "
        "share = sharing.take(4, asked=True)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stderr == ""


def test_a_share_found_by_the_garbage_collector_while_another_is_taken() -> None:
    """It is given back by the thread that holds the lock already, which does not wait for itself."""
    share = sharing.take(3, asked=True)

    def released_inside() -> None:
        with sharing._count.lock:
            share.release()

    thread = threading.Thread(target=released_inside, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


def test_threads_are_counted_until_they_are_given_back() -> None:
    """The next session gets the rest, at least half; a second release gives nothing."""
    before = sharing._count.started
    first = sharing.take(before + 8, asked=False)
    assert first.threads == 8
    second = sharing.take(8, asked=False)
    assert second.threads == 4
    for share in (first, first, second):
        share.release()
    assert sharing._count.started == before
