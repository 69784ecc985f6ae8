#!/usr/bin/env python3
"""A peer as a worker of run.py; the same protocol as worker.cc.

    bench/inference/peers.py ENGINE MODEL.onnx BATCH THREADS INPUT.f32

ENGINE: onnxruntime, openvino, ncnn, pytorch. Each is set up as its documentation says for lowest latency in float32.
"""
import gc
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np


def shape_of_input(model, batch):
    import onnx

    dims = onnx.load(model).graph.input[0].type.tensor_type.shape.dim
    return [batch] + [d.dim_value for d in list(dims)[1:]]


def resident_bytes(process):
    """Of a process in memory, by the system."""
    return int(pathlib.Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def onnxruntime(model, batch, threads, x):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    binding.bind_cpu_input(session.get_inputs()[0].name, x)
    name = session.get_outputs()[0].name
    binding.bind_output(name, "cpu")
    session.run_with_iobinding(binding)
    y = np.empty_like(binding.copy_outputs_to_cpu()[0])
    binding.bind_output(name, "cpu", 0, np.float32, y.shape, y.ctypes.data)
    return ort.__version__, lambda: session.run_with_iobinding(binding), lambda: y


def openvino(model, batch, threads, x):
    import openvino as ov

    core = ov.Core()
    network = core.read_model(model)
    network.reshape(list(x.shape))
    compiled = core.compile_model(network, "CPU", {
        "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": str(threads)})
    request = compiled.create_infer_request()
    request.set_input_tensor(ov.Tensor(x, shared_memory=True))
    return ov.__version__, request.infer, lambda: request.get_output_tensor().data


def ncnn(model, batch, threads, x):
    """ncnn has no batches: it runs the images one after the other."""
    import ncnn as lib

    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copy(model, folder)
        pnnx = pathlib.Path(sys.executable).with_name("pnnx")
        one = ",".join(str(d) for d in [1, *x.shape[1:]])
        subprocess.run([pnnx, copy, f"inputshape=[{one}]", "fp16=0"], cwd=folder, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        stem = str(pathlib.Path(copy).with_suffix(""))
        net = lib.Net()
        net.opt.num_threads = threads
        for option in ("use_vulkan_compute", "use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic",
                       "use_bf16_storage"):
            setattr(net.opt, option, False)
        net.load_param(stem + ".ncnn.param")
        net.load_model(stem + ".ncnn.bin")
    images = [lib.Mat(image) for image in x]
    rows = [None] * len(images)

    def run():
        for i, image in enumerate(images):
            extractor = net.create_extractor()
            extractor.input("in0", image)
            rows[i] = extractor.extract("out0")[1]

    return lib.__version__, run, lambda: np.stack([np.array(row).reshape(-1) for row in rows])


def pytorch(model, batch, threads, x):
    """The ONNX graph traced as torch functions, frozen and optimised for inference (oneDNN)."""
    import onnx
    import torch
    from onnx import numpy_helper
    from torch.nn import functional as F

    torch.set_num_threads(threads)
    graph = onnx.load(model).graph

    def tensor(array):  # without torch's NumPy bridge, which old versions of torch lack beside a new NumPy
        kinds = {"float32": torch.float32, "int64": torch.int64}
        return torch.frombuffer(bytearray(array.tobytes()), dtype=kinds[str(array.dtype)]).reshape(array.shape)

    def symmetric(pads):
        half = len(pads) // 2
        assert pads[:half] == pads[half:], pads
        return pads[:half]

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.constants = {t.name: tensor(numpy_helper.to_array(t)) for t in graph.initializer}

        def apply(self, node, a, v):
            op = node.op_type
            if op == "Conv":
                return F.conv2d(v[0], v[1], v[2] if len(v) > 2 else None, a.get("strides", [1, 1]),
                                symmetric(a.get("pads", [0] * 4)), a.get("dilations", [1, 1]), a.get("group", 1))
            if op == "BatchNormalization":
                return F.batch_norm(v[0], v[3], v[4], v[1], v[2], False, 0.0, a.get("epsilon", 1e-5))
            if op == "Gemm":
                w = v[1] if a.get("transB") else v[1].t()
                return F.linear(v[0], w, v[2] if len(v) > 2 else None)
            if op == "MaxPool":
                return F.max_pool2d(v[0], a["kernel_shape"], a.get("strides"), symmetric(a.get("pads", [0] * 4)))
            return {
                "Relu": lambda: F.relu(v[0]),
                "Add": lambda: v[0] + v[1],
                "MatMul": lambda: v[0] @ v[1],
                "GlobalAveragePool": lambda: F.adaptive_avg_pool2d(v[0], 1),
                "Flatten": lambda: torch.flatten(v[0], a.get("axis", 1)),
                "Reshape": lambda: torch.flatten(v[0], 1),
                "Identity": lambda: v[0],
            }[op]()

        def forward(self, image):
            values = {"": None, graph.input[0].name: image, **self.constants}
            for node in graph.node:
                attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
                attributes = {k: list(v) if isinstance(v, (list, tuple)) else v for k, v in attributes.items()}
                if node.op_type == "Constant":
                    values[node.output[0]] = tensor(numpy_helper.to_array(attributes["value"]))
                else:
                    values[node.output[0]] = self.apply(node, attributes, [values[i] for i in node.input])
            return values[graph.output[0].name]

    image = tensor(x)
    with torch.inference_mode():
        traced = torch.jit.freeze(torch.jit.trace(Network().eval(), image, check_trace=False))
        network = torch.jit.optimize_for_inference(traced)
    last = [None]

    def run():
        with torch.inference_mode():
            last[0] = network(image)

    return torch.__version__, run, lambda: np.array(last[0].flatten().tolist(), np.float32)


ENGINES = {f.__name__: f for f in (onnxruntime, openvino, ncnn, pytorch)}


def main():
    engine, model, batch, threads, source = sys.argv[1:]
    batch, threads = int(batch), int(threads)
    shape = shape_of_input(model, batch)
    x = np.fromfile(source, np.float32, int(np.prod(shape))).reshape(shape)
    idle = resident_bytes("self")
    version, run, output = ENGINES[engine](model, batch, threads, x)
    run()
    print(json.dumps({"version": version, "idle_bytes": idle}), flush=True)
    gc.disable()
    for line in sys.stdin:
        verb, argument = line.split()
        if verb == "run":
            times, begin = [], time.perf_counter()
            while not times or time.perf_counter() - begin < float(argument):
                start = time.perf_counter()
                run()
                times.append(time.perf_counter() - start)
            print(json.dumps({"median_ms": 1e3 * statistics.median(times)}), flush=True)
        else:
            run()
            np.ascontiguousarray(output(), np.float32).tofile(argument)
            print("{}", flush=True)


if __name__ == "__main__":
    main()
