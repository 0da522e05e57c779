import itertools

import numpy as np
import pytest
from act.compiler.memory.arena import Block, peak_bytes, place


def block(size, first, last):
    return Block(size=size, first=first, last=last)


def random_blocks(seed):
    """Lives of random length in a network of random depth; some sizes are 0, some live throughout."""
    rng = np.random.default_rng(seed)
    steps = int(rng.integers(1, 60))
    first = rng.integers(0, steps, size=int(rng.integers(1, 80)))
    last = np.minimum(first + rng.geometric(0.3, size=first.size), steps - 1)
    sizes = rng.integers(0, 5000, size=first.size)
    return [block(int(s), int(f), int(e)) for s, f, e in zip(sizes, first, last, strict=True)]


@pytest.mark.parametrize("seed", range(60))
def test_no_two_blocks_that_are_alive_together_overlap(seed):
    blocks = random_blocks(seed)
    found = place(blocks, alignment=64)
    assert all(offset % 64 == 0 for offset in found.offsets)
    assert found.size % 64 == 0
    assert found.size >= peak_bytes(blocks)
    assert found.size >= max(o + b.size for o, b in zip(found.offsets, blocks, strict=True))
    for (a, start), (b, other) in itertools.combinations(zip(blocks, found.offsets, strict=True), 2):
        if a.overlaps(b) and a.size and b.size:
            assert start + a.size <= other or other + b.size <= start


def test_random_lives_are_placed_close_to_what_is_alive():
    ratios = [place(blocks, alignment=1).size / peak_bytes(blocks) for blocks in map(random_blocks, range(60))]
    assert np.mean(ratios) < 1.1
    assert max(ratios) < 1.35


def test_the_peak_is_counted_step_by_step():
    blocks = [block(10, 0, 2), block(5, 2, 3), block(7, 3, 3), block(1, 1, 1)]
    per_step = [sum(b.size for b in blocks if b.first <= step <= b.last) for step in range(4)]
    assert peak_bytes(blocks) == max(per_step) == 15
    assert peak_bytes([]) == 0


def test_blocks_in_turn_share_memory_and_blocks_at_once_do_not():
    assert place([block(8, 0, 1), block(8, 2, 3), block(8, 4, 4)], alignment=8).size == 8
    assert place([block(8, 0, 1), block(8, 1, 3), block(8, 3, 4)], alignment=8).size == 16
    assert place([], alignment=8).size == 0


def test_a_gap_between_two_blocks_is_used():
    blocks = [block(4, 0, 9), block(4, 0, 2), block(4, 0, 9), block(3, 3, 9)]
    assert place(blocks, alignment=1).size == 12
