"""What pages share: templates that find each other, style, and filters for what is on them."""

from __future__ import annotations

import base64
import hashlib
import io
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from PIL import Image

from solq_train.metrics import format_ap

LARGEST_SIDE = 640  # pixels of an embedded picture


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One headline number."""

    label: str
    value: str
    note: str


def page_template(name: str) -> Template:
    """A template of this package, by its path in it; it may import and include others.

    It finds `script`, what pages do besides showing, and `policy`, which lets them run this script
    and load nothing.
    """
    environment = Environment(
        loader=PackageLoader("solq_train", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters |= {"data_uri": data_uri, "ap": format_ap, "duration": format_duration}
    script = files(__package__).joinpath("page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment.globals |= {
        "script": script,
        "policy": "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'",
    }
    return environment.get_template(name)


def format_duration(seconds: float) -> str:
    """The time in its two largest units."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def data_uri(image: Image.Image, largest_side: int = LARGEST_SIDE) -> str:
    """The picture itself as an address, no larger than the page shows it."""
    picture = image.convert("RGB")
    picture.thumbnail((largest_side, largest_side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    # Full colour resolution: chroma subsampling smears thin coloured outlines.
    picture.save(buffer, format="JPEG", quality=85, subsampling=0, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
