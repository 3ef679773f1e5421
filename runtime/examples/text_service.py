"""Answer texts over HTTP on the device itself.

    python text_service.py sentiment.bundle --port 8080
    curl -d '{"text": "这个手机很好用"}' http://127.0.0.1:8080/predict
    curl http://127.0.0.1:8080/health

``POST /predict`` takes a JSON object with ``text`` and answers one with ``label``, ``score`` and ``probabilities``.
``GET /health`` asks the golden samples again: 200 if this device still gives the answers that the bundle promises, else
503. Meant for the device and its own network: no TLS, no authentication. ortolan-text.service runs it under systemd.
"""

import argparse
import json
import signal
import sys
import threading
from collections.abc import Callable
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


class Service(ThreadingHTTPServer):
    """One model, a thread for each request."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], model: ortolan.TextClassifier, bundle: Path, timeout: float) -> None:
        super().__init__(address, Handler)
        self.model = model
        variants = dict(model.plan.chosen.variants)
        self.promised = open_bundle(bundle).manifest.variant(variants["model"]).info.fidelity
        self.deadline = timeout
        self.checking = threading.Lock()

    def predict(self, body: bytes) -> tuple[int, dict[str, Any]]:
        """Status and content of the answer to a request."""
        try:
            request: Any = json.loads(body)
            text = request["text"]
        except (ValueError, RecursionError, KeyError, TypeError):
            return 400, {"error": 'expected a JSON object such as {"text": "…"}'}
        try:
            answer = self.model.predict(text, ortolan.RunControl(timeout=self.deadline))
        except InputError as error:
            return 400, {"error": str(error)}
        except DeadlineExceeded as error:
            return 503, {"error": str(error)}
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

    def do_GET(self) -> None:
        """``/health``."""
        if self.path != "/health":
            self._send(404, {"error": "there is GET /health and POST /predict"})
            return
        self._answered(self._service.health)

    def do_POST(self) -> None:
        """``/predict``."""
        length = self.headers.get("Content-Length", "")
        if self.path != "/predict" or not length.isdecimal() or int(length) > MAX_BODY:
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
        try:
            status, content = ask()
        except OrtolanError as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            status, content = 500, {"error": "the model failed; see the service's log"}
        self._send(status, content)

    def _send(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
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
    arguments = parser.parse_args()
    try:
        with ortolan.load(arguments.bundle, ortolan.TextClassifier, max_memory=arguments.max_memory) as model:
            service = Service((arguments.host, arguments.port), model, arguments.bundle, arguments.timeout)
            status, found = service.health()
            if status != 200:
                print(f"error: this device does not give the golden answers: {found}", file=sys.stderr)
                return 1

            def stop(_number: int, _frame: object) -> None:
                # shutdown waits for the loop below, so it cannot be called from within it.
                threading.Thread(target=service.shutdown).start()

            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, stop)
            print(f"listening on http://{arguments.host}:{service.server_address[1]}", flush=True)
            service.serve_forever()
            service.server_close()
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
