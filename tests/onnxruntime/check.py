"""Runs every model that dump.cc wrote in ONNX Runtime and compares the logits with the oracle's."""
import pathlib
import sys

import numpy
import onnxruntime

folder = pathlib.Path(sys.argv[1])
models = sorted(folder.glob("*.onnx"))
failed = 0
for path in models:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    inputs = numpy.fromfile(path.with_suffix(".input"), numpy.float32)
    shape = [2] + session.get_inputs()[0].shape[1:]
    logits = session.run(None, {session.get_inputs()[0].name: inputs.reshape(shape)})[0]
    expected = numpy.fromfile(path.with_suffix(".logits"), numpy.float32).reshape(logits.shape)
    error = float(numpy.abs(logits - expected).max())
    scale = float(numpy.abs(expected).max())
    # float32 accumulates over at most a few thousand terms a layer, some twenty layers deep.
    good = error <= 2e-5 * scale
    failed += not good
    print(f"{path.stem:24} max abs error {error:.2e}  (largest logit {scale:.3g})  {'ok' if good else 'DIFFERS'}")
print(f"{len(models) - failed} of {len(models)} models agree with ONNX Runtime {onnxruntime.__version__}")
sys.exit(failed > 0 or not models)
