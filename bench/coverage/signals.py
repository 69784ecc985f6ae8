#!/usr/bin/env python3
"""What ReduceNet does with networks of signals [N, C, L]: the runtime's answers and time beside ONNX Runtime's, and the collapse.

    python3 bench/coverage/signals.py --json docs/results/signals.json [--rounds 7] [--tool build/reducenet]

The networks have the layers of published ones and random weights: M5 for raw sound (Dai et al., arXiv 1610.00087), depthwise ones
for spoken words as MatchboxNet (Majumdar and Ginsburg, arXiv 2004.08531), dilated ones padded on the left as TCN (Bai et al., arXiv
1803.01271). Exported with their BatchNorms, by both exporters of PyTorch. The collapsed network runs here and in ONNX Runtime, one
thread each, in turn; the ratio is of the medians. Needs torch, onnx, onnxscript and onnxruntime.
"""
import json
import pathlib
import sys
import tempfile
import warnings

import onnx
import torch
from torch import nn

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import add_rounds, collapse, compare, draw_statistics, in_turn, option_parser, report  # noqa: E402


def layer(before, after, kernel, stride=1):
    return nn.Sequential(nn.Conv1d(before, after, kernel, stride, kernel // 2, bias=False), nn.BatchNorm1d(after), nn.ReLU())


def m5():
    layers = [layer(1, 128, 80, 4)]
    for before, after in ((128, 128), (128, 256), (256, 512)):
        layers += [nn.MaxPool1d(4), layer(before, after, 3)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(512, 35)), (1, 16000)


class Separable(nn.Module):
    """A residual block: a wide depthwise convolution and a pointwise one, several times."""

    def __init__(self, channels, kernel, times):
        super().__init__()
        parts = []
        for _ in range(times):
            parts += [nn.Conv1d(channels, channels, kernel, padding=kernel // 2, groups=channels, bias=False),
                      nn.Conv1d(channels, channels, 1, bias=False), nn.BatchNorm1d(channels), nn.ReLU()]
        self.main = nn.Sequential(*parts[:-1])
        self.skip = nn.Sequential(nn.Conv1d(channels, channels, 1, bias=False), nn.BatchNorm1d(channels))

    def forward(self, x):
        return torch.relu(self.main(x) + self.skip(x))


def separable():
    return nn.Sequential(layer(64, 64, 11, 2), *(Separable(64, kernel, 2) for kernel in (13, 15, 17)), layer(64, 128, 1),
                         nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(128, 35)), (64, 128)


class Causal(nn.Module):
    """A residual block of two convolutions that see nothing to the right."""

    def __init__(self, before, after, dilation):
        super().__init__()
        self.reach = 2 * dilation
        self.one, self.two = (nn.Conv1d(channels, after, 3, dilation=dilation) for channels in (before, after))
        self.skip = nn.Conv1d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x):
        y = x
        for conv in (self.one, self.two):
            y = torch.relu(conv(nn.functional.pad(y, (self.reach, 0))))
        return torch.relu(y + self.skip(x))


def causal():
    return nn.Sequential(*(Causal(before, 48, dilation) for before, dilation in ((9, 1), (48, 2), (48, 4), (48, 8))),
                         nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(48, 6)), (9, 256)


NETWORKS = {"M5": m5, "separable": separable, "causal": causal}


def export(network, shape, path, exporter):
    torch.manual_seed(0)
    draw_statistics(network, nn.BatchNorm1d)
    more = {"external_data": False} if exporter == "dynamo" else {
        "opset_version": 17, "do_constant_folding": False, "training": torch.onnx.TrainingMode.PRESERVE}
    torch.onnx.export(network.eval(), (torch.randn(1, *shape),), str(path), dynamo=exporter == "dynamo", verbose=False, **more)


def images_in(nodes):
    """Turns of a signal into an image of one row, and back."""
    return sum(node.op_type in ("Squeeze", "Unsqueeze") for node in nodes)


def main():
    parser = option_parser(__doc__, seconds=120)
    add_rounds(parser)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    result = report("signals", torch=torch.__version__)
    for name, make in NETWORKS.items():
        for exporter in ("TorchScript", "dynamo"):
            with tempfile.TemporaryDirectory() as folder:
                folder = pathlib.Path(folder)
                path, smaller = folder / "model.onnx", folder / "collapsed.onnx"
                network, shape = make()
                export(network, shape, path, exporter)
                row = {"network": name, "shape": list(shape), "exporter": exporter, **compare(options, folder, path, (1, *shape))}
                certificate = collapse(options, path, smaller)
                before, after = (onnx.load(of).graph.node for of in (path, smaller))
                row |= {"verified": certificate["verified"], "nodes_before": len(before), "nodes_after": len(after),
                        "images_made": images_in(after) - images_in(before), **in_turn(options, smaller, shape)}
            result["rows"].append(row)
            print(json.dumps(row), file=sys.stderr, flush=True)
    options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
