import pytest
from act.models.normalization import Normalization, parse_normalization


def test_note_is_read() -> None:
    assert parse_normalization(" mean 0.5,0.25 std 1,2e-1 on [0, 1] ") == Normalization(
        mean=(0.5, 0.25), std=(1.0, 0.2), scale=1 / 255, channel_order=None
    )
    note = parse_normalization("mean 127 std 64 on [0,255] GRAY")
    assert (note.scale, note.channel_order, note.mean) == (1.0, "GRAY", (127.0,))


@pytest.mark.parametrize(
    "text", ["", "imagenet", "mean 1 std on [0,1]", "mean 1,,2 std 1,1,1 on [0,1]", "mean 1 std 1 on [0,1] RGB please"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not understood"):
        parse_normalization(text)
