"""Images as people have them become RGB pictures of 8 bits."""

import io
import struct

import numpy as np
import pytest
import torch
from PIL import Image

from solq_model.images import decode_image, image_files, open_image


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


@pytest.fixture
def picture(pixels):
    return Image.fromarray(pixels)


def write(path, pixels):
    Image.fromarray(pixels).save(path)
    return path


def gradient(bits, height=4, width=257):
    """Grey from black to white in this many bits, and the same in 8."""
    ramp = np.linspace(0, 1, width)[None].repeat(height, 0)
    return np.rint(ramp * (2**bits - 1)), np.rint(ramp * 255).astype(np.uint8)


def test_a_photograph_is_turned_upright(tmp_path):
    picture = Image.new("RGB", (4, 2))
    picture.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    picture.save(tmp_path / "turned.png", exif=exif)
    upright = open_image(tmp_path / "turned.png")
    assert upright.size == (2, 4)
    assert upright.getpixel((1, 0)) == (255, 0, 0)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK", "YCbCr", "HSV"])
def test_pictures_of_any_mode_become_rgb(tmp_path, picture, mode):
    picture = picture.convert(mode)
    expected = picture.convert("RGB").tobytes()
    assert open_image(picture).tobytes() == expected
    name = "image.tif" if mode in ("CMYK", "YCbCr") else "image.png"
    if mode != "HSV":  # which no file holds
        picture.save(tmp_path / name)
        assert open_image(tmp_path / name).tobytes() == expected


@pytest.mark.parametrize("name", ["deep.png", "deep.tif"])
def test_16_bits_are_scaled_to_8_and_not_cut(tmp_path, name):
    deep, expected = gradient(16)
    path = write(tmp_path / name, deep.astype(np.uint16))
    for opened in (open_image(path), open_image(Image.fromarray(deep.astype(np.uint16)))):
        np.testing.assert_array_equal(np.asarray(opened)[..., 1], expected)


def test_pictures_of_floats_are_0_to_1(tmp_path):
    ramp, expected = gradient(1)[0] * 0 + np.linspace(0, 1, 257), gradient(8)[1]
    path = write(tmp_path / "floats.tif", ramp.astype(np.float32))
    np.testing.assert_array_equal(np.asarray(open_image(path))[..., 2], expected)
    path = write(tmp_path / "elevation.tif", (ramp * 900).astype(np.float32))
    with pytest.raises(ValueError, match=r"image .*elevation.*floats in 0..1 .*from 0 to 900"):
        open_image(path)


def test_32_bits_without_a_known_white_are_refused(tmp_path):
    path = write(tmp_path / "counts.tif", np.zeros((3, 4), np.int32))
    with pytest.raises(ValueError, match=r"image .*counts\.tif: .*must have 8 or 16 bits"):
        open_image(path)


def test_a_palette_with_transparent_colours_becomes_rgb(tmp_path, picture):
    palette = picture.quantize(16)
    palette.save(tmp_path / "image.png", transparency=bytes([0, 128, 255]))
    assert open_image(tmp_path / "image.png") == palette.convert("RGB")


@pytest.mark.parametrize("name", ["moving.gif", "moving.png", "moving.webp"])
def test_of_an_animation_the_first_frame_counts(tmp_path, name):
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    options = {"lossless": True} if name.endswith("webp") else {}
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
    assert open_image(tmp_path / name).getpixel((3, 3)) == (255, 0, 0)


def test_grey_and_alpha_arrays_are_pictures(pixels):
    grey = pixels[..., 0]
    expected = Image.fromarray(np.stack([grey] * 3, axis=-1))
    for image in (grey, grey[..., None], torch.from_numpy(grey), torch.from_numpy(grey[None])):
        assert open_image(image) == expected
    alpha = np.concatenate([pixels, pixels[..., :1]], axis=-1)
    for image in (alpha, torch.from_numpy(alpha).permute(2, 0, 1), Image.fromarray(alpha)):
        assert open_image(image) == Image.fromarray(pixels)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_floats_in_0_to_1_are_the_pixels_they_came_from(pixels, dtype):
    # bfloat16 has 8 bits of precision: it tells about half of the values apart.
    source = pixels // 2 * 2 if dtype == torch.bfloat16 else pixels
    tensor = (torch.from_numpy(source).permute(2, 0, 1) / 255).to(dtype).requires_grad_()
    tolerance = 1 if dtype == torch.bfloat16 else 0
    opened = np.asarray(open_image(tensor)).astype(int)
    assert np.abs(opened - source).max() <= tolerance
    if dtype != torch.bfloat16:
        array = tensor.detach().permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(np.asarray(open_image(array)), pixels)


