import io

import pytest
from act.toolchain.progress import Progress


def _lines(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()


def test_one_line_a_stage_with_its_count_and_text():
    stream = io.StringIO()
    with Progress(stream=stream).stage("search", total=3, unit="trials") as stage:
        for accuracy in (90, 91, 92):
            stage.advance(1, f"best {accuracy} %")
    (line,) = _lines(stream)
    assert line.startswith("search · 3 trials · best 92 % · ")
    assert line.endswith(" s")


def test_nested_stages_carry_the_outer_name():
    stream = io.StringIO()
    progress = Progress(stream=stream)
    with progress.stage("round 1/3"), progress.stage("admm"):
        progress.note("hello [red]")
    note, inner, outer = _lines(stream)
    assert note == "hello [red]"
    assert inner.startswith("round 1/3 · admm · ")
    assert outer.startswith("round 1/3 · ")


def test_stage_that_fails_is_marked_and_the_error_passes():
    stream = io.StringIO()
    with pytest.raises(ZeroDivisionError), Progress(stream=stream).stage("train"):
        raise ZeroDivisionError
    assert "train · stopped · " in stream.getvalue()


def test_quiet_shows_warnings_only():
    stream = io.StringIO()
    progress = Progress(quiet=True, stream=stream)
    with progress.stage("train"):
        progress.note("note")
        progress.warn("careful")
    assert _lines(stream) == ["warning: careful"]


def test_long_lines_are_not_wrapped():
    stream = io.StringIO()
    Progress(stream=stream).note("x" * 500)
    assert _lines(stream) == ["x" * 500]


def test_live_bars_leave_the_lines_behind():
    stream = io.StringIO()
    progress = Progress(stream=stream, live=True)
    with progress.stage("outer", total=2) as outer:
        outer.advance()
        with progress.stage("inner", unit="epochs") as inner:
            inner.advance(4)
        outer.say("half")
    assert "outer · inner · 4 epochs · " in stream.getvalue()
    assert "outer · half · " in stream.getvalue()
