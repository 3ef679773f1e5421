"""The examples of device applications, run as programs on tiny bundles."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from configparser import RawConfigParser
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ortolan_convert.convert import convert

if TYPE_CHECKING:
    from collections.abc import Iterator

onnx = pytest.importorskip("onnx")
EXAMPLES = Path(__file__).parent.parent / "runtime" / "examples"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "ORTOLAN_STATE_DIR": str(tmp_path / "state"), "PYTHONIOENCODING": "utf-8"}


def saved(path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: dict[str, Any]) -> Path:
    helper = onnx.helper
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in inputs],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in outputs],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture(scope="module")
def loudness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stream whose score is the mean loudness of 100 samples plus half the score before."""
    room = tmp_path_factory.mktemp("loudness")
    node = onnx.helper.make_node
    nodes = [
        node("Abs", ["x"], ["loud"]),
        node("ReduceMean", ["loud"], ["mean"], axes=[1], keepdims=1),
        node("Mul", ["before", "half"], ["faded"]),
        node("Add", ["mean", "faded"], ["after"]),
        node("Identity", ["after"], ["score"]),
    ]
    inputs, outputs = [("x", [1, 100]), ("before", [1, 1])], [("score", [1, 1]), ("after", [1, 1])]
    saved(room / "m.onnx", nodes, inputs, outputs, {"half": np.array([[0.5]], np.float32)})
    (room / "task.yaml").write_text(
        "task: audio-stream\nconfig:\n  sample_rate: 1000\n  samples: {input: x, shape: [1, 100]}\n  chunk: 100\n"
        "  states: [{input: before, output: after, shape: [1, 1]}]\n  answer: {output: score}\n",
        encoding="utf-8",
    )
    return convert(room / "m.onnx", room / "m.bundle", config=room / "task.yaml").bundle.path


@pytest.fixture(scope="module")
def brightness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image classifier: whether the left or the right half of 32 x 32 pixels is brighter."""
    room = tmp_path_factory.mktemp("brightness")
    halves = np.zeros((3 * 32 * 32, 2), np.float32).reshape(3, 32, 32, 2)
    halves[:, :, :16, 0] = halves[:, :, 16:, 1] = 0.1
    node = onnx.helper.make_node
    nodes = [node("Flatten", ["x"], ["flat"]), node("MatMul", ["flat", "halves"], ["scores"])]
    saved(room / "m.onnx", nodes, [("x", [1, 3, 32, 32])], [("scores", [1, 2])], {"halves": halves.reshape(-1, 2)})
    (room / "task.yaml").write_text(
        "task: image-classification\nconfig:\n  input:\n    {kind: image, color: rgb, layout: nchw, dtype: float32,\n"
        "     resize: {to: exact, size: [32, 32], interpolation: bilinear}, scale: 0.00392156862745098,\n"
        "     mean: [0, 0, 0], std: [1, 1, 1]}\n  activation: softmax\n  labels: [left, right]\n  top: 2\n",
        encoding="utf-8",
    )
    return convert(room / "m.onnx", room / "m.bundle", config=room / "task.yaml").bundle.path


@pytest.fixture(scope="module")
def sentiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text classifier trained on four reviews."""
    joblib = pytest.importorskip("joblib")
    pytest.importorskip("sklearn")
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    room = tmp_path_factory.mktemp("sentiment")
    pipeline = make_pipeline(TfidfVectorizer(analyzer="char"), LogisticRegression())
    pipeline.fit(["很好很喜欢", "好用", "质量差", "太差了"], ["pos", "pos", "neg", "neg"])
    joblib.dump(pipeline, room / "m.joblib")
    return convert(room / "m.joblib", room / "m.bundle", trust=True, quantize=[]).bundle.path


def run(name: str, *arguments: object, **options: Any) -> subprocess.CompletedProcess[Any]:
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=60, check=False, **options)


