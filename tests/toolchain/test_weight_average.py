import torch
from act.toolchain.weight_average import WeightAverage
from torch import nn


def test_the_average_follows_its_formula() -> None:
    layer = nn.Linear(2, 1)
    average = WeightAverage(layer, 0.9)
    expected = [p.detach().clone() for p in layer.parameters()]
    for step in range(1, 40):
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter += step
        average.update()
        decay = min(0.9, (1 + step) / (10 + step))
        expected = [decay * old + (1 - decay) * p.detach() for old, p in zip(expected, layer.parameters(), strict=True)]
    average.apply()
    for parameter, value in zip(layer.parameters(), expected, strict=True):
        assert torch.allclose(parameter, value, rtol=1e-5)


def test_a_restored_average_goes_on_as_the_first() -> None:
    first = nn.Linear(3, 3)
    average = WeightAverage(first, 0.99)
    average.update()
    second = nn.Linear(3, 3)
    restored = WeightAverage(second, 0.99)
    restored.load_state_dict(average.state_dict())
    second.load_state_dict(first.state_dict())
    for each in (average, restored):
        each.update()
        each.apply()
    assert torch.equal(first.weight, second.weight)
