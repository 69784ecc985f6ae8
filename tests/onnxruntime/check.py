"""Runs every model that dump.cc wrote in ONNX Runtime and compares the logits with the oracle's.

Those in 8 bits are compared with our runtime's integers, layer by layer: each layer gets the bytes that our runtime computed
before it, as the file reads (floats between QuantizeLinear and DequantizeLinear) and on ONNX Runtime's own integer kernels. A
byte may differ only where the number before rounding lies on a tie as closely as float32 tells. Where no byte differs in any
layer, the logits of the whole network must agree as well.

Where gates let blocks run, each image alone must run just the layers that it asks for, as ONNX Runtime's own profile counts them."""
import json
import pathlib
import sys
import tempfile

import numpy
import onnx
import onnxruntime

UNIT = 2.0**-24  # of float32's relative rounding errors
LEVELS = onnxruntime.GraphOptimizationLevel


def gamma(n):
    return n * UNIT / (1 - n * UNIT)


def options_at(level):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    # Without VNNI its products of bytes saturate in 16 bits, unless it is told to be exact.
    options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def run(model, level, inputs):
    options = options_at(level)
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs)))


def layers_run(model, level, inputs):
    """(outputs, number of Conv that ran)."""
    options = options_at(level)
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = f"{folder}/profile"
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        outputs = session.run(None, inputs)
        events = json.loads(pathlib.Path(session.end_profiling()).read_text())
    ran = [e for e in events if e.get("cat") == "Node" and e["name"].endswith("_kernel_time")]
    return outputs[0], sum("Conv" in e["args"]["op_name"] for e in ran)


def check_gates(path):
    """One image at a time, then all of them at once."""
    model = onnx.load(path)
    name = model.graph.input[0].name
    asked = numpy.fromfile(path.with_suffix(".gates"), numpy.float32).astype(int)
    shape = [len(asked)] + [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[1:]]
    images = numpy.fromfile(path.with_suffix(".input"), numpy.float32).reshape(shape)
    failed = 0
    for label, level in (("as it reads", LEVELS.ORT_DISABLE_ALL), ("optimised", LEVELS.ORT_ENABLE_ALL)):
        alone = [layers_run(path.read_bytes(), level, {name: image[None]}) for image in images]
        ran = [count for _, count in alone]
        good = ran == asked.tolist() and len(set(ran)) > 1
        print(f"{path.stem:24} {label:12} Conv run by image: {ran} {'ok' if good else f'not {asked.tolist()}'}")
        failed += not good
        failed += not logits_agree(path, numpy.concatenate([y for y, _ in alone]), label)
        together, count = layers_run(path.read_bytes(), level, {name: images})
        failed += count < max(ran)
        failed += not logits_agree(path, together, f"batch of {len(images)}")
    return failed


def input_of(path, model):
    """The image, by the name of the model's input."""
    value = model.graph.input[0]
    shape = [2] + [d.dim_value for d in value.type.tensor_type.shape.dim[1:]]
    return {value.name: numpy.fromfile(path.with_suffix(".input"), numpy.float32).reshape(shape)}


def logits_agree(path, got, label):
    """Float32 accumulates over at most a few thousand terms a layer, some twenty layers deep."""
    expected = numpy.fromfile(path.with_suffix(".logits"), numpy.float32).reshape(got.shape)
    error, scale = float(numpy.abs(got - expected).max()), float(numpy.abs(expected).max())
    good = error <= 2e-5 * scale
    print(f"{path.stem:24} {label:12} max abs error {error:.2e}  (largest logit {scale:.3g})  {'ok' if good else 'DIFFERS'}")
    return good


