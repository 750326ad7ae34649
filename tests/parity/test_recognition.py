"""The network of published weights is told from the names and shapes that the code itself saved."""

from __future__ import annotations

from collections import Counter

from solq_model import SOLQ, build_model, load_official_state_dict, presets, recognise


def test_the_network_of_each_published_state_is_recognised(published, published_state):
    assert recognise(published_state) == getattr(presets, published.name)()


def test_of_each_published_state_nothing_is_dropped(published, published_state):
    model: SOLQ = build_model(recognise(published_state))
    tensors = load_official_state_dict(model, published_state)
    assert [mapped.published for mapped in tensors] == list(published_state)
    roles = Counter(mapped.role for mapped in tensors)
    assert roles["weight"] == len(model.state_dict())
    # Filled by name, the copies differ here; in a checkpoint they are the same.
    vectors = 5 * 6 if model.config.has_vectors else 0
    assert roles["copy that differs"] == vectors + 6 * 6
    assert roles["constant"] == {"swin_t": 12}.get(published.name, 0)
