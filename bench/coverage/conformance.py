#!/usr/bin/env python3
"""What ReduceNet does with ONNX's own test cases, one small model an operator: is any answer wrong, and which are refused?

    python3 bench/coverage/conformance.py --json docs/results/conformance.json [--only conv] [--tool build/reducenet]

The cases are those of the package onnx: of every operator, its functions written out, and converted from PyTorch. Those with
one float image in and floats out count; further inputs become constants, as weights are. The measure of the runtime's answers,
and of ONNX Runtime's for what the model has collapsed into, are the published answers, or, as some of those are rounded, what ONNX
Runtime answers for the model as it is. Needs numpy, onnx and onnxruntime.
"""
import collections
import json
import pathlib
import subprocess
import sys
import tempfile
import warnings

import numpy
import onnx
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import ONE_ROUNDING, TOLERANCE, collapse, in_onnxruntime, in_runtime, option_parser, report  # noqa: E402

CONVERTED = pathlib.Path(onnx.__file__).parent / "backend/test/data"


def cases():
    """Kind, name, model, inputs, outputs."""
    for case in collect_testcases(None):
        if case.data_sets:
            kind = "functions written out" if "_expanded" in case.name else "operators"
            yield kind, case.name, case.model, *case.data_sets[0][:2]
    for model in sorted(CONVERTED.glob("pytorch-*/*/model.onnx")):
        tensors = {}
        for side in ("input", "output"):
            files = sorted(model.parent.glob(f"test_data_set_0/{side}_*.pb"), key=lambda f: int(f.stem.split("_")[1]))
            tensors[side] = [numpy_helper.to_array(onnx.load_tensor(str(file))) for file in files]
        yield "converted from PyTorch", model.parent.name, onnx.load(model), tensors["input"], tensors["output"]


def of_floats(tensors):
    return all(isinstance(t, numpy.ndarray) and t.dtype == numpy.float32 for t in tensors)


def with_one_input(model, inputs):
    """The model whose inputs but the first are constants."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    listed = {tensor.name for tensor in made.graph.initializer}
    open_inputs = [value for value in made.graph.input if value.name not in listed]
    for value, tensor in list(zip(open_inputs, inputs))[1:]:
        made.graph.initializer.append(numpy_helper.from_array(tensor, value.name))
        made.graph.input.remove(value)
    return made


def same(answers, expected):
    """Shapes, what is not finite, and all else within TOLERANCE of the largest answer."""
    for y, e in zip(answers, expected, strict=True):
        finite = numpy.isfinite(e)
        if y.shape != e.shape or not numpy.array_equal(y[~finite], e[~finite], equal_nan=True):
            return False
        largest = abs(e[finite]).max(initial=0)
        if not (abs(y[finite] - e[finite]) <= max(TOLERANCE * largest, ONE_ROUNDING)).all():
            return False
    return True


def right(answers, references):
    return any(same(answers, reference) for reference in references)


def run(options, path, x, references):
    expected = references[0]
    flat = in_runtime(options, path.parent, path, x)
    if flat.size != sum(e.size for e in expected):
        return "WRONG: so many numbers"
    parts = numpy.split(flat, numpy.cumsum([e.size for e in expected])[:-1])
    return "right" if right([y.reshape(e.shape) for y, e in zip(parts, expected)], references) else "WRONG"


def collapses(options, path, x, references):
    smaller = path.with_name("collapsed.onnx")
    collapse(options, path, smaller)
    if len(references) == 1:
        return "not run by ONNX Runtime"
    return "right" if right(in_onnxruntime(smaller, x), references) else "WRONG"


def outcome(step, *arguments):
    try:
        return step(*arguments)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        return f"refused: {error}"


def main():
    parser = option_parser(__doc__, seconds=60)
    parser.add_argument("--only", default="", help="cases whose names have this in them")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    result = report("conformance", one_rounding=ONE_ROUNDING, onnx=onnx.__version__)
    for kind, name, model, inputs, expected in cases():
        if options.only not in name or not inputs or not of_floats([inputs[0], *expected]):
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "model.onnx"
            try:
                onnx.save(with_one_input(model, inputs), path)
            except (TypeError, ValueError):  # an input that is no tensor
                continue
            x = numpy.ascontiguousarray(inputs[0])
            references = [expected]
            try:
                references.append(in_onnxruntime(path, x))
            except Exception:  # it has types of its own for what it cannot run
                pass
            row = {"kind": kind, "case": name, "runs": outcome(run, options, path, x, references),
                   "collapses": outcome(collapses, options, path, x, references)}
        result["rows"].append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)
    for step in ("runs", "collapses"):
        print(step, dict(collections.Counter(row[step].split(":")[0] for row in result["rows"])))
    options.json.write_text(json.dumps(result, indent=1) + "\n")
    wrong = [row["case"] for row in result["rows"] if "WRONG" in row["runs"] + row["collapses"]]
    sys.exit(f"wrong: {', '.join(wrong)}" if wrong else 0)


if __name__ == "__main__":
    main()