class Tensor:
    """A tensor with a scale: its QuantizeLinear, and what dump.cc says of it."""

    def __init__(self, path, index, terms, node, constants):
        def read(what, kind):
            file = path.with_suffix(f".{index}.{what}")
            return numpy.fromfile(file, kind) if file.exists() else None
        self.name, self.terms, self.node = node.input[0], terms, node
        self.scale, self.zero = (constants[name] for name in node.input[1:3])
        self.bytes = read("bytes", numpy.uint8)
        self.exact, self.sizes = read("exact", numpy.float64), read("sizes", numpy.float64)

    def check(self, made, before):
        """(bytes that differ, what is wrong). `made`: ONNX Runtime's bytes; `before`: what it rounded, where it shows that."""
        made = made.reshape(-1)
        differ = numpy.flatnonzero(made != self.bytes)
        if self.exact is None:  # the image: one division, rounded as IEEE says
            return differ.size, "the input is rounded differently" if differ.size else ""
        scale = float(self.scale)
        steps = self.exact / scale
        tie = numpy.abs(steps - numpy.floor(steps) - 0.5) * scale
        # Ours: exact sums; a handful of roundings of the scaled sum, of what is added to it, and of the quotient.
        ours = 16 * UNIT * (numpy.abs(self.exact) + 2 * numpy.abs(self.reach))
        right = numpy.clip(numpy.rint(steps) + self.zero, 0, 255).astype(numpy.uint8)
        wrong = numpy.flatnonzero((right != self.bytes) & (tie > ours))
        if wrong.size:
            return differ.size, f"{wrong.size} of our bytes are not the rounded sums"
        # ONNX Runtime's: float32 sums of `terms` products, or what it shows that it rounded.
        theirs = gamma(self.terms + 16) * (self.sizes + numpy.abs(self.exact))
        if before is not None:
            error = numpy.abs(before.reshape(-1).astype(numpy.float64) - self.exact)
            if (error > theirs).any():
                return differ.size, f"a sum is off by {error.max():.2e}"
            theirs = error
        apart = numpy.abs(made.astype(int) - self.bytes.astype(int))[differ]
        if (apart > 1).any() or (tie[differ] > (ours + theirs)[differ]).any():
            return differ.size, f"bytes differ beside a tie, by up to {apart.max()}"
        return differ.size, ""


def cut(model, tensors, show):
    """Every tensor's bytes become an input of what reads them and an output of what makes them."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    for node in graph.node:
        if node.op_type != "QuantizeLinear":
            continue
        name = node.output[0]
        graph.input.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, None))
        node.output[0] = name + ".made"
        graph.output.append(onnx.helper.make_tensor_value_info(node.output[0], onnx.TensorProto.UINT8, None))
        if show and tensors[node.input[0]].exact is not None:
            graph.output.append(onnx.helper.make_tensor_value_info(node.input[0], onnx.TensorProto.FLOAT, None))
    return made.SerializeToString()


def check_bytes(path):
    model = onnx.load(path)
    constants = {c.name: onnx.numpy_helper.to_array(c) for c in model.graph.initializer}
    quantisers = {node.input[0]: node for node in model.graph.node if node.op_type == "QuantizeLinear"}
    tensors = {}
    for index, line in enumerate(path.with_suffix(".layers").read_text().splitlines()):
        terms, name = line.split(" ", 1)
        tensors[name] = Tensor(path, index, int(terms), quantisers[name], constants)
    reach = max(255 * float(t.scale) for t in tensors.values())  # of what may be added before rounding
    image = input_of(path, model)
    shapes = {i.name: i for i in model.graph.input}
    failed = 0
    for label, level in (("as it reads", LEVELS.ORT_DISABLE_ALL), ("in integers", LEVELS.ORT_ENABLE_ALL)):
        show = level == LEVELS.ORT_DISABLE_ALL
        whole = run(path.read_bytes(), level, image)
        probe = onnx.shape_inference.infer_shapes(model)
        known = {v.name: v for v in [*probe.graph.value_info, *probe.graph.input]}
        inputs = dict(image)
        for tensor in tensors.values():
            tensor.reach = reach
            value = known[tensor.name] if tensor.name in known else shapes[tensor.name]
            shape = [2] + [d.dim_value for d in value.type.tensor_type.shape.dim[1:]]
            inputs[tensor.node.output[0]] = tensor.bytes.reshape(shape)
        got = run(cut(model, tensors, show), level, inputs)
        total = 0
        for name, tensor in tensors.items():
            differ, why = tensor.check(got[tensor.node.output[0] + ".made"], got.get(name))
            total += differ
            if why:
                print(f"{path.stem:24} {label:12} {name}: {why}")
                failed += 1
        count = sum(t.bytes.size for t in tensors.values())
        print(f"{path.stem:24} {label:12} {total} of {count} bytes of {len(tensors)} tensors differ, all on ties"
              if not failed else f"{path.stem:24} {label:12} {failed} tensors DIFFER")
        if total == 0:
            failed += not logits_agree(path, whole[model.graph.output[0].name], label)
    return failed


def main():
    folder = pathlib.Path(sys.argv[1])
    models = sorted(folder.glob("*.onnx"))
    failed = 0
    for path in models:
        if path.stem.endswith("-int8"):
            failed += check_bytes(path)
        elif path.stem.endswith("-gated"):
            failed += check_gates(path)
        else:
            model = onnx.load(path)
            got = run(path.read_bytes(), LEVELS.ORT_DISABLE_ALL, input_of(path, model))
            failed += not logits_agree(path, got[model.graph.output[0].name], "as it reads")
    print(f"{len(models)} models, {failed} differences from ONNX Runtime {onnxruntime.__version__}")
    sys.exit(failed > 0 or not models)


main()
