"""The tables of the `maskcodec` suite on the terminal."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from maskcodec_contenders import OURS, PUBLISHED

Row = dict[str, Any]
LAYOUTS = ("by rows", "by columns")  # of compositions, at the end of their names
# What a ratio is shown over in the tables, in this order; the result file has all of them.
SHOWN = (PUBLISHED, "scipy.fft", "torch-dct", "dense product")


def print_facts(facts: dict[str, Any]) -> None:
    """What was found on this machine, and what is measured."""
    print(facts["backend"])
    for name, state in facts["peers"].items():
        left_out = "" if state[0].isdigit() else ": what needs it is left out"
        print(f"{name}: {state}{left_out}")
    for name, shares in facts["scenes"].items():
        mean, median = shares["mean_box_share"], shares["median_box_share"]
        print(
            f"scene {name}: {shares['masks']} boxes, {mean:.1%} of the image on average "
            f"(median {median:.1%}), filled to {shares['mean_fill']:.0%}"
        )


def print_times(title: str, rows: list[Row]) -> None:
    """Everything measured of one step, ours first, with their ratios to some of the others.

    "differs" is the largest error of coefficients, or how many pixels are not those of the
    definition in float64, or how many strings not those of our masks pasted and encoded in NumPy.
    "cores" is processor time over time: 2 tells of two threads, 0.5 of others on the machine.
    """
    bases = baselines(rows)
    limited = any("times_limit" in row for row in rows)
    print(f"\n{title} (us a mask)")
    print(
        f"{'implementation':33}{'median':>9}{'IQR':>8}{'least':>9}{'differs':>9}{'cores':>6}"
        + "".join(f"{f'x {name}':>{len(name) + 4}}" for name in bases)
        + (f"{'of limit':>10}" if limited else "")
    )
    for row in sorted(rows, key=lambda row: not row["implementation"].startswith(OURS)):
        difference = "" if row["difference"] is None else f"{row['difference']:.2g}"
        ratios = row.get("speedup_over", {})
        line = (
            f"{row['implementation']:33}{row['median_us']:9.1f}{row['iqr_us']:8.1f}"
            f"{row['least_us']:9.1f}{difference:>9}{row['cores']:6.1f}"
        )
        if ratios:
            line += "".join(f"{ratios[name]['median']:{len(name) + 4}.1f}" for name in bases)
        if "times_limit" in row:
            line += f"{row['times_limit']['median']:10.2f}"
        print(line)


def print_products(rows: list[Row]) -> None:
    """The arithmetic that times are held against."""
    for row in rows:
        print(f"{row['implementation']}: {row['gflop_s']:.0f} GFLOP/s ({row['iqr_gflop_s']:.0f})")


def baselines(rows: list[Row]) -> list[str]:
    """Whom ours are compared with in a table: some by name, and the quickest composition."""
    names = {row["implementation"] for row in rows}
    chosen = [name for name in SHOWN if name in names]
    return chosen + [best for best in map(best_compositions(rows).get, LAYOUTS) if best]


def best_compositions(rows: list[Row]) -> dict[str, str]:
    """The quickest composition of other libraries, of each layout."""
    best = {}
    for layout in LAYOUTS:
        of_layout = [row for row in rows if row["implementation"].endswith(layout)]
        if of_layout:
            best[layout] = min(of_layout, key=lambda row: row["median_us"])["implementation"]
    return best


def print_memory(title: str, rows: list[Row]) -> None:
    """Memory that is needed beside what is given, and the time where it was taken."""
    print(f"\n{title}")
    columns = f"{'masks':>8}{'extra MB':>10}{'traced MB':>11}{'us a mask':>11}"
    print(f"{'step':14}{'implementation':27}{columns}")
    for row in rows:
        print(
            f"{row['step']:14}{row['implementation']:27}{row['masks']:8}"
            f"{megabytes(row, 'extra_bytes'):>10}{megabytes(row, 'traced_bytes'):>11}"
            + (f"{row['best_us']:11.1f}" if "best_us" in row else "")
        )


def megabytes(row: Row, kind: str) -> str:
    return f"{row[kind] / 1e6:.1f}" if kind in row else ""


def print_imports(rows: list[Row]) -> None:
    """What an import takes, and that nothing heavy came along."""
    print(f"\nimport, in new processes\n{'module':27}{'ms':>9}{'IQR':>8}  brings")
    for row in rows:
        brought = ", ".join(row["brings"]) or "neither torch nor SciPy"
        print(f"{row['implementation']:27}{row['median_ms']:9.1f}{row['iqr_ms']:8.1f}  {brought}")


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A figure that version 0.3 was to reach: at least, or at most."""

    text: str
    value: float | None  # None where it was not measured
    least: float | None = None
    most: float | None = None

    def line(self) -> str:
        bound = f"at least {self.least:g}" if self.least else f"at most {self.most:g}"
        if self.value is None:
            return f"{self.text:60}{bound:>14}{'':>10}  not measured"
        reached = self.value >= self.least if self.least else self.value <= (self.most or 0)
        return f"{self.text:60}{bound:>14}{self.value:10.4g}  {'reached' if reached else 'MISSED'}"


