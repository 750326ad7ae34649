"""A network that learned nothing, behind a real server on a port of its own."""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
import uvicorn
from PIL import Image

from solq_model import SOLQ, Categories, build_model
from solq_train.serve.app import build_app
from solq_train.serve.inference import Inference
from solq_train.serve.worker import Worker

MOST_BYTES = 200_000
MOST_PIXELS = 250_000


@dataclass(frozen=True)
class Answer:
    """What the server said."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Server:
    """A server that runs, and what it runs on."""

    port: int
    most_bytes: int
    inference: Inference
    worker: Worker

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """The answer to one request, on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body, named)
            response = connection.getresponse()
            given = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, given, response.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, **headers)

    def predict(self, data: object, **headers: str) -> Answer:
        return self.ask("POST", "/api/predict", data, **headers)


@pytest.fixture(scope="session")
def model(small_model) -> SOLQ:
    """15 pairs of 5 queries and 3 classes, whose scores differ; two decoder layers."""
    torch.manual_seed(0)
    model = build_model(replace(small_model, decoder_layers=2, backbone_norm="frozen"))
    entries = [{"id": 1, "name": "blob"}, {"id": 7, "name": "star"}, {"id": 23, "name": "<ring>"}]
    model.categories = Categories.contiguous(entries)
    model.preprocessing = replace(model.preprocessing, short_side=64, max_size=96)
    with torch.no_grad():
        for head in model.class_heads.parameters():
            head.add_(torch.randn_like(head) * 0.3)
    return model.eval()


@pytest.fixture
def inference(model) -> Inference:
    return Inference(model, "small", most_kept=3, most_pixels=MOST_PIXELS)


@pytest.fixture(scope="session")
def serving(model) -> Callable[..., Any]:
    """Starts a server; it stops at the end of the block."""

    @contextmanager
    def start(most_waiting: int = 64) -> Iterator[Server]:
        inference = Inference(model, "small", most_kept=3, most_pixels=MOST_PIXELS)
        worker = Worker(most_waiting)
        app = build_app(inference, worker, host="127.0.0.1", most_bytes=MOST_BYTES)
        config = uvicorn.Config(app, log_config=None, lifespan="off", ws="none")
        server = uvicorn.Server(config)
        with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
            thread.start()
            try:
                while not server.started:
                    time.sleep(0.01)
                yield Server(listener.getsockname()[1], MOST_BYTES, inference, worker)
            finally:
                server.should_exit = True
                thread.join()
                worker.close()

    return start


@pytest.fixture(scope="session")
def server(serving) -> Iterator[Server]:
    """One for all tests, as it has to survive whatever they send."""
    with serving() as started:
        yield started


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The bytes of an image file."""
    file = io.BytesIO()
    picture.save(file, format=kind, **options)
    return file.getvalue()


@pytest.fixture(scope="session")
def image() -> bytes:
    """A PNG of 80 x 60 pixels, nothing like what there is to be found."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (60, 80, 3), generator=generator, dtype=torch.uint8)
    return encoded(Image.fromarray(pixels.numpy()))


@pytest.fixture(scope="session")
def bomb() -> bytes:
    """A PNG of a hundred bytes that claims 60000 x 60000 pixels."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    parts = {b"IHDR": header, b"IDAT": zlib.compress(bytes(1000)), b"IEND": b""}
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts.items()
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.fixture(scope="session")
def malformed(image, bomb) -> dict[str, bytes]:
    """What is sent in place of an image."""
    wide = encoded(Image.new("1", (MOST_PIXELS + 1, 1)))
    return {
        "nothing": b"",
        "text": b"no image",
        "half": image[: len(image) // 2],
        "header": image[:30],
        "zeros": bytes(1000),
        "bomb": bomb,
        "wide": wide,
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n",
        "deep": encoded(Image.new("I", (4, 4)), "TIFF"),
    }


@pytest.fixture(scope="session")
def run_async() -> Callable[..., Any]:
    """What a coroutine function returns; in a thread, as a browser's loop may run in this one."""

    def run(function: Callable[[], Any]) -> Any:
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(lambda: asyncio.run(function())).result()

    return run
