#!/usr/bin/env python3
"""What border strips are worth: two 3×3 convolutions with padding (in → middle → out channels), as they are and as
`reducenet collapse --to plan` leaves them, in ONNX Runtime.

    bench/collapse/strips.py [--rounds 9] [--json docs/results/collapse_strips.json]

Ratios are medians over rounds that run both in turn, on one thread. Needs onnx and onnxruntime.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from origin import ROOT, commit, cpu_model  # noqa: E402

TOOL = ROOT / "build/reducenet"
#        in, middle, out, side, stride of the second
SHAPES = [(16, 16, 32, 32, 2), (32, 32, 64, 32, 2), (64, 64, 128, 16, 2), (64, 64, 128, 56, 2),
          (32, 64, 32, 32, 1), (32, 96, 32, 32, 1), (32, 128, 32, 32, 1), (64, 160, 64, 56, 1), (32, 96, 32, 14, 1)]


def pair(path, shape):
    channels, middle, out, side, stride = shape
    draw = numpy.random.default_rng(0)
    def tensor(name, *dims):
        return numpy_helper.from_array((draw.standard_normal(dims) / numpy.sqrt(numpy.prod(dims[1:]))).astype("f"), name)
    weights = [tensor("w1", middle, channels, 3, 3), tensor("b1", middle), tensor("w2", out, middle, 3, 3),
               tensor("b2", out)]
    nodes = [helper.make_node("Conv", ["x", "w1", "b1"], ["y"], pads=[1] * 4, kernel_shape=[3, 3]),
             helper.make_node("Conv", ["y", "w2", "b2"], ["z"], pads=[1] * 4, kernel_shape=[3, 3],
                              strides=[stride, stride])]
    graph = helper.make_graph(nodes, "pair",
                              [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, channels, side, side])],
                              [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def runner(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    image = numpy.random.default_rng(1).standard_normal(session.get_inputs()[0].shape).astype("f")
    return lambda: session.run(None, {"x": image})


def timed(run, repeats):
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return 1e3 * (time.perf_counter() - start) / repeats


def in_turn(runs, rounds):
    repeats = [max(3, round(20 / timed(run, 3))) for run in runs]
    return [[timed(run, n) for run, n in zip(runs, repeats)] for _ in range(rounds)]


def tool_json(*arguments):
    done = subprocess.run([str(TOOL), *map(str, arguments), "--json"], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def measure(folder, shape, rounds):
    whole, planned = folder / "whole.onnx", folder / "planned.onnx"
    pair(whole, shape)
    report = tool_json("collapse", whole, "-o", planned, "--to", "plan")
    times = in_turn([runner(whole), runner(planned)], rounds)
    result = {"shape": shape, "nodes_after": report["nodes_after"],
              "macs": report["macs_after"] / report["macs_before"],
              "parameters": report["params_after"] / report["params_before"],
              "whole_ms": statistics.median(w for w, _ in times),
              "latency": statistics.median(p / w for w, p in times)}
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for shape in SHAPES:
            r = measure(pathlib.Path(folder), shape, options.rounds)
            results.append(r)
            print(f"{shape}: {r['nodes_after']} nodes, MACs ×{r['macs']:.3f}, parameters ×{r['parameters']:.2f}, latency "
                  f"×{r['latency']:.3f} of {r['whole_ms']:.3f} ms", flush=True)
    if options.json:
        options.json.write_text(json.dumps({"commit": commit(), "cpu": cpu_model(), "rounds": options.rounds,
                                            "onnxruntime": onnxruntime.__version__, "pairs": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
