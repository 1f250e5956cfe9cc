"""The progress bar that commands share."""

from __future__ import annotations

from typing import Any


class Bar:
    """A progress bar on stderr with the time that is left; called with (stage, done, total)."""

    def __enter__(self) -> Bar:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
        from rich.progress import TimeRemainingColumn as Left

        self.progress: Any = Progress(BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("left"),
                                      Left(), TextColumn("{task.description}"), console=Console(stderr=True),
                                      transient=True)
        self.task = self.progress.add_task("open the bundle", total=None)
        self.progress.start()
        return self

    def __call__(self, stage: str, done: int, total: int) -> None:
        self.progress.update(self.task, description=stage, completed=done, total=total)

    def __exit__(self, *_: object) -> None:
        self.progress.stop()
