"""Progress of long work on stderr: live bars on a terminal, one line a finished stage otherwise.

stdout is for results alone, so that `act … --json | jq` works whatever is shown here.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as LiveBars


class Stage:
    """A stage under way. Made by `Progress.stage`."""

    def __init__(self, unit: str, total: int | None, bars: LiveBars | None, task: TaskID | None) -> None:
        self._unit = unit
        self._total = total
        self._bars = bars
        self._task = task
        self._text = ""
        self._done = 0

    def advance(self, n: int = 1, text: str | None = None) -> None:
        """Count `n` more units as done, and show `text` beside the bar where it is given."""
        self._done += n
        if text is not None:
            self._text = text
        if self._bars is not None and self._task is not None:
            count = f"{self._done}/{self._total}" if self._total else ""
            self._bars.update(self._task, advance=n, text=self._text, count=count)

    def say(self, text: str) -> None:
        """Replace the text beside the bar; the last one stands in the stage's line."""
        self.advance(0, text)

    @property
    def summary(self) -> str:
        """The count with its unit where there is one, and the last text."""
        counted = f"{self._done} {self._unit}" if self._unit and self._done else ""
        return " · ".join(part for part in (counted, self._text) if part)


class Progress:
    """Shows stages, notes and warnings.

    Args:
        quiet: Show warnings only.
        stream: Where to write; stderr by default.
        live: Draw live bars; by default where the stream is a terminal.
    """

    def __init__(self, *, quiet: bool = False, stream: TextIO | None = None, live: bool | None = None) -> None:
        self._quiet = quiet
        self._console = Console(file=stream or sys.stderr, highlight=False, soft_wrap=True)
        self._live = self._console.is_terminal if live is None else live
        self._names: list[str] = []
        self._bars: LiveBars | None = None

    @contextmanager
    def stage(self, name: str, total: int | None = None, unit: str = "") -> Iterator[Stage]:
        """Show a stage while the block runs; stages may be nested.

        Args:
            name: Short name: `search`, `round 1/3`.
            total: How many units there are, where known.
            unit: What is counted, in the plural: `trials`, `epochs`.
        """
        self._names.append(name)
        label = " · ".join(self._names)
        task = self._open_bar(label, total)
        stage = Stage(unit, total, self._bars, task)
        began = time.perf_counter()
        outcome = "stopped"
        try:
            yield stage
            outcome = ""
        finally:
            self._names.pop()
            self._close_bar(task)
            parts = (label, stage.summary, outcome, f"{time.perf_counter() - began:.1f} s")
            self.note(" · ".join(part for part in parts if part))

    def note(self, text: str) -> None:
        """Print one line."""
        if not self._quiet:
            self._console.print(text, markup=False)

    def warn(self, text: str) -> None:
        """Print one warning line, even when quiet."""
        self._console.print(f"warning: {text}", markup=False, style="yellow")

    def _open_bar(self, label: str, total: int | None) -> TaskID | None:
        if self._quiet or not self._live:
            return None
        if self._bars is None:
            self._bars = LiveBars(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[count]}", markup=False),
                TimeElapsedColumn(),
                TextColumn("{task.fields[text]}", markup=False, style="dim"),
                console=self._console,
                transient=True,
            )
            self._bars.start()
        return self._bars.add_task(label, total=total, text="", count="")

    def _close_bar(self, task: TaskID | None) -> None:
        if self._bars is None or task is None:
            return
        self._bars.remove_task(task)
        if not self._names:
            self._bars.stop()
            self._bars = None
