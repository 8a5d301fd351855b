"""A function's result out of a child process: for what a service must not do in its own."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from ropewalk.contracts.errors import FatalError, Problem, RetryableError, RopewalkError, error_of


def aside(function: Callable[..., bytes], *args: Any, seconds: float, memory: int) -> bytes:
    """What ``function`` returns, called in a process of its own that may take so long and so many bytes.

    Blocks; RetryableError where the time is over, FatalError where the process died.
    """
    context = multiprocessing.get_context("forkserver")
    up, child_up = context.Pipe(duplex=False)
    process = context.Process(target=_do, args=(child_up, memory, function, args), daemon=True)
    process.start()
    child_up.close()
    try:
        if not up.poll(seconds):
            raise RetryableError(f"this takes longer than {seconds:g} s", code="timeout")
        done, result = up.recv()
    except EOFError:
        raise FatalError("the process that did this has died", code="died") from None
    finally:
        up.close()
        process.kill()
        process.join()
    if not done:
        raise error_of(Problem.model_validate(result))
    return bytes(result)


def _do(up: Connection, memory: int, function: Callable[..., bytes], args: tuple[Any, ...]) -> None:
    """The child's whole life."""
    from ropewalk.kernel.child import bind_to_parent, hide_memory, limit_memory

    bind_to_parent()
    hide_memory()
    limit_memory(memory)
    try:
        said: tuple[bool, Any] = (True, function(*args))
    except RopewalkError as error:
        said = (False, error.problem().model_dump(mode="json"))
    except Exception as error:  # noqa: BLE001 - the last frame of the process
        wrong = FatalError(f"{type(error).__name__}: {error}", code="unexpected")
        said = (False, wrong.problem().model_dump(mode="json"))
    with contextlib.suppress(OSError):
        up.send(said)
