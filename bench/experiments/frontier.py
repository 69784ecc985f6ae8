#!/usr/bin/env python3
"""Runs a frontier's grid, or part of it, and keeps one small JSON file a cell.

    bench/experiments/frontier.py frontier11-narrow --data PATH [--only '*-s0']

`reducenet frontier recipes/cifar10-NAME.toml` with its folder in runs/NAME; every finished cell is then copied, with the
commit, to docs/results/NAME/. With --measure nothing is trained: what was deployed is timed again, on a quiet machine.
`docs/render.py` makes the tables.
"""
import json
import os
import sys

from named_recipe import parser_for, run_verb
from origin import ROOT, commit


def keep(cell, folder):
    """A copy of a finished cell's JSON with the commit that trained it."""
    target = folder / cell.name
    result = json.loads(cell.read_text())
    trained = json.loads(target.read_text()).get("commit") if target.exists() else commit()
    part = target.with_suffix(f".{os.getpid()}")  # another process may be copying the same cells
    part.write_text(json.dumps({**result, "commit": trained}, indent=1) + "\n")
    part.replace(target)


def main():
    parser = parser_for(__doc__)
    parser.add_argument("--only", default="*", help="cells whose name matches, and what they need")
    parser.add_argument("--measure", action="store_true", help="time the deployed networks again")
    options = parser.parse_args()
    _, out, code = run_verb("frontier", parser, options, *(["--measure"] if options.measure else ["--only", options.only]))
    folder = ROOT / "docs/results" / options.name
    folder.mkdir(parents=True, exist_ok=True)
    for cell in sorted((out / "cells").glob("*.json")):
        keep(cell, folder)
    sys.exit(code)


if __name__ == "__main__":
    main()
