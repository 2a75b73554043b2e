"""asyncio without sockets and threads: there is nothing to wait for but time."""

import asyncio
import inspect
import selectors
import time


class Clock(selectors.SelectSelector):
    """Knows no files: to select is to sleep."""

    def select(self, timeout=None):
        if timeout is None:
            raise RuntimeError("deadlock: every coroutine waits for another one")
        time.sleep(max(timeout, 0))
        return []


def install() -> None:
    """Makes asyncio.run and its kin work. The pipe that other threads would wake the loop with is left out."""
    selectors.DefaultSelector = Clock
    for name in ("_make_self_pipe", "_close_self_pipe", "_write_to_self"):
        setattr(asyncio.selector_events.BaseSelectorEventLoop, name, lambda self: None)


def finish(value: object) -> object:
    """The value itself, or what it comes to if it is a coroutine: `async def run` works."""
    return asyncio.run(value) if inspect.iscoroutine(value) else value
