"""What every table of the docs is made with."""
import math
import pathlib
import statistics

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs/results"


def rows(header, body):
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(str(c) for c in row) + " |" for row in body])


def spread(values, digits=2):
    """mean ± sample standard deviation, where there are several."""
    mean = statistics.mean(values)
    if len(values) == 1:
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} ± {statistics.stdev(values):.{digits}f}"


def milliseconds(value):
    """Three decimals; below a hundredth as many as show two digits."""
    return f"{value:.{max(3, 1 - math.floor(math.log10(value)))}f}"
