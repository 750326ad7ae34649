"""Videos: a file → its frames, upright, one by one; pictures → a file. Needs the extra `video`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

from PIL import Image

from solq_model.atomic import atomic_file

logger = logging.getLogger(__name__)

VIDEO_SUFFIXES = frozenset((".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"))
# As Pillow refuses pictures: a small file may claim frames that fill the memory.
LARGEST_FRAME = 2 * (Image.MAX_IMAGE_PIXELS or 0)  # pixels
_RATE_IF_UNKNOWN = Fraction(25)
_QUALITY = "20"  # x264's constant rate factor; 18 is hardly told from the original, 23 its default


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One picture of a video."""

    number: int  # counted from 0, of all frames of the file
    seconds: float  # from the beginning
    picture: Image.Image


@dataclass(frozen=True, kw_only=True)
class Video:
    """A video file that can be opened."""

    path: Path
    rate: Fraction  # frames a second, on average
    num_frames: int

    def frames(self, step: int = 1) -> Iterator[Frame]:
        """Every `step`-th frame; ValueError where decoding fails, after what came before.

        A file that ends early only warns: edited ones keep frames that are not to be shown.
        """
        av = _av()
        read = 0
        with _opened(av, self.path) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            try:
                for number, frame in enumerate(container.decode(stream)):
                    read += 1
                    if number % step == 0:
                        seconds = number / self.rate if frame.time is None else frame.time
                        yield Frame(number=number, seconds=float(seconds), picture=_upright(frame))
            except av.error.FFmpegError as error:
                msg = f"video {self.path}: broken after {read} frames ({error.strerror})"
                raise ValueError(msg) from error
        if read < self.num_frames:
            message = "video %s: %d of the %d frames that it announces are there to be shown"
            logger.warning(message, self.path, read, self.num_frames)


def open_video(path: Path) -> Video:
    """What there is to know of a video before its frames; ValueError for what is none."""
    av = _av()
    with _opened(av, path) as container:
        stream = container.streams.video[0]
        size = stream.codec_context.width, stream.codec_context.height
        if size[0] * size[1] > LARGEST_FRAME:
            msg = (
                f"video {path}: frames must have at most {LARGEST_FRAME} pixels, "
                f"got {size[0]} x {size[1]}"
            )
            raise ValueError(msg)
        rate = stream.average_rate or stream.guessed_rate or _RATE_IF_UNKNOWN
        num_frames = stream.frames or _count_packets(av, container, stream)
        return Video(path=path, rate=Fraction(rate), num_frames=num_frames)


@contextmanager
def write_video(path: Path, rate: Fraction) -> Iterator[Callable[[Image.Image], None]]:
    """Writes pictures of one size into an MP4 (H.264) file; it is there when complete."""
    av = _av()
    with atomic_file(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream: Any = None

        def write(picture: Image.Image) -> None:
            nonlocal stream
            if stream is None:
                # This format's colours have half the resolution: sides have to be even.
                width, height = (side + side % 2 for side in picture.size)
                stream = container.add_stream("libx264", rate=rate, options={"crf": _QUALITY})
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            even = picture.crop((0, 0, stream.width, stream.height))
            container.mux(stream.encode(av.VideoFrame.from_image(even)))

        yield write
        if stream is not None:
            container.mux(stream.encode())


def _av() -> ModuleType:
    try:
        import av
    except ModuleNotFoundError as error:
        msg = "videos need PyAV: pip install 'solq-train[video]'"
        raise ModuleNotFoundError(msg, name=error.name) from error
    module: ModuleType = av
    return module


@contextmanager
def _opened(av: ModuleType, path: Path) -> Iterator[Any]:
    try:
        container = av.open(str(path))
    except (av.error.FFmpegError, OSError) as error:
        msg = f"video {path}: not a video file ({error.strerror})"
        raise ValueError(msg) from error
    with container:
        if not container.streams.video:
            msg = f"video {path}: expected moving pictures in the file, found none"
            raise ValueError(msg)
        yield container


def _count_packets(av: ModuleType, container: Any, stream: Any) -> int:
    """The number of frames of a file that does not say it: each is a packet of its own."""
    count = 0
    try:
        for packet in container.demux(stream):
            count += packet.size > 0
    except av.error.FFmpegError:  # cut off; decoding will tell where
        pass
    return count


def _upright(frame: Any) -> Image.Image:
    """The frame as the camera was held."""
    picture: Image.Image = frame.to_image()
    # Counter-clockwise degrees, as Pillow counts.
    return picture.rotate(frame.rotation, expand=True) if frame.rotation % 360 else picture
