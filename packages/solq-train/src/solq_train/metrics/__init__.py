"""Instances → AP, and the best AP that the mask codec allows."""

from .ceiling import ceiling_numbers as ceiling_numbers
from .ceiling import codec_ceiling as codec_ceiling
from .coco_ap import ApStats as ApStats
from .coco_ap import CocoEvaluator as CocoEvaluator
from .coco_ap import CocoMetrics as CocoMetrics
from .coco_ap import EvaluatedCategory as EvaluatedCategory
from .coco_ap import coco_metrics as coco_metrics
from .coco_ap import evaluate_detections as evaluate_detections
from .coco_ap import format_ap as format_ap
from .coco_ap import format_table as format_table
