"""Images and annotation files → batches: read, check, transform, collate; and the shapes to try."""

from .check import check_coco as check_coco
from .coco import CocoAnnotation as CocoAnnotation
from .coco import CocoFile as CocoFile
from .coco import CocoImage as CocoImage
from .coco import annotation_mask as annotation_mask
from .coco import read_coco as read_coco
from .collate import collate as collate
from .dataset import CocoInstances as CocoInstances
from .dataset import EpochSampler as EpochSampler
from .defects import DataError as DataError
from .defects import DefectKind as DefectKind
from .images import load_image as load_image
from .layout import Split as Split
from .layout import find_split as find_split
from .records import Batch as Batch
from .records import Target as Target
from .report import CategoryCount as CategoryCount
from .report import DataReport as DataReport
from .report import DataSummary as DataSummary
from .report import DefectCount as DefectCount
from .shapes import make_shapes as make_shapes
from .transforms import EvalTransform as EvalTransform
from .transforms import TrainTransform as TrainTransform
from .transforms import Transform as Transform
