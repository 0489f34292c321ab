"""The exit statuses of the commands. Those up to 5 are pytest's."""

from typing import Final

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
"""A MUST failed, or a SHOULD where that counts."""

EXIT_USAGE: Final = 2
"""What argparse says of a wrong option, and `serve` if it cannot start."""

EXIT_BROKE: Final = 3
"""A rule crashed, or something could not be written."""

EXIT_MISTAKE: Final = 4
"""What the user named cannot be used."""

EXIT_NOTHING_JUDGED: Final = 5
EXIT_INTERRUPTED: Final = 130
"""What a shell says of a program that Ctrl-C has ended."""
