"""A worker process as its parent sees it: start, ask, read with a time limit, end."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import tempfile
from time import monotonic
from typing import TYPE_CHECKING

from ortolan_bench import protocol
from ortolan_bench.protocol import WorkerFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_REPLY_BYTES = 256 << 20
"""Longest line accepted from a worker."""

_QUIT_S = 2.0


class WorkerProcess:
    """One worker, from start to end. Not thread-safe."""

    def __init__(self, command: Sequence[str] | None = None, *, timeout: float = 300.0) -> None:
        """Start it and wait for its first words.

        Args:
            command: argument vector; this process's number is added. None for this Python and ``ortolan_bench.worker``.
            timeout: seconds it may take for its first words.

        Raises:
            WorkerFailed: it could not start, or said something else.
        """
        argv = [*(command or (sys.executable, "-m", "ortolan_bench.worker")), str(os.getpid())]
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
        self._buffer = bytearray()
        self._next_id = 0
        try:
            # A session of its own: Ctrl-C reaches the instrument alone, which then ends its workers.
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            self._stderr.close()
            raise WorkerFailed(f"a worker process could not start: {error.strerror or error}") from error
        try:
            self.hello = protocol.hello(self._reply("start", b"", timeout))
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def ask(self, do: str, *, timeout: float, **arguments: object) -> dict[str, object]:
        """Send a request and wait for its reply.

        Args:
            do: the request.
            timeout: seconds for it; afterwards the worker is killed.
            arguments: of the request, JSON values.

        Raises:
            WorkerFailed: the worker refused, crashed, hung or spoke garbage. Except after a refusal it is gone.
        """
        line = protocol.encode({"id": self._next_id, "do": do, **arguments})
        return self._reply(do, line, timeout)

    def close(self) -> None:
        """Ask it to quit, and kill it if it does not."""
        if self._process.poll() is None:
            try:
                self.ask("quit", timeout=_QUIT_S)
                self._process.wait(_QUIT_S)
            except (WorkerFailed, subprocess.TimeoutExpired):
                pass
        self.kill()

    def kill(self) -> None:
        """End it now. May be called again."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            if stream is not None:
                stream.close()

    def _reply(self, do: str, line: bytes, timeout: float) -> dict[str, object]:
        request_id = self._next_id
        self._next_id += 1
        reply = self._exchange(do, line, timeout)
        try:
            message = protocol.decode(reply)
            if message.get("id") != request_id:
                protocol.answer(message, request_id)
        except WorkerFailed:
            self.kill()
            raise
        return protocol.answer(message, request_id)

    def _exchange(self, do: str, line: bytes, timeout: float) -> bytes:
        """Write ``line`` and read one line, neither of which may block beyond the time limit."""
        process = self._process
        if process.stdin is None or process.stdout is None or process.stdout.closed:
            raise WorkerFailed("the worker has already ended")
        source, sink = process.stdout.fileno(), process.stdin.fileno()
        os.set_blocking(sink, False)
        deadline = monotonic() + timeout
        unsent = memoryview(line)
        with selectors.DefaultSelector() as selector:
            selector.register(source, selectors.EVENT_READ)
            if unsent:
                selector.register(sink, selectors.EVENT_WRITE)
            while True:
                ready = selector.select(max(0.0, deadline - monotonic()))
                if not ready:
                    raise self._failed(f"the worker hung: no answer to '{do}' within {timeout:g} s")
                for key, _ in ready:
                    if key.fd == sink:
                        unsent = self._send(sink, unsent)
                        if not unsent:
                            selector.unregister(sink)
                        continue
                    complete = self._receive(source, do)
                    if complete is not None:
                        return complete

    def _send(self, sink: int, unsent: memoryview) -> memoryview:
        try:
            return unsent[os.write(sink, unsent) :]
        except BlockingIOError:
            return unsent
        except BrokenPipeError:
            return memoryview(b"")  # it has ended; reading will say how

    def _receive(self, source: int, do: str) -> bytes | None:
        chunk = os.read(source, 1 << 16)
        if not chunk:
            raise self._failed(self._ending(do))
        start = len(self._buffer)
        self._buffer += chunk
        end = self._buffer.find(b"\n", start)
        if end < 0:
            if len(self._buffer) > MAX_REPLY_BYTES:
                raise self._failed(f"the worker spoke garbage: a line longer than {MAX_REPLY_BYTES >> 20} MiB")
            return None
        complete = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return complete

    def _failed(self, problem: str) -> WorkerFailed:
        said = self._last_words()
        self.kill()
        return WorkerFailed(f"{problem}; it last said: {said}" if said else problem)

    def _ending(self, do: str) -> str:
        """How it came to its end while it should have answered ``do``."""
        try:
            status = self._process.wait(_QUIT_S)
        except subprocess.TimeoutExpired:
            return f"the worker closed its output during '{do}'"
        if status == -signal.SIGKILL:
            return f"the worker was killed during '{do}' (SIGKILL): most likely the memory ran out"
        if status < 0:
            return f"the worker crashed during '{do}' ({_signal_name(-status)})"
        return f"the worker ended during '{do}' with exit status {status}"

    def _last_words(self) -> str:
        """Last line of its standard error."""
        if self._stderr.closed:
            return ""
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - 4096))
        lines = self._stderr.read().decode("utf-8", "replace").split("\n")
        return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
