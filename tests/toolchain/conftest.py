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
    """A gate of the same channels, which may go, and a group norm, which no rule knows."""

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


class Excited(nn.Module):
    """Squeeze and excitation with linear layers, views and expand_as; hard swish written out; a map of one channel."""

    def __init__(self):
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.down, self.up = nn.Linear(8, 4), nn.Linear(4, 8)
        self.body, self.place = nn.Conv2d(8, 6, 3, padding=1), nn.Conv2d(8, 1, 3, padding=1)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = self.bn(self.stem(x))
        x = x * F.relu6(x + 3) / 6
        batch, channels, _, _ = x.size()
        gate = torch.sigmoid(self.up(F.relu(self.down(F.adaptive_avg_pool2d(x, 1).view(batch, channels)))))
        x = x * gate.view(batch, channels, 1, 1).expand_as(x)
        return self.head((self.body(x) * torch.sigmoid(self.place(x))).mean((2, 3)))


class Grouped(nn.Module):
    """A bottleneck with a grouped convolution, as in ResNeXt, with a gate on its channels, as in RegNetY."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.reduce, self.bn1 = nn.Conv2d(8, 12, 1, bias=False), nn.BatchNorm2d(12)
        self.spatial, self.bn2 = nn.Conv2d(12, 18, 3, padding=1, groups=6, bias=False), nn.BatchNorm2d(18)
        self.squeeze, self.excite = nn.Conv2d(18, 4, 1), nn.Conv2d(4, 18, 1)
        self.expand, self.bn3 = nn.Conv2d(18, 8, 1, bias=False), nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = F.relu(self.stem(x))
        y = F.relu(self.bn2(self.spatial(F.relu(self.bn1(self.reduce(x))))))
        y = y * F.hardsigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(y, 1)))))
        return self.head(F.relu(x + self.bn3(self.expand(y))).mean((2, 3)))


class Shuffled(nn.Module):
    """ShuffleNet's unit twice: half of the channels pass, the others are transformed, then all are shuffled."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.first, self.bn1 = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.second, self.bn2 = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.shuffle = nn.ChannelShuffle(3)
        self.head = nn.Linear(12, 3)

    def forward(self, x):
        x = F.relu(self.stem(x))
        passed, other = x.chunk(2, dim=1)
        x = torch.cat([passed, F.relu(self.bn1(self.first(other)))], dim=1)
        n, c, h, w = x.size()
        x = torch.transpose(x.view(n, 2, c // 2, h, w), 1, 2).contiguous().view(n, -1, h, w)
        passed, other = torch.split(x, 6, dim=1)
        x = self.shuffle(torch.cat([passed, F.relu(self.bn2(self.second(other)))], dim=1))
        return self.head(x.mean((2, 3)))


class Tokens(nn.Module):
    """Channels that come to lie along the last dimension: a layer norm freezes them, the hidden ones may go."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 6, 2, stride=2), nn.LayerNorm(6)
        self.up, self.down = nn.Linear(6, 10), nn.Linear(10, 6)
        self.tail, self.head = nn.Conv2d(6, 5, 3), nn.Linear(5, 3)

    def forward(self, x):
        x = self.stem(x)
        tokens = self.norm(x.permute(0, 2, 3, 1))
        x = x + self.down(F.silu(self.up(tokens))).permute(0, 3, 1, 2)
        return self.head(F.relu(self.tail(x)).flatten(2).transpose(1, 2).mean(1))


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
    "excited": Excited,
    "grouped": Grouped,
    "shuffled": Shuffled,
    "tokens": Tokens,
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
