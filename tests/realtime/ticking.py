"""A thread that publishes, beat by beat, until its context ends."""

from __future__ import annotations

import itertools
import threading


class Ticking(threading.Thread):
    """Calls `tick(i)` every period."""

    def __init__(self, period_s):
        super().__init__(daemon=True)
        self.period_s, self.halt = period_s, threading.Event()

    def run(self):
        for i in itertools.count():
            if self.halt.wait(self.period_s):
                return
            self.tick(i)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.halt.set()
        self.join()
