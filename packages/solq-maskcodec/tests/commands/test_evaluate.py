"""`solq-maskcodec evaluate`."""

import json

import pytest

from solq_maskcodec.cli import main


@pytest.fixture
def file(annotations, tmp_path):
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(annotations), encoding="utf-8")
    return str(path)


def test_alone_it_measures_plain_and_refined_at_seven_lengths(file, capsys):
    assert main(["evaluate", file]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    for number in (16, 32, 64, 128, 256, 512, 1024):
        lines = [line.split() for line in captured.out.splitlines() if f" {number} " in line]
        assert [line[0] for line in lines] == ["DCT", "DCT,", "DCT", "DCT,"]
    assert "by size: 2 small, 1 medium, 1 large" in captured.out
    assert captured.out.endswith(
        "annotations.json: 4 objects in 3 images, threshold 0.5. "
        "1 more have nothing in their box.\n"
    )


def test_tables_fit_into_80_columns(file, capsys):
    assert main(["evaluate", file, "--coefficients", "16", "--codec", "dct", "efd"]) == 0
    lines = capsys.readouterr().out.splitlines()[:8]
    assert max(len(line.rstrip()) for line in lines) <= 80
    assert not any("…" in line for line in lines)


def test_numbers_and_curves_are_written(file, tmp_path, capsys):
    table, figure = tmp_path / "table.json", tmp_path / "quality.svg"
    arguments = ["--coefficients", "16..64", "--refine", "0", "--threshold", "midrange"]
    outputs = ["--output", str(table), "--figure", str(figure)]
    assert main(["evaluate", file, *arguments, *outputs, "--mask-size", "32"]) == 0
    content = json.loads(table.read_text("utf-8"))
    assert content["threshold"] == "midrange"
    assert [row["num_coefficients"] for row in content["codecs"]] == [16, 32, 64]
    assert content["codecs"][0]["quality"]["num_left_out"] == 1
    assert figure.read_bytes().startswith(b"<?xml")
    assert f"wrote {table}\nwrote {figure}\n" in capsys.readouterr().out


def test_pca_is_measured_on_images_it_was_not_fitted_to(file, capsys):
    arguments = ["--codec", "pca", "dct", "--coefficients", "2", "--mask-size", "16"]
    assert main(["evaluate", file, *arguments, "--fit-share", "0.6"]) == 0
    assert "PCA was fitted to 8 masks of 1 other images." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--coefficients", "x"], "--coefficients must be positive numbers"),
        (["--coefficients", "99999"], "num_coefficients must be at most mask_size ** 2 = 16384"),
        (["--refine", "-1"], "--refine must be numbers of at least 0"),
        (["--threshold", "otsu"], "threshold must be"),
        (["--mask-size", "0"], "mask_size must be a positive integer, got 0"),
        (["--codec"], "--codec must be at least one of dct, pca, efd, got none"),
        (["--codec", "pca", "--fit-share", "2"], "fit_share must be between 0 and 1, got 2"),
        (["--output", "table.csv"], "--output table.csv: must end in .json, got .csv"),
        (
            ["--figure", "table.json"],
            "--figure table.json: must end in .png, .svg, .pdf, got .json",
        ),
    ],
)
def test_wrong_values_are_told(file, capsys, arguments, message):
    assert main(["evaluate", file, *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
