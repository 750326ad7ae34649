"""A finished run → one HTML page that needs no network."""

from .report import ExamplePicture as ExamplePicture
from .report import History as History
from .report import RunReport as RunReport
from .report import read_metrics as read_metrics
from .report import write_report as write_report
