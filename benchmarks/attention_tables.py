"""The tables of the `ops` suite on the terminal."""

from itertools import groupby
from typing import Any

Row = dict[str, Any]
OURS = ("solq_ops", "solq_ops fused")


def print_facts(facts: dict[str, Any]) -> None:
    """What was found on this machine."""
    print("\n".join(facts["backend"]))
    for title, state in facts["peers"].items():
        print(f"{title}: {state}")


def print_group(title: str, rows: list[Row]) -> None:
    """Everything measured of one case and kind of points."""
    baselines = baselines_of(rows)
    print(f"\n{title} (times in ms, memory in MB, rates in GB/s)")
    print(
        f"{'pass':9}{'dtype':9}{'implementation':21}{'median':>10}{'IQR':>8}"
        + "".join(f"{f'x {name}':>{width(name)}}{'IQR':>6}" for name in baselines)
        + f"{'memory':>9}{'saved':>8}{'rate':>7}{'gathers':>9}{'error':>9}"
    )
    for row in rows:
        print(
            f"{row['pass']:9}{row['dtype']:9}{row['implementation']:21}"
            f"{row['median_us'] / 1e3:10.3f}{row['iqr_us'] / 1e3:8.3f}"
            + "".join(speedup(row, name) for name in baselines)
            + f"{megabytes(row, 'extra_bytes'):>9}{megabytes(row, 'saved_bytes'):>8}"
            + f"{row['gb_s']['compulsory']:7.1f}{row['gb_s']['gathered']:9.1f}"
            + f"{max(row['relative_errors'].values()):9.1e}"
        )


def baselines_of(rows: list[Row]) -> list[str]:
    """Those that any row is compared with; grid_sample, which everything has, comes first."""
    names = dict.fromkeys(name for row in rows for name in row["speedup_over"])
    return sorted(names, key=lambda name: name != "grid_sample")


def width(baseline: str) -> int:
    return len(baseline) + 4


def speedup(row: Row, baseline: str) -> str:
    """How many times as fast as a baseline, and the spread of it."""
    if baseline not in row["speedup_over"]:
        return " " * (width(baseline) + 6)
    ratio = row["speedup_over"][baseline]
    return f"{ratio['median']:{width(baseline)}.2f}{ratio['iqr']:6.2f}"


def megabytes(row: Row, kind: str) -> str:
    return f"{row[kind] / 1e6:.1f}" if kind in row else ""


def print_summary(rows: list[Row], limits: dict[str, float]) -> None:
    """One line for each case, kind of points, dtype and pass: both of our forms."""
    ours = [row for row in rows if row["implementation"] in OURS]
    baselines = baselines_of(ours)
    columns = f"{'ms':>10}" + "".join(f"{f'x {name}':>{width(name)}}" for name in baselines)
    columns += f"{'x float32':>11}"
    print(f"\n{'':52}" + "".join(f"{name:>{len(columns)}}" for name in OURS))
    print(f"{'case':26}{'points':8}{'dtype':9}{'pass':9}" + columns * len(OURS))

    def line(row: Row) -> tuple[str, ...]:
        return tuple(row[key] for key in ("case", "locations", "dtype", "pass"))

    order = {text: place for place, text in enumerate(dict.fromkeys(map(line, ours)))}
    for (case, locations, dtype, direction), forms in groupby(
        sorted(ours, key=lambda row: order[line(row)]), line
    ):
        print(
            f"{case:26}{locations:8}{dtype:9}{direction:9}"
            + "".join(summary(row, baselines) for row in forms)
        )
    print("\nGB/s of this machine: " + ", ".join(f"{name} {limits[name]:.0f}" for name in limits))


def summary(row: Row, baselines: list[str]) -> str:
    """A form's time and how many times as fast as the others it is."""
    ratios = [
        f"{row['speedup_over'][name]['median']:{width(name)}.1f}"
        if name in row["speedup_over"]
        else " " * width(name)
        for name in baselines
    ]
    float32 = row.get("speedup_over_float32")
    ratios.append(f"{float32['median']:11.2f}" if float32 else " " * 11)
    return f"{row['median_us'] / 1e3:10.3f}" + "".join(ratios)
