"""A video file becomes frames, and pictures a video file."""

from __future__ import annotations

import sys
from fractions import Fraction

import av
import pytest
from PIL import Image

from solq_train import video
from solq_train.video import open_video, write_video

COLORS = [(250, 10, 10), (10, 250, 10), (10, 10, 250), (250, 250, 10), (10, 250, 250)]


@pytest.fixture
def clip(tmp_path):
    """Five frames of one colour each, 61 x 41 pixels, at 10 frames a second."""
    path = tmp_path / "clip.mp4"
    with write_video(path, Fraction(10)) as write:
        for color in COLORS:
            write(Image.new("RGB", (61, 41), color))
    return path


def is_like(picture: Image.Image, color: tuple[int, int, int]) -> bool:
    found = picture.getpixel((20, 20))
    return all(abs(a - b) < 25 for a, b in zip(found, color, strict=True))


def test_frames_come_in_order_with_their_numbers_and_times(clip):
    opened = open_video(clip)
    frames = list(opened.frames())
    assert (opened.num_frames, opened.rate) == (5, 10)
    assert [frame.number for frame in frames] == [0, 1, 2, 3, 4]
    assert [frame.seconds for frame in frames] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    for frame, color in zip(frames, COLORS, strict=True):
        assert is_like(frame.picture, color)


def test_odd_sides_grow_by_a_pixel_as_the_format_asks(clip):
    assert next(open_video(clip).frames()).picture.size == (62, 42)


def test_a_step_leaves_frames_out(clip):
    frames = list(open_video(clip).frames(step=2))
    assert [frame.number for frame in frames] == [0, 2, 4]
    assert is_like(frames[1].picture, COLORS[2])


def test_a_file_that_does_not_say_how_many_frames_it_has_is_counted(tmp_path):
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for color in COLORS[:3]:
            frame = av.VideoFrame.from_image(Image.new("RGB", (64, 48), color))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert open_video(path).num_frames == 3


def test_a_video_taken_with_the_camera_on_its_side_stands_upright(tmp_path):
    path = tmp_path / "clip.mp4"
    left_is_red = Image.new("RGB", (64, 32), (0, 0, 255))
    left_is_red.paste((255, 0, 0), (0, 0, 32, 32))
    with write_video(path, Fraction(10)) as write:
        write(left_is_red)
    turned = _with_display_matrix(path.read_bytes(), counterclockwise=90)
    path.write_bytes(turned)
    picture = next(open_video(path).frames()).picture
    assert picture.size == (32, 64)
    red, blue = picture.getpixel((16, 60)), picture.getpixel((16, 4))
    assert (red[0] > 200, blue[2] > 200) == (True, True)


def _with_display_matrix(mp4: bytes, *, counterclockwise: int) -> bytes:
    """The file with another matrix in its track header (ISO 14496-12, 8.3.2)."""
    assert counterclockwise == 90
    one = 0x10000
    identity = [one, 0, 0, 0, one, 0, 0, 0, 0x40000000]
    turned = [0, -one, 0, one, 0, 0, 0, 0, 0x40000000]
    before, after = (
        b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
        for matrix in (identity, turned)
    )
    header = mp4.index(b"tkhd")
    at = mp4.index(before, header)
    return mp4[:at] + after + mp4[at + len(after) :]


def test_a_file_that_is_no_video_is_refused_by_name(tmp_path):
    path = tmp_path / "notes.mp4"
    path.write_text("no frames here")
    with pytest.raises(ValueError, match=r"notes\.mp4: not a video file \(Invalid data"):
        open_video(path)


def test_a_file_with_sound_alone_is_refused(tmp_path):
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame(format="s16", layout="mono", samples=800)
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(ValueError, match=r"sound\.mkv: expected moving pictures"):
        open_video(path)


def test_frames_that_would_fill_the_memory_are_refused(clip, monkeypatch):
    monkeypatch.setattr(video, "LARGEST_FRAME", 1000)
    with pytest.raises(ValueError, match="frames must have at most 1000 pixels, got 62 x 42"):
        open_video(clip)


def test_no_file_is_left_where_writing_fails(tmp_path):
    def write_and_fail() -> None:
        with write_video(tmp_path / "clip.mp4", Fraction(10)) as write:
            write(Image.new("RGB", (64, 48)))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_and_fail()
    assert list(tmp_path.iterdir()) == []


def test_without_pyav_the_extra_is_named(clip, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ModuleNotFoundError, match=r"solq-train\[video\]"):
        open_video(clip)
