"""What ends a run early: a limit of the target, or a target that cannot be used."""

from __future__ import annotations

from typing import Final

TOO_MANY_REQUESTS: Final = 429


class LimitReachedError(Exception):
    """Another request would go beyond a limit of the target; ``limit`` is its name.

    If the target asked to wait for longer than the run may take, ``pause`` is for how many seconds;
    otherwise it is 0.
    """

    def __init__(self, limit: str, *, pause: float = 0.0) -> None:
        super().__init__(f"the limit `{limit}` of the target is reached")
        self.limit = limit
        self.pause = pause


class TargetUnusableError(Exception):
    """The target does not answer, or refuses the key: nothing can be judged."""


_CLOSED: Final = ("closed connection without response", "reset by peer")
"""What the error says if a request in plain HTTP goes to a port that speaks TLS."""


def what_to_do(status: int, location: str) -> str:
    """Say what to do where something before the application refused all requests."""
    if location:
        return "; the suite follows no redirect: give the URL of the instance itself"
    if status == TOO_MANY_REQUESTS:
        return "; run again later"
    return "; is that the address of the instance, and may this machine send requests to it?"


def does_not_answer(url: str, lost: str) -> TargetUnusableError:
    """Return the error for a target that never answered; ``lost`` says why."""
    is_closed = any(closed in lost for closed in _CLOSED)
    hint = "; is the url https://…?" if is_closed and url.startswith("http://") else ""
    if "Connection refused" in lost:
        hint = "; is the instance running, and are host and port right?"
    return TargetUnusableError(f"{url} does not answer: {lost}{hint}")
