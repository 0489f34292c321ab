"""The command `pytest-expedition`."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import errno
import io
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pytest_expedition import real_time, signals
from pytest_expedition.catalogues import CATALOGUES
from pytest_expedition.clients import command as client_command
from pytest_expedition.exit_statuses import (
    EXIT_BROKE,
    EXIT_INTERRUPTED,
    EXIT_MISTAKE,
    EXIT_USAGE,
)
from pytest_expedition.user_files import find_replacing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pytest_expedition.fake.dialects import DialectName
    from pytest_expedition.fake.http import Handled
    from pytest_expedition.fake.instance import Instance
    from pytest_expedition.fake.server import ExpeditionServer
    from pytest_expedition.recordings.judging import Recorded
    from pytest_expedition.report.entries import Document

DIALECTS: Final[tuple[DialectName, ...]] = ("system", "msg", "data", "mixed")
"""The dialects of the fake, which is imported only by the commands that run it."""

KEPT_REQUESTS = 10_000
"""How many requests `serve` keeps in memory."""

SHORTEST_SECONDS = 0.001
LONGEST_SECONDS = 10**9
"""What options in seconds take at least and at most."""

LOOK_SECONDS = 0.5
"""The pause between two looks whether a signal has come."""

OUTPUT_FAILED: Final = frozenset({errno.ENOSPC, errno.EPIPE, errno.EIO, errno.EFBIG, errno.EDQUOT})
"""Errors which mean that nothing more can be written to standard output."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal may lack characters
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        print("pytest-expedition: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except OSError as error:
        if error.filename is not None or error.errno not in OUTPUT_FAILED:
            raise
        _discard_output()
        if error.errno != errno.EPIPE:
            print(
                f"pytest-expedition: the output cannot be written: {error.strerror}",
                file=sys.stderr,
            )
        return EXIT_BROKE


def _run(arguments: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(
        prog="pytest-expedition",
        description="Tests servers, clients and recordings of the job API of Expedition 2.0, and "
        "runs a fake instance.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(dest="command", required=True)
    recording = argparse.ArgumentParser(add_help=False)
    recording.add_argument(
        "--record",
        type=_file,
        metavar="FILE",
        help="write a trace of all requests about jobs, for `pytest-expedition check`",
    )
    reporting = argparse.ArgumentParser(add_help=False)
    reporting.add_argument(
        "--report",
        action="append",
        default=[],
        type=_report_path,
        metavar="FILE",
        help="write a report, in the format of the suffix; may be given more than once",
    )
    reporting.add_argument(
        "--strict", action="store_true", help="treat a SHOULD that fails like a MUST that fails"
    )
    serve = commands.add_parser(
        "serve",
        parents=[recording],
        help="run a fake instance on loopback until interrupted (Ctrl-C)",
    )
    serve.add_argument(
        "--port", type=_port, default=0, help="port to listen on (default: any free one)"
    )
    serve.add_argument(
        "--host",
        type=_host,
        default="127.0.0.1",
        help="address to listen on (default: %(default)s, which only this machine reaches)",
    )
    serve.add_argument(
        "--tls", action="store_true", help="speak HTTPS, with a certificate made for this run"
    )
    serve.add_argument(
        "--job-seconds",
        type=_seconds,
        default=10.0,
        metavar="SECONDS",
        help="how long a job takes (default: %(default)s)",
    )
    serve.add_argument(
        "--dialect",
        choices=DIALECTS,
        default="system",
        help="the dialect that it speaks (default: %(default)s); mixed is system, with the first "
        "status of a job as in msg",
    )
    serve.add_argument(
        "--answers",
        type=_file,
        metavar="FILE",
        help="a TOML file with more answers: tables [[answer]] with path, method, status and json",
    )
    serve.add_argument(
        "--broken", metavar="NAME", help="run this broken server (`pytest-expedition list broken`)"
    )
    serve.add_argument(
        "--log",
        action="store_true",
        default=sys.stderr is not None and sys.stderr.isatty(),
        help="write a line about each request to stderr (at a terminal this is the default)",
    )
    serve.add_argument(
        "--scenario",
        metavar="ID",
        help="put clients in this scenario, and say at the end what they did wrong",
    )
    serve.set_defaults(run=_run_serve, refuse=serve.error)
    listing = commands.add_parser(
        "list", help="print a catalogue: requirements, broken servers, scenarios and more"
    )
    listing.add_argument(
        "catalogue",
        nargs="?",
        choices=CATALOGUES,
        metavar="CATALOGUE",
        help=f"the catalogue to print: {', '.join(CATALOGUES)} (default: what each is about)",
    )
    listing.add_argument(
        "id",
        nargs="?",
        metavar="ID",
        help="print this entry alone, with the requirements that it names",
    )
    listing.set_defaults(run=_list, refuse=listing.error)
    commands.add_parser(
        "test",
        usage="%(prog)s [-h] [URL] [ARGUMENT_OF_PYTEST ...]",
        help="judge a live instance: the contract suite, run by pytest",
        description="Judge a live instance, as `pytest --pyargs pytest_expedition.contract "
        "--expedition-url URL` does, with the same exit status. URL is the address of the "
        "instance, without /api/v1. Options of pytest, such as --expedition-profile=smoke, may "
        "stand before and after it. Leave URL out where --expedition-config=FILE, or a setting "
        "of pytest or of the environment, names the instance.",
    )
    described = commands.add_parser(
        "openapi", help="print the OpenAPI 3.1 description of the fake instance"
    )
    described.add_argument(
        "--dialect",
        choices=("system", "data"),
        default="system",
        help="the dialect that is described (default: system)",
    )
    described.set_defaults(run=_print_openapi)
    compare = commands.add_parser(
        "compare",
        help="compare two JSON reports of the contract suite",
        description="Tell which requirements differ between two JSON reports. The exit status is "
        "1 if from A to B a MUST got worse or a SHOULD broke, and 4 if a file is not a report, or "
        "if one report is about a client and the other about a server.",
    )
    compare.add_argument("before", type=_file, metavar="A.json", help="the older report")
    compare.add_argument("after", type=_file, metavar="B.json", help="the newer report")
    compare.set_defaults(run=_compare)
    check = commands.add_parser(
        "check",
        parents=[reporting],
        help="judge recorded traffic: traces and HAR files",
        description="Judge recorded traffic by the rules of the contract suite.",
        epilog="Exit status: 0 no MUST failed, 1 a MUST failed (or a SHOULD, with --strict), 3 a "
        "rule crashed or no report was written, 4 a file cannot be read, 5 nothing was judged.",
    )
    check.add_argument(
        "files",
        nargs="+",
        type=_file,
        metavar="FILE",
        help="a HAR file, or a trace that --expedition-record wrote, also packed by gzip or zip; "
        "or the trace.zip of Playwright",
    )
    check.add_argument(
        "--config",
        type=_file,
        metavar="FILE",
        help="target file that says which jobs can be cancelled, and how long they may take",
    )
    check.set_defaults(run=_check)
    client = client_command.add_parser(commands, seconds=_seconds, parents=[recording, reporting])
    client.set_defaults(run=_run_client)
    given = sys.argv[1:] if arguments is None else list(arguments)
    # The other arguments are for pytest; argparse does not know them.
    if given[:1] == ["test"] and given[1:2] not in (["-h"], ["--help"]):
        return _test(given[1:])
    options = parser.parse_args(given)
    status: int = options.run(options)
    return status


def _list(options: argparse.Namespace) -> int:
    name, entry = options.catalogue, options.id
    if name is None:
        _print(
            *(f"{each}: {CATALOGUES[each]().about}" for each in CATALOGUES),
            "To print one: pytest-expedition list broken",
            "To print all about an entry: pytest-expedition list broken lagging-replica",
        )
        return 0
    catalogue = CATALOGUES[name]()
    if entry is None:
        _print(catalogue.as_lines())
        return 0
    found = catalogue.only([entry])
    if not found.rows:
        alike = difflib.get_close_matches(entry, [row[0] for row in catalogue.rows], 1)
        hint = f"did you mean {alike[0]}?" if alike else f"`pytest-expedition list {name}` has all"
        options.refuse(f"{name} has no entry {entry!r}; {hint}")
    named = re.findall(r"`([a-z.-]+)`", " ".join(found.rows[0][1:]))
    requirements = CATALOGUES["requirements"]().only([each for each in named if each != entry])
    _print(*(each.as_text() for each in (found, requirements) if each.rows))
    return 0


class _Version(argparse.Action):
    """Prints the version, which takes long to find out."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        _print(version("pytest-expedition"))
        parser.exit()


def _print(*lines: str) -> None:
    """Print lines; stop quietly if the pipe was closed."""
    try:
        print(*lines, sep="\n", flush=True)
    except BrokenPipeError:
        _discard_output()


def _discard_output() -> None:
    """Throw the rest of the output away: at exit Python would try once more to write it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def _signals_interrupt(*, once: bool = False) -> Iterator[list[int]]:
    """Let SIGTERM and SIGHUP raise ``KeyboardInterrupt``, as Ctrl-C does, so that it cleans up.

    The list has the signals that have arrived: Python drops what a handler raises while a
    destructor runs. With ``once`` the first alone raises an error.
    """
    received: list[int] = []

    def interrupt(number: int, _: object) -> None:
        received.append(number)
        if not once or len(received) == 1:
            raise KeyboardInterrupt

    # A shell starts its background jobs with SIGINT ignored, nohup its command with SIGHUP.
    with (
        signals.handled(interrupt, "SIGINT", "SIGTERM", though_ignored=True),
        signals.handled(interrupt, "SIGHUP"),
    ):
        yield received


@_signals_interrupt()
def _run_client(options: argparse.Namespace) -> int:
    from pytest_expedition.recordings.answers import TraceError, to_trace

    path: Path | None = options.record
    numbers = itertools.count(1)  # ports and job ids repeat, so each server has its own part

    def listen(url: str) -> Sequence[Callable[[Handled], None]]:
        part = str(next(numbers))
        return [] if path is None else [to_trace(path, url=url, part=lambda: part)]

    if path is not None and _is_replaced([path], "the trace", by=options.report):
        return EXIT_MISTAKE
    if path is not None and not _begin_trace(path):
        return EXIT_MISTAKE
    try:
        return client_command.run(options, listen=listen)
    except TraceError as error:
        print(f"pytest-expedition: {error}", file=sys.stderr)
        return EXIT_BROKE


def _begin_trace(trace: Path) -> bool:
    """Empty the file of a trace; return whether that was possible, and say why not."""
    try:
        trace.write_bytes(b"")
    except OSError as error:
        print(
            f"pytest-expedition: the trace {trace} cannot be written: {error.strerror}",
            file=sys.stderr,
        )
        return False
    return True


_WITHOUT_SCHEME: Final = re.compile(r"[a-zA-Z0-9.-]+:[0-9]+(/.*)?|[0-9]+(\.[0-9]+){3}(/.*)?")
"""A host and a port, or an IPv4 address, where a URL is wanted."""


def _test(arguments: list[str]) -> int:
    """Run the contract suite in place of this process, so that pytest gets Ctrl-C itself."""
    suite = [sys.executable, "-m", "pytest", "--pyargs", "pytest_expedition.contract"]
    if os.environ.get("PYTEST_DISABLE_PLUGIN_AUTOLOAD"):
        suite += ["-p", "expedition"]
    options = {each.partition("=")[0] for each in arguments}
    if "--expedition-url" not in options:
        url = next((each for each in arguments if each.startswith(("http://", "https://"))), None)
        if url is None and arguments and not arguments[0].startswith("-"):
            url = arguments[0]
        # Without http:// it is no URL, but pytest says what is wrong with it if it gets it as one.
        url = url or next(filter(_WITHOUT_SCHEME.fullmatch, arguments), None)
        if url is not None:
            arguments.remove(url)
            suite += ["--expedition-url", url]
    # Only pytest knows whether its settings name an instance.
    command = [*suite, "--expedition-no-fake", *arguments]
    if os.name != "nt":
        os.execv(sys.executable, command)  # noqa: S606 - no shell is wanted
    return subprocess.call(command)  # noqa: S603 - this interpreter


def _print_openapi(options: argparse.Namespace) -> int:
    from pytest_expedition.fake.openapi import describe

    _print(json.dumps(describe(options.dialect), indent=2))
    return 0


def _check(options: argparse.Namespace) -> int:
    from pytest_expedition.recordings.files import RecordingError
    from pytest_expedition.recordings.judging import judge_files

    if _is_replaced(options.files, "the recording", by=options.report):
        return EXIT_MISTAKE
    try:
        known = _known_of_the_target(options.config) if options.config else {}
        recorded = judge_files(options.files, **known)
    except (_ConfigError, RecordingError) as error:
        return _complain(error)
    return _tell(recorded, options.report, strict=options.strict)


def _is_replaced(files: Iterable[Path], what: str, *, by: Sequence[Path]) -> bool:
    """Return whether a report would replace one of the files; if so, say it."""
    report = find_replacing(by, files)
    if report is not None:
        _complain(ValueError(f"--report {report} would replace {what}: name another file"))
    return report is not None


def _tell(recorded: Recorded, reports: Sequence[Path], *, strict: bool) -> int:
    """Print what recordings showed, and write the reports; return the exit status."""
    from pytest_expedition.oracle.verdict import exit_status
    from pytest_expedition.report.document import document_of
    from pytest_expedition.report.text import recording_lines

    document = document_of(recorded.record)
    if reports:
        from pytest_expedition.report.file import write_all

        if not write_all(document, reports):
            return EXIT_BROKE
    lines = recording_lines(document, passed_over=recorded.passed_over, remarks=recorded.remarks)
    _print(*lines)
    return exit_status(recorded.record.results, strict=strict)


class _ConfigError(ValueError):
    """A target file that cannot be used; the message says why."""


def _known_of_the_target(config: Path) -> dict[str, Any]:
    """Return what a target file says about the recorded servers."""
    from pytest_expedition.suite.target import TargetError
    from pytest_expedition.suite.target_file import load

    try:
        target = load(config, credentials=False)
    except TargetError as error:
        raise _ConfigError(error) from None
    return {
        "recipes": target.jobs,
        "job_seconds": target.limits.job_seconds,
        "offers": target.offers,
        "waivers": target.waivers,
        "verify": target.verify,
    }


def _find_broken(options: argparse.Namespace) -> Callable[[], Instance]:
    from pytest_expedition.fake.broken import BROKEN

    name, dialect = options.broken, options.dialect
    if name not in BROKEN:
        alike = difflib.get_close_matches(name, BROKEN, 1)
        hint = (
            f"; did you mean {alike[0]}?"
            if alike
            else "; `pytest-expedition list broken` lists them"
        )
        options.refuse(f"--broken: there is no broken server {name!r}{hint}")
    if dialect not in BROKEN[name].dialects:
        shows = ", ".join(BROKEN[name].dialects)
        options.refuse(f"--dialect: {name} does not show in {dialect!r}: must be one of {shows}")
    make: Callable[[], Instance] = BROKEN[name].make
    return make


def _host(text: str) -> str:
    if not text or "/" in text:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an address: it must be a host name or an IP address"
        )
    return text


def _report(path: Path) -> Document:
    from pytest_expedition.protocol.validation import SchemaViolation
    from pytest_expedition.report.file import read_report

    try:
        return read_report(path)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    except SchemaViolation as violation:
        raise ValueError(f"{path}: is not a JSON report: {violation}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path}: is not JSON: {error}; compare takes reports that end in .json"
        ) from None


def _complain(error: Exception) -> int:
    """Say in one line what is wrong with what the user gave; return the exit status."""
    from pytest_expedition.report.messages import printable

    print(f"pytest-expedition: {printable(str(error))}", file=sys.stderr)
    return EXIT_MISTAKE


def _compare(options: argparse.Namespace) -> int:
    from pytest_expedition.report.comparison import compare, comparison_lines

    try:
        before, after = _report(options.before), _report(options.after)
    except ValueError as error:
        return _complain(error)
    if _is_of_a_client(before) != _is_of_a_client(after):
        print(
            "pytest-expedition: one report is about a client, the other about a server: "
            "compare two of the same kind",
            file=sys.stderr,
        )
        return EXIT_MISTAKE
    differences = compare(before, after)
    _print(*comparison_lines(before, after, differences))
    return int(any(each.change == "worse" for each in differences))


def _is_of_a_client(report: Document) -> bool:
    names = [each["id"] for each in report["requirements"]] + report["not_selected"]
    return any(name.startswith("client.") for name in names)


def _port(text: str) -> int:
    port = int(text) if text.isdecimal() else -1
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a port: it must be a number from 0 to 65535"
        )
    return port


def _report_path(text: str) -> Path:
    from pytest_expedition.report.file import require_report_path

    path = Path(text)
    try:
        require_report_path(path)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None
    return path


def _file(text: str) -> Path:
    if not text:  # often a variable that is not set
        raise argparse.ArgumentTypeError("is empty: give the name of a file")
    return Path(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS:
        raise argparse.ArgumentTypeError(
            f"{text!r} must be a number of seconds above 0, from {SHORTEST_SECONDS} to "
            f"{LONGEST_SECONDS}"
        )
    return seconds


def _run_serve(options: argparse.Namespace) -> int:
    if options.scenario is not None and options.broken is not None:
        options.refuse("--broken and --scenario do not work together: remove one")
    with _signals_interrupt(once=True) as received:
        run = _serve if options.scenario is None else _serve_scenario
        return run(options, received)


def _serve(options: argparse.Namespace, received: Sequence[int]) -> int:
    from pytest_expedition.fake.instance import Instance
    from pytest_expedition.fake.server import ExpeditionServer

    make: Callable[[], Instance] = Instance
    if options.broken is not None:
        make = _find_broken(options)

    def make_instance() -> Instance:
        instance = make()
        instance.dialect = options.dialect
        instance.clock.run()
        instance.set_pace(options.job_seconds)
        return instance

    server = ExpeditionServer(
        make_instance, host=options.host, port=options.port, tls=options.tls, keep=KEPT_REQUESTS
    )
    _give_answers(server, options)
    return _serve_until_interrupted(server, options, received)


def _give_answers(server: ExpeditionServer, options: argparse.Namespace) -> None:
    from pytest_expedition.fake.own_answers import AnswersError, add_answers

    if options.answers is not None:
        try:
            add_answers(server, options.answers)
        except AnswersError as error:
            options.refuse(f"--answers: {error}")


def _serve_scenario(options: argparse.Namespace, received: Sequence[int]) -> int:
    from pytest_expedition.clients.choice import ChoiceError, choose_by_name
    from pytest_expedition.clients.harness import judge_transcript, transcript_by_hand
    from pytest_expedition.clients.report import by_hand, introduction
    from pytest_expedition.fake.server import ExpeditionServer
    from pytest_expedition.fake.situation import SituationInstance

    spoken = None if options.dialect == "system" else options.dialect
    try:
        (scenario,) = choose_by_name([options.scenario], dialect=spoken)
    except ChoiceError as error:
        options.refuse(f"--scenario: {error}")
    speed = scenario.situation.speed_for(options.job_seconds)
    instance = SituationInstance(scenario.situation)
    instance.clock.run(speed=speed)
    server = ExpeditionServer(
        lambda: instance, host=options.host, port=options.port, tls=options.tls
    )
    _give_answers(server, options)
    for line in introduction(scenario, speed=speed):
        print(line, file=sys.stderr)
    status = _serve_until_interrupted(server, options, received)
    if status == EXIT_USAGE:
        return status
    transcript = transcript_by_hand(instance, pace=speed)
    results = judge_transcript(transcript)
    print(*by_hand(transcript, results), sep="\n")
    broken = any((x.requirement.level, x.outcome) == ("MUST", "fail") for x in results)
    return status or int(broken or not transcript.steps)


def _serve_until_interrupted(
    server: ExpeditionServer, options: argparse.Namespace, received: Sequence[int]
) -> int:
    """Serve until a signal was received; return the exit status."""
    from pytest_expedition.recordings.answers import TraceError

    try:
        if not _start(server, options):
            return EXIT_USAGE
        print(f"EXPEDITION_URL={server.url}")
        if server.ca_file is not None:
            print(f"REQUESTS_CA_BUNDLE={server.ca_file}")
        print(f"EXPEDITION_API_KEY={server.api_key}", flush=True)
        while not received:
            real_time.pause(LOOK_SECONDS)
    except KeyboardInterrupt:
        pass
    finally:
        server.stop()
    failed = any(isinstance(each, TraceError) for each in server.handler_errors)
    return EXIT_BROKE if failed else 0


def _start(server: ExpeditionServer, options: argparse.Namespace) -> bool:
    """Start a server that records and logs as the options say; return whether it was possible."""
    from pytest_expedition.recordings.answers import to_terminal, to_trace

    if options.record is not None and not _begin_trace(options.record):
        return False
    try:
        server.start()
    except (OSError, ImportError) as error:
        taken = "in use" in str(error)
        hint = "; choose another --port, or leave it out for a free one" if taken else ""
        print(f"pytest-expedition: {error}{hint}", file=sys.stderr)
        return False
    if options.record is not None:
        server.listeners.append(_telling(to_trace(options.record, url=server.url)))
    if options.log:
        server.listeners.append(to_terminal)
    return True


def _telling(write: Callable[[Handled], None]) -> Callable[[Handled], None]:
    """Say at once, on standard error, that a trace cannot be written; the server goes on."""
    from pytest_expedition.recordings.answers import TraceError

    def write_or_tell(handled: Handled) -> None:
        try:
            write(handled)
        except TraceError as error:
            print(f"pytest-expedition: {error}", file=sys.stderr)
            raise

    return write_or_tell


if __name__ == "__main__":
    sys.exit(main())
