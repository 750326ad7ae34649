"""A name as people give it → a model folder on this machine, downloaded where it is a hub id."""

from __future__ import annotations

import re
from pathlib import Path

from solq_model.atomic import previous_of
from solq_model.saved import CARD, COMPONENTS, WEIGHTS

SCHEME = "hf://"
HUB_ID = re.compile(r"(?P<id>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w./-]+))?")


def find_folder(name: str | Path) -> Path:
    """The folder of a model: the path itself, or a hub model's files in the local cache.

    Only text can be a hub id: `hf://owner/name@revision`, or `owner/name[@revision]` where no such
    folder exists. A name with a suffix, a leading dot or more than one slash is a path.
    """
    text = str(name)
    if isinstance(name, str) and text.startswith(SCHEME):
        match = HUB_ID.fullmatch(text.removeprefix(SCHEME))
        if match is None:
            msg = f"model {name!r}: expected hf://owner/name or hf://owner/name@revision"
            raise ValueError(msg)
        return _download(match["id"], match["revision"], text)
    path = Path(name)
    match = HUB_ID.fullmatch(text) if isinstance(name, str) else None
    if match is None or path.exists() or previous_of(path).exists() or Path(match["id"]).suffix:
        return path
    return _download(match["id"], match["revision"], f"{text}: no such folder; tried as a hub id")


def _download(repository: str, revision: str | None, tried: str) -> Path:
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError as error:
        msg = f"model {tried}: a hub id needs huggingface_hub: pip install 'solq-model[hub]'"
        raise ValueError(msg) from error
    try:
        # Without a network this is what an earlier download left.
        folder = Path(
            huggingface_hub.snapshot_download(
                repository, revision=revision, allow_patterns=[CARD, WEIGHTS, COMPONENTS]
            )
        )
    except errors.GatedRepoError as error:
        reason = "the hub asks for permission: accept the terms on its page, then log in"
        raise ValueError(_refusal(tried, reason)) from error
    except errors.RepositoryNotFoundError as error:
        reason = "the hub has no public model of this id"
        raise ValueError(_refusal(tried, reason)) from error
    except errors.RevisionNotFoundError as error:
        reason = f"the hub has the model {repository}, but no revision {revision}"
        raise ValueError(_refusal(tried, reason)) from error
    except errors.LocalEntryNotFoundError as error:
        reason = "the hub cannot be reached, and there is no earlier download"
        raise ValueError(_refusal(tried, reason)) from error
    except Exception as error:
        # The hub's client passes on whatever its HTTP library raises, which changed with versions.
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(_refusal(tried, f"the download failed ({lines[0]})")) from error
    if not all((folder / name).is_file() for name in (CARD, WEIGHTS)):
        reason = f"it holds no SOLQ model, whose files are {CARD} and {WEIGHTS}"
        raise ValueError(_refusal(tried, reason))
    return folder


def _refusal(tried: str, reason: str) -> str:
    return f"model {tried}: {reason}"
