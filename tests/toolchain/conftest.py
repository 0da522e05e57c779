"""Networks and random plans that the tests of the pruning core share, as factory fixtures."""

from __future__ import annotations

import copy
import functools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from act.models.registry import create_model, default_arguments
from act.toolchain.capture import capture
from act.toolchain.keep_indices import PruningPlan
from torch import nn


def randomize_batch_norm(model, seed=0):
    """Statistics and affine parameters far from those of a fresh network."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.weight is not None:
            ranges = ((module.weight, 0.5, 1.5), (module.bias, -0.5, 0.5))
            ranges += ((module.running_mean, -0.5, 0.5), (module.running_var, 0.5, 2.0))
            for tensor, low, high in ranges:
                tensor.data.uniform_(low, high, generator=generator)
    return model


class PaddedShortcut(nn.Module):
    """ResNet's option A written with F.pad and slices, as in public code."""

    def __init__(self):
        super().__init__()
        self.stem, self.stem_bn = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.conv1, self.bn1 = nn.Conv2d(6, 10, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(10)
        self.conv2, self.bn2 = nn.Conv2d(10, 10, 3, padding=1, bias=False), nn.BatchNorm2d(10)
        self.linear = nn.Linear(10, 4)

    def forward(self, x):
        x = F.relu(self.stem_bn(self.stem(x)))
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        out = F.relu(out + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 3), "constant", 0))
        out = F.avg_pool2d(out, out.size()[3])
        return self.linear(out.view(out.size(0), -1))


class Concatenated(nn.Module):
    """A dense block: batch norm over two groups, a third conv that reads both."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(5, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(9)
        self.c = nn.Conv2d(9, 6, 1)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        a = self.a(x)
        x = self.bn(torch.cat([a, self.b(F.relu(a))], 1))
        return self.head(F.silu(self.c(F.relu(x))).mean((2, 3)))


class Depthwise(nn.Module):
    """Depthwise convolutions, one with two filters a channel, batch norm before a convolution, LeakyReLU."""

    def __init__(self):
        super().__init__()
        self.expand = nn.Conv2d(3, 6, 1, bias=False)
        self.depthwise, self.bn = nn.Conv2d(6, 12, 3, padding=1, groups=6), nn.BatchNorm2d(12)
        self.second = nn.Conv2d(12, 12, 3, padding="same", groups=12, bias=False)
        self.pre = nn.BatchNorm2d(12)
        self.project, self.act = nn.Conv2d(12, 5, 3, padding="same", dilation=2), nn.LeakyReLU(0.1)
        self.features, self.bn1, self.out = nn.Linear(5 * 4, 7), nn.BatchNorm1d(7), nn.Linear(7, 3)

    def forward(self, x):
        x = torch.relu(self.bn(self.depthwise(self.expand(x))))
        x = self.act(self.project(self.pre(self.second(x))))
        x = F.dropout(F.adaptive_avg_pool2d(x, 2).view(-1, 20), 0.5, self.training)
        return self.out(F.relu(self.bn1(self.features(x))))


class Gated(nn.Module):
    """Squeeze and excitation, group norm: operators that no rule knows."""

    def __init__(self):
        super().__init__()
        self.stem, self.squeeze = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 1)
        self.body, self.norm = nn.Conv2d(6, 8, 3, padding=1), nn.GroupNorm(2, 8)
        self.free, self.tail = nn.Conv2d(8, 5, 3, padding=1, bias=False), nn.Conv2d(5, 4, 3, bias=False)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = x * torch.sigmoid(self.squeeze(x.mean((2, 3), keepdim=True)))
        x = F.relu(self.free(self.norm(self.body(x))))
        return self.head(F.adaptive_max_pool2d(self.tail(x), 1).flatten(1))


class PartlyShared(nn.Module):
    """(a ++ b) + (c ++ d) cut at different channels: groups that come apart when shared units go."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 5, 3, padding=1)
        self.c, self.d = nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.reader, self.head = nn.Conv2d(8, 4, 3), nn.Linear(4, 3)

    def forward(self, x):
        both = torch.cat([self.a(x), self.b(x)], dim=1) + torch.cat([self.c(x), self.d(x)], dim=1)
        return self.head(torch.flatten(F.max_pool2d(self.reader(torch.relu(both)), 6), 1))


class Recurrent(nn.Module):
    """The same convolution used twice."""

    def __init__(self):
        super().__init__()
        self.stem, self.shared, self.head = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3, padding=1), nn.Linear(6 * 36, 3)

    def forward(self, x):
        x = torch.relu(self.shared(torch.relu(self.stem(x))))
        return self.head(torch.relu(self.shared(x)).reshape(x.size(0), 216))


HAND_MADE = {
    "padded_shortcut": PaddedShortcut,
    "concatenated": Concatenated,
    "depthwise": Depthwise,
    "gated": Gated,
    "partly_shared": PartlyShared,
    "recurrent": Recurrent,
}


LARGE = ("resnet18", "resnet34", "resnet50", "resnet44", "resnet56")


@functools.cache
def _model(name):
    torch.manual_seed(0)
    if name in HAND_MADE:
        return randomize_batch_norm(HAND_MADE[name]()).eval(), (3, 8, 8)
    size = 8 if name in LARGE else 16
    shape = (1, 28, 28) if name.startswith("lenet") else (3, size, size)
    model = create_model(name, **default_arguments(name, num_classes=10, image_shape=shape))
    return randomize_batch_norm(model).eval(), shape


def make_model(name):
    """A registered or hand-made network with random batch norms, and its image shape, small."""
    model, shape = _model(name)  # drawing the weights of a large network takes longer than copying it
    return copy.deepcopy(model), shape


def make_plan(coupling, rng, granularity):
    """A random valid plan; `granularity` is filter, column or combined."""
    filters, columns = {}, {}
    if granularity != "column":
        for group in coupling.prunable:
            keep = rng.random(group.size) < rng.uniform(0.3, 1.0)
            for ref in group.producers:  # a producer must keep one
                if not keep[ref.units].any():
                    keep[rng.choice(ref.units)] = True
            filters[group.name] = np.flatnonzero(keep).astype(np.int32)
    if granularity != "filter":
        for name in coupling.column_layers:
            stored = coupling.layers[name].columns
            count = max(1, int(len(stored) * rng.uniform(0.1, 1.0)))
            columns[name] = np.sort(rng.choice(stored, count, replace=False)).astype(np.int32)
    return PruningPlan(keep_filters=filters, keep_columns=columns)


@pytest.fixture
def network_of():
    """Captured network by name."""

    def make(name):
        model, shape = make_model(name)
        return capture(model, shape)

    return make


@pytest.fixture
def model_of():
    return make_model


@pytest.fixture
def random_plan():
    return make_plan


@pytest.fixture
def images_for():
    """Random images for a captured network."""

    def make(network, count=3, seed=0):
        return torch.randn(count, *network.input_shape, generator=torch.Generator().manual_seed(seed))

    return make


@pytest.fixture
def randomize():
    return randomize_batch_norm
