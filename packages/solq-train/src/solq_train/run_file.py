"""Run files: a configuration changed by a TOML or JSON file; unknown keys and wrong types stop."""

from __future__ import annotations

import json
import tomllib
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from solq_model.atomic import atomic_file
from solq_train.config import TrainConfig

CONFIG = "config.json"  # of a run: the configuration as it was run

Config = TypeVar("Config")


def read_run_file(path: Path, config: TrainConfig) -> TrainConfig:
    """The configuration with the values of the file in place of its own."""
    values = read_values(path)
    try:
        return override(config, values)
    except ValueError as error:
        msg = f"run file {path}: {error}"
        raise ValueError(msg) from error


def read_values(path: Path) -> Any:
    """What a TOML or JSON file says."""
    if not path.is_file():
        msg = f"run file {path}: no such file"
        raise ValueError(msg)
    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (json.JSONDecodeError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = f"run file {path}: not valid {'JSON' if path.suffix == '.json' else 'TOML'}: {error}"
        raise ValueError(msg) from error


def write_run_file(path: Path, config: TrainConfig) -> None:
    """Save a resolved configuration as JSON, which `read_run_file` takes back."""
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(asdict(config), indent=2) + "\n", encoding="utf-8")


def override(config: Config, values: Any, where: str = "") -> Config:
    """The dataclass with nested values replaced; ValueError names the key that does not fit."""
    assert is_dataclass(config)
    assert not isinstance(config, type)
    if not isinstance(values, dict):
        msg = f"{where or 'the file'} must be a table of keys, got {values!r}"
        raise ValueError(msg)
    hints = get_type_hints(type(config))
    known = [field.name for field in fields(config)]
    changed: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{where}.{key}" if where else key
        if key not in known:
            msg = f"unknown key {name!r}; known here: {', '.join(known)}"
            raise ValueError(msg)
        current = getattr(config, key)
        changed[key] = (
            override(current, value, name)
            if is_dataclass(current)
            else _fit(value, hints[key], name)
        )
    return replace(config, **changed)


def _fit(value: Any, hint: Any, name: str) -> Any:
    """The value in the type of its field."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        if value is None and NoneType in get_args(hint):
            return None
        inner = [option for option in get_args(hint) if option is not NoneType]
        return _fit(value, inner[0], name)
    if origin is tuple and isinstance(value, list):
        item, *others = get_args(hint)
        if Ellipsis not in others and len(value) != 1 + len(others):
            msg = f"{name} must hold {1 + len(others)} values, got {len(value)}"
            raise ValueError(msg)
        return tuple(_fit(entry, item, f"{name}[{i}]") for i, entry in enumerate(value))
    if origin is Literal:
        if value in get_args(hint):
            return value
    elif hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    elif (
        isinstance(hint, type)
        and isinstance(value, hint)
        and (hint is bool or not isinstance(value, bool))
    ):
        return value
    msg = f"{name} must be {_expected(hint)}, got {value!r}"
    raise ValueError(msg)


def _expected(hint: Any) -> str:
    """The type of a field in the words of a run file."""
    if get_origin(hint) is Literal:
        return " or ".join(map(repr, get_args(hint)))
    if get_origin(hint) is tuple:
        return f"a list of {_expected(get_args(hint)[0])}"
    return str(hint.__name__)
