#!/usr/bin/env python3
"""The plain PyTorch training loop, tuned: the peer of `reducenet train` in bench/train_speed.

Same network (reduce: 3x3-BN-ReLU-1x1-BN + x, ReLU), optimiser, batch and augmentation. Channels-last, two threads, batches
augmented as whole tensors in a prefetching thread, gradients set to None. Prints one JSON object.
"""
import argparse
import json
import queue
import threading
import time

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
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


def batches(images, labels, size, count):
    """Random crop (padding 4) and flip of whole batches, normalised, channels-last."""
    padded = F.pad(images.float().permute(0, 3, 1, 2), (4, 4, 4, 4)).permute(0, 2, 3, 1).to(torch.uint8).contiguous()
    mean = torch.tensor([125.3, 123.0, 113.9])
    scale = 1 / torch.tensor([63.0, 62.1, 66.7])
    span = torch.arange(32)
    for _ in range(count):
        index = torch.randint(len(images), (size,))
        rows = torch.randint(9, (size, 1)) + span
        columns = torch.randint(9, (size, 1)) + span
        columns = torch.where(torch.rand(size, 1) < 0.5, columns.flip(1), columns)
        batch = padded[index[:, None, None], rows[:, :, None], columns[:, None, :]]
        batch = ((batch.float() - mean) * scale).permute(0, 3, 1, 2)  # NHWC in memory: channels-last
        yield batch, labels[index]


def prefetched(source, depth=4):
    ready = queue.Queue(depth)

    def fill():
        for item in source:
            ready.put(item)
        ready.put(None)

    threading.Thread(target=fill, daemon=True).start()
    while (item := ready.get()) is not None:
        yield item


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--warmup", type=int, default=8)
    parser.add_argument("--modules", type=int, default=3)
    parser.add_argument("--expansion", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    images = torch.randint(256, (10000, 32, 32, 3), dtype=torch.uint8)
    labels = torch.randint(10, (10000,))
    model = network(options.modules, [16, 32, 64], options.expansion).to(memory_format=torch.channels_last)
    fades = [module for module in model if isinstance(module, Module)]
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.SGD([{"params": decayed, "weight_decay": 5e-4}, {"params": others}], 0.1, 0.9, nesterov=True)
    total = options.warmup + options.steps
    for step, (x, y) in enumerate(prefetched(batches(images, labels, options.batch, total))):
        if step == options.warmup:
            start = time.perf_counter()
        for module in fades:
            module.slope = step / total
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    seconds = time.perf_counter() - start
    print(json.dumps({"images_per_s": options.steps * options.batch / seconds, "torch": torch.__version__}))


if __name__ == "__main__":
    main()
