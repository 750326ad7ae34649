"""Values in 0..1 ↔ log-odds, for codecs that predict masks through a sigmoid."""

from __future__ import annotations

from typing import Any

from ..arrays import array_namespace

# 0 and 1 have no finite log-odds. The published PCA code moves them inwards by another random
# number in 0.01..0.05 for each pixel, so that encoding twice gives two vectors; here it is the
# middle of these, always.
LEAST_VALUE = 0.03


def log_odds(values: Any) -> Any:
    """log(p / (1 - p)) of the values p, floats of any shape, clipped to 0.03..0.97."""
    xp = array_namespace(values=values)
    inner = xp.clip(values, LEAST_VALUE, 1 - LEAST_VALUE)
    return xp.log(inner / (1 - inner))


def from_log_odds(odds: Any) -> Any:
    """1 / (1 + exp(-x)) of the log-odds x, floats of any shape."""
    # By tanh, because exp overflows, and its gradient turns into NaN, for x beyond -88 in float32.
    return array_namespace(odds=odds).tanh(odds / 2) / 2 + 0.5
