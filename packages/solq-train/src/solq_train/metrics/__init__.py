"""Instances → AP, and the best AP that the mask codec allows."""

from .ap_stats import IOU_THRESHOLDS as IOU_THRESHOLDS
from .ap_stats import RECALLS as RECALLS
from .ap_stats import SIZES as SIZES
from .ap_stats import ApStats as ApStats
from .ap_stats import CocoMetrics as CocoMetrics
from .ap_stats import EvaluatedCategory as EvaluatedCategory
from .ap_stats import PrecisionRecall as PrecisionRecall
from .ap_stats import Size as Size
from .ap_stats import format_ap as format_ap
from .ap_stats import format_table as format_table
from .ceiling import ceiling_numbers as ceiling_numbers
from .ceiling import codec_ceiling as codec_ceiling
from .coco_ap import CocoEvaluator as CocoEvaluator
from .coco_ap import coco_metrics as coco_metrics
from .coco_ap import evaluate_detections as evaluate_detections
from .detections import Detection as Detection
from .detections import Detections as Detections
from .scoring import Evaluator as Evaluator
