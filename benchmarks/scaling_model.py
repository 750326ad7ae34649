"""How training scales: a step's time on n GPUs from counts, measurements and stated assumptions.

Every formula behind docs/scaling.md. No GPU was at hand: what comes out are predictions.
"""

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solq_train.report.charts import COLORS, Series, line_chart

COUNTED_IMAGE = 800 * 1088  # pixels of the image that operations are counted on
PUBLISHED_BATCH = 32
GPUS = (8, 16, 32, 64, 128, 256, 512, 1024)
PRESETS = ("r50", "r101", "swin_l")


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Assumptions: nodes of 8 H100 SXM or H200, one adapter of 400 Gb/s for each GPU.

    Vendors' peaks: 989 TFLOP/s dense bfloat16 and 450 GB/s of NVLink each way (NVIDIA H100 data
    sheet), 400 Gb/s = 50 GB/s (NDR InfiniBand or 400G Ethernet).
    """

    peak_flops: float = 989e12
    utilisation: float = 0.25  # of the peak, in convolutions, products, gathers alike
    gpus_per_node: int = 8
    nvlink: float = 450e9
    network: float = 50e9
    attained: float = 0.8  # share of both bandwidths
    hop: float = 10e-6  # seconds of latency for each doubling of the processes
    launch: float = 5e-6  # seconds of the CPU for each operator
    cores_per_gpu: int = 16
    bucket: float = 25e6  # bytes that DDP exchanges at once


@dataclass(frozen=True, kw_only=True)
class Network:
    """What is counted of a network."""

    forward_flops: float  # of one image of COUNTED_IMAGE pixels
    gradient_bytes: float  # float32
    operators: float  # of a forward pass


@dataclass(frozen=True, kw_only=True)
class Step:
    """Seconds of a step, and what it waits for."""

    compute: float
    launches: float
    exchange: float  # of the gradients, all of it
    exposed: float  # of that, not hidden behind the backward pass
    loading: float

    @property
    def seconds(self) -> float:
        return max(max(self.compute, self.launches) + self.exposed, self.loading)

    @property
    def bound(self) -> str:
        """What the step would have to do less of to become shorter."""
        if self.loading >= max(self.compute, self.launches) + self.exposed:
            return "data loading"
        if self.exposed > max(self.compute, self.launches):
            return "gradients"
        return "operators" if self.launches > self.compute else "compute"


def exchange_seconds(num_bytes: float, gpus: int, cluster: Cluster) -> float:
    """All-reduce: 2 (n - 1) / n of the bytes over the slowest link, and a latency for each bucket.

    Across nodes a ring passes each GPU's own adapter once: the pessimistic end, since several
    rings over all adapters of a node share the bytes.
    """
    link = cluster.nvlink if gpus <= cluster.gpus_per_node else cluster.network
    passed = 2 * (gpus - 1) / gpus * num_bytes / (link * cluster.attained)
    return passed + math.ceil(num_bytes / cluster.bucket) * cluster.hop * math.log2(gpus)


def predict(
    network: Network,
    *,
    gpus: int,
    images_per_gpu: float,
    pixels: float,
    images_per_core_second: float,
    cluster: Cluster,
    gradient_size: float = 1.0,
) -> Step:
    """The step of a network; `pixels` are those of an image with its padding.

    Backward is twice forward. The exchange hides behind backward but for its last bucket;
    `gradient_size` is 0.5 for gradients exchanged in 16 bits.
    """
    forward = images_per_gpu * network.forward_flops * pixels / COUNTED_IMAGE
    compute = 3 * forward / (cluster.peak_flops * cluster.utilisation)
    launches = 3 * network.operators * cluster.launch
    num_bytes = gradient_size * network.gradient_bytes
    exchange = exchange_seconds(num_bytes, gpus, cluster)
    last = exchange_seconds(min(cluster.bucket, num_bytes), gpus, cluster)
    backward = 2 / 3 * max(compute, launches)
    return Step(
        compute=compute,
        launches=launches,
        exchange=exchange,
        exposed=max(last, exchange - backward),
        loading=images_per_gpu / (cluster.cores_per_gpu * images_per_core_second),
    )


def shard_bytes(shapes: list[tuple[int, ...]], trained: list[bool], processes: int) -> int:
    """Of weights, gradients and both moments of AdamW, float32, in the process that holds most.

    Tensors are cut along their first axis; those that are not trained have neither of the latter.
    """
    total = 0
    for shape, is_trained in zip(shapes, trained, strict=True):
        rows = math.ceil(shape[0] / processes) if shape else 1
        total += rows * math.prod(shape[1:]) * 4 * (4 if is_trained else 1)
    return total


def efficiencies(result: dict[str, Any], cluster: Cluster) -> list[dict[str, Any]]:
    """Rows for each preset, number of GPUs and way to scale.

    Efficiency is held against as many images by a GPU alone at 32 images a step, whose operators
    are hidden: images a second of each GPU, beside those of the one.
    """
    rows = {row["preset"]: row for row in result["rows"] if row["part"] == "presets"}
    loading = next(row for row in result["rows"] if row["part"] == "loading")
    padding = {row["batch"]: row for row in result["rows"] if row["part"] == "padding"}
    found = []
    for preset in PRESETS:
        counted = rows[preset]
        network = Network(
            forward_flops=counted["gflops"] * 1e9,
            gradient_bytes=counted["gradient_bytes"],
            operators=counted["operators"],
        )
        for gpus in GPUS:
            for scaling in ("strong", "weak", "weak, 16-bit gradients"):
                if scaling == "strong" and gpus > PUBLISHED_BATCH:
                    continue
                batch = PUBLISHED_BATCH if scaling == "strong" else 4 * gpus
                step = predict(
                    network,
                    gpus=gpus,
                    images_per_gpu=batch / gpus,
                    pixels=padding[batch]["padded_pixels"],
                    images_per_core_second=loading["images_per_second"],
                    cluster=cluster,
                    gradient_size=0.5 if "16" in scaling else 1.0,
                )
                reference = predict(
                    network,
                    gpus=2,
                    images_per_gpu=PUBLISHED_BATCH,
                    pixels=padding[PUBLISHED_BATCH]["padded_pixels"],
                    images_per_core_second=loading["images_per_second"],
                    cluster=cluster,
                ).compute
                rate = batch / gpus / step.seconds
                found.append(
                    {
                        "preset": preset,
                        "gpus": gpus,
                        "scaling": scaling,
                        "batch": batch,
                        "efficiency": rate / (PUBLISHED_BATCH / reference),
                        "step_ms": step.seconds * 1e3,
                        "exchange_ms": step.exchange * 1e3,
                        "exposed_ms": step.exposed * 1e3,
                        "bound": step.bound,
                    }
                )
    return found


def table(result: dict[str, Any]) -> str:
    """The predictions in Markdown: at the middle utilisation, with those at its ends."""
    columns = [efficiencies(result, Cluster(utilisation=share)) for share in (0.25, 0.15, 0.35)]
    lines = [
        "| network | scaling | GPUs | batch | step ms | exchange ms | exposed ms | efficiency | "
        "at 15 % / 35 % of peak | bound by |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for middle, low, high in zip(*columns, strict=True):
        lines.append(
            f"| {middle['preset']} | {middle['scaling']} | {middle['gpus']} | {middle['batch']} | "
            f"{middle['step_ms']:.0f} | {middle['exchange_ms']:.1f} | {middle['exposed_ms']:.1f} | "
            f"{middle['efficiency']:.0%} | {low['efficiency']:.0%} / {high['efficiency']:.0%} | "
            f"{middle['bound']} |"
        )
    return "\n".join(lines)


def chart(result: dict[str, Any]) -> str:
    """Efficiency over the GPUs as an SVG file."""
    rows = efficiencies(result, Cluster())
    series = [
        Series(
            name=f"{preset}, {scaling}",
            x=[math.log2(row["gpus"]) for row in own],
            y=[row["efficiency"] for row in own],
            dashed=scaling == "weak",
        )
        for preset in PRESETS
        for scaling in ("strong", "weak")
        for own in [[r for r in rows if (r["preset"], r["scaling"]) == (preset, scaling)]]
    ]
    drawn = line_chart(
        series,
        title="Predicted efficiency",
        x_label="GPUs, as a power of two",
        y_label="efficiency",
        y_range=(0, 1),
    )
    # The page of a report has these colours; a file needs its own.
    colors = ";".join(f"--series-{n}:{color}" for n, color in enumerate(COLORS, start=1))
    style = f'style="background:#fff;color:#222;{colors}"'
    return drawn.replace("<svg", f'<svg xmlns="http://www.w3.org/2000/svg" {style}', 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("result", type=Path, help="a file of the suite `scaling`")
    parser.add_argument("--chart", type=Path, help="the SVG file to write")
    options = parser.parse_args()
    result = json.loads(options.result.read_text(encoding="utf-8"))
    print(table(result))
    if options.chart is not None:
        options.chart.write_text(chart(result), encoding="utf-8")


if __name__ == "__main__":
    main()
