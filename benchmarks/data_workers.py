"""Memory that the records of an annotation file take in a process and its loader workers.

Linux only: a page that n processes share counts for 1/n in each (Pss), so the sum is what the
machine spends.
"""

import multiprocessing
import re
from collections.abc import Sequence
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import numpy as np
import process_memory

from solq_train.data import read_coco

WORKERS = (1, 8)
# What pycocotools reads is pickled object by object for a spawned worker: forked ones only.
METHODS = {"read_coco": ("fork", "spawn"), "pycocotools": ("fork",)}


def measure_workers(reader: str, path: Path) -> list[dict[str, Any]]:
    """Bytes of this process and its workers, for each way to start and each number of them.

    Without those that the machine has no memory for.
    """
    cases = [(method, count) for method in METHODS[reader] for count in WORKERS]
    without = [_bytes_with_workers([], method, count) for method, count in cases]
    records = _coco_tool(path) if reader == "pycocotools" else read_coco(path).images
    rows = []
    for (method, count), base in zip(cases, without, strict=True):
        # Each worker comes to have a copy of its own: of COCO's own size, 21 GB with eight.
        copies = 1 + count if reader == "pycocotools" else 0
        if copies * _pss("self") > process_memory.available():
            continue
        total = _bytes_with_workers(records, method, count)
        rows.append(
            {
                "reader": reader,
                "start_method": method,
                "workers": count,
                "total_bytes": total,
                "bytes_of_records": total - base,
            }
        )
    return rows


def _coco_tool(path: Path) -> Any:
    from pycocotools.coco import COCO

    return COCO(path)


def _bytes_with_workers(records: Any, method: str, count: int) -> int:
    """The sum of Pss when every worker has looked at every record."""
    context: Any = multiprocessing.get_context(method)
    done, leave = context.SimpleQueue(), context.Event()
    workers = [
        context.Process(target=_work, args=(records, seed, done, leave)) for seed in range(count)
    ]
    for worker in workers:
        worker.start()
    for _ in workers:
        done.get()
    total = sum(_pss(process) for process in ("self", *(worker.pid for worker in workers)))
    leave.set()
    for worker in workers:
        worker.join()
    return total


def _work(records: Any, seed: int, done: Any, leave: Event) -> None:
    random = np.random.default_rng(seed)
    if isinstance(records, Sequence):
        for place in random.permutation(len(records)).tolist():
            for annotation in records[place].annotations:
                _look(annotation.segmentation)
    else:
        for image_id in random.permutation(records.getImgIds()).tolist():
            for entry in records.loadAnns(records.getAnnIds(imgIds=image_id)):
                _look(entry["segmentation"])
    done.put(seed)
    leave.wait()


def _look(polygons: list[list[float]]) -> None:
    """Takes every number once, as whatever makes a mask of them does."""
    for polygon in polygons:
        np.asarray(polygon)


def _pss(process: object) -> int:
    text = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii")
    match = re.search(r"^Pss:\s+(\d+) kB$", text, re.MULTILINE)
    assert match
    return int(match[1]) * 1024
