"""The subcommand `client`: runs a program in every scenario, several at a time."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final

from pytest_expedition import real_time
from pytest_expedition.exit_statuses import EXIT_BROKE, EXIT_FAILED, EXIT_MISTAKE, EXIT_OK

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pytest_expedition.clients.catalogue import Scenario
    from pytest_expedition.clients.program import Listen, Program, Tried
    from pytest_expedition.clients.report import TrialFound
    from pytest_expedition.oracle.verdict import Result
    from pytest_expedition.report.entries import Document

SIDE_BY_SIDE: Final = 8

NOTHING_SENT: Final = (
    "no request came in any scenario: does the program start, and does it use the address that "
    "replaces {url}?"
)


def add_parser(
    commands: Any,
    *,
    seconds: Callable[[str], float],
    parents: Sequence[argparse.ArgumentParser],
) -> argparse.ArgumentParser:
    """Add the subcommand to those of `pytest-expedition`, with the options of ``parents``."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "client",
        parents=parents,
        help="run a client that is a program in every scenario, and judge what it does",
        description="Run a program in every scenario, and judge what it does. In the command, "
        "{url} and {key} are replaced by the address and the key of the fake instance; both are "
        "also in the environment, as EXPEDITION_URL and EXPEDITION_API_KEY. The program runs one "
        "job and tells by its exit status how it ended: 0 means that it has finished. Give the "
        "program a pause of about half a second between polls: ten polls within two seconds are "
        "too many.",
        epilog="Exit status: 0 no MUST failed, 1 a MUST failed (or a SHOULD, with --strict), 3 a "
        "rule crashed, or a report or the trace was not written, 4 the command cannot be run, 130 "
        "interrupted.",
    )
    parser.add_argument(
        "--exit",
        action="append",
        default=[],
        type=_meaning,
        metavar="STATUS=WORD",
        help="what an exit status means: failed, cancelled or gave-up; may be given more than once "
        "(default: any status but 0 may mean any of them)",
    )
    parser.add_argument(
        "--cancel-signal",
        type=_signal,
        metavar="NAME",
        help="the signal that makes the program cancel its job, such as INT (default: scenarios in "
        "which the client cancels are left out)",
    )
    parser.add_argument(
        "--scenario",
        action="append",
        default=[],
        metavar="ID",
        help="run it in this scenario; may be given more than once (default: in all)",
    )
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        metavar="ID",
        help="leave this scenario out; may be given more than once",
    )
    parser.add_argument(
        "--dialect", metavar="NAME", help="the dialect of the fake: system, msg, data or mixed"
    )
    parser.add_argument(
        "--job-seconds",
        type=seconds,
        default=2.0,
        metavar="SECONDS",
        help="how long a job takes (default: %(default)s)",
    )
    parser.add_argument(
        "--limit",
        type=seconds,
        default=60.0,
        metavar="SECONDS",
        help="kill the program after this time (default: %(default)s)",
    )
    parser.add_argument(
        "--side-by-side",
        type=_count,
        default=SIDE_BY_SIDE,
        metavar="N",
        help="how many scenarios are run at the same time (default: %(default)s)",
    )
    parser.add_argument("program", nargs="+", metavar="COMMAND", help="the command, after --")
    parser.set_defaults(refuse=parser.error)
    return parser


def run(options: argparse.Namespace, *, listen: Listen) -> int:
    """Run a program in every scenario; return the exit status.

    ``listen`` returns the listeners of each fake instance, by its address.
    """
    from pytest_expedition.clients.choice import ChoiceError, choose_by_name
    from pytest_expedition.clients.program import Program
    from pytest_expedition.clients.report import promise_entries
    from pytest_expedition.fake.dialects import DIALECTS
    from pytest_expedition.report.document import assemble

    if options.dialect not in (None, *DIALECTS):
        options.refuse(f"--dialect: {options.dialect!r} must be one of {', '.join(DIALECTS)}")
    try:
        scenarios = choose_by_name(
            options.scenario, without=options.without, dialect=options.dialect
        )
    except ChoiceError as error:
        options.refuse(f"--scenario, --without: {error}")
    program = Program(
        command=options.program,
        exits=dict(options.exit),
        cancel_signal=options.cancel_signal,
        job_seconds=options.job_seconds,
        limit_seconds=options.limit,
    )
    output = _Output(needed=not options.report)
    left_out = {each.id: why for each in scenarios if (why := program.lacks(each.situation))}
    try:
        chosen = [each for each in scenarios if each.id not in left_out]
        found = _try_all(program, chosen, options.side_by_side, listen, output)
    except OSError as error:
        if error.filename is None:
            raise  # not about the command: the output cannot be written, for example
        print(f"pytest-expedition: the command cannot be run: {error}", file=sys.stderr)
        return EXIT_MISTAKE
    if left_out:
        why = next(iter(left_out.values()))
        output.print(f"not tested: {', '.join(left_out)}: {why} (--cancel-signal)")
    if not found:
        print("no scenario is left", file=sys.stderr)
        return EXIT_MISTAKE
    document = assemble([each["run"] for each in found], list(promise_entries(found)))
    status = _tell(document, options.report, output, strict=options.strict)
    if output.error is not None:
        raise output.error
    return status


