#!/usr/bin/env python3
"""Time and peak memory of collapsing large models, per-region certificates included; the check of the whole network on one
sample is counted apart. Then the search alone, in a graph of 1,000 nodes whose layers are tiny.

    bench/collapse/export_models.py FOLDER repvgg_b3
    bench/collapse/scale.py FOLDER/repvgg_b3.onnx … [--runs 5] [--json docs/results/collapse_scale.json]

Medians over runs of the whole program, on all cores and on one; peak memory is the largest of them. Weights: bytes of the
model's constants, all of them float32. Needs build/bench/collapse_speed (-DREDUCENET_BENCH=ON).
"""
import argparse
import itertools
import json
import os
import pathlib
import statistics
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from origin import ROOT, commit, cpu_model  # noqa: E402


def once(tool, model, out, cores):
    """The tool's JSON, with its wall clock and peak memory: of this child alone, so it is started by a fork of its own."""
    script = ("import json, resource, subprocess, sys, time\n"
              "start = time.perf_counter()\n"
              "done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, text=True)\n"
              "wall = time.perf_counter() - start\n"
              "peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024\n"
              "print(json.dumps({'wall': wall, 'peak': peak, 'code': done.returncode, 'out': done.stdout}))\n")
    pinned = ["taskset", "-c", "0"] if cores == 1 else []
    command = [*pinned, str(tool), "collapse", str(model), "-o", str(out), "--samples", "1", "--json"]
    done = json.loads(subprocess.run(["python3", "-c", script, *command], stdout=subprocess.PIPE, text=True).stdout)
    if done["code"] != 0:
        raise SystemExit(f"{' '.join(command)} ended with {done['code']}")
    facts = json.loads(done["out"])
    return {"wall_s": done["wall"], "peak_bytes": done["peak"], **{f"{k}_s": v for k, v in facts["seconds"].items()},
            "params_before": facts["params_before"], "params_after": facts["params_after"],
            "regions": len(facts["regions"]), "error_to_bound": max(r["error_to_bound"] for r in facts["regions"])}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--tool", type=pathlib.Path, default=ROOT / "build/reducenet")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    results = []
    for model, cores in itertools.product(options.models, sorted({os.cpu_count(), 1}, reverse=True)):
        out = model.with_suffix(".collapsed.onnx")
        runs = [once(options.tool, model, out, cores) for _ in range(options.runs)]
        out.unlink()
        row = {"model": model.stem, "cores": cores,
               **{key: statistics.median(run[key] for run in runs) for key in runs[0]}}
        row["merge_and_certify_s"] = statistics.median(run["collapse_s"] + run["regions_s"] for run in runs)
        row["peak_bytes"] = max(run["peak_bytes"] for run in runs)
        row["weight_bytes"] = 4 * row["params_before"]
        row["peak_to_weights"] = row["peak_bytes"] / row["weight_bytes"]
        results.append(row)
        print(f"{row['model']} on {cores} cores: {row['params_before'] / 1e6:.1f} M parameters; load {row['load_s']:.2f} s, "
              f"collapse {row['collapse_s']:.2f} s, {row['regions']:.0f} regions {row['regions_s']:.2f} s, save "
              f"{row['save_s']:.2f} s; the whole network on one sample {row['samples_s']:.2f} s; in all "
              f"{row['wall_s']:.2f} s; peak {row['peak_bytes'] / 1e6:.0f} MB, {row['peak_to_weights']:.2f} times the "
              f"weights", flush=True)
    speed = options.tool.parent / "bench/collapse_speed"
    search = json.loads(subprocess.run([str(speed), "--search"], stdout=subprocess.PIPE, text=True, check=True).stdout)
    print(f"search: {search['nodes_before']} nodes -> {search['nodes_after']} in {search['module_ms']} ms, by a plan in "
          f"{search['plan_ms']} ms; nothing to find among {search['nodes_after']} in {search['nothing_ms']} ms")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"commit": commit(), "cpu": cpu_model(), "runs": options.runs, "models": results,
                                            "search": search}, indent=1) + "\n")


if __name__ == "__main__":
    main()
