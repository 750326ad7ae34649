"""Words of the command line."""

import pytest

from solq_maskcodec.commands.arguments import (
    check_output,
    parse_coefficients,
    parse_rounds,
    parse_threshold,
)


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        (["256"], [256]),
        (["64", "16", "64"], [16, 64]),
        (["16..1024"], [16, 32, 64, 128, 256, 512, 1024]),
        (["16..100"], [16, 32, 64, 100]),
        (["8..8"], [8]),
        (["3..12", "7"], [3, 6, 7, 12]),
    ],
)
def test_coefficients_are_numbers_and_ranges_by_doubling(words, numbers):
    assert parse_coefficients(words) == numbers


@pytest.mark.parametrize(
    "word", ["0", "-1", "16..8", "0..4", "..", "16..", "a", "1.5", "", "1..2..4"]
)
def test_other_words_are_told(word):
    with pytest.raises(ValueError, match=r"--coefficients must be positive numbers .*, got '"):
        parse_coefficients([word])


def test_no_words_are_told():
    with pytest.raises(ValueError, match="--coefficients must be at least one number, got none"):
        parse_coefficients([])
    with pytest.raises(ValueError, match="--refine must be at least one number, got none"):
        parse_rounds([])


def test_rounds_are_at_least_0():
    assert parse_rounds([10, 0, 10]) == [0, 10]
    with pytest.raises(ValueError, match="--refine must be numbers of at least 0, got -3"):
        parse_rounds([0, -3])


def test_a_threshold_is_a_number_or_a_rule():
    assert parse_threshold("0.25") == 0.25
    assert parse_threshold("midrange") == "midrange"


def test_outputs_are_checked_before_they_are_made(tmp_path):
    source = tmp_path / "in.json"
    source.write_text("{}")
    check_output("--output", tmp_path / "out.PNG", source, (".png", ".svg"))
    for path, message in {
        tmp_path / "out.bmp": r"--figure .*out\.bmp: must end in \.png, \.svg, got \.bmp",
        tmp_path / "out": r"must end in \.png, \.svg, got no ending",
        tmp_path / "no" / "out.png": "must be in a folder that exists, got none at",
    }.items():
        with pytest.raises(ValueError, match=message):
            check_output("--figure", path, source, (".png", ".svg"))
    with pytest.raises(ValueError, match="must be a file, got a folder"):
        check_output("--output", tmp_path, source)
    with pytest.raises(ValueError, match="must be another file than the one that is read"):
        check_output("--output", tmp_path / ".." / tmp_path.name / "in.json", source)
    assert [*tmp_path.iterdir()] == [source]


def test_a_folder_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(ValueError, match="must be in a folder that can be written, got"):
        check_output("--output", tmp_path / "out.json", tmp_path / "in.json")
