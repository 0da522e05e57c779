import numpy as np
import pytest
from act.compiler.memory.layout import Layout


def halo_cells(layout):
    """Indices of what is neither interior nor slack."""
    cells = np.ones(layout.elements - layout.slack, dtype=bool)
    strides = tuple(stride * cells.itemsize for stride in layout.strides)
    np.lib.stride_tricks.as_strided(cells[layout.lead :], layout.shape, strides)[...] = False
    return np.flatnonzero(cells)


def test_plain_rows_have_no_gaps():
    layout = Layout(shape=(2, 3, 4, 5), slack=7)
    assert layout.is_plain
    assert (layout.strides, layout.lead, layout.elements) == ((60, 20, 5, 1), 0, 127)
    assert halo_cells(layout).size == 0


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 3, 4, 5), (2, 2, 7, 7)])
@pytest.mark.parametrize("halo", [(1, 1), (2, 0), (0, 3), (2, 3)])
@pytest.mark.parametrize("row", [0, 8])
def test_a_halo_reads_as_padding(shape, halo, row):
    layout = Layout(shape=shape, halo=halo, row=row, slack=3)
    memory = np.full(layout.elements, np.nan, np.float32)
    memory[halo_cells(layout)] = 0
    image = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    strides = [4 * stride for stride in layout.strides]
    np.lib.stride_tricks.as_strided(memory[layout.lead :], shape, strides)[...] = image
    begin = layout.lead - halo[0] * layout.pitch - halo[1]
    outer = (*shape[:2], shape[2] + 2 * halo[0], shape[3] + 2 * halo[1])
    assert begin >= 0
    padding = ((0, 0), (0, 0), (halo[0],) * 2, (halo[1],) * 2)
    # Image by image: the plane behind the last channel of one image is the first of the next.
    for n in range(shape[0]):
        start = begin + n * layout.strides[0]
        last = sum((size - 1) * stride for size, stride in zip(outer[1:], layout.strides[1:], strict=True))
        assert start + last < layout.elements - layout.slack
        read = np.lib.stride_tricks.as_strided(memory[start:], outer[1:], strides[1:])
        assert np.array_equal(read, np.pad(image, padding)[n])


def test_rows_are_at_least_as_long_as_asked():
    assert Layout(shape=(1, 1, 4, 14), halo=(1, 1), row=16).pitch == 16
    assert Layout(shape=(1, 1, 4, 32), halo=(1, 1), row=32).pitch == 33
    assert Layout(shape=(1, 1, 4, 16), row=16).is_plain
    assert not Layout(shape=(1, 1, 4, 14), row=16).is_plain


def test_every_cell_is_interior_or_halo():
    layout = Layout(shape=(1, 2, 3, 4), halo=(1, 2), row=8, slack=5)
    assert halo_cells(layout).size + 24 == layout.elements - 5


def test_a_part_lies_inside_its_whole():
    whole = Layout(shape=(2, 6, 3, 4), halo=(1, 1), row=8)
    part = whole.part(1, 2, 3)
    assert part.shape == (2, 3, 3, 4)
    assert (part.strides, part.pitch) == (whole.strides, whole.pitch)
    assert part.lead == whole.lead + 2 * whole.strides[1]
    assert not part.is_plain
    assert (part.has_halo, part.before) == (True, whole.before)
    inner = part.part(1, 1, 1)
    assert inner.lead == whole.lead + 3 * whole.strides[1]
    assert inner.elements == 24
    assert Layout(shape=(2, 10)).part(1, 4, 6).strides == (10, 1)


@pytest.mark.parametrize(("start", "size"), [(-1, 2), (0, 7), (6, 1), (2, 0)])
def test_a_part_beyond_its_whole_is_refused(start, size):
    with pytest.raises(ValueError, match="has no part"):
        Layout(shape=(2, 6, 3, 4)).part(1, start, size)


def test_aligned_rows_begin_at_multiples_and_keep_their_halo():
    layout = Layout(shape=(1, 2, 5, 7), halo=(1, 1), align=4)
    assert (layout.pitch, layout.lead) == (8, 12)
    assert all(stride % 4 == 0 for stride in layout.strides[:3])
    assert Layout(shape=(1, 2, 5, 7), align=4).is_plain
    assert halo_cells(layout).size + 70 == layout.elements
