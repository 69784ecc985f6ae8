#!/usr/bin/env python3
"""Latency before and after the collapse of every network that a grid has trained, into docs/results/GRID_latency.json.

    bench/experiments/latency.py systems [--missing] [--tool build/reducenet]

`bench --threads 1` of runs/GRID/CELL/model.safetensors and deployed.safetensors, batch 1, in our runtime: all networks in turn, several
rounds, and the median of each. Where those files are gone and only the result is left, the same recipe makes the network again in one
epoch on 256 generated images: another network by its weights, the same by its layers (`"weights": "untrained"` in the JSON; not for
masks learned from the data).
"""
import argparse
import json
import pathlib
import shlex
import statistics
import subprocess
import tempfile

from run import ROOT, commit, cpu_model, grid_cells, tool_json

FEW_IMAGES = ["--data", "generated:256", "--set", "data.validation=64", "--set", "train.epochs=1", "--set", "optimizer.warmup=0",
              "--set", "finetune.epochs=0", "--set", "finetune.merge=false"]
ROUNDS = 11


def quietly(tool, *arguments):
    return tool_json(tool, map(str, arguments), subprocess.DEVNULL)


def make_again(tool, command, target, out):
    """The network of `./reducenet train … --data PATH`, trained on next to nothing and collapsed, in the folder `out`."""
    words = shlex.split(command)
    quietly(tool, *words[1:words.index("--data")], *FEW_IMAGES, "--out", out)
    quietly(tool, "collapse", out / "model.safetensors", "-o", out / "deployed.safetensors", "--to", target)


def measure(tool, folders):
    """{name: {"trained_ms", "deployed_ms"}} of the networks in {name: folder}."""
    files = {"trained_ms": "model.safetensors", "deployed_ms": "deployed.safetensors"}
    times = {name: {key: [] for key in files} for name in folders}
    for turn in range(ROUNDS):
        for name, folder in folders.items():
            for key, file in files.items():
                times[name][key].append(quietly(tool, "bench", folder / file, "--threads", "1", "--seconds", "0.3")["median_ms"])
        print(f"round {turn + 1} of {ROUNDS}", flush=True)
    return {name: {key: statistics.median(values) for key, values in of.items()} for name, of in times.items()}


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
    with tempfile.TemporaryDirectory() as made:
        folders, weights = {}, {}
        for result in sorted((ROOT / "docs/results" / options.grid).glob("*.json")):
            name, folder = result.stem, ROOT / "runs" / options.grid / result.stem
            if name in cells:
                continue
            weights[name] = "trained" if (folder / "deployed.safetensors").exists() else "untrained"
            if weights[name] == "untrained":
                record, folder = json.loads(result.read_text()), pathlib.Path(made) / name
                make_again(tool, record["command"], targets[record["cell"]].get("collapse", "module"), folder)
            folders[name] = folder
        for name, ms in measure(tool, folders).items():
            cells[name] = {**ms, "weights": weights[name], "commit": commit()}
            print(f"{name}: {ms['trained_ms']:.3f} → {ms['deployed_ms']:.3f} ms")
    record = {"cells": dict(sorted(cells.items())), "command": f"bench/experiments/latency.py {options.grid}",
              "commit": commit(), "machine": cpu_model()}
    target.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
