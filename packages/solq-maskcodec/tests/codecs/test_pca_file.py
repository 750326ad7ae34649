import contextlib
import json
import os
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solq_maskcodec.codecs.pca_codec import PCAMaskCodec

_HEADER = {
    "format": "solq-maskcodec PCA",
    "version": 1,
    "whiten": False,
    "logit": True,
    "threshold": 0.5,
}


def parameters(num_coefficients=3, size=4):
    """Orthonormal components, a mean and variances."""
    rng = np.random.default_rng(0)
    components = np.linalg.qr(rng.standard_normal((size**2, num_coefficients))).Q.T
    return components, rng.random(size**2), 1 / np.arange(1, num_coefficients + 1)


@pytest.fixture
def codec():
    return PCAMaskCodec(*parameters(), whiten=False, logit=True)


@pytest.fixture
def published(tmp_path):
    """A function that writes a file like those of MEInst, with the arrays given instead."""

    def write(**changes):
        components, mean, variance = (values.astype(np.float32) for values in parameters())
        arrays = {
            "components_c": components,
            "mean_c": mean,
            "explained_variance_c": variance,
            "ratio_c": variance / variance.sum(),
            **changes,
        }
        path = tmp_path / "parameters.npz"
        np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
        return path

    return write


@pytest.mark.parametrize("threshold", [0.5, 0.25, "isodata", None, float("inf")])
@pytest.mark.parametrize("flags", [(False, True), (True, False)])
def test_a_saved_codec_comes_back_bit_for_bit(tmp_path, threshold, flags):
    codec = PCAMaskCodec(*parameters(), *flags, threshold)
    codec.save(tmp_path / "codec.npz")
    assert PCAMaskCodec.load(tmp_path / "codec.npz") == codec
    codec.save(str(tmp_path / "of no ending"))
    assert PCAMaskCodec.load(str(tmp_path / "of no ending")) == codec


def test_the_format_of_version_1_stays_what_it_is(tmp_path, codec):
    codec.save(tmp_path / "codec.npz")
    with np.load(tmp_path / "codec.npz", allow_pickle=False) as arrays:
        assert set(arrays) == {"header", "components", "mean", "explained_variance"}
        assert json.loads(arrays["header"].tobytes()) == _HEADER
        for name in ("components", "mean", "explained_variance"):
            np.testing.assert_array_equal(arrays[name], getattr(codec, name))


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, codec, monkeypatch):
    path = tmp_path / "codec.npz"
    codec.save(path)
    before = path.read_bytes()

    def fail(_descriptor):
        msg = "no space left"
        raise OSError(msg)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space left"):
        PCAMaskCodec(*parameters(2)).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_published_file_whitens_and_takes_log_odds_unless_told_otherwise(published):
    components, mean, variance = (values.astype(np.float32) for values in parameters())
    path = published()
    assert PCAMaskCodec.load(path) == PCAMaskCodec(components, mean, variance, True, True)
    plain = PCAMaskCodec.load(path, whiten=False, logit=False)
    assert plain == PCAMaskCodec(components, mean, variance, False, False)


def test_a_published_file_may_lack_the_ratios_and_have_axes_of_length_1(published):
    expected = PCAMaskCodec.load(published())
    components, mean, variance = (values.astype(np.float32) for values in parameters())
    for changes in (
        {"ratio_c": None},
        {"mean_c": mean[None]},
        {"components_c": components[None], "explained_variance_c": variance[:, None]},
    ):
        assert PCAMaskCodec.load(published(**changes)) == expected
    single = {"components_c": components[0], "explained_variance_c": variance[:1]}
    assert PCAMaskCodec.load(published(**single)).num_coefficients == 1