def test_the_sensor_loop_hears_when_speech_begins_and_ends(loudness: Path, environment: dict[str, str]) -> None:
    """Raw samples on standard input, an odd byte at the end."""
    loud = np.zeros(1500, np.int16)
    loud[400:800] = 30000
    done = run("sensor_loop.py", loudness, input=loud.astype("<i2").tobytes() + b"\1", env=environment)
    assert done.stderr == b""
    assert done.stdout.decode() == "    0.400 s  speech begins\n    1.000 s  speech ends\n"
    assert done.returncode == 0


def test_the_sensor_loop_refuses_what_does_not_fit(
    loudness: Path, brightness: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    """Too little memory, another task, no bundle: one line and an exit status."""
    done = run("sensor_loop.py", loudness, "--max-memory", "1MB", input=b"", env=environment)
    assert done.returncode == 3
    assert done.stderr.startswith(b"error: this device is too small: ")
    for bundle in (brightness, tmp_path / "none.bundle"):
        done = run("sensor_loop.py", bundle, input=b"", env=environment)
        assert done.returncode == 3
        assert done.stderr.startswith(b"error: ")
        assert done.stderr.count(b"\n") == 1


def test_the_camera_loop_follows_the_square(brightness: Path, environment: dict[str, str]) -> None:
    """A made-up camera whose bright square moves from one half to the other."""
    done = run("camera_loop.py", brightness, "--frames", 300, "--size", 32, 32, env=environment)
    lines = done.stdout.decode().splitlines()
    assert done.stderr == b""
    assert {line.split()[0] for line in lines} == {"left", "right"}
    assert all(re.fullmatch(r"(left|right)  [01]\.\d{3}", line) for line in lines)


def test_the_camera_loop_looks_at_every_image(brightness: Path, environment: dict[str, str], tmp_path: Path) -> None:
    """A directory of image files, in order; what is no image is passed over with a warning."""
    image = pytest.importorskip("PIL.Image")
    for i, side in enumerate(["left", "left", "right"]):
        pixels = np.zeros((32, 32, 3), np.uint8)
        pixels[:, slice(0, 16) if side == "left" else slice(16, 32)] = 255
        image.fromarray(pixels).save(tmp_path / f"{i}.png")
    (tmp_path / "1.txt").write_text("no image", encoding="utf-8")
    done = run("camera_loop.py", brightness, "--images", tmp_path, env=environment)
    assert [line.split()[0] for line in done.stdout.decode().splitlines()] == ["left", "right"]
    assert done.stderr.decode().count("warning: a frame was passed over: ") == 1
    assert done.returncode == 0
    done = run("camera_loop.py", brightness, "--images", tmp_path / "none", env=environment)
    assert (done.returncode, done.stdout) == (3, b"")
    assert done.stderr.startswith(b"error: no frames: ")


def test_the_camera_loop_takes_opencv(brightness: Path, environment: dict[str, str], tmp_path: Path) -> None:
    """Its frames are BGR; a camera that fails, and a machine without OpenCV, end the loop with a line."""
    (tmp_path / "cv2.py").write_text(
        "import numpy as np\n"
        "class VideoCapture:\n"
        "    def __init__(self, device):\n"
        "        assert device in (7, '/dev/video7'), device\n"
        "        self.device, self.left = device, 3\n"
        "    def read(self):\n"
        "        self.left -= 1\n"
        "        if self.left < 0 and self.device != 7:\n"
        "            raise OSError('unplugged')\n"
        "        frame = np.zeros((32, 32, 3), np.uint8)\n"
        "        frame[:, :16] = 255\n"
        "        return self.left >= 0, frame\n"
        "    def release(self):\n"
        "        print('released')\n",
        encoding="utf-8",
    )
    path = f"{tmp_path}:{environment.get('PYTHONPATH', '')}".strip(":")
    found = {**environment, "PYTHONPATH": path}
    done = run("camera_loop.py", brightness, "--camera", "7", env=found)
    assert done.stderr == b""
    assert sorted(line.split()[0] for line in done.stdout.decode().splitlines()) == ["left", "released"]
    done = run("camera_loop.py", brightness, "--camera", "/dev/video7", env=found)
    assert (done.returncode, done.stderr) == (3, b"error: no frames: unplugged\n")
    if importlib.util.find_spec("cv2") is None:
        done = run("camera_loop.py", brightness, "--camera", "7", env=environment)
        assert (done.returncode, done.stderr) == (3, b"error: no frames: No module named 'cv2'\n")


@pytest.fixture
def service(sentiment: Path, environment: dict[str, str]) -> Iterator[str]:
    """The service's address; it is stopped with SIGTERM afterwards, which it takes well."""
    command = [sys.executable, str(EXAMPLES / "text_service.py"), str(sentiment), "--port", "0"]
    command += ["--connections", "3"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline().decode()
            found = re.fullmatch(r"listening on (http://127\.0\.0\.1:\d+)\n", line)
            assert found, process.stderr.read() if process.stderr else line
            yield found[1]
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        finally:
            process.kill()


def ask(url: str, body: bytes | None = None, **headers: str) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_the_text_service_answers(service: str) -> None:
    """Texts, its health, and every kind of bad request, one after the other."""
    status, content = ask(f"{service}/predict", json.dumps({"text": "很好用"}).encode())
    assert (status, content["label"]) == (200, "pos")
    assert content["probabilities"]["pos"] == content["score"] > 0.5
    status, content = ask(f"{service}/health")
    assert (status, content["healthy"], content["changed"]) == (200, True, 0)
    assert content["peak_rss_bytes"] > 0
    for body in (b"", b"{", b"[]", b"5", b'{"txt": 1}', b"\xff"):
        assert ask(f"{service}/predict", body) == (400, {"error": 'expected a JSON object such as {"text": "…"}'})
    assert ask(f"{service}/predict", b'{"text": 5}') == (
        400,
        {"error": "expected a text of type str, found int"},
    )
    assert ask(f"{service}/predict", b"{", **{"Content-Length": str(2 << 20)})[0] == 413
    assert ask(f"{service}/predict", b"{", **{"Content-Length": "9" * 5000})[0] == 413
    assert ask(f"{service}/elsewhere")[0] == 404
    assert ask(f"{service}/elsewhere", b"{}")[0] == 404
    assert ask(f"{service}/predict", json.dumps({"text": "\ud83d 差"}).encode())[1]["label"] == "neg"


def test_the_text_service_serves_so_many_and_no_more(service: str) -> None:
    """Idle connections hold their places; one more is told to come again, and gets in when one is free."""
    host, port = service.removeprefix("http://").split(":")
    held = [http.client.HTTPConnection(host, int(port), timeout=20) for _ in range(3)]
    body = json.dumps({"text": "好"})
    for one in held:
        one.request("POST", "/predict", body)
        assert json.load(one.getresponse())["label"] == "pos"
    more = http.client.HTTPConnection(host, int(port), timeout=20)
    more.request("GET", "/health")
    refused = more.getresponse()
    assert (refused.status, refused.headers["Retry-After"], refused.read()) == (503, "1", b"")
    held.pop().close()
    for _ in range(1000):
        with contextlib.suppress(urllib.error.HTTPError, ConnectionError), urllib.request.urlopen(f"{service}/health"):
            break
        time.sleep(0.01)
    else:
        pytest.fail("no place became free")
    for one in held:
        one.close()


def test_the_text_service_ends_when_the_requests_at_hand_are_answered(sentiment: Path) -> None:
    """A client that was being answered when the service was told to stop gets its answer, and no further one."""
    spec = importlib.util.spec_from_file_location("text_service", EXAMPLES / "text_service.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    entered, leave = threading.Event(), threading.Event()

    def slow(text: str, control: object) -> SimpleNamespace:
        entered.set()
        assert leave.wait(20)
        return SimpleNamespace(label="pos", score=1.0, probabilities=None)

    plan = SimpleNamespace(chosen=SimpleNamespace(variants=[("model", "fp32")]))
    arguments = SimpleNamespace(host="127.0.0.1", port=0, bundle=sentiment, timeout=20.0, connections=2)
    service = module.Service(SimpleNamespace(plan=plan, predict=slow), arguments)
    loop = threading.Thread(target=service.serve_forever)
    loop.start()
    client = http.client.HTTPConnection(*service.server_address, timeout=20)
    client.request("POST", "/predict", b'{"text": "a"}')
    assert entered.wait(20)
    service.stopping = True
    service.shutdown()
    ending = threading.Thread(target=service.finish)
    ending.start()
    assert ending.is_alive()
    leave.set()
    answer = client.getresponse()
    assert (answer.status, answer.headers["Connection"], json.load(answer)["label"]) == (200, "close", "pos")
    ending.join(20)
    loop.join(20)
    assert not ending.is_alive()
    with pytest.raises(ConnectionError):
        socket.create_connection(service.server_address, timeout=20)


def test_the_text_service_survives_clients_that_go_away(service: str) -> None:
    """In the middle of a request, or before its answer; other methods get JSON too."""
    host, port = service.removeprefix("http://").split(":")
    for sent in (b"", b"GET", b"POST /predict HTTP/1.1\r\nContent-Length: 100\r\n\r\n{", b"\xff\0\r\n\r\n"):
        with socket.create_connection((host, int(port)), timeout=20) as client:
            client.sendall(sent)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    for _ in range(1000):
        with contextlib.suppress(urllib.error.HTTPError, ConnectionError), urllib.request.urlopen(f"{service}/health"):
            break
        time.sleep(0.01)
    else:
        pytest.fail("the service did not come back")
    request = urllib.request.Request(f"{service}/predict", method="DELETE")
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(request)
    assert raised.value.code == 501
    assert "DELETE" in json.load(raised.value)["error"]


def test_the_text_service_refuses_to_start(sentiment: Path, environment: dict[str, str]) -> None:
    """Too little memory, and an address that it cannot have."""
    done = run("text_service.py", sentiment, "--port", 0, "--max-memory", "1MB", env=environment)
    assert (done.returncode, done.stdout) == (3, b"")
    assert done.stderr.startswith(b"error: this device is too small: ")
    done = run("text_service.py", sentiment, "--host", "192.0.2.1", env=environment)
    assert done.returncode == 3
    assert done.stderr.startswith(b"error: cannot listen on 192.0.2.1:8080: ")


def unit() -> RawConfigParser:
    parser = RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign] # as the configparser documentation does it
    parser.read(EXAMPLES / "ortolan-text.service", encoding="utf-8")
    return parser


def test_the_unit_runs_the_service_with_options_it_has() -> None:
    """The command line of the unit is one that the service understands."""
    command = unit()["Service"]["ExecStart"].split()
    assert [Path(part).name for part in command[:2]] == ["python", "text_service.py"]
    text = run("text_service.py", "--help").stdout.decode()
    options = [part for part in command if part.startswith("--")]
    assert options
    assert all(option in text for option in options)
    assert unit()["Service"]["Restart"] == "on-failure"
    assert unit()["Service"]["MemoryMax"] == "256M"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    """No unknown section, option or value."""
    text = (EXAMPLES / "ortolan-text.service").read_text(encoding="utf-8")
    copy = tmp_path / "ortolan-text.service"
    copy.write_text(text.replace("/opt/ortolan/venv/bin/python", sys.executable), encoding="utf-8")
    done = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, timeout=60)
    assert [line for line in (done.stdout + done.stderr).splitlines() if "ortolan-text" in line] == []
