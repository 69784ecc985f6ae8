#!/usr/bin/env python3
"""Runs a squeeze and keeps its steps as one small JSON file.

    bench/experiments/squeeze.py squeeze-narrow --data PATH

`reducenet squeeze recipes/cifar10-NAME.toml` with its folder in runs/NAME (run again, it goes on where it was); what it wrote
is then copied, with commit and machine, to docs/results/NAME.json. `docs/render.py` makes the table.
"""
import argparse
import json
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from origin import ROOT, commit, cpu_model  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="a recipe, recipes/cifar10-NAME.toml")
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--tool", type=pathlib.Path, default=ROOT / "build/reducenet")
    options = parser.parse_args()
    recipe, out, began = f"recipes/cifar10-{options.name}.toml", ROOT / "runs" / options.name, commit()
    if not (ROOT / recipe).exists():
        parser.error(f"there is no {recipe}")
    done = subprocess.run([options.tool.resolve(), "squeeze", recipe, "--data", options.data.resolve(), "--out", out], cwd=ROOT)
    if done.returncode == 0:
        result = json.loads((out / "squeeze.json").read_text())
        result.update(recipe=(ROOT / recipe).read_text(), command=f"bench/experiments/squeeze.py {options.name} --data PATH",
                      commit=began, machine=cpu_model())
        (ROOT / f"docs/results/{options.name}.json").write_text(json.dumps(result, indent=1) + "\n")
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
