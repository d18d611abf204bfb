"""The proposed network in PyTorch, for `bench_train.py`: a step for each line that comes in.

It runs in an environment of its own, which has PyTorch and not this package:
`python peer_torch.py SIDE BATCH STEPS THREADS [bfloat16] [compile]`
"""

from __future__ import annotations

import sys
import time

import torch
from torch import nn

FILTERS, CONVS = (32, 64, 128, 256, 384, 512), (2, 2, 2, 2, 3, 3)


def build(side: int) -> nn.Module:
    layers: list[nn.Module] = []
    before = 3
    for block, (width, count) in enumerate(zip(FILTERS, CONVS, strict=True), 1):
        for _ in range(count):
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU(inplace=True)]
            layers += [nn.BatchNorm2d(width, eps=1e-3, momentum=0.1)]
            before = width
        if block < len(FILTERS):
            layers.append(nn.MaxPool2d(2))
    layers.append(nn.Flatten())
    before *= (side // 32) ** 2
    for units in (512, 256):
        layers += [nn.Linear(before, units), nn.ReLU(inplace=True), nn.Dropout(0.5)]
        before = units
    return nn.Sequential(*layers, nn.Linear(before, 2))


def main(side: int, batch: int, steps: int, threads: int, *options: str) -> None:
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    model = build(side).to(memory_format=torch.channels_last).train()
    count = sum(parameter.numel() for parameter in model.parameters())
    learner = torch.compile(model) if "compile" in options else model
    optimizer = torch.optim.SGD(model.parameters(), 1e-3, 0.9, nesterov=True, fused=True)
    loss = nn.CrossEntropyLoss()
    images = torch.rand(batch, 3, side, side).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 2, (batch,))

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled="bfloat16" in options):
            answer = learner(images)
        loss(answer.float(), labels).backward()
        optimizer.step()

    for _ in range(3):
        step()
    print("ready", torch.__version__, count, flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        for _ in range(steps):
            step()
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:5]), *sys.argv[5:])
