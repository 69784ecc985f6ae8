#!/usr/bin/env python3
"""Latency of inference against ONNX Runtime, OpenVINO, ncnn and PyTorch (oneDNN), on the networks that a collapse yields.

    bench/inference/run.py --models FOLDER [--networks A,B] [--engines A,B] [--batch 1] [--threads 1] [--rounds 7]
                           [--seconds 0.2] [--tune none] [--json FILE]

Each engine is a process of its own with the model loaded; they run in turn, A B C A B C …, for --seconds each, and while
one runs the others wait. One thread: pinned to core 0; two: to cores 0 and 1. An engine named as ENGINE@T runs with T threads;
with several threads, ours and ONNX Runtime with one run beside the others, and the round trip of a cache line between the
two cores is taken before and after (inference_threads). Printed: each one's median over rounds of the median in a round, and
the median over rounds of the ratio to ours. Every output is compared with ours. The file also has each process's memory after
its last run, and before it loaded engine and model (idle: for the peers, Python with numpy and onnx).

Before it: cmake -DREDUCENET_BENCH=ON, build `inference_models inference_worker inference_threads`, then
    build/bench/inference_models FOLDER && bench/inference/networks.py FOLDER
in an environment with onnx, onnxruntime, openvino, ncnn, pnnx, torch, torchvision and timm from PyPI.
"""
import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE.parent))

import origin  # noqa: E402
from peers import ENGINES, resident_bytes, shape_of_input  # noqa: E402

NETWORKS = ["deploy29", "deploy11", "repvgg_a0", "repvgg_b0", "vanillanet6", "mobileone_s0", "resnet18", "affine",
            "nothing"]


class Worker:
    def __init__(self, command, cores):
        self.process = subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True,
                                        preexec_fn=lambda: os.sched_setaffinity(0, cores))
        self.said = self.answer()

    def answer(self):
        for line in self.process.stdout:  # engines print banners
            if line.startswith("{"):
                return json.loads(line)
        raise RuntimeError(f"worker ended with {self.process.wait()}")

    def ask(self, *words):
        self.process.stdin.write(" ".join(str(w) for w in words) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def start(engine, model, options, source):
    name, _, threads = engine.partition("@")
    threads = int(threads or options.threads)
    cores = set(range(threads))
    if name == "reducenet":
        return Worker([options.worker, model, options.batch, threads, options.tune, source], cores)
    return Worker([sys.executable, HERE / "peers.py", name, model, options.batch, threads, source], cores)


def round_trip_ns(options):
    lines = subprocess.run([options.worker.with_name("inference_threads")], check=True, capture_output=True, text=True)
    return next(r["round_trip_ns"] for r in map(json.loads, lines.stdout.splitlines()) if "round_trip_ns" in r)


def measure(model, options):
    engines = ["reducenet", *options.engines]
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "input.f32"
        shape = shape_of_input(model, options.batch)
        np.random.default_rng(0).standard_normal(shape).astype(np.float32).tofile(source)
        workers, failed = {}, {}
        for engine in engines:
            try:
                workers[engine] = start(engine, model, options, source)
            except (RuntimeError, OSError) as error:
                failed[engine] = str(error)
        outputs = {}
        for engine, worker in workers.items():
            worker.ask("output", folder + "/y.f32")
            outputs[engine] = np.fromfile(folder + "/y.f32", np.float32)
        travel = [round_trip_ns(options)] if options.threads > 1 else []
        times = {engine: [] for engine in workers}
        for _ in range(options.rounds):
            for engine, worker in workers.items():
                times[engine].append(worker.ask("run", options.seconds)["median_ms"])
        travel += [round_trip_ns(options)] if options.threads > 1 else []
        memory = {engine: resident_bytes(worker.process.pid) for engine, worker in workers.items()}
        for worker in workers.values():
            worker.close()
    ours = outputs["reducenet"]
    result = {}
    for engine in workers:
        result[engine] = {
            "median_ms": statistics.median(times[engine]),
            "ratio_to_ours": statistics.median(t / o for t, o in zip(times[engine], times["reducenet"])),
            "version": workers[engine].said["version"],
            "process_bytes": memory[engine],
            "idle_bytes": workers[engine].said["idle_bytes"],
            "difference": float(np.abs(outputs[engine] - ours).max() / np.abs(ours).max()),
        }
    result["reducenet"].update({k: workers["reducenet"].said[k] for k in ("plan_ms", "arena_bytes")})
    return {"commit": origin.commit(), "rounds": options.rounds, "seconds": options.seconds,
            "file_bytes": model.stat().st_size, "engines": result, "failed": failed,
            **({"round_trip_ns": travel} if travel else {})}


def machine():
    return f"{origin.cpu_model()}, {os.cpu_count()} cores, Linux {platform.release().split('-')[0]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=pathlib.Path, required=True)
    parser.add_argument("--networks", type=lambda s: s.split(","), default=NETWORKS)
    parser.add_argument("--engines", type=lambda s: s.split(","))
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.2)
    parser.add_argument("--tune", choices=["none", "fast", "full"], default="none")
    parser.add_argument("--worker", type=pathlib.Path, default=ROOT / "build/bench/inference_worker")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    if not options.engines:
        options.engines = list(ENGINES) + (["reducenet@1", "onnxruntime@1"] if options.threads > 1 else [])
    record = {"machine": machine(), "batch": options.batch, "threads": options.threads, "tune": options.tune,
              "networks": {}}
    for name in options.networks:
        record["networks"][name] = measured = measure(options.models / f"{name}.onnx", options)
        engines, failed = measured["engines"], measured["failed"]
        peers = {e: r["ratio_to_ours"] for e, r in engines.items() if e in ENGINES}
        best = min(peers, key=peers.get, default="")
        print(f"{name:14} " + "  ".join(f"{e} {r['median_ms']:.3f} ms (×{r['ratio_to_ours']:.2f}, Δ {r['difference']:.0e})"
                                        for e, r in engines.items())
              + (f"  round trip {measured['round_trip_ns']} ns" if "round_trip_ns" in measured else "")
              + (f"  best peer: {best}" if best else "") + (f"  failed: {failed}" if failed else ""), flush=True)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        if options.json.exists():  # a run of some networks, or of some engines of one commit, replaces those
            before = json.loads(options.json.read_text())["networks"]
            for name, network in record["networks"].items():
                if before.get(name, {}).get("commit") == network["commit"]:
                    network["engines"] = {**before[name]["engines"], **network["engines"]}
            record["networks"] = {**before, **record["networks"]}
        options.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
