"""`solq serve`: starts, ends, and what it says to what it cannot serve."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest


def test_it_prints_its_address_answers_there_and_ends_cleanly_on_ctrl_c(trained):
    command = [sys.executable, "-m", "solq_train", "serve", "--model", str(trained / "best")]
    process = subprocess.Popen(
        [*command, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("http://127.0.0.1:")
        url = line.split()[0]
        with urllib.request.urlopen(url, timeout=20) as answer:
            assert b"solq serve" in answer.read()
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=20)
    finally:
        process.kill()
    assert (process.returncode, output, errors) == (0, "stopped\n", "")
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url, timeout=5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--port", 65536), "port must be in 0..65535, got 65536"),
        (("--port", -1), "port must be in 0..65535, got -1"),
        (("--max-upload", 0), "max_upload must be in 0..1000 (millions) and not 0, got 0"),
        (("--max-pixels", "nan"), "max_pixels must be in 0..1000 (millions) and not 0, got nan"),
        (("--max-waiting", 0), "max_waiting must be at least 1, got 0"),
        (("--keep", 0), "keep must be at least 1, got 0"),
        (("--host", "a..b"), "cannot listen on a..b port 0: "),
        (("--host", ""), "host must be an address or a name, got ''"),
        (("--host", "203.0.113.1"), "cannot listen on 203.0.113.1 port 0: "),
    ],
)
def test_what_cannot_be_served_is_refused_in_one_line(solq, trained, arguments, message):
    ran = solq("serve", "--model", trained / "best", "--port", 0, *arguments)
    assert ran.code == 2
    assert message in ran.errors
    assert ran.errors.count("\n") == 1


def test_a_missing_model_is_named(solq, tmp_path):
    ran = solq("serve", "--model", tmp_path / "none", "--port", 0)
    assert ran.code == 2
    assert str(tmp_path / "none") in ran.errors
    assert "Traceback" not in ran.errors


def test_a_port_that_is_taken_is_named(solq, trained):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = solq("serve", "--model", trained / "best", "--port", port)
    assert ran.code == 2
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in ran.errors


def test_an_address_for_others_is_warned_about(solq, tmp_path):
    ran = solq("serve", "--model", tmp_path / "none", "--port", 0, "--host", "0.0.0.0")
    assert "everyone who reaches this machine can use this server" in ran.errors
    quiet = solq("serve", "--model", tmp_path / "none", "--port", 0, "--host", "localhost")
    assert "everyone" not in quiet.errors


def test_a_missing_extra_is_named(solq, trained, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("solq_train.serve.app")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    ran = solq("serve", "--model", trained / "best")
    assert ran.code == 2
    assert "serve needs uvicorn: pip install 'solq-train[serve]'" in ran.errors
