#!/usr/bin/env python3
"""What a collapse is worth on real architectures: nodes, MACs and ONNX Runtime latency of the training form, of what
onnxsim and onnxoptimizer make of it, of the library's own re-parameterisation, and of ours; and the largest difference
of each from the training form's logits.

    bench/collapse/export_models.py FOLDER
    bench/collapse/compare.py FOLDER [--prepare | --measure] [--rounds 15] [--threads 1] [--json DIR] [NAME …]

--prepare makes the forms, --measure times those that are there; without either, both; with names, those networks only.
Latencies are medians over rounds that run all forms in turn, in ONNX Runtime with its own optimisations on. Then as many
rounds of the best other form, ours, and the best other once more in a session of its own, the control: medians of the
ratios within a round, with their quartiles. --json writes DIR/NAME.json. Needs onnx, onnxsim, onnxoptimizer and
onnxruntime; pin it to a core for one thread (taskset -c 0).
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import numpy
import onnx
import onnxoptimizer
import onnxruntime
import onnxsim

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from origin import ROOT, commit, cpu_model  # noqa: E402

TOOL = ROOT / "build/reducenet"
FORMS = {"training": "", "onnxsim": ".onnxsim", "onnxoptimizer": ".onnxoptimizer", "own": ".reparameterised",
         "ours": ".ours"}


def tool_json(*arguments):
    done = subprocess.run([str(TOOL), *map(str, arguments), "--json"], stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout) if done.returncode == 0 else None


def form_of(path, name):
    return path.with_name(f"{path.stem}{FORMS[name]}.onnx")


def simplified(path):
    model, good = onnxsim.simplify(onnx.load(path))
    return model if good else None


def optimised(path):
    return onnxoptimizer.optimize(onnx.load(path), onnxoptimizer.get_fuse_and_elimination_passes())


def prepare(path):
    for name, make in {"onnxsim": simplified, "onnxoptimizer": optimised}.items():
        target = form_of(path, name)
        if target.exists():
            continue
        try:
            model = make(path)
        except Exception as error:  # a tool that fails on a model has no row
            print(f"  {name}: {error}")
            continue
        if model:
            onnx.save(model, target)
    form_of(path, "ours").unlink(missing_ok=True)
    start = time.perf_counter()
    collapsed = tool_json("collapse", path, "-o", form_of(path, "ours"))
    seconds = time.perf_counter() - start
    path.with_name(path.stem + ".collapse.json").write_text(json.dumps({"seconds": seconds, "report": collapsed}))


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


def against(runs, best, again, image, repeats, rounds):
    """Quartiles of the latency within a round over that of `best`: of ours, and of the same file in another session."""
    control = lambda: again.run(None, {again.get_inputs()[0].name: image})[0]
    control()
    ours, same = [], []
    for _ in range(rounds):
        first = timed(runs[best], repeats[best])
        ours.append(timed(runs["ours"], repeats["ours"]) / first)
        same.append(timed(control, repeats[best]) / first)
    return {"ours_to_best": statistics.quantiles(ours, n=4), "control_to_best": statistics.quantiles(same, n=4)}


def measure(path, rounds, threads):
    forms = {name: form_of(path, name) for name in FORMS if form_of(path, name).exists()}
    sessions = {name: session(form, threads) for name, form in forms.items()}
    shape = sessions["training"].get_inputs()[0].shape
    image = numpy.random.default_rng(0).standard_normal(shape).astype(numpy.float32)
    runs = {name: (lambda s: lambda: s.run(None, {s.get_inputs()[0].name: image})[0])(s) for name, s in sessions.items()}
    expected = runs["training"]()
    latencies = {name: [] for name in runs}
    repeats = {name: max(1, round(40 / timed(run, 3))) for name, run in runs.items()}  # about 40 ms a round
    for _ in range(rounds):
        for name, run in runs.items():
            latencies[name].append(timed(run, repeats[name]))
    medians = {name: statistics.median(values) for name, values in latencies.items()}
    best = min((name for name in medians if name != "ours"), key=medians.get)
    pairs = against(runs, best, session(forms[best], threads), image, repeats, rounds) if "ours" in runs else {}
    made = json.loads(path.with_name(path.stem + ".collapse.json").read_text())
    result = {"model": path.stem, "collapse_s": made["seconds"], "best_other": best, **pairs, "forms": {}}
    if made["report"]:
        result |= {key: made["report"][key] for key in ("verified", "max_abs_error", "max_rel_error")}
    for name, form in forms.items():
        facts = tool_json("inspect", form) or {}
        result["forms"][name] = {
            "nodes": sum(node.op_type != "Constant" for node in onnx.load(form, load_external_data=False).graph.node),
            "macs": facts.get("macs"), "median_ms": medians[name],
            "difference": float(numpy.abs(runs[name]() - expected).max() / numpy.abs(expected).max()),
        }
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--prepare", action="store_true")
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    names = options.names or sorted(p.stem for p in options.folder.glob("*.onnx") if "." not in p.stem)
    for name in names:
        path = options.folder / f"{name}.onnx"
        if options.prepare or not options.measure:
            prepare(path)
        if options.prepare and not options.measure:
            continue
        result = measure(path, options.rounds, options.threads)
        print(name, f"(collapse {result['collapse_s']:.1f} s)", flush=True)
        for form, facts in result["forms"].items():
            macs = f"{facts['macs'] / 1e6:8.1f} M MACs" if facts["macs"] else ""
            print(f"  {form:14} {facts['nodes']:4} nodes {macs}  {facts['median_ms']:7.2f} ms  "
                  f"difference {facts['difference']:.1e}", flush=True)
        if "ours_to_best" in result:
            low, middle, high = result["ours_to_best"]
            print(f"  ours / {result['best_other']} {middle:.3f} ({low:.3f} to {high:.3f}), the same file "
                  f"{result['control_to_best'][1]:.3f}", flush=True)
        if options.json:
            options.json.mkdir(parents=True, exist_ok=True)
            record = {"commit": commit(), "machine": f"{cpu_model()}, {os.cpu_count()} cores",
                      "onnxruntime": onnxruntime.__version__, "onnxsim": onnxsim.__version__, "onnxoptimizer": onnxoptimizer.__version__,
                      "threads": options.threads, "rounds": options.rounds, **result}
            (options.json / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
