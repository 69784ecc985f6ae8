#!/usr/bin/env python3
"""How fast the runtime is on networks that nobody made for it, beside ONNX Runtime.

    python3 bench/coverage/speed.py --json docs/results/speed/intel-xeon.json [--networks resnet18,…] [--rounds 7] [--tool build/reducenet]

Classifiers of torchvision with random weights at 224×224 pixels, as PyTorch's tracing exporter writes them. One thread and one image
each, in turn; the ratio is of the medians. Needs torch, torchvision, onnx and onnxruntime, and a machine that does nothing else.
"""
import json
import pathlib
import sys
import tempfile
import warnings

import torch
import torchvision

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import add_rounds, in_turn, option_parser, report  # noqa: E402

NETWORKS = """resnet18 resnext50_32x4d vgg11 densenet121 googlenet squeezenet1_1 mobilenet_v2 mobilenet_v3_small mnasnet0_5 efficientnet_b0
regnet_x_400mf regnet_y_400mf shufflenet_v2_x1_0 convnext_tiny swin_t""".split()
SHAPE = (3, 224, 224)


def main():
    parser = option_parser(__doc__, seconds=120)
    parser.add_argument("--networks", type=lambda text: text.split(","), default=NETWORKS)
    add_rounds(parser)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    result = report("speed", torch=torch.__version__, torchvision=torchvision.__version__)
    for name in options.networks:
        torch.manual_seed(0)
        network = torchvision.models.get_model(name, weights=None).eval()
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "model.onnx"
            torch.onnx.export(network, torch.randn(1, *SHAPE), str(path), dynamo=False, opset_version=17)
            row = {"network": name, **in_turn(options, path, SHAPE)}
        result["rows"].append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)
    options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
