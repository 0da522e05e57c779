import numpy as np
import pytest
from act.compiler.images import image_size, texels


@pytest.mark.parametrize("values", [1, 4, 5, 63, 64, 108 * 4, 4 * 1024 * 1024, 4 * 1024 * 1024 + 1])
def test_an_image_holds_every_value_and_is_nearly_square(values):
    height, width = image_size(values)
    count = -(-values // 4)
    assert (height - 1) * width < count <= height * width
    assert width & (width - 1) == 0  # a row's end is a mask, not a division
    assert width <= 2 * max(1, count) ** 0.5
    assert height <= width + 1


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_texels_are_the_values_in_their_order(dtype):
    values = np.arange(1, 55, dtype=dtype).reshape(2, 27)
    image = texels(values)
    assert image.dtype == dtype
    assert image.shape == (*image_size(54), 4)
    assert image.reshape(-1)[:54].tolist() == values.reshape(-1).tolist()
    assert not image.reshape(-1)[54:].any()
