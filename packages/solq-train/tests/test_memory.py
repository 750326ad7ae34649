"""Memory in figures and in words."""

from __future__ import annotations

import pytest
import torch

from solq_train.memory import in_words, peak_memory


def test_a_process_with_torch_in_it_has_needed_more_than_fifty_megabytes_and_less_than_a_terabyte():
    assert 50e6 < peak_memory(torch.device("cpu")) < 1e12


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 kB"),
        (5e5, "500 kB"),
        (2.5e6, "2.5 MB"),
        (123.4e6, "123 MB"),
        (3.21e9, "3.2 GB"),
        (512e9, "512 GB"),
    ],
)
def test_sizes_are_said_in_the_unit_that_keeps_them_short(size, words):
    assert in_words(size) == words
