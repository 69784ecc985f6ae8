"""Runs every model that dump.cc wrote in ONNX Runtime and compares the logits with the oracle's, those in 8 bits with our
runtime's: as the file reads (floats between QuantizeLinear and DequantizeLinear), and on ONNX Runtime's own integer kernels."""
import pathlib
import sys

import numpy
import onnxruntime

folder = pathlib.Path(sys.argv[1])
models = sorted(folder.glob("*.onnx"))
failed = 0
for path in models:
    in_bytes = path.stem.endswith("-int8")
    levels = {"as it reads": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL}
    if in_bytes:
        levels["in integers"] = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    for how, level in levels.items():
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = level
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        inputs = numpy.fromfile(path.with_suffix(".input"), numpy.float32)
        shape = [2] + session.get_inputs()[0].shape[1:]
        logits = session.run(None, {session.get_inputs()[0].name: inputs.reshape(shape)})[0]
        expected = numpy.fromfile(path.with_suffix(".logits"), numpy.float32).reshape(logits.shape)
        error = float(numpy.abs(logits - expected).max())
        scale = float(numpy.abs(expected).max())
        # float32 accumulates over at most a few thousand terms a layer, some twenty layers deep. In 8 bits a sum on the other
        # side of a tie moves an activation by a 255th of its range, once in each quantised layer.
        good = error <= (path.read_bytes().count(b"QuantizeLinear") / 255 if in_bytes else 2e-5) * scale
        failed += not good
        verdict = "ok" if good else "DIFFERS"
        print(f"{path.stem:24} {how:12} max abs error {error:.2e}  (largest logit {scale:.3g})  {verdict}")
print(f"{len(models)} models, {failed} runs that differ from ONNX Runtime {onnxruntime.__version__}")
sys.exit(failed > 0 or not models)
