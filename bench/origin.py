"""Where a figure comes from: for benchmarks that keep results."""
import pathlib
import platform
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[1]


def commit():
    return subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, check=True, capture_output=True,
                          text=True).stdout.strip()


def cpu_model():
    """Name, family and model: a name by itself may stand for several generations."""
    said = {}
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        said.setdefault(key.strip(), value.strip())
    if "model name" not in said:
        return platform.machine()
    generation = [f"{what} {said[key]}" for what, key in (("family", "cpu family"), ("model", "model")) if key in said]
    return ", ".join([said["model name"], " ".join(generation)]) if generation else said["model name"]
