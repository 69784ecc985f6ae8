#!/usr/bin/env python3
"""What a collapse is worth on real architectures: nodes, MACs and ONNX Runtime latency of the training form, of what
onnxsim makes of it, of the library's own re-parameterisation, and of ours.

    bench/collapse/export_models.py FOLDER
    bench/collapse/compare.py FOLDER [--rounds 15] [--threads 1] [--json docs/results/collapse.json] [NAME …]

Latencies are medians over rounds that run all forms in turn. Needs onnx, onnxsim and onnxruntime.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import time

import numpy
import onnx
import onnxruntime
import onnxsim

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOL = ROOT / "build/reducenet"


def tool_json(*arguments):
    done = subprocess.run([str(TOOL), *map(str, arguments), "--json"], stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout) if done.returncode == 0 else None


def session(path, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0" if threads == 1 else "1")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def timed(run, repeats):
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return 1e3 * (time.perf_counter() - start) / repeats


def simplified(path):
    target = path.with_name(path.stem + ".onnxsim.onnx")
    if not target.exists():
        model, good = onnxsim.simplify(onnx.load(path))
        if not good:
            return None
        onnx.save(model, target)
    return target


def compare(path, rounds, threads):
    ours = path.with_name(path.stem + ".ours.onnx")
    start = time.perf_counter()
    collapsed = tool_json("collapse", path, "-o", ours)
    seconds = time.perf_counter() - start
    forms = {"training form": path, "onnxsim": simplified(path),
             "own": path.with_name(path.stem + ".reparameterised.onnx"), "ours": ours if collapsed else None}
    forms = {name: form for name, form in forms.items() if form and form.exists()}
    sessions = {name: session(form, threads) for name, form in forms.items()}
    shape = sessions["training form"].get_inputs()[0].shape
    image = numpy.random.default_rng(0).standard_normal(shape).astype(numpy.float32)
    runs = {name: (lambda s: lambda: s.run(None, {s.get_inputs()[0].name: image})[0])(s) for name, s in sessions.items()}
    expected = runs["training form"]()
    latencies = {name: [] for name in runs}
    repeats = {name: max(1, round(40 / timed(run, 3))) for name, run in runs.items()}  # about 40 ms a round
    for _ in range(rounds):
        for name, run in runs.items():
            latencies[name].append(timed(run, repeats[name]))
    result = {"model": path.stem, "collapse_s": seconds, "forms": {}}
    for name, form in forms.items():
        facts = tool_json("inspect", form) or {}
        made = runs[name]()
        result["forms"][name] = {
            "nodes": len(onnx.load(form, load_external_data=False).graph.node),
            "macs": facts.get("macs"), "median_ms": statistics.median(latencies[name]),
            "max_rel_error": float(numpy.abs(made - expected).max() / numpy.abs(expected).max()),
        }
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    names = options.names or sorted(p.stem for p in options.folder.glob("*.onnx") if "." not in p.stem)
    results = []
    for name in names:
        result = compare(options.folder / f"{name}.onnx", options.rounds, options.threads)
        results.append(result)
        print(name, f"(collapse {result['collapse_s']:.1f} s)", flush=True)
        for form, facts in result["forms"].items():
            macs = f"{facts['macs'] / 1e6:8.1f} M MACs" if facts["macs"] else ""
            print(f"  {form:14} {facts['nodes']:4} nodes {macs}  {facts['median_ms']:7.2f} ms  "
                  f"error {facts['max_rel_error']:.1e}", flush=True)
    if options.json:
        options.json.write_text(json.dumps({"onnxruntime": onnxruntime.__version__, "threads": options.threads,
                                            "rounds": options.rounds, "models": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
