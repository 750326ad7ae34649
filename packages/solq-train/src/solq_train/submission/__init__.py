"""A model on images without annotations → the file of results that COCO's server takes."""

from .archive import Kind as Kind
from .archive import archive_name as archive_name
from .archive import image_set_of as image_set_of
from .archive import write_archive as write_archive
from .check import MOST_DETECTIONS as MOST_DETECTIONS
from .check import Problems as Problems
from .check import check_archive as check_archive
from .finding import find_objects as find_objects
from .parts import Parts as Parts
from .parts import manifest_of as manifest_of
