#!/usr/bin/env python3
"""Latency of inference against ONNX Runtime, OpenVINO, ncnn and PyTorch (oneDNN), on the networks that a collapse yields.

    bench/inference/run.py --models FOLDER [--networks A,B] [--engines A,B] [--batch 1] [--threads 1] [--rounds 7]
                           [--seconds 0.2] [--tune none] [--json FILE]

Each engine is a process of its own with the model loaded; they run in turn, A B C A B C …, for --seconds each, and while
one runs the others wait. One thread: pinned to core 0; two: to cores 0 and 1. Printed: each one's median over rounds of the
median in a round, and the median over rounds of the ratio to ours. Every output is compared with ours.

Before it: cmake -DREDUCENET_BENCH=ON, build `inference_models inference_worker`, then
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

from peers import ENGINES, shape_of_input

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
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
    cores = set(range(options.threads))
    if engine == "reducenet":
        binary = options.worker
        return Worker([binary, model, options.batch, options.threads, options.tune, source], cores)
    return Worker([sys.executable, HERE / "peers.py", engine, model, options.batch, options.threads, source], cores)


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
        times = {engine: [] for engine in workers}
        for _ in range(options.rounds):
            for engine, worker in workers.items():
                times[engine].append(worker.ask("run", options.seconds)["median_ms"])
        for worker in workers.values():
            worker.close()
    ours = outputs["reducenet"]
    result = {}
    for engine in workers:
        result[engine] = {
            "median_ms": statistics.median(times[engine]),
            "ratio_to_ours": statistics.median(t / o for t, o in zip(times[engine], times["reducenet"])),
            "version": workers[engine].said["version"],
            "difference": float(np.abs(outputs[engine] - ours).max() / np.abs(ours).max()),
        }
    result["reducenet"].update({k: workers["reducenet"].said[k] for k in ("plan_ms", "arena_bytes")})
    return result, failed


def machine():
    names = [line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    fields = {line.split(":")[0].strip(): line.split(":")[1].strip() for line in open("/proc/cpuinfo") if ":" in line}
    return f"{names[0]}, family {fields['cpu family']} model {fields['model']}, {len(names)} cores, " \
           f"Linux {platform.release().split('-')[0]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=pathlib.Path, required=True)
    parser.add_argument("--networks", type=lambda s: s.split(","), default=NETWORKS)
    parser.add_argument("--engines", type=lambda s: s.split(","), default=list(ENGINES))
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.2)
    parser.add_argument("--tune", choices=["none", "fast", "full"], default="none")
    parser.add_argument("--worker", type=pathlib.Path, default=ROOT / "build/bench/inference_worker")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    record = {"commit": commit.stdout.strip(), "machine": machine(), "batch": options.batch,
              "threads": options.threads, "tune": options.tune, "rounds": options.rounds,
              "seconds": options.seconds, "networks": {}}
    for name in options.networks:
        engines, failed = measure(options.models / f"{name}.onnx", options)
        record["networks"][name] = {"engines": engines, "failed": failed}
        peers = {e: r["ratio_to_ours"] for e, r in engines.items() if e != "reducenet"}
        best = min(peers, key=peers.get, default="")
        print(f"{name:14} " + "  ".join(f"{e} {r['median_ms']:.3f} ms (×{r['ratio_to_ours']:.2f}, Δ {r['difference']:.0e})"
                                        for e, r in engines.items())
              + (f"  best peer: {best}" if best else "") + (f"  failed: {failed}" if failed else ""), flush=True)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        if options.json.exists():  # a run of some networks replaces those
            before = json.loads(options.json.read_text())
            record["networks"] = {**before["networks"], **record["networks"]}
        options.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
