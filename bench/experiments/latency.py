#!/usr/bin/env python3
"""Latency before and after the collapse of every network that a grid has trained, into docs/results/GRID_latency.json.

    bench/experiments/latency.py systems [--tool build/reducenet]

`bench --threads 1` of runs/GRID/CELL/model.safetensors and deployed.safetensors, batch 1, in our runtime.
"""
import argparse
import json
import pathlib
import subprocess

from run import ROOT, commit, cpu_model


def milliseconds(tool, model):
    done = subprocess.run([str(tool), "bench", str(model), "--threads", "1", "--json"], check=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL)
    return json.loads(done.stdout)["median_ms"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grid")
    parser.add_argument("--tool", type=pathlib.Path, default=ROOT / "build/reducenet")
    options = parser.parse_args()
    cells = {}
    for folder in sorted((ROOT / "runs" / options.grid).iterdir()):
        files = folder / "model.safetensors", folder / "deployed.safetensors"
        if all(file.exists() for file in files):
            before, after = (milliseconds(options.tool.resolve(), file) for file in files)
            cells[folder.name] = {"trained_ms": before, "deployed_ms": after}
            print(f"{folder.name}: {before:.3f} → {after:.3f} ms", flush=True)
    target = ROOT / f"docs/results/{options.grid}_latency.json"
    record = {"cells": cells, "command": f"bench/experiments/latency.py {options.grid}", "commit": commit(),
              "machine": cpu_model()}
    target.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
