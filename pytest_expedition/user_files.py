"""Files that a user names: reads them, and finds two names of the same file."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MOST_BYTES: Final = 64 * 2**20


def read_user_file(path: Path) -> bytes:
    """Return what is in a file, which may be a pipe.

    Raises ``OSError`` for a file that cannot be read or has more than ``MOST_BYTES``, such as
    `/dev/zero`, which has no end.
    """
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise OSError(errno.EFBIG, f"it is larger than {MOST_BYTES} bytes, or has no end")
    return content


def find_replacing(reports: Iterable[Path], files: Iterable[Path]) -> Path | None:
    """Return the first report that would replace one of the files, perhaps through a link."""
    kept = {os.path.realpath(each) for each in files}
    return next((each for each in reports if os.path.realpath(each) in kept), None)
