#!/usr/bin/env python3
"""Exports real architectures in their *training* form to ONNX (opset 17), with random weights and randomised BN statistics.

    bench/collapse/export_models.py FOLDER [NAME …]

Writes FOLDER/NAME.onnx and, where the library has its own re-parameterisation, FOLDER/NAME.reparameterised.onnx of the same
weights. Needs torch, torchvision and timm.
"""
import copy
import pathlib
import sys
import warnings

import timm
import torch
import torchvision
from timm.utils.model import reparameterize_model

warnings.filterwarnings("ignore")


def from_timm(name):
    return lambda: timm.create_model(name, pretrained=False)


def from_torchvision(name, **options):
    return lambda: getattr(torchvision.models, name)(weights=None, **options)


# name: (constructor, side of the image)
MODELS = {
    "repvgg_a0": (from_timm("repvgg_a0"), 224),
    "repvgg_b0": (from_timm("repvgg_b0"), 224),
    "mobileone_s0": (from_timm("mobileone_s0"), 224),
    "mobileone_s1": (from_timm("mobileone_s1"), 224),
    "repvit_m0_9": (from_timm("repvit_m0_9"), 224),
    "fastvit_t8": (from_timm("fastvit_t8"), 256),
    "repghostnet_100": (from_timm("repghostnet_100"), 224),
    "resnet50": (from_torchvision("resnet50"), 224),
    "mobilenet_v2": (from_torchvision("mobilenet_v2"), 224),
    "mobilenet_v3_large": (from_torchvision("mobilenet_v3_large"), 224),
    "densenet121": (from_torchvision("densenet121"), 224),
    "googlenet": (from_torchvision("googlenet", aux_logits=False, init_weights=False), 224),
    "convnext_tiny": (from_torchvision("convnext_tiny"), 224),
    "efficientnet_b0": (from_torchvision("efficientnet_b0"), 224),
}

# Only by name: hundreds of megabytes.
LARGE = {"repvgg_b3": (from_timm("repvgg_b3"), 224)}


def randomise(model):
    """Statistics as training leaves them: none at its initial value."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            def uniform(tensor, low, high):
                with torch.no_grad():
                    tensor.copy_(low + (high - low) * torch.rand(tensor.shape, generator=generator))
            uniform(module.running_mean, -0.2, 0.2)
            uniform(module.running_var, 0.5, 1.5)
            uniform(module.weight, 0.5, 1.5)
            uniform(module.bias, -0.2, 0.2)


def export(model, side, path):
    # Training mode for the exporter keeps BatchNormalization as nodes of its own; the model itself stays in eval mode.
    torch.onnx.export(model, torch.randn(1, 3, side, side), str(path), opset_version=17, input_names=["image"],
                      output_names=["logits"], training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False)


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[2:] or MODELS:
        constructor, side = {**MODELS, **LARGE}[name]
        torch.manual_seed(0)
        model = constructor().eval()
        randomise(model)
        export(model, side, folder / f"{name}.onnx")
        merged = reparameterize_model(copy.deepcopy(model)).eval()
        changed = sum(1 for _ in merged.modules()) != sum(1 for _ in model.modules())
        if changed:
            export(merged, side, folder / f"{name}.reparameterised.onnx")
        print(f"{name}{' and its re-parameterised form' if changed else ''}", flush=True)


if __name__ == "__main__":
    main()
