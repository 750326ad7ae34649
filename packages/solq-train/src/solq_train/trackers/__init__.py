"""Trackers: what shows the curves of runs elsewhere; each an extra, none used unless asked for."""

from solq_train.trackers.tracker import EXTRAS as EXTRAS
from solq_train.trackers.tracker import Status as Status
from solq_train.trackers.tracker import Tracker as Tracker
from solq_train.trackers.tracker import check_trackers as check_trackers
from solq_train.trackers.tracker import open_tracker as open_tracker
