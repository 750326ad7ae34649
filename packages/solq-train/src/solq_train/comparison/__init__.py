"""Finished runs on the same data → where they differ: numbers, settings, images."""

from .bootstrap import Interval as Interval
from .bootstrap import intervals as intervals
from .differences import CategoryDifference as CategoryDifference
from .differences import category_differences as category_differences
from .differences import category_row as category_row
from .differences import number_rows as number_rows
from .differences import setting_rows as setting_rows
from .differences import time_rows as time_rows
from .differences import titles as titles
from .images import ImageDifference as ImageDifference
from .images import image_differences as image_differences
from .page import Comparison as Comparison
from .page import write_comparison as write_comparison
from .runs import CommonData as CommonData
from .runs import FinishedRun as FinishedRun
from .runs import common_data as common_data
from .runs import read_runs as read_runs
