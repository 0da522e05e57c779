"""Small members of torchvision's convolutional families: exported, compiled, run, compared with onnxruntime.

All of torchvision's networks at their own sizes: benchmarks/compile_networks.py.
"""

import importlib

import pytest
import torch
from act.compiler.compile import compile_onnx
from act.compiler.targets import get_target
from act.device.harness import measure
from act.models.torchvision_compat import import_torchvision
from act.toolchain.capture import capture
from act.toolchain.export import export_onnx
from torch import nn

from .kernel_check import TARGETS, local_device


def adaptive(_):
    """Windows of 10 and 11 pixels, as where a VGG gets images of another size."""
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d((3, 5)), nn.Flatten(), nn.Linear(60, 5))


def convnext(models):
    blocks = [models.convnext.CNBlockConfig(8, 16, 1), models.convnext.CNBlockConfig(16, None, 1)]
    return models.ConvNeXt(blocks, num_classes=10)


def densenet(models):
    return models.DenseNet(growth_rate=4, block_config=(2, 2), num_init_features=8, bn_size=2, num_classes=10)


def efficientnet(models):
    expanded, fused = models.efficientnet.MBConvConfig, models.efficientnet.FusedMBConvConfig
    blocks = [fused(2, 3, 1, 8, 8, 1), expanded(4, 5, 2, 8, 12, 1)]
    return models.EfficientNet(blocks, dropout=0.1, last_channel=16, num_classes=10)


def googlenet(models):
    inception = importlib.import_module("torchvision.models.googlenet").Inception  # `models.googlenet` is a function
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        inception(8, 4, 4, 8, 2, 4, 4),
        inception(20, 4, 4, 8, 2, 4, 4),
        nn.AvgPool2d(3, 1, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def mobilenet_v2(models):
    return models.MobileNetV2(num_classes=10, inverted_residual_setting=[[1, 8, 1, 1], [4, 12, 2, 2]], width_mult=0.5)


def mobilenet_v3(models):
    block = models.mobilenetv3.InvertedResidualConfig
    blocks = [block(8, 3, 16, 8, True, "RE", 2, 1, 1), block(8, 5, 24, 12, True, "HS", 1, 1, 1)]
    return models.MobileNetV3(blocks, last_channel=16, num_classes=10)


def regnet(models):
    parameters = models.regnet.BlockParams([1, 1], [16, 24], [8, 12], [1.0, 1.0], [2, 2], 0.25)
    return models.RegNet(parameters, num_classes=10, stem_width=8)


def resnext(models):
    return models.ResNet(models.resnet.Bottleneck, [1, 1, 1, 1], num_classes=10, groups=4, width_per_group=2)


def shufflenet(models):
    return models.ShuffleNetV2([2, 1, 1], [8, 16, 24, 32, 40], num_classes=10)


def squeezenet(models):
    fire = models.squeezenet.Fire
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), fire(8, 4, 8, 8), fire(16, 4, 8, 8), nn.AvgPool2d(2))


NETWORKS = (
    *(adaptive, convnext, densenet, efficientnet, googlenet, mobilenet_v2),
    *(mobilenet_v3, regnet, resnext, shufflenet, squeezenet),
)


def randomize(model):
    """Norms far from those of a fresh network."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.uniform_(-0.2, 0.2, generator=generator)
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.2, 0.2),
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.5, 1.5),
            ):
                tensor.uniform_(low, high, generator=generator)
    for name, parameter in model.named_parameters():
        if name.endswith("layer_scale"):  # ConvNeXt's blocks begin as almost nothing, which would hide a mistake
            parameter.data.uniform_(0.1, 0.3, generator=generator)
    return model


@pytest.mark.opencl
@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.__name__)
def test_families_compile_and_match_onnxruntime(network, tmp_path):
    device = local_device()
    torch.manual_seed(0)
    model = randomize(network(import_torchvision().models)).eval()
    path = tmp_path / "network.onnx"
    export_onnx(capture(model, (3, 32, 32)), path, preprocessing=None)
    target = TARGETS[NETWORKS.index(network) % 2]
    compiled = compile_onnx(path, get_target(target), output=tmp_path / "network.actpkg")
    assert measure(compiled.path, device, runs=1, warmup=0, profile_runs=0).verified_error < 1e-4
    assert not [step.reason for step in compiled.steps if step.reason.startswith("concatenation")]