def print_goals(rows: list[Row]) -> None:
    """The figures beside what was wanted."""
    print("\ngoals (a ratio is how many times as fast)")
    for goal in goals(rows):
        print(goal.line())


def goals(rows: list[Row]) -> Iterable[Goal]:
    def find(step: str, name: str = OURS, **facts: Any) -> Row:
        wanted = {"step": step, "implementation": name, **facts}
        found = (row for row in rows if wanted.items() <= row.items())
        return next(found, {})

    def over(row: Row, other: str | None) -> float | None:
        return row.get("speedup_over", {}).get(other, {}).get("median")

    for step, published in (("encode", 12), ("decode", 250)):
        row = find(step, masks=100)
        yield Goal(text=f"{step}, x published", value=over(row, PUBLISHED), least=published)
        yield Goal(text=f"{step}, x SciPy", value=over(row, "scipy.fft"), least=4)
        limit = row.get("times_limit", {}).get("median")
        yield Goal(text=f"{step}, of the time of a product as large", value=limit, most=1.5)
    refined = find("refine", f"{OURS} refine=10").get("median_us")
    yield Goal(text="encode with refine=10, us a mask", value=refined, most=1000)
    for size, published in (("480x640", 70), ("800x1333", 40)):
        row = find("rle", image_size=size)
        only = find("rle", f"{OURS} NumPy only", image_size=size)
        text = f"rle at {size}"
        yield Goal(text=f"{text}, x published", value=over(row, PUBLISHED), least=published)
        yield Goal(text=f"{text}, NumPy only, x published", value=over(only, PUBLISHED), least=15)
        best = best_compositions([row for row in rows if row.get("image_size") == size])
        for layout in LAYOUTS:
            name = best.get(layout, layout)
            yield Goal(text=f"{text}, x {name}", value=over(row, name), least=8)
    for name in (OURS, f"{OURS} NumPy only"):
        form = name.removeprefix(OURS)
        extra = megabytes_or_none(find("memory", name))
        yield Goal(text=f"rle at 800x1333{form}, extra memory in MB", value=extra, most=10)
    for step in ("batch encode", "batch decode", "batch rle"):
        batches = [row for row in rows if row["step"] == step]
        if not batches:
            continue
        few, many = batches[0], batches[-1]
        text = f"{step}, {many['masks']:,} masks"
        slower = many["best_us"] / few["best_us"]
        yield Goal(
            text=f"{text}, time a mask over that of {few['masks']:,}", value=slower, most=1.2
        )
        yield Goal(text=f"{text}, extra memory in MB", value=megabytes_or_none(many), most=10)
    yield Goal(text="import, ms", value=find("import").get("median_ms"), most=200)


def megabytes_or_none(row: Row) -> float | None:
    return row["extra_bytes"] / 1e6 if "extra_bytes" in row else None
