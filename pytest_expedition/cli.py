"""The command `pytest-expedition`."""

from __future__ import annotations

import argparse
import contextlib
import sys
import threading
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_USAGE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="pytest-expedition",
        description="A fake instance of Expedition 2.0 and its job API.",
    )
    parser.add_argument("--version", action="version", version=version("pytest-expedition"))
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser(
        "serve", help="run a fake instance on loopback until interrupted (Ctrl-C)"
    )
    serve.add_argument(
        "--port", type=_port, default=0, help="port to listen on (default: any free one)"
    )
    serve.add_argument(
        "--job-seconds",
        type=_seconds,
        default=10.0,
        metavar="SECONDS",
        help="how long a job takes (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    return _serve(port=options.port, job_seconds=options.job_seconds)


def _port(text: str) -> int:
    port = int(text) if text.isdecimal() else -1
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: it must be from 0 to 65535")
    return port


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} must be a number of seconds above 0")
    return seconds


def _serve(*, port: int, job_seconds: float) -> int:
    from pytest_expedition.fake.instance import Instance
    from pytest_expedition.fake.server import ExpeditionServer
    from pytest_expedition.fake.simulation import Clock

    def make_instance() -> Instance:
        clock = Clock()
        clock.run()
        instance = Instance(clock)
        instance.set_pace(job_seconds)
        return instance

    server = ExpeditionServer(make_instance, port=port)
    try:
        server.start()
    except OSError as error:
        print(f"pytest-expedition: {error}", file=sys.stderr)
        return EXIT_USAGE
    print(f"EXPEDITION_URL={server.url}")
    print(f"EXPEDITION_API_KEY={server.api_key}", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()
    server.stop()
    return 0
