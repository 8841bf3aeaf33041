"""Ctrl-C and SIGTERM, noted instead of raised, so that a cell in flight is finished."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class Interrupt:
    """Within it the first signal sets `noted`, the second is raised as KeyboardInterrupt at once.

    Signals that the process ignores stay ignored; outside of the main thread it does nothing.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.noted = False
        self.before: dict[signal.Signals, signal._HANDLER] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            for number in self.SIGNALS:
                handler = signal.getsignal(number)
                if handler is not signal.SIG_IGN:
                    self.before[number] = handler
                    signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.noted:
            raise KeyboardInterrupt
        self.noted = True
