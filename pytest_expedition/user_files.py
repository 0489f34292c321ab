"""Files that a user names: reads them, and finds two names of the same file."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, Any, Final

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


def read_toml(path: Path) -> dict[str, Any]:
    """Return what is in a TOML file. Raises ``ValueError``, which says why it cannot be used."""
    if sys.version_info >= (3, 11):  # not at each start
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(read_user_file(path).decode("utf-8-sig"))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: is not TOML: it is not UTF-8") from None
    except RecursionError:
        raise ValueError(f"{path}: is not TOML: it is nested too deep") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: is not TOML: {error}") from None
    except ValueError:
        raise ValueError(f"{path}: is not TOML: a number has too many digits") from None


def find_replacing(reports: Iterable[Path], files: Iterable[Path]) -> Path | None:
    """Return the first report that would replace one of the files, perhaps through a link."""
    kept = {os.path.realpath(each) for each in files}
    return next((each for each in reports if os.path.realpath(each) in kept), None)
