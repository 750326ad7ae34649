"""Folders of other annotation tools → COCO layout."""

from .convert import Conversion as Conversion
from .convert import convert as convert
from .convert import detect_format as detect_format
from .source import Format as Format
