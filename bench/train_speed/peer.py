#!/usr/bin/env python3
"""The plain PyTorch training loop, tuned: the peer of `reducenet train` in bench/train_speed.

Same network (reduce: 3x3-BN-ReLU-1x1-BN + x, ReLU), optimiser, batch and augmentation. Channels-last, two threads, batches
augmented as whole tensors in a prefetching thread, gradients set to None. Prints one JSON object.

Without --data, images/s of --steps steps on random images. With --data (an .npz that accuracy.py writes), --epochs epochs of
recipes/cifar10-reduce20.toml: what each took, and top-1 on the held-out and, at the end, on the test images.
"""
import argparse
import json
import math
import queue
import sys
import threading
import time

import numpy
import torch
import torch.nn as nn
import torch.nn.functional as F


class Module(nn.Module):
    def __init__(self, inputs, outputs, stride, expansion):
        super().__init__()
        middle = outputs * expansion
        self.conv1 = nn.Conv2d(inputs, middle, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, outputs, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = stride == 1 and inputs == outputs
        self.slope = 0.0  # 1 − λ: the fade as one fused op, leaky_relu

    def forward(self, x):
        y = self.bn2(self.conv2(F.leaky_relu(self.bn1(self.conv1(x)), self.slope)))
        return F.relu(y + x if self.shortcut else y)


def network(modules, widths, expansion):
    layers = [nn.Conv2d(3, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()]
    channels = widths[0]
    for stage, width in enumerate(widths):
        for i in range(modules):
            layers.append(Module(channels, width, 2 if stage and i == 0 else 1, expansion))
            channels = width
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
    return model


def normalised(batch):
    """NHWC bytes as NCHW floats, channels-last in memory."""
    mean = torch.tensor([125.3, 123.0, 113.9])
    scale = 1 / torch.tensor([63.0, 62.1, 66.7])
    return ((batch.float() - mean) * scale).permute(0, 3, 1, 2)


def padded(images):
    """NHWC bytes with four black pixels on every side."""
    return F.pad(images, (0, 0, 4, 4, 4, 4))


def batches(images, labels, indices):
    """Random crop and flip of whole batches of padded images, normalised, channels-last; `indices`: the images of each."""
    span = torch.arange(32)
    for index in indices:
        size = len(index)
        rows = torch.randint(9, (size, 1)) + span
        columns = torch.randint(9, (size, 1)) + span
        columns = torch.where(torch.rand(size, 1) < 0.5, columns.flip(1), columns)
        batch = images[index[:, None, None], rows[:, :, None], columns[:, None, :]]
        yield normalised(batch), labels[index]


def prefetched(source, depth=4):
    ready = queue.Queue(depth)

    def fill():
        for item in source:
            ready.put(item)
        ready.put(None)

    threading.Thread(target=fill, daemon=True).start()
    while (item := ready.get()) is not None:
        yield item


def learner(options):
    """The network, its fading modules, its optimiser."""
    model = network(options.modules, options.widths, options.expansion).to(memory_format=torch.channels_last)
    fades = [module for module in model if isinstance(module, Module)]
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.SGD([{"params": decayed, "weight_decay": 5e-4}, {"params": others}], 0.1, 0.9, nesterov=True)
    return model, fades, optimizer


def step(model, optimizer, x, y):
    loss = F.cross_entropy(model(x), y)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def top1(model, images, labels):
    """Share of images whose greatest score is their label's, with running BN statistics."""
    model.eval()
    with torch.inference_mode():
        right = sum((model(normalised(images[i:i + 500])).argmax(1) == labels[i:i + 500]).sum().item()
                    for i in range(0, len(images), 500))
    model.train()
    return right / len(images)


def speed(options):
    images = padded(torch.randint(256, (10000, 32, 32, 3), dtype=torch.uint8))
    labels = torch.randint(10, (10000,))
    model, fades, optimizer = learner(options)
    total = options.warmup + options.steps
    indices = (torch.randint(len(images), (options.batch,)) for _ in range(total))
    for count, (x, y) in enumerate(prefetched(batches(images, labels, indices))):
        if count == options.warmup:
            start = time.perf_counter()
        for module in fades:
            module.slope = count / total
        step(model, optimizer, x, y)
    return {"images_per_s": options.steps * options.batch / (time.perf_counter() - start)}


def accuracy(options):
    """recipes/cifar10-reduce20.toml: cosine learning rate after one epoch of warm-up, cosine fade over 80 % of the run."""
    data = {k: torch.from_numpy(v) for k, v in numpy.load(options.data).items()}
    images, labels = padded(data["training_images"]), data["training_labels"]
    model, fades, optimizer = learner(options)
    start = time.perf_counter()
    steps = math.ceil(len(images) / options.batch)
    total, epochs = options.epochs * steps, []
    for epoch in range(options.epochs):
        order = torch.randperm(len(images)).split(options.batch)
        for i, (x, y) in enumerate(prefetched(batches(images, labels, order))):
            at = epoch * steps + i
            lr = 0.1 * (at + 1) / steps if epoch == 0 else 0.05 * (1 + math.cos(math.pi * (at - steps) / (total - steps)))
            for group in optimizer.param_groups:
                group["lr"] = lr
            lam = 0.5 * (1 + math.cos(math.pi * min(1, at / total / 0.8)))
            for module in fades:
                module.slope = 1 - lam
            step(model, optimizer, x, y)
        epochs.append({"val_top1": top1(model, data["validation_images"], data["validation_labels"]),
                       "seconds": time.perf_counter() - start})
        print(f"epoch {epoch + 1} of {options.epochs}: {epochs[-1]}", file=sys.stderr, flush=True)
    return {"epochs": epochs, "top1": top1(model, data["test_images"], data["test_labels"])}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--warmup", type=int, default=8)
    parser.add_argument("--modules", type=int, default=3)
    parser.add_argument("--widths", type=int, nargs=3, default=[16, 32, 64])
    parser.add_argument("--expansion", type=int, default=1)
    parser.add_argument("--data", help=".npz of training, validation and test images and labels")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    result = accuracy(options) if options.data else speed(options)
    print(json.dumps({**result, "torch": torch.__version__}))


if __name__ == "__main__":
    main()
