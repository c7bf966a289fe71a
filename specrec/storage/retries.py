"""Trying again what a store failed to do for a reason that may pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from specrec.storage.config import StorageConfig

if TYPE_CHECKING:
    from tenacity import Retrying

#: Seconds: the second try begins at a random moment within the first, a later one within twice the time, and so on.
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 20.0


def retrying(
    config: StorageConfig, may_pass: Callable[[BaseException], bool], *, seconds: float | None = None, **more: Any
) -> Retrying:
    """Return what does something again and again, with growing pauses, while it fails for reasons that may pass.

    Parameters
    ----------
    config : StorageConfig
        Says how many tries there are.
    may_pass : callable
        Tells of an exception whether another try may do better.
    seconds : float or None
        For how long a further try begins; None: as long as there are tries.
    more : object
        What else tenacity's ``Retrying`` takes.

    Examples
    --------
    >>> tries = iter([OSError("reset"), None])
    >>> def work():
    ...     if (fault := next(tries)) is not None:
    ...         raise fault
    ...     return "done"
    >>> retrying(StorageConfig(), lambda error: isinstance(error, OSError), sleep=lambda _: None)(work)
    'done'
    """
    # imported where it is first needed: what only reads from a disk starts faster without it
    from tenacity import (  # noqa: PLC0415
        Retrying,
        retry_if_exception,
        stop_after_attempt,
        stop_before_delay,
        wait_random_exponential,
    )

    stop: Any = stop_after_attempt(config.max_attempts)
    return Retrying(
        retry=retry_if_exception(may_pass),
        wait=wait_random_exponential(multiplier=_FIRST_WAIT, max=_LONGEST_WAIT),
        stop=stop if seconds is None else stop | stop_before_delay(seconds),
        **more,
    )
