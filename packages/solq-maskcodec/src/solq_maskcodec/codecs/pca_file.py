"""Principal components ↔ .npz files: ours, and those published for MEInst and SOLQ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..atomic import atomic_file
from .pca_fit import PrincipalComponents

# Published files hold `ratio_c` too, and nothing that says how masks become vectors. Ours say it in
# JSON (format, version, whiten, logit, threshold). They have other names, so that one of ours whose
# header is damaged does not pass for a published one.
_HEADER = "header"
_OURS = PrincipalComponents._fields
_PUBLISHED = tuple(f"{name}_c" for name in _OURS)
_FORMAT = "solq-maskcodec PCA"
_VERSION = 1


class Settings(NamedTuple):
    """How a codec makes vectors of principal components."""

    whiten: bool
    logit: bool
    threshold: float | str | None


def write_components(path: Path, found: PrincipalComponents, settings: Settings) -> None:
    """Writes the file whole or not at all, in place of one that is there."""
    header = json.dumps({"format": _FORMAT, "version": _VERSION, **settings._asdict()})
    arrays = {_HEADER: np.array(header.encode()), **found._asdict()}
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def read_components(path: Path) -> tuple[PrincipalComponents, Settings | None]:
    """What a file holds; no settings if it is a published one.

    Raises ValueError, with the name of the file, for one that is damaged or something else.
    """
    arrays = _read_arrays(path)
    is_ours = _HEADER in arrays
    names = _OURS if is_ours else _PUBLISHED
    if not set(names) <= set(arrays):
        msg = (
            f"{path} must hold the arrays {', '.join((_HEADER, *_OURS))} or the published ones "
            f"{', '.join(_PUBLISHED)}, got {', '.join(arrays) or 'none'}"
        )
        raise ValueError(msg)
    settings = _checked_settings(path, arrays[_HEADER].tobytes()) if is_ours else None
    for name in names:
        if arrays[name].dtype.kind not in "iuf":
            msg = f"{name} in {path} must hold numbers, got dtype {arrays[name].dtype}"
            raise ValueError(msg)
    components, mean, variance = (arrays[name] for name in names)
    shape = variance.size, mean.size
    # Axes of length 1 are no matter: some published means are [1, pixels].
    if _long_axes(components.shape) != _long_axes(shape):
        msg = (
            f"{names[0]} in {path} must be [coefficients, pixels] = {shape} to fit {names[2]} and "
            f"{names[1]}, got shape {components.shape}"
        )
        raise ValueError(msg)
    found = PrincipalComponents(components.reshape(shape), mean.ravel(), variance.ravel())
    return found, settings


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    with path.open("rb") as file:
        # NumPy's readers of zip archives and of arrays raise errors of a dozen kinds for bytes that
        # are not such; whatever they raise, the bytes are the reason.
        try:
            archive = np.load(file, allow_pickle=False)
            known = {_HEADER, *_OURS, *_PUBLISHED}
            return {name: archive[name] for name in archive.files if name in known}
        except Exception as error:
            msg = f"{path} must be a whole .npz file of arrays, got {type(error).__name__}: {error}"
            raise ValueError(msg) from error


def _checked_settings(path: Path, header: bytes) -> Settings:
    try:
        says = json.loads(header)
        is_ours = says["format"] == _FORMAT
    except (ValueError, TypeError, KeyError):
        is_ours = False
    if not is_ours:
        msg = f'{path} must have a header of format "{_FORMAT}", got {header[:100]!r}'
        raise ValueError(msg)
    if says.get("version") != _VERSION:
        msg = f"{path} must be of version {_VERSION}, got version {says.get('version')!r}"
        raise ValueError(msg)
    flags = says.get("whiten"), says.get("logit")
    if not all(isinstance(flag, bool) for flag in flags) or "threshold" not in says:
        msg = f"{path} must have a header with whiten, logit and threshold, got {says}"
        raise ValueError(msg)
    return Settings(*flags, says["threshold"])


def _long_axes(shape: tuple[int, ...]) -> list[int]:
    return [length for length in shape if length != 1]
