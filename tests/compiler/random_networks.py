"""Random networks of convolutions, sums, slices, splits, pools and concatenations, and their nodes."""

import numpy as np
from onnx import helper

from .onnx_networks import model_of, random

KINDS = ("conv", "concat", "concat", "cut", "split", "sum", "relu", "pool", "gather", "group", "gate")


def conv(source, result, weight, **attributes):
    return helper.make_node("Conv", [source, weight], [result], name=result, **attributes)


def relu(source, result):
    return helper.make_node("Relu", [source], [result])


def concat(result, *sources, axis=1):
    return helper.make_node("Concat", list(sources), [result], axis=axis)


def cut(source, result, start, end, step=1):
    names = [f"{result}.{key}" for key in ("starts", "ends", "axes", "steps")]
    weights = {name: np.array([value], np.int64) for name, value in zip(names, (start, end, 1, step), strict=True)}
    return helper.make_node("Slice", [source, *names], [result]), weights


def random_network(seed, length=9):
    """Operators that read any earlier values; all of these are joined at the end."""
    rng = np.random.default_rng(seed)
    nodes, weights, values = [conv("input", "v", "w", pads=[1] * 4)], {"w": random(4, 3, 3, 3)}, {"v": 4}

    def pick():
        return str(rng.choice(list(values)))

    for index in range(length):
        source, result = pick(), f"v{index}"
        match str(rng.choice(KINDS)):
            case "conv":
                size = int(rng.choice([1, 3]))
                weights[f"w{index}"] = random(int(rng.integers(1, 6)), values[source], size, size, seed=index) * 0.4
                nodes.append(conv(source, result, f"w{index}", pads=[size // 2] * 4))
                values[result] = len(weights[f"w{index}"])
            case "concat":
                parts = [pick() for _ in range(int(rng.integers(1, 4)))]
                nodes.append(concat(result, *parts))
                values[result] = sum(values[part] for part in parts)
            case "cut":
                start = int(rng.integers(0, values[source]))
                end = int(rng.integers(start + 1, values[source] + 1))
                node, bounds = cut(source, result, start, end)
                nodes.append(node)
                weights |= bounds
                values[result] = end - start
            case "split" if values[source] > 1:
                first = int(rng.integers(1, values[source]))
                weights[f"s{index}"] = np.array([first, values[source] - first])
                results = [result, f"{result}.rest"]
                nodes.append(helper.make_node("Split", [source, f"s{index}"], results, axis=1))
                values |= dict(zip(results, weights[f"s{index}"].tolist(), strict=True))
            case "sum":
                fitting = [name for name, channels in values.items() if channels == values[source]]
                nodes.append(helper.make_node("Add", [source, str(rng.choice(fitting))], [result]))
                values[result] = values[source]
            case "gather":
                weights[f"t{index}"] = rng.permutation(values[source])[: int(rng.integers(1, values[source] + 1))]
                nodes.append(helper.make_node("Gather", [source, f"t{index}"], [result], axis=1))
                values[result] = len(weights[f"t{index}"])
            case "group":
                groups = int(rng.choice([n for n in range(1, values[source] + 1) if values[source] % n == 0]))
                values[result] = groups * int(rng.integers(1, 3))
                weights[f"w{index}"] = random(values[result], values[source] // groups, 3, 3, seed=index) * 0.4
                nodes.append(conv(source, result, f"w{index}", group=groups, pads=[1] * 4))
            case "gate":
                weights[f"w{index}"] = random(values[source], values[source], 1, 1, seed=index)
                nodes.append(helper.make_node("GlobalAveragePool", [source], [f"{result}.mean"]))
                nodes.append(conv(f"{result}.mean", f"{result}.conv", f"w{index}"))
                nodes.append(helper.make_node("HardSigmoid", [f"{result}.conv"], [f"{result}.gate"]))
                nodes.append(helper.make_node("Mul", [source, f"{result}.gate"], [result]))
                values[result] = values[source]
            case "pool":
                nodes.append(helper.make_node("MaxPool", [source], [result], kernel_shape=[3, 3], pads=[1] * 4))
                values[result] = values[source]
            case _:
                nodes.append(relu(source, result))
                values[result] = values[source]
    nodes += [concat("all", *values), relu("all", "output")]
    return model_of(nodes, weights)
