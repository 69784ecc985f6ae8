#!/usr/bin/env python3
"""Keeps what `reducenet prune --json` printed, or its folder's prune.json, as docs/results/pruning/NAME.json.

    bench/pruning/record.py prune.json NAME --trained COMMAND --command COMMAND

Points are left out; beside the rest stand the commit and the two commands that make the figures again.
"""
import argparse
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from origin import ROOT, commit  # noqa: E402

LEFT_OUT = {"points", "regions", "families", "kept", "out", "interrupted"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("name")
    parser.add_argument("--trained", required=True, help="the command that trained the network")
    parser.add_argument("--command", required=True, help="the command that measured it")
    parser.add_argument("--commit", help="where the measured build came from (HEAD)")
    given = parser.parse_args()
    result = {k: v for k, v in json.loads(given.source.read_text()).items() if k not in LEFT_OUT}
    result |= {"commit": given.commit or commit(), "trained": given.trained, "command": given.command}
    path = ROOT / f"docs/results/pruning/{given.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
