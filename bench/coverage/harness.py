"""What the scripts of this folder share: options, the program, the C API, and ONNX Runtime beside it. Needs numpy, onnx, onnxruntime."""
import argparse
import ctypes
import json
import pathlib
import statistics
import subprocess
import time

import numpy
import onnx
import onnxruntime

from origin import ROOT, commit, cpu_model

TOLERANCE = 1e-4  # of the largest answer
ONE_ROUNDING = 2e-7  # of numbers near one, in float32


class Library:
    """The C API on native files."""

    def __init__(self, path):
        self.c = ctypes.CDLL(path)
        self.c.reducenet_last_error.restype = ctypes.c_char_p
        self.c.reducenet_output_size.restype = ctypes.c_size_t

    def check(self, status):
        if status:
            raise RuntimeError(self.c.reducenet_last_error().decode())

    def run(self, path, x):
        model, plan, arena = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
        self.check(self.c.reducenet_load(str(path).encode(), ctypes.byref(model)))
        try:
            self.check(self.c.reducenet_plan_create(model, None, ctypes.byref(plan)))
            self.check(self.c.reducenet_arena_create(plan, ctypes.byref(arena)))
            y = numpy.full(self.c.reducenet_output_size(plan), numpy.nan, numpy.float32)
            floats = ctypes.POINTER(ctypes.c_float)
            self.check(self.c.reducenet_run(plan, arena, x.ctypes.data_as(floats), ctypes.c_size_t(x.size),
                                            y.ctypes.data_as(floats), ctypes.c_size_t(y.size)))
            return y
        finally:
            self.c.reducenet_arena_free(arena)
            self.c.reducenet_plan_free(plan)
            self.c.reducenet_model_free(model)


def option_parser(description, seconds):
    """With what every script takes: where its rows go, the program, the library, and the seconds that one command may take."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=pathlib.Path, required=True, help="where to write the rows")
    parser.add_argument("--tool", type=pathlib.Path, default=ROOT / "build/reducenet")
    parser.add_argument("--library", type=Library, default=str(ROOT / "build/src/c/libreducenet.so"))
    parser.add_argument("--timeout", type=float, default=seconds, help="seconds for one command (default %(default)s)")
    return parser


def report(what, **more):
    """Rows to come, with where they were made."""
    onnxruntime.set_default_logger_severity(4)
    return {"what": what, "tolerance": TOLERANCE, **more, "commit": commit(), "machine": cpu_model(),
            "onnxruntime": onnxruntime.__version__, "rows": []}


def tool(options, *arguments):
    done = subprocess.run([options.tool, *map(str, arguments)], capture_output=True, text=True, timeout=options.timeout)
    if done.returncode:
        said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise RuntimeError(said[-1].removeprefix("error: ") if said else f"exit code {done.returncode}")
    return done.stdout


def draw_statistics(network, kind):
    """Gives PyTorch's batch normalisations of that kind other means and variances than they begin with."""
    for module in network.modules():
        if isinstance(module, kind):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)


def in_runtime(options, folder, path, x):
    """The numbers of all outputs, one after the other."""
    tool(options, "export", path, "-o", folder / "native.safetensors")
    return options.library.run(folder / "native.safetensors", x)


def in_onnxruntime(path, x):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})


def compare(options, folder, path, shape):
    """How far the runtime is from ONNX Runtime for one input of unit normal, over all outputs: of the largest answer, and in numbers.

    Probabilities near zero are within ONE_ROUNDING of ONNX Runtime's, which has no more digits of them.
    """
    x = numpy.random.default_rng(0).standard_normal(shape).astype(numpy.float32)
    y = in_runtime(options, folder, path, x)
    relative, absolute, first = 0.0, 0.0, 0
    for expected in in_onnxruntime(path, x):
        off = float(abs(y[first:first + expected.size] - expected.ravel()).max())
        largest = float(abs(expected).max())
        absolute, relative = max(absolute, off), max(relative, off / largest if largest else off)
        first += expected.size
    if first != y.size:
        raise RuntimeError(f"WRONG: {y.size} numbers where ONNX Runtime has {first}")
    if not (relative <= TOLERANCE or absolute <= ONE_ROUNDING):
        raise RuntimeError(f"WRONG: off by {relative:.1e} of the largest answer")
    return {"distance": relative, "absolute": absolute}


def objection(path):
    """What ONNX's own checker has against the file, or nothing."""
    try:
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as error:
        return str(error)
    return ""


def collapse(options, path, to):
    """The command's result. A valid model must have become a valid one."""
    result = json.loads(tool(options, "collapse", path, "-o", to, "--json"))
    said = objection(to)
    if said and not objection(path):
        raise RuntimeError(f"WRONG: not a valid model: {said}")
    return result


def collapsed(options, folder, path):
    result = collapse(options, path, folder / "collapsed.onnx")
    return {key: result[key] for key in ("verified", "nodes_before", "nodes_after")}


def add_rounds(parser):
    parser.add_argument("--rounds", type=int, default=7, help="times that both are timed (default %(default)s)")


def in_turn(options, path, shape):
    """Milliseconds here and in ONNX Runtime, one thread and one sample each, in turn: medians of the rounds' medians."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: numpy.zeros((1, *shape), numpy.float32)}
    ours, theirs = [], []
    for _ in range(options.rounds):
        ours.append(json.loads(tool(options, "bench", path, "--seconds", "0.5", "--json"))["median_ms"])
        times, end = [], time.perf_counter() + 0.5
        while time.perf_counter() < end:
            start = time.perf_counter()
            session.run(None, feed)
            times.append(1e3 * (time.perf_counter() - start))
        theirs.append(statistics.median(times))
    return {"ms": statistics.median(ours), "onnxruntime_ms": statistics.median(theirs)}
