"""Answer texts over HTTP on the device itself.

    python text_service.py sentiment.bundle --port 8080
    curl -d '{"text": "这个手机很好用"}' http://127.0.0.1:8080/predict
    curl http://127.0.0.1:8080/health

``POST /predict`` takes a JSON object with ``text`` and answers one with ``label``, ``score`` and ``probabilities``.
``GET /health`` asks the golden samples again: 200 if this device still gives the answers that the bundle promises, else
503. Beyond ``--connections`` at once a client is told to come again (503, Retry-After). SIGTERM ends it when the
requests at hand are answered. Meant for the device and its own network: no TLS, no authentication.
ortolan-text.service runs it under systemd.
"""

import argparse
import json
import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import ortolan
from ortolan.bundle.directory import open_bundle
from ortolan.errors import DeadlineExceeded, InputError, MemoryBudgetError, OrtolanError
from ortolan.tasks.golden import agrees

MAX_BODY = 1 << 20
"""Bytes of a request; a text of a million characters is no review."""
IDLE = 10.0
"""Seconds that a client may keep a thread waiting."""
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
STATUS: dict[type[OrtolanError], int] = {InputError: 400, DeadlineExceeded: 503, OrtolanError: 500}
"""Of an error; the first class that fits."""


class Service(ThreadingHTTPServer):
    """One model, and a thread for each connection."""

    daemon_threads = True

    def __init__(self, model: ortolan.TextClassifier, arguments: argparse.Namespace) -> None:
        super().__init__((arguments.host, arguments.port), Handler)
        self.model = model
        variants = dict(model.plan.chosen.variants)
        self.promised = open_bundle(arguments.bundle).manifest.variant(variants["model"]).info.fidelity
        self.deadline = float(arguments.timeout)
        self.checking = threading.Lock()
        self.stopping = False
        self._free = threading.BoundedSemaphore(arguments.connections)
        self._answered = threading.Condition()
        self._answering = 0

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread for the connection, unless there are enough: each takes memory, and they share the processors."""
        if not self._free.acquire(blocking=False):
            request.sendall(BUSY)
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # the system has no thread left
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """The connection, in its thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is none of our errors."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    @contextmanager
    def answering(self) -> Generator[None, None, None]:
        """One more request is being answered."""
        with self._answered:
            self._answering += 1
        try:
            yield
        finally:
            with self._answered:
                self._answering -= 1
                self._answered.notify_all()

    def finish(self) -> None:
        """Wait for the requests that are being answered; the deadline of each bounds it."""
        with self._answered:
            self._answered.wait_for(lambda: self._answering == 0, timeout=self.deadline + 1)
        self.server_close()

    def predict(self, body: bytes) -> tuple[int, dict[str, Any]]:
        """Status and content of the answer to a request."""
        try:
            request: Any = json.loads(body)
            text = request["text"]
        except (ValueError, RecursionError, KeyError, TypeError):
            return 400, {"error": 'expected a JSON object such as {"text": "…"}'}
        answer = self.model.predict(text, ortolan.RunControl(timeout=self.deadline))
        probabilities = answer.probabilities and {str(name): p for name, p in answer.probabilities.items()}
        return 200, {"label": answer.label, "score": answer.score, "probabilities": probabilities}

    def health(self) -> tuple[int, dict[str, Any]]:
        """Whether the golden samples are answered as the bundle promises."""
        with self.checking:
            found = self.model.check()
        healthy = agrees(found, self.promised)
        memory = self.model.memory.measured_peak
        content = {"healthy": healthy, "changed": found.drop, "worst": found.worst, "peak_rss_bytes": memory}
        return (200 if healthy else 503), content


class Handler(BaseHTTPRequestHandler):
    """Requests in, JSON out."""

    timeout = IDLE
    protocol_version = "HTTP/1.1"
    server_version = "ortolan-text"
    sys_version = ""
    error_content_type = "application/json"
    error_message_format = '{"error": "%(message)s"}'

    def do_GET(self) -> None:
        """``/health``."""
        if self.path != "/health":
            self._send(404, {"error": "there is GET /health and POST /predict"})
            return
        self._answered(self._service.health)

    def do_POST(self) -> None:
        """``/predict``."""
        length = self.headers.get("Content-Length", "")
        fits = length.isdecimal() and len(length) < 10 and int(length) <= MAX_BODY
        if self.path != "/predict" or not fits:
            self.close_connection = True  # the body is not read
            if self.path != "/predict":
                self._send(404, {"error": "there is GET /health and POST /predict"})
            else:
                self._send(413 if length.isdecimal() else 411, {"error": f"expected at most {MAX_BODY} bytes"})
            return
        body = self.rfile.read(int(length))
        self._answered(lambda: self._service.predict(body))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the base class
        """Requests are not logged: texts and addresses are nobody's business."""

    @property
    def _service(self) -> Service:
        return cast("Service", self.server)

    def _answered(self, ask: Callable[[], tuple[int, dict[str, Any]]]) -> None:
        with self._service.answering():
            try:
                status, content = ask()
            except OrtolanError as error:
                status = next(code for kind, code in STATUS.items() if isinstance(error, kind))
                content = {"error": str(error) if status < 500 or status == 503 else "the model failed; see the log"}
                if status == 500:
                    print(f"error: {error}", file=sys.stderr, flush=True)
            self._send(status, content)

    def _send(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self._service.stopping:
            self.send_header("Connection", "close")  # which also ends the loop over requests
        self.end_headers()
        self.wfile.write(body)


def main() -> int:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="a bundle of task text-classification")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8080, help="0 for any free one (default 8080)")
    parser.add_argument("--max-memory", default="200MB", help="refuse to start beyond this (default 200MB)")
    parser.add_argument("--timeout", type=float, default=2.0, help="seconds that one answer may take (default 2)")
    parser.add_argument("--connections", type=int, default=16, help="clients that are served at once (default 16)")
    arguments = parser.parse_args()
    try:
        with ortolan.load(arguments.bundle, ortolan.TextClassifier, max_memory=arguments.max_memory) as model:
            service = Service(model, arguments)
            status, found = service.health()
            if status != 200:
                print(f"error: this device does not give the golden answers: {found}", file=sys.stderr)
                return 1

            def stop(_number: int, _frame: object) -> None:
                service.stopping = True
                # shutdown waits for the loop below, so it cannot be called from within it.
                threading.Thread(target=service.shutdown).start()

            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, stop)
            print(f"listening on http://{arguments.host}:{service.server_address[1]}", flush=True)
            service.serve_forever()
            service.finish()
    except MemoryBudgetError as error:
        print(f"error: this device is too small: {error}", file=sys.stderr)
        return 3
    except OrtolanError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    except OSError as error:
        print(f"error: cannot listen on {arguments.host}:{arguments.port}: {error.strerror}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
