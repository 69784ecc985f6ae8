#!/usr/bin/env python3
"""Latency before and after the collapse of every network that a grid has trained, into docs/results/GRID_latency.json.

    bench/experiments/latency.py systems [--missing] [--tool build/reducenet]

`bench --threads 1` of runs/GRID/CELL/model.safetensors and deployed.safetensors, batch 1, in our runtime. Where those files are gone
and only the result is left, the same recipe makes the network again in one epoch on 256 generated images: another network by its
weights, the same by its layers (`"weights": "untrained"` in the JSON; not for masks learned from the data).
"""
import argparse
import json
import pathlib
import shlex
import subprocess
import tempfile

from run import ROOT, commit, cpu_model, grid_cells, tool_json

FEW_IMAGES = ["--data", "generated:256", "--set", "data.validation=64", "--set", "train.epochs=1", "--set", "optimizer.warmup=0"]


def quietly(tool, *arguments):
    return tool_json(tool, map(str, arguments), subprocess.DEVNULL)


def make_again(tool, command, target, out):
    """The network of `./reducenet train … --data PATH`, trained on next to nothing and collapsed, in the folder `out`."""
    words = shlex.split(command)
    quietly(tool, *words[1:words.index("--data")], *FEW_IMAGES, "--out", out)
    quietly(tool, "collapse", out / "model.safetensors", "-o", out / "deployed.safetensors", "--to", target)


def measure(tool, folder):
    before, after = (quietly(tool, "bench", folder / file, "--threads", "1")["median_ms"]
                     for file in ("model.safetensors", "deployed.safetensors"))
    return {"trained_ms": before, "deployed_ms": after}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grid", help="a folder of docs/results")
    parser.add_argument("--tool", type=pathlib.Path, default=ROOT / "build/reducenet")
    parser.add_argument("--missing", action="store_true", help="keep what this kind of CPU has measured before, measure the rest")
    options = parser.parse_args()
    tool, targets, cells = options.tool.resolve(), grid_cells(options.grid), {}
    target = ROOT / f"docs/results/{options.grid}_latency.json"
    if options.missing and target.exists():
        before = json.loads(target.read_text())
        if before["machine"] != cpu_model():
            parser.error(f"{target} was measured on {before['machine']}")
        cells = {name: {"commit": before["commit"], **cell} for name, cell in before["cells"].items()}
    for result in sorted((ROOT / "docs/results" / options.grid).glob("*.json")):
        name, folder = result.stem, ROOT / "runs" / options.grid / result.stem
        if name in cells:
            continue
        record = json.loads(result.read_text())
        if (folder / "deployed.safetensors").exists():
            cells[name] = {**measure(tool, folder), "weights": "trained"}
        else:
            with tempfile.TemporaryDirectory() as out:
                make_again(tool, record["command"], targets[record["cell"]].get("collapse", "module"), pathlib.Path(out))
                cells[name] = {**measure(tool, pathlib.Path(out)), "weights": "untrained"}
        cells[name]["commit"] = commit()
        print(f"{name}: {cells[name]['trained_ms']:.3f} → {cells[name]['deployed_ms']:.3f} ms", flush=True)
    record = {"cells": dict(sorted(cells.items())), "command": f"bench/experiments/latency.py {options.grid}",
              "commit": commit(), "machine": cpu_model()}
    target.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
