from dataclasses import replace

from act.compiler.latency_model import lowering_costs
from act.compiler.layer_shape import LayerShape
from act.compiler.select import choose_lowering
from act.compiler.targets import get_target

TARGET = get_target("adreno640")
LAYER = LayerShape(
    name="layer",
    kind="conv",
    c_in=64,
    c_out=64,
    kernel=(3, 3),
    stride=(1, 1),
    padding=(1, 1),
    dilation=(1, 1),
    groups=1,
    input_hw=(56, 56),
    output_hw=(56, 56),
    columns=576,
)


def test_a_dense_layer_is_dense_and_says_so():
    choice = choose_lowering(LAYER, TARGET)
    assert (choice.lowering, choice.reason) == ("dense", "no zero columns")


def test_few_columns_are_packed_and_the_reason_has_both_costs():
    layer = replace(LAYER, columns=100)
    choice = choose_lowering(layer, TARGET)
    assert choice.lowering == "column"
    assert choice.modelled_us == lowering_costs(layer, TARGET)["column"].modelled_us
    assert "100 of 576 columns kept" in choice.reason
    assert "us modelled" in choice.reason


def test_the_lowering_changes_where_the_model_says():
    for columns in range(100, 576, 25):
        layer = replace(LAYER, columns=columns)
        costs = {name: cost.modelled_us for name, cost in lowering_costs(layer, TARGET).items()}
        assert choose_lowering(layer, TARGET).lowering == min(costs, key=lambda name: (costs[name], name != "dense"))


def test_almost_all_columns_stay_dense():
    assert choose_lowering(replace(LAYER, columns=570), TARGET).lowering == "dense"


def test_grouped_layers_have_no_column_kernel():
    choice = choose_lowering(replace(LAYER, groups=2, columns=100), TARGET)
    assert choice.lowering == "dense"
    assert "grouped" in choice.reason
