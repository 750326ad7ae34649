import importlib.util
import sys

import pytest

from solq_maskcodec import backend, native


def test_the_kernel_is_in_use_where_it_was_compiled():
    is_compiled = importlib.util.find_spec("solq_maskcodec._native") is not None
    assert backend().implementation == ("compiled" if is_compiled else "numpy")
    assert bool(backend().reason) != is_compiled
    assert bool(backend().compiler) == is_compiled


def test_without_a_kernel_the_reason_is_told():
    kernel, reason = native.load_kernel("solq_maskcodec._absent")
    assert kernel is None
    assert reason == "solq-maskcodec was installed without the compiled kernel"


def test_a_kernel_that_does_not_load_warns(tmp_path, monkeypatch):
    (tmp_path / "broken_kernel.py").write_text("raise ImportError('wrong GLIBCXX')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.warns(RuntimeWarning, match="several times slower: .*wrong GLIBCXX"):
        kernel, reason = native.load_kernel("broken_kernel")
    assert kernel is None
    assert reason == "the compiled kernel is there but does not load: wrong GLIBCXX"


def test_something_else_that_is_missing_is_not_hidden(tmp_path, monkeypatch):
    (tmp_path / "needy_kernel.py").write_text("import module_that_is_not_there")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="module_that_is_not_there"):
        native.load_kernel("needy_kernel")
    assert "needy_kernel" not in sys.modules