class _Output:
    """Standard output. Unless it is ``needed``, what is printed after an error is dropped."""

    def __init__(self, *, needed: bool) -> None:
        self._needed = needed
        self.error: OSError | None = None

    def print(self, *lines: str) -> None:
        """Print lines."""
        if self.error is not None:
            return
        try:
            print(*lines, sep="\n", flush=True)
        except OSError as error:
            if self._needed:
                raise
            self.error = error


def _try_all(
    program: Program,
    scenarios: Sequence[Scenario],
    side_by_side: int,
    listen: Listen,
    output: _Output,
) -> list[TrialFound]:
    """Run the program in all scenarios, and tell of each as it ends.

    Whatever is raised meanwhile, no program is left running.
    """
    from concurrent.futures import ThreadPoolExecutor

    from pytest_expedition.clients.program import try_program

    stop = threading.Event()

    def try_one(scenario: Scenario) -> tuple[Tried, datetime, float]:
        started, begun = datetime.now(timezone.utc), real_time.now()
        tried = try_program(program, scenario.situation, listen=listen, stop=stop)
        return tried, started, real_time.now() - begun

    found = []
    with ThreadPoolExecutor(side_by_side) as pool:
        try:
            for scenario, (tried, started, seconds) in zip(
                scenarios, pool.map(try_one, scenarios), strict=True
            ):
                found.append(_told(scenario, tried, started, seconds, output))
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return found


def _told(
    scenario: Scenario, tried: Tried, started: datetime, seconds: float, output: _Output
) -> TrialFound:
    from pytest_expedition.clients.report import client_failure, scenario_entry

    broken = [each for each in tried.results if each.outcome in {"fail", "error"}]
    output.print(f"{scenario.id:26}{_how_it_went(broken, tried)}  ({seconds:.1f} s)")
    if broken:
        lines = client_failure(scenario, tried.transcript, broken).splitlines()
        if tried.output.strip():
            lines += ["", "The end of what the program wrote:"]
            lines += [f"  {line}" for line in tried.output.strip().splitlines()[-10:]]
        output.print(*(f"    {line}".rstrip() for line in lines), "")
    return scenario_entry(
        scenario,
        tried.transcript,
        tried.results,
        url=tried.url,
        started=started,
        seconds=seconds,
    )


def _how_it_went(broken: Sequence[Result], tried: Tried) -> str:
    if any(x.outcome == "error" or x.requirement.level == "MUST" for x in broken):
        return "FAILED"
    if broken:
        return "SHOULD broken"
    killed = any("endless" in call.said.words for call in tried.transcript.calls)
    return "killed before it had said how the job ended" if killed else "ok"


def _tell(document: Document, reports: Sequence[Path], output: _Output, *, strict: bool) -> int:
    from pytest_expedition.report.file import write_all
    from pytest_expedition.report.text import requirement_line, verdict_lines

    output.print(*map(requirement_line, document["requirements"]))
    output.print("", *verdict_lines(document))
    if not document["requests"]:
        output.print(NOTHING_SENT)
    if not write_all(document, reports) or document["verdict"] == "error":
        return EXIT_BROKE
    counts = {"MUST", "SHOULD"} if strict else {"MUST"}
    failed = any(
        each["outcome"] == "fail" and each["level"] in counts for each in document["requirements"]
    )
    return EXIT_FAILED if failed else EXIT_OK


def _meaning(text: str) -> tuple[int, str]:
    from pytest_expedition.clients.program import WORDS

    status, _, word = text.partition("=")
    if not status.isdecimal() or not 0 <= int(status) <= 255 or word not in WORDS:
        raise argparse.ArgumentTypeError(
            f"{text!r} must be an exit status and what it means, such as 2=cancelled: one of "
            f"{', '.join(WORDS)}"
        )
    return int(status), word


def _signal(name: str) -> int:
    from pytest_expedition.clients.program import HANDLED_SIGNALS

    full = name.upper() if name.upper().startswith("SIG") else f"SIG{name.upper()}"
    if full not in signal.Signals.__members__:
        raise argparse.ArgumentTypeError(
            f"{name!r} is not a signal: must be a name such as INT or TERM"
        )
    if signal.Signals[full] not in HANDLED_SIGNALS:
        raise argparse.ArgumentTypeError(
            f"{name!r} is a signal that no program can handle: must be one such as INT or TERM"
        )
    return int(signal.Signals[full])


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} must be a number above 0")
    return int(text)
