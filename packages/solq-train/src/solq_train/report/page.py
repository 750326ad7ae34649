"""What pages share: templates that find each other, style, and filters for what is on them."""

from __future__ import annotations

import base64
import io

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from PIL import Image

from solq_train.metrics import format_ap

LARGEST_SIDE = 640  # pixels of an embedded picture


def page_template(name: str) -> Template:
    """A template of this package, by its path in it; it may import and include others."""
    environment = Environment(
        loader=PackageLoader("solq_train", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters |= {"data_uri": data_uri, "ap": format_ap, "duration": format_duration}
    return environment.get_template(name)


def format_duration(seconds: float) -> str:
    """The time in its two largest units."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def data_uri(image: Image.Image) -> str:
    """The picture itself as an address, no larger than the page shows it."""
    picture = image.convert("RGB")
    picture.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    # Full colour resolution: chroma subsampling smears thin coloured outlines.
    picture.save(buffer, format="JPEG", quality=85, subsampling=0, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
