"""`solq serve`: a page on this machine where images are dropped and predictions looked into."""

from __future__ import annotations

import ipaddress
import logging
import socket
import webbrowser
from dataclasses import dataclass

from rich.console import Console

from solq_train.models import open_model
from solq_train.run import resolve_device

MEGA = 1_000_000
GRACE_SECONDS = 5  # for requests that are being answered when the server is stopped
EXTRA = ("starlette", "uvicorn", "anyio")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Serve:
    """Open a page on this machine where one drops an image and sees what the model makes of it.

    Masks and scores, the effect of the threshold and of the number of mask coefficients, and the
    places that the query behind an object looked at. Nothing is written to disk or sent elsewhere.
    Ctrl-C ends it. Needs the extra `serve`.
    """

    model: str
    """Saved model (a folder such as runs/demo/best), hub id (owner/name), or published file."""
    port: int = 8017
    """Port to listen on; 0 takes one that is free."""
    host: str = "127.0.0.1"
    """Address to listen on. Any other than this machine's own lets others in: there is no login."""
    max_upload: float = 20.0
    """Largest image file, in MB."""
    max_pixels: float = 50.0
    """Largest image, in millions of pixels."""
    max_waiting: int = 64
    """Requests that may wait for the network; others are told to come again."""
    keep: int = 8
    """Images kept in memory for further questions, the latest."""
    open: bool = False
    """Open the page in the browser."""
    device: str = "auto"
    """auto: the GPU where there is one, else the CPU."""

    def run(self, console: Console) -> int:
        """Serve until stopped; the exit code."""
        self._check()
        try:
            import uvicorn

            from solq_train.serve.app import build_app
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in EXTRA:
                raise
            msg = f"serve needs {error.name}: pip install 'solq-train[serve]'"
            raise ModuleNotFoundError(msg, name=error.name) from error
        from solq_train.serve.inference import Inference
        from solq_train.serve.worker import Worker

        with self._listen() as listener:
            model = open_model(self.model).to(resolve_device(self.device))
            pixels = round(self.max_pixels * MEGA)
            inference = Inference(model, self.model, most_kept=self.keep, most_pixels=pixels)
            worker = Worker(self.max_waiting)
            app = build_app(
                inference, worker, host=self.host, most_bytes=round(self.max_upload * MEGA)
            )
            config = uvicorn.Config(
                app,
                log_config=None,
                log_level="warning",
                access_log=False,
                lifespan="off",
                ws="none",
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
            url = self._url(listener)
            # Connections are taken from here on, and answered once the server runs.
            console.print(f"{url}  (Ctrl-C ends it)", highlight=False, soft_wrap=True)
            if self.open:
                webbrowser.open(url)
            try:
                uvicorn.Server(config).run(sockets=[listener])
            except KeyboardInterrupt:  # raised again after everything was closed
                console.print("stopped")
            finally:
                worker.close()
        return 0

    def _check(self) -> None:
        """ValueError for what no server can be made of."""
        if not 0 <= self.port <= 65535:
            msg = f"port must be in 0..65535, got {self.port}"
            raise ValueError(msg)
        if not self.host:  # to the system that is every address
            msg = "host must be an address or a name, got ''"
            raise ValueError(msg)
        for name in ("max_upload", "max_pixels"):
            value = getattr(self, name)
            if not 0 < value <= 1000:
                msg = f"{name} must be in 0..1000 (millions) and not 0, got {value:g}"
                raise ValueError(msg)
        for name in ("max_waiting", "keep"):
            value = getattr(self, name)
            if value < 1:
                msg = f"{name} must be at least 1, got {value}"
                raise ValueError(msg)

    def _listen(self) -> socket.socket:
        """The socket that listens; ValueError with the reason where there can be none."""
        try:
            found = socket.getaddrinfo(
                self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            family, address = found[0][0], found[0][4]
            listener = socket.create_server(address, family=family, backlog=256)
        except (OSError, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a host name"
            msg = f"cannot listen on {self.host} port {self.port}: {reason}"
            raise ValueError(msg) from error
        address = listener.getsockname()[0]
        if not ipaddress.ip_address(address).is_loopback:
            logger.warning(
                "host %s: everyone who reaches this machine can use this server; it has no login",
                self.host,
            )
        return listener

    def _url(self, listener: socket.socket) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{listener.getsockname()[1]}/"
