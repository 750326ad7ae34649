"""A finished run → one HTML page that needs no network."""

from .history import History as History
from .history import read_metrics as read_metrics
from .report import AttentionPicture as AttentionPicture
from .report import ExamplePicture as ExamplePicture
from .report import RunReport as RunReport
from .report import write_report as write_report
