"""Files of vectors: written, read, and refused when they are broken."""

import dataclasses
import json

import numpy as np
import pytest

from solq_maskcodec import DCTMaskCodec
from solq_maskcodec.dataset.annotations import read_annotations
from solq_maskcodec.dataset.encoded_dataset import encode_dataset
from solq_maskcodec.dataset.vector_file import read_vectors, write_vectors

_ARRAYS = ("boxes", "image_sizes", "image_ids", "category_ids", "annotation_ids")


@pytest.fixture
def dataset(annotations):
    return encode_dataset(DCTMaskCodec(40, 32, 0.5), read_annotations(annotations), refine=5)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 1 / 2048), ("int8", 1 / 254)])
def test_what_is_written_is_read_to_the_precision_of_its_type(dataset, tmp_path, dtype, tolerance):
    path = tmp_path / "vectors.solq"
    write_vectors(path, dataset, dtype)
    found = read_vectors(path)
    assert found.codec == dataset.codec
    for name in _ARRAYS:
        np.testing.assert_array_equal(getattr(found, name), getattr(dataset, name))
        assert getattr(found, name).dtype == getattr(dataset, name).dtype
    largest = np.abs(dataset.vectors).max(axis=0)
    assert (np.abs(found.vectors - dataset.vectors) <= tolerance * largest * 1.001).all()
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("threshold", ["midrange", 0.25])
def test_the_codec_is_read_with_its_threshold(dataset, tmp_path, threshold):
    codec = dataclasses.replace(dataset.codec, threshold=threshold)
    write_vectors(tmp_path / "file", dataclasses.replace(dataset, codec=codec))
    assert read_vectors(tmp_path / "file").codec == codec


def test_the_same_vectors_make_the_same_bytes(dataset, tmp_path):
    for name in ("one", "two"):
        write_vectors(tmp_path / name, dataset)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_no_vectors_are_a_file_too(dataset, tmp_path):
    nothing = {name: getattr(dataset, name)[:0] for name in (*_ARRAYS, "vectors")}
    write_vectors(tmp_path / "file", dataclasses.replace(dataset, **nothing))
    found = read_vectors(tmp_path / "file")
    assert found.vectors.shape == (0, 40)
    assert [*found.images()] == []


def rewritten(path, **changes):
    """The file with some of its arrays exchanged; None takes one away."""
    with np.load(path) as arrays:
        content = {**arrays} | changes
    kept = {name: array for name, array in content.items() if array is not None}
    with path.open("wb") as file:
        np.savez(file, **kept)


def header_of(path, **changes):
    with np.load(path) as arrays:
        return np.array(json.dumps(json.loads(str(arrays["header"])) | changes))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"format": "other"},
            "header must be 'solq-maskcodec vectors', version 1, codec 'dct', go",
        ),
        ({"version": 2}, "got 'solq-maskcodec vectors', version 2, codec 'dct'"),
        ({"codec": "pca"}, "got 'solq-maskcodec vectors', version 1, codec 'pca'"),
        ({"num_coefficients": 41}, r"vectors must be [instances, 41], got shape (4, 40)"),
        ({"num_coefficients": 0}, "num_coefficients must be a positive integer, got 0"),
        ({"threshold": "otsu"}, "threshold must be"),
    ],
)
def test_another_header_is_told(dataset, tmp_path, change, message):
    path = tmp_path / "file"
    write_vectors(path, dataset)
    rewritten(path, header=header_of(path, **change))
    with pytest.raises(
        ValueError, match="file: expected a file of solq-maskcodec vectors"
    ) as caught:
        read_vectors(path)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"header": None}, "header is not a file in the archive"),
        ({"boxes": None}, "boxes is not a file in the archive"),
        ({"header": np.array("{")}, "Expecting property name"),
        ({"header": np.array("[]")}, "list indices must be integers"),
        ({"vectors": np.zeros(3, np.uint8)}, "data must start with a header of 24 bytes"),
        (
            {"boxes": np.zeros((3, 4), np.float32)},
            "boxes must be float32 [4, 4], got float32 [3, 4",
        ),
        ({"boxes": np.full((4, 4), np.nan, np.float32)}, "boxes must be finite"),
        ({"image_ids": np.zeros(4)}, "image_ids must be int64 [4], got float64 [4]"),
        ({"image_sizes": np.zeros((4, 2), np.int64)}, "image_sizes must be at least 1, got 0"),
        ({"image_ids": np.array([None] * 4)}, "Object arrays cannot be loaded"),
    ],
)
def test_other_arrays_are_told(dataset, tmp_path, changes, message):
    path = tmp_path / "file"
    write_vectors(path, dataset)
    rewritten(path, **changes)
    with pytest.raises(
        ValueError, match="file: expected a file of solq-maskcodec vectors"
    ) as caught:
        read_vectors(path)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"\x93NUMPY", b"PK\x03\x04", b"PK\x05\x06" + b"\0" * 18]
)
def test_what_is_no_archive_is_told(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match="file: expected a file of solq-maskcodec vectors, got a br"
    ):
        read_vectors(path)


def test_a_file_that_is_not_there_is_another_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_vectors(tmp_path / "file")


@pytest.mark.filterwarnings("ignore")  # of zipfile about names that occur twice
def test_no_damage_goes_unnoticed_or_does_harm(dataset, tmp_path):
    path = tmp_path / "file"
    write_vectors(path, dataset)
    sound = path.read_bytes()
    expected = read_vectors(path)
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(sound)
        for place in rng.integers(0, len(sound), rng.integers(1, 4)):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged[: rng.integers(len(sound) // 2, len(sound) + 1)])
        try:
            found = read_vectors(path)
        except ValueError:
            continue
        # Some bytes of an archive, dates for instance, mean nothing to the reader.
        np.testing.assert_array_equal(found.vectors, expected.vectors)
        for name in _ARRAYS:
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
