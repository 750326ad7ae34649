"""Versions, checkout and hashes are those of what is running."""

from __future__ import annotations

import hashlib
import subprocess

import torch

from solq_train import provenance


def test_versions_are_those_of_the_packages_that_have_a_say():
    assert provenance.versions()["torch"] == torch.__version__.split("+")[0] or (
        provenance.versions()["torch"] == torch.__version__
    )
    assert set(provenance.versions()) == set(provenance.PACKAGES)


def test_the_hash_of_a_file_is_its_sha256(tmp_path):
    (tmp_path / "file").write_bytes(b"weights")
    assert provenance.file_sha256(tmp_path / "file") == hashlib.sha256(b"weights").hexdigest()


def test_a_checkout_is_told_by_its_commit_and_whether_it_was_changed(monkeypatch):
    answers = {"rev-parse": "abc123\n", "ls-files": "provenance.py\n", "status": ""}

    def git(command, **_):
        return subprocess.CompletedProcess(command, 0, stdout=answers[command[3]])

    monkeypatch.setattr(subprocess, "run", git)
    assert provenance.git_state() == {"commit": "abc123", "changed": False}
    answers["status"] = " M file.py\n"
    assert provenance.git_state() == {"commit": "abc123", "changed": True}


def test_without_git_there_is_no_state(monkeypatch):
    def absent(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(subprocess, "run", absent)
    assert provenance.git_state() is None
