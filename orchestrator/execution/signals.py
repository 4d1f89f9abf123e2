"""What Ctrl-C and SIGTERM do while a pipeline runs. Python lets only the main thread change that."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import Any

Handler = Callable[[int, FrameType | None], Any] | int | None


def terminate_like_ctrl_c() -> AbstractContextManager[None]:
    """Let SIGTERM raise KeyboardInterrupt, as Ctrl-C does, so that the runs get their true status."""

    def interrupt(_signum: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    return _handling({signal.SIGTERM: interrupt})


def on_stop(act: Callable[[], None]) -> AbstractContextManager[None]:
    """Call `act` for every SIGINT and SIGTERM."""

    def handle(_signum: int, _frame: FrameType | None) -> None:
        act()

    return _handling({signal.SIGINT: handle, signal.SIGTERM: handle})


def handlers_kept() -> AbstractContextManager[None]:
    """Undo what a library does to SIGTERM meanwhile."""
    return _handling({signal.SIGTERM: signal.getsignal(signal.SIGTERM)})


@contextmanager
def _handling(handlers: dict[signal.Signals, Handler]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
