#!/usr/bin/env python3
"""Runs a grid of training experiments and keeps one small JSON file a cell.

    bench/experiments/run.py bench/experiments/foundation.toml --data PATH [--jobs 2] [--only NAME …] [--seed N …] [--device cuda]

Every cell is one command, `reducenet train RECIPE --set …`, then `collapse` and `eval` of what it deployed. A cell whose
result stands in docs/results/GRID/ is skipped; one that was interrupted (Ctrl-C, `timeout -s INT`: exit code 130) resumes
from its checkpoint in runs/GRID/. A cell may start `from` the network of a cell above it, import what it deployed
(`imports`), or learn from it (`teacher`); that cell's folder must lie in runs/GRID/.
`docs/render.py` makes the tables.
"""
import argparse
import concurrent.futures
import json
import pathlib
import shlex
import subprocess
import sys
import tomllib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from origin import ROOT, commit, cpu_model  # noqa: E402


def tool_json(tool, arguments, log):
    """Output of `reducenet ARGUMENTS --json`; exit codes other than 0 are errors."""
    command = [str(tool), *arguments, "--json"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True)
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode}: {shlex.join(command)}")
    return json.loads(done.stdout)


def full_recipe(out, data):
    """Every setting of the run, without where the data lay."""
    return json.loads((out / "result.json").read_text())["recipe"].replace(str(data), data.name)


def grid_cells(name):
    """Every cell of bench/experiments/NAME.toml by its name."""
    grid = tomllib.loads((ROOT / "bench/experiments" / f"{name}.toml").read_text())
    return {cell["name"]: cell for cell in grid["cell"]}


def model_of(grid, cell, seed, file="model"):
    return f"runs/{grid['name']}/{cell}-s{seed}/{file}.safetensors"


def run_cell(tool, grid, cell, seed, data, threads, device, before):
    for needed in {cell.get("from"), cell.get("imports"), cell.get("teacher")} - {None}:
        if f"{needed}-s{seed}" in before:
            before[f"{needed}-s{seed}"].result()
    name = f"{cell['name']}-s{seed}"
    out = ROOT / "runs" / grid["name"] / name
    out.mkdir(parents=True, exist_ok=True)
    settings = grid.get("set", []) + cell.get("set", []) + [f"train.seed={seed}"]
    arguments = ["train", cell["recipe"]]
    if "from" in cell:
        arguments += ["--from", model_of(grid, cell["from"], seed)]
    if "imports" in cell:
        arguments += ["--from", model_of(grid, cell["imports"], seed, "deployed")]
        settings.append("model.arch=import")
    if "teacher" in cell:
        settings.append(f"distill.teacher={model_of(grid, cell['teacher'], seed)}")
    for setting in settings:
        arguments += ["--set", setting]
    shown = f"./reducenet {shlex.join(arguments)} --data {data.name}"
    with open(out / "log.txt", "a") as log:
        resume = ["--resume"] if (out / "checkpoint.safetensors").exists() else []
        began = commit()
        trained = tool_json(
            tool, [*arguments, "--set", f"train.threads={threads}", "--data", str(data), "--out", str(out),
                   "--device", device, *resume], log)
        target = cell.get("collapse", "module")
        collapsed = tool_json(tool, ["collapse", str(out / "model.safetensors"), "-o", str(out / "deployed.safetensors"),
                               "--to", target], log)
        evaluated = tool_json(tool, ["eval", str(out / "deployed.safetensors"), "--data", str(data)], log)
    result = {"grid": grid["name"], "cell": cell["name"], "seed": seed, "command": shown, "commit": began,
              "recipe": full_recipe(out, data),
              "machine": f"{cpu_model()}, {threads} thread(s) of training{'' if device == 'cpu' else ', ' + device}",
              "train": trained,
              "collapse": {k: v for k, v in collapsed.items() if k not in ("refused", "regions", "out")},
              "deployed_top1": evaluated["top1"], "test_images": evaluated["n"]}
    result["train"].pop("out", None)
    if (survivors := out / "survivors.json").exists():
        result["selection"] = json.loads(survivors.read_text())
    target = ROOT / "docs/results" / grid["name"] / f"{name}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grid", type=pathlib.Path)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--jobs", type=int, default=2, help="cells at a time, one thread each (default 2)")
    parser.add_argument("--tool", type=pathlib.Path, default=ROOT / "build/reducenet", help="the program to measure")
    parser.add_argument("--only", action="append", metavar="NAME", help="this cell alone (repeatable, in the grid's order)")
    parser.add_argument("--seed", action="append", type=int, metavar="N", help="this seed alone (repeatable)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where cells train (default cpu)")
    options = parser.parse_args()
    grid = tomllib.loads(options.grid.read_text())
    if unknown := set(options.only or []) - {cell["name"] for cell in grid["cell"]}:
        parser.error(f"no cell of {options.grid} is named {', '.join(sorted(unknown))}")
    cells = [(cell, seed) for cell in grid["cell"] for seed in cell.get("seeds", grid["seeds"])]
    cells.sort(key=lambda pair: pair[1])  # seed by seed, the cells of each in the grid's order
    pending = []
    for cell, seed in cells:
        if (options.only and cell["name"] not in options.only) or (options.seed and seed not in options.seed):
            continue
        if not (ROOT / "docs/results" / grid["name"] / f"{cell['name']}-s{seed}.json").exists():
            pending.append((cell, seed))
    failures = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        futures = {}
        for cell, seed in pending:
            arguments = (options.tool.resolve(), grid, cell, seed, options.data.resolve(), 1, options.device, futures)
            futures[f"{cell['name']}-s{seed}"] = pool.submit(run_cell, *arguments)
        running = {future: name for name, future in futures.items()}
        try:
            for done, future in enumerate(concurrent.futures.as_completed(running), 1):
                name = running[future]
                try:
                    result = future.result()
                    print(f"[{done}/{len(pending)}] {name}: {100 * result['deployed_top1']:.2f} % deployed", flush=True)
                except Exception as error:
                    failures += 1
                    print(f"[{done}/{len(pending)}] {name}: {error}", flush=True)
        except KeyboardInterrupt:  # the trainings have had the signal too, and write their checkpoints
            pool.shutdown(cancel_futures=True)
            print("interrupted; the same command goes on", flush=True)
            sys.exit(130)
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
