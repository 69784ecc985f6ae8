#!/usr/bin/env python3
"""Runs a frontier's grid, or part of it, and keeps one small JSON file a cell.

    bench/experiments/frontier.py frontier11-narrow --data PATH [--only '*-s0']

`reducenet frontier recipes/cifar10-NAME.toml` with its folder in runs/NAME; every finished cell is then copied, with the
commit, to docs/results/NAME/. With --measure nothing is trained: what was deployed is timed again, on a quiet machine.
`docs/render.py` makes the tables.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from origin import ROOT, commit  # noqa: E402


def keep(cell, folder):
    """A copy of a finished cell's JSON with the commit that trained it."""
    target = folder / cell.name
    result = json.loads(cell.read_text())
    trained = json.loads(target.read_text()).get("commit") if target.exists() else commit()
    part = target.with_suffix(f".{os.getpid()}")  # another process may be copying the same cells
    part.write_text(json.dumps({**result, "commit": trained}, indent=1) + "\n")
    part.replace(target)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="a recipe, recipes/cifar10-NAME.toml")
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--only", default="*", help="cells whose name matches, and what they need")
    parser.add_argument("--measure", action="store_true", help="time the deployed networks again")
    parser.add_argument("--tool", type=pathlib.Path, default=ROOT / "build/reducenet")
    options = parser.parse_args()
    recipe, out = f"recipes/cifar10-{options.name}.toml", ROOT / "runs" / options.name
    if not (ROOT / recipe).exists():
        parser.error(f"there is no {recipe}")
    which = ["--measure"] if options.measure else ["--only", options.only]
    done = subprocess.run([options.tool.resolve(), "frontier", recipe, "--data", options.data.resolve(), "--out", out, *which], cwd=ROOT)
    folder = ROOT / "docs/results" / options.name
    folder.mkdir(parents=True, exist_ok=True)
    for cell in sorted((out / "cells").glob("*.json")):
        keep(cell, folder)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
