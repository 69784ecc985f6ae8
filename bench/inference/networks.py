#!/usr/bin/env python3
"""Writes the networks that come from Python's libraries in their deploy form, as ONNX (opset 17) and TorchScript.

    bench/inference/networks.py FOLDER [NAME …]

Random weights. Needs torch, torchvision and timm.
"""
import pathlib
import sys
import warnings

import timm
import torch
import torchvision
from timm.utils.model import reparameterize_model
from torch import nn

warnings.filterwarnings("ignore")


class Series(nn.Module):
    """VanillaNet's activation in its deploy form: a depthwise (2n+1)×(2n+1) convolution of relu(x)."""

    def __init__(self, channels, n=3):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 2 * n + 1, padding=n, groups=channels)

    def forward(self, x):
        return self.conv(torch.relu(x))


def vanillanet6():
    """VanillaNet-6 (arXiv 2305.12972, table 1) as deployed: 4×4 stem, four 1×1 blocks, classifier."""
    widths, strides = [512, 1024, 2048, 4096, 4096], [2, 2, 2, 1]
    layers = [nn.Conv2d(3, widths[0], 4, 4), Series(widths[0])]
    for before, after, stride in zip(widths, widths[1:], strides):
        layers.append(nn.Conv2d(before, after, 1))
        if stride > 1:
            layers.append(nn.MaxPool2d(stride))
        layers.append(Series(after))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Conv2d(widths[-1], 1000, 1), nn.Flatten())


def from_timm(name):
    return lambda: reparameterize_model(timm.create_model(name, pretrained=False).eval())


NETWORKS = {
    "repvgg_a0": from_timm("repvgg_a0"),
    "repvgg_b0": from_timm("repvgg_b0"),
    "mobileone_s0": from_timm("mobileone_s0"),
    "vanillanet6": vanillanet6,
    "resnet18": lambda: torchvision.models.resnet18(weights=None),
}


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[2:] or NETWORKS:
        torch.manual_seed(0)
        model = NETWORKS[name]().eval()
        image = torch.randn(1, 3, 224, 224)
        torch.onnx.export(model, image, str(folder / f"{name}.onnx"), opset_version=17, input_names=["image"],
                          output_names=["logits"], dynamic_axes={"image": {0: "n"}, "logits": {0: "n"}})
        print(name, flush=True)


if __name__ == "__main__":
    main()
