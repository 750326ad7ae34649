"""The command line as a whole: errors are one line and exit code 2, whatever was wrong."""

import json
import subprocess
import sys

import pytest

from solq_maskcodec import rle_to_masks
from solq_maskcodec.cli import main


@pytest.fixture
def file(annotations, tmp_path):
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(annotations), encoding="utf-8")
    return path


def refused(arguments, capsys):
    """What stderr says after arguments that are refused: one line."""
    assert main([str(argument) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("solq-maskcodec: error: ")
    assert captured.err.count("\n") == 1
    return captured.err


def test_encode_and_decode_give_the_masks_back(file, tmp_path, capsys):
    vectors, results = tmp_path / "vectors.npz", tmp_path / "results.json"
    assert main(["encode", str(file), "--output", str(vectors), "--coefficients", "512"]) == 0
    assert main(["decode", str(vectors), "--output", str(results)]) == 0
    assert "wrote 4 vectors of 512 numbers" in capsys.readouterr().out
    found = json.loads(results.read_text("utf-8"))
    assert [result["annotation_id"] for result in found] == [0, 1, 2, 3]
    large = json.loads(file.read_text("utf-8"))["annotations"][2]["segmentation"]
    pair = rle_to_masks([large, found[2]["segmentation"]])
    assert pair.all(axis=0).sum() / pair.any(axis=0).sum() > 0.97


@pytest.mark.parametrize("command", ["evaluate", "encode", "decode", "show"])
def test_paths_that_lead_nowhere_are_told(tmp_path, capsys, command):
    output = [] if command == "evaluate" else ["--output", tmp_path / "out.png"]
    message = refused([command, tmp_path / "absent.json", *output], capsys)
    assert message.endswith("absent.json: No such file or directory\n")
    message = refused([command, tmp_path, *output], capsys)
    assert message.endswith(f"{tmp_path}: Is a directory\n")
    assert not (tmp_path / "out.png").exists()


def test_a_broken_annotation_file_is_told_with_its_name_and_entry(file, capsys):
    content = json.loads(file.read_text("utf-8"))
    content["annotations"][1]["segmentation"] = [[1, 2]]
    file.write_text(json.dumps(content), encoding="utf-8")
    message = refused(["evaluate", file, "--coefficients", "16"], capsys)
    assert f"{file}: annotation id 1: segmentation is broken: " in message


def test_a_message_of_several_lines_is_written_as_one(monkeypatch, capsys):
    def fail(_):
        message = "several\n  lines"
        raise ValueError(message)

    monkeypatch.setattr("solq_maskcodec.commands.parse.run", fail)
    assert refused(["evaluate"], capsys) == "solq-maskcodec: error: several lines\n"


@pytest.mark.parametrize("missing", ["tyro", "rich", "matplotlib", "pycocotools"])
def test_without_the_extra_it_is_told_what_to_install(file, missing):
    command = ["show", str(file), "--output", "out.png"]
    command = command if missing == "matplotlib" else ["evaluate", str(file)]
    script = f"""
import sys
sys.modules[{missing!r}] = None
from solq_maskcodec.cli import main
sys.exit(main({command!r}))
"""
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2
    assert ran.stderr == (
        f"solq-maskcodec: error: the command line needs {missing}: "
        'pip install "solq-maskcodec[cli]"\n'
    )


def test_another_error_of_import_is_shown_as_it_is(monkeypatch, capsys):
    def fail(_):
        message = "elliptic Fourier needs something"
        raise ImportError(message)

    monkeypatch.setattr("solq_maskcodec.commands.parse.run", fail)
    assert refused([], capsys) == "solq-maskcodec: error: elliptic Fourier needs something\n"


def test_an_interruption_says_that_nothing_was_written(monkeypatch, capsys):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("solq_maskcodec.commands.parse.run", interrupt)
    assert main([]) == 130
    assert capsys.readouterr().err == "solq-maskcodec: interrupted, nothing was written\n"


@pytest.mark.parametrize(
    "arguments", [["absent"], ["evaluate"], ["encode", "a.json"], ["show", "--width", "3"], []]
)
def test_wrong_arguments_are_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err + captured.out


@pytest.mark.parametrize("command", ["evaluate", "encode", "decode", "show"])
def test_help_is_exit_code_0(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert "--output" in capsys.readouterr().out


def test_the_module_runs_as_a_program(file, tmp_path):
    output = tmp_path / "table.json"
    command = [sys.executable, "-m", "solq_maskcodec", "evaluate", str(file)]
    command += ["--coefficients", "16", "--output", str(output)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "\x1b" not in ran.stdout
    rows = json.loads(output.read_text("utf-8"))["codecs"]
    assert [row["refine"] for row in rows] == [0, 10]
    assert all(0 < row["quality"]["all"]["iou"] < 1 for row in rows)
    command[3:] = ["show", str(tmp_path / "absent.png"), "--output", "x.png"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr.endswith("absent.png: No such file or directory\n")
    assert ran.stderr.count("\n") == 1
    assert ran.stdout == ""
