import pytest
import torch
from act.models.layers import ChannelPad, ColumnConv2d, columns_problem
from torch import nn


def _conv(columns: torch.Tensor, *, bias: bool = True) -> nn.Conv2d:
    """A dense convolution whose other columns are zero."""
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 5, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2), bias=bias)
    mask = torch.zeros(18)
    mask[columns] = 1
    with torch.no_grad():
        conv.weight.mul_(mask.view(3, 3, 2))
    return conv


COLUMNS = torch.tensor([0, 4, 5, 11, 17])


@pytest.mark.parametrize("bias", [True, False])
def test_packed_layer_computes_what_the_zero_filled_one_computes(bias: bool) -> None:
    conv = _conv(COLUMNS, bias=bias)
    packed = ColumnConv2d.from_conv(conv, COLUMNS)
    x = torch.randn(2, 3, 9, 8)
    assert packed.weight.shape == (5, 5)
    assert torch.equal(packed.dense_weight(), conv.weight)
    assert torch.equal(packed(x), conv(x))


def test_gradient_of_the_packed_weight_is_that_of_the_kept_columns() -> None:
    conv = _conv(COLUMNS)
    packed = ColumnConv2d.from_conv(conv, COLUMNS)
    x = torch.randn(2, 3, 9, 8)
    conv(x).square().sum().backward()
    packed(x).square().sum().backward()
    assert conv.weight.grad is not None
    assert packed.weight.grad is not None
    torch.testing.assert_close(packed.weight.grad, conv.weight.grad.flatten(1)[:, COLUMNS])


def test_autocast_and_double_keep_their_dtypes() -> None:
    packed = ColumnConv2d.from_conv(_conv(COLUMNS), COLUMNS)
    x = torch.randn(1, 3, 6, 6)
    with torch.autocast("cpu", torch.bfloat16):
        out = packed(x)
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert packed.weight.grad is not None and packed.weight.grad.dtype == torch.float32
    double = packed.double()
    assert double(x.double()).dtype == torch.float64
    assert double.columns.dtype == torch.int32


def test_columns_are_saved_and_loaded_with_the_weights() -> None:
    packed = ColumnConv2d.from_conv(_conv(COLUMNS), COLUMNS)
    other = ColumnConv2d(3, 5, (3, 2), torch.arange(5), stride=(2, 1), padding=(1, 2), dilation=(1, 2))
    other.load_state_dict(packed.state_dict())
    assert other.columns.tolist() == COLUMNS.tolist()
    x = torch.randn(1, 3, 6, 6)
    assert torch.equal(other(x), packed(x))


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ([0, 1, 18], "0..17"),
        ([-1, 1, 2], "0..17"),
        ([2, 1, 3], "sorted"),
        ([1, 1, 2], "without repetition"),
        ([], "K >= 1"),
        ([0.0, 1.0, 2.0], "integers"),
    ],
)
def test_bad_columns_are_refused_when_made_and_when_loaded(columns: list[float], reason: str) -> None:
    bad = torch.tensor(columns, dtype=torch.float32 if columns and isinstance(columns[0], float) else torch.int64)
    with pytest.raises(ValueError, match=reason):
        ColumnConv2d(3, 5, (3, 2), bad)
    layer = ColumnConv2d(3, 5, (3, 2), torch.arange(3))
    with pytest.raises(RuntimeError, match=f"{reason}|size mismatch"):
        layer.load_state_dict({**layer.state_dict(), "columns": bad})


def test_grouped_and_otherwise_padded_convolutions_are_refused() -> None:
    with pytest.raises(ValueError, match="groups = 2"):
        ColumnConv2d.from_conv(nn.Conv2d(4, 4, 3, groups=2), torch.arange(3))
    with pytest.raises(ValueError, match="reflect"):
        ColumnConv2d.from_conv(nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), torch.arange(3))


def test_no_problem_with_good_columns() -> None:
    assert columns_problem(torch.tensor([0, 3, 17]), 18) is None


def test_channel_pad_places_zeros_and_can_be_edited() -> None:
    pad = ChannelPad(1, 2)
    x = torch.ones(1, 2, 3, 3)
    assert pad(x).sum((0, 2, 3)).tolist() == [0, 9, 9, 0, 0]
    pad.before = 0
    assert pad(x).shape == (1, 4, 3, 3)