def test_what_our_files_say_may_be_repeated_and_not_contradicted(tmp_path, codec):
    path = tmp_path / "codec.npz"
    codec.save(path)
    assert PCAMaskCodec.load(path, whiten=False, logit=True) == codec
    with pytest.raises(ValueError, match=r"whiten must be False, as .*codec\.npz says, or left"):
        PCAMaskCodec.load(path, whiten=True)
    with pytest.raises(ValueError, match=r"logit must be True, as .*codec\.npz says"):
        PCAMaskCodec.load(path, logit=False)
    with pytest.raises(ValueError, match="whiten must be True or False, got 'no'"):
        PCAMaskCodec.load(path, whiten="no")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"mean_c": None},
            "must hold the arrays header, components, mean, explained_variance or the published "
            "ones components_c, mean_c, explained_variance_c, "
            "got components_c, explained_variance_c",
        ),
        ({"mean_c": np.array(["a"])}, "must hold numbers, got dtype <U1"),
        ({"mean_c": np.array([None])}, "got ValueError: Object arrays cannot be loaded"),
        (
            {"mean_c": np.zeros(9)},
            "must be [coefficients, pixels] = (3, 9) to fit explained_variance_c and mean_c, "
            "got shape (3, 16)",
        ),
        ({"components_c": np.zeros((16, 3))}, "= (3, 16) to fit"),
        (
            {"components_c": np.zeros((3, 15)), "mean_c": np.zeros(15)},
            "must hold the parameters of a codec: components, mean and explained_variance must be "
            "[coefficients, mask_size ** 2], [mask_size ** 2] and [coefficients], "
            "got shapes (3, 15), (15,), (3,)",
        ),
        (
            {"components_c": np.zeros((0, 16)), "explained_variance_c": np.zeros(0)},
            "got shapes (0, 16), (16,), (0,)",
        ),
        ({"mean_c": np.full(16, np.nan)}, "mean must hold finite numbers, got NaN or infinity"),
        (
            {"explained_variance_c": np.array([1.0, 0.5, 0.0])},
            "explained_variance must be more than 0 to whiten by, got 0.0",
        ),
    ],
)
def test_a_published_file_that_holds_something_else_is_refused_by_name(published, changes, message):
    path = published(**changes)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        PCAMaskCodec.load(path)
    assert "parameters.npz" in str(caught.value)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"{}", 'must have a header of format "solq-maskcodec PCA", got b'),
        (b"[1]", "must have a header of format"),
        (b"3", "must have a header of format"),
        (b"\xff", "must have a header of format"),
        (json.dumps({**_HEADER, "version": 2}), "must be of version 1, got version 2"),
        (json.dumps({**_HEADER, "whiten": 1}), "a header with whiten, logit and threshold"),
        (json.dumps({**_HEADER, "threshold": "otsu"}), "a number or None, got 'otsu'"),
    ],
)
def test_a_header_that_says_something_else_is_refused(tmp_path, header, message):
    arrays = dict(zip(("components", "mean", "explained_variance"), parameters(), strict=True))
    header = header.encode() if isinstance(header, str) else header
    np.savez(tmp_path / "codec.npz", header=np.array(header), **arrays)
    with pytest.raises(ValueError, match=r"codec\.npz must") as caught:
        PCAMaskCodec.load(tmp_path / "codec.npz")
    assert message in str(caught.value)


def test_every_truncation_is_noticed_and_no_changed_byte_changes_a_codec(tmp_path):
    path = tmp_path / "codec.npz"
    codec = PCAMaskCodec(*parameters(1, 1), whiten=False, logit=False)
    codec.save(path)
    data = path.read_bytes()
    for index in range(len(data)):
        path.write_bytes(data[:index])
        with pytest.raises(ValueError, match=r"codec\.npz must"):
            PCAMaskCodec.load(path)
        path.write_bytes(data[:index] + bytes([data[index] ^ 0x11]) + data[index + 1 :])
        # Some bytes of an archive say nothing, for example the dates in it.
        with contextlib.suppress(ValueError):
            assert PCAMaskCodec.load(path) == codec


@given(st.binary(max_size=80))
def test_any_other_bytes_are_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("bytes") / "other.npz"
    for start in (b"", b"PK\3\4", b"PK\5\6", b"\x93NUMPY\1\0"):
        path.write_bytes(start + data)
        with pytest.raises(ValueError, match=r"other\.npz must"):
            PCAMaskCodec.load(path)


def test_an_array_that_is_no_archive_is_refused(tmp_path):
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(ValueError, match=r"array\.npy must be a whole \.npz file"):
        PCAMaskCodec.load(tmp_path / "array.npy")


def test_an_absent_file_is_absent(tmp_path):
    with pytest.raises(FileNotFoundError):
        PCAMaskCodec.load(tmp_path / "none.npz")