def test_views_that_are_not_contiguous_are_pictures(pixels):
    assert open_image(pixels[::-1, ::2]) == Image.fromarray(pixels[::-1, ::2].copy())


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((4, 5, 3), 255.0), r"floats in 0\.\.1 or uint8 .*floats from 255 to 255$"),
        (np.full((4, 5, 3), 1.01), "got floats from 1.01 to 1.01"),
        (torch.full((3, 4, 5), -2.1), "from -2.1 to -2.1 .normalised already"),
        (np.full((4, 5, 3), np.nan), "got floats from nan to nan"),
        (torch.full((3, 4, 5), torch.inf), "got floats from inf to inf"),
        (np.zeros((4, 5, 3), np.uint16), r"uint8 in 0\.\.255 or floats in 0\.\.1, got uint16"),
        (torch.zeros(3, 4, 5, dtype=torch.int64), "got torch.int64"),
        (np.zeros((4, 5, 3), bool), "got bool"),
        (np.zeros((3, 4, 5), np.uint8), r"an array \[height, width, 3\].*got shape \(3, 4, 5\)"),
        (torch.zeros(5, 4, 3), r"a tensor \[3, height, width\].*got shape \(5, 4, 3\)$"),
        (torch.zeros(2, 3, 4, 5), r"got shape \(2, 3, 4, 5\); a batch is given as a list"),
        (np.zeros(5, np.uint8), r"got shape \(5,\)"),
        (np.zeros((0, 5, 3), np.uint8), r"at least one pixel, got shape \(0, 5, 3\)"),
        (torch.zeros(3, 4, 0), r"at least one pixel, got shape \(3, 4, 0\)"),
        (b"image", "a path, a PIL image, an array or a tensor, got bytes"),
        (None, "got NoneType"),
    ],
)
def test_what_is_no_image_is_described(image, message):
    with pytest.raises(ValueError, match=rf"image must .*{message}"):
        open_image(image)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"image .*missing\.png: no such file"):
        open_image(tmp_path / "missing.png")


@pytest.mark.parametrize("name", ["image.png", "image.jpg", "image.webp", "image.bmp"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_truncated_file_is_named(pixels, tmp_path, name, share):
    path = write(tmp_path / name, pixels)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=rf"image .*{name}: not a whole image file"):
        open_image(path)


def test_what_is_no_image_file_is_named(tmp_path):
    (tmp_path / "notes.png").write_text("no image")
    with pytest.raises(ValueError, match=r"image .*notes\.png: not a whole image file"):
        open_image(tmp_path / "notes.png")
    with pytest.raises(ValueError, match=rf"image {tmp_path}: expected an image file, found a fol"):
        open_image(tmp_path)


@pytest.mark.parametrize("error", [RuntimeError, TypeError, struct.error])
def test_whatever_a_decoder_raises_names_the_file(tmp_path, monkeypatch, pixels, error):
    def fail(_file):
        msg = "damaged"
        raise error(msg)  # as the decoders of AVIF and TIFF do on some damaged files

    monkeypatch.setattr("PIL.ImageOps.exif_transpose", fail)
    with pytest.raises(ValueError, match=r"a\.png: not a whole image file \(damaged\)"):
        open_image(write(tmp_path / "a.png", pixels))


def test_a_picture_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch, pixels):
    path = write(tmp_path / "bomb.png", pixels)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match=r"bomb\.png: not a whole .* decompression bomb"):
        open_image(path)


def test_bytes_in_memory_are_the_picture_that_the_file_is(tmp_path, pixels):
    path = write(tmp_path / "picture.png", pixels)
    assert decode_image(io.BytesIO(path.read_bytes())) == open_image(path)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"most_pixels": 3}, "must have at most 3 pixels, got "),
        ({"formats": ("JPEG",)}, "not a whole image file"),
    ],
)
def test_a_picture_beyond_the_limits_is_not_decoded(tmp_path, pixels, limits, message):
    path = write(tmp_path / "picture.png", pixels)
    cut = path.read_bytes()[:60]  # the header, and hardly a pixel
    with pytest.raises(ValueError, match=message):
        decode_image(io.BytesIO(cut), **limits)


def test_the_images_of_a_folder_are_told_by_their_endings_and_sorted(tmp_path):
    for name in ("b.JPG", "a.png", "c.tiff", "notes.txt", "clip.mpg", "._a.png"):
        (tmp_path / name).touch()
    (tmp_path / "folder").mkdir()
    assert [path.name for path in image_files(tmp_path)] == ["a.png", "b.JPG", "c.tiff"]


def test_a_folder_without_images_is_named(tmp_path):
    with pytest.raises(ValueError, match=rf"images {tmp_path}: expected image files in the folder"):
        image_files(tmp_path)
