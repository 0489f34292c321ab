"""The settings: options of pytest, else environment variables, else the ini file.

All functions raise ``pytest.UsageError`` for a setting that cannot be used.
"""

from __future__ import annotations

import fnmatch
import os
import shlex
from typing import TYPE_CHECKING, Final

import pytest

from pytest_expedition.user_files import find_replacing

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_expedition.suite.plan import Replay
    from pytest_expedition.suite.profile import ProfileName
    from pytest_expedition.suite.target import Target

ONE_PROCESS: Final = (
    "a live instance is judged by one process, since each worker of pytest-xdist would create jobs "
    "of its own: remove -n, --dist and --tx"
)

ONE_RUN: Final = (
    "the tests of the contract share one run, which a process for each test would repeat: "
    "remove --forked and the marker `forked`"
)

ONE_LOOP: Final = (
    "the contract is run once: with --looponfail (-f) it would create jobs each time a file "
    "changes, such as its own report; remove that option"
)

_PROCESS = pytest.StashKey[int]()
_TARGET = pytest.StashKey["Target"]()
_REPLAY = pytest.StashKey["Replay"]()
_REPORTS = pytest.StashKey[list["Path"]]()


def check_options(config: pytest.Config) -> None:
    """Check the options before anything runs."""
    if any(config.getoption(f"--expedition-{name}") is not None for name in ("url", "config")):
        live_target(config)
    if config.getoption("--expedition-report") is not None:
        report_paths(config)
    if config.getoption("--expedition-record") is not None:
        record_path(config)
    if config.getoption("--expedition-replay") is not None:
        replay(config)


def setting(config: pytest.Config, name: str) -> str:
    """Look up a setting: option, then environment, then ini; empty if there is none.

    An empty option or variable is a usage error: often a variable of CI was not set.
    """
    return _setting(config, name)[0]


def _setting(config: pytest.Config, name: str) -> tuple[str, bool]:
    """Look up a setting, and whether it comes from the ini file."""
    option, variable = f"--expedition-{name}", f"EXPEDITION_{name.upper()}"
    for where, found in ((option, config.getoption(option)), (variable, os.environ.get(variable))):
        if found == "":
            raise pytest.UsageError(f"{where} is empty: give it a value, or remove it")
        if found is not None:
            return str(found), False
    try:
        return str(config.getini(f"expedition_{name}")), True
    except (TypeError, ValueError, pytest.UsageError) as error:  # depends on the pytest
        raise pytest.UsageError(f"{config.inipath}: expedition_{name}: {error}") from None


def path_setting(config: pytest.Config, name: str) -> Path | None:
    """Look up the path of a file, relative to the ini file or else to the current folder."""
    value, of_ini = _setting(config, name)
    if not value:
        return None
    if of_ini and config.inipath is not None:
        return config.inipath.parent / value
    return config.invocation_params.dir / value


def strict(config: pytest.Config) -> bool:
    """Look up whether the test of a broken SHOULD fails."""
    value = setting(config, "strict").lower()
    if value in {"true", "1", "yes", "on"}:
        return True
    if value in {"", "false", "0", "no", "off"}:
        return False
    raise pytest.UsageError(f"expedition_strict = {value!r}: must be true or false")


def profile(config: pytest.Config) -> ProfileName:
    """Look up how much to try."""
    from pytest_expedition.suite.profile import RANDOM_PLANS

    value = setting(config, "profile") or "default"
    for name in RANDOM_PLANS:
        if value == name:
            return name
    raise pytest.UsageError(
        f"expedition_profile = {value!r}: must be one of {', '.join(RANDOM_PLANS)}"
    )


def report_paths(config: pytest.Config) -> list[Path]:
    """Look up the reports to write: options, else the environment (split as PATH), else ini."""
    if _REPORTS not in config.stash:
        config.stash[_REPORTS] = _checked_report_paths(config)
    return config.stash[_REPORTS]


def _checked_report_paths(config: pytest.Config) -> list[Path]:
    option, variable = "--expedition-report", "EXPEDITION_REPORT"
    folder = config.invocation_params.dir
    if config.getoption(option) is not None:
        where, names = option, config.getoption(option)
    elif variable in os.environ:
        where, names = variable, os.environ[variable].split(os.pathsep)
    else:
        where, names = "expedition_report", config.getini("expedition_report")
        folder = folder if config.inipath is None else config.inipath.parent
    if not names:
        return []
    if "" in names:
        raise pytest.UsageError(f"{where} is empty: give it a value, or remove it")
    from pytest_expedition.protocol.requirements import CATALOGUE
    from pytest_expedition.report.file import require_report_path

    paths = [folder / name for name in names]
    for path in paths:
        try:
            require_report_path(path)
            require_report_path(plan_path(path, max(CATALOGUE, key=len)))
        except ValueError as error:  # noqa: PERF203
            raise pytest.UsageError(f"expedition_report = {str(path)!r}: {error}") from None
    return paths


def record_path(config: pytest.Config) -> Path | None:
    """Look up the trace file to write, if any."""
    path = path_setting(config, "record")
    if path is None:
        return None
    try:
        mistake = "" if path.parent.is_dir() else "the folder does not exist"
        mistake = "must be a file" if path.is_dir() else mistake
    except OSError as error:
        mistake = f"cannot be written: {error.strerror}"
    if find_replacing(report_paths(config), [path]) is not None:
        mistake = "a report would replace it: name another file"
    if mistake:
        raise pytest.UsageError(f"expedition_record = {str(path)!r}: {mistake}")
    return path


def begin_trace(config: pytest.Config) -> None:
    """Empty the trace file, if there is one and tests run."""
    path = record_path(config)
    if path is None or config.getoption("collectonly"):
        return
    try:
        path.write_bytes(b"")
    except OSError as error:
        message = f"expedition_record = {str(path)!r}: cannot be written: {error.strerror}"
        raise pytest.UsageError(message) from None


def replay(config: pytest.Config) -> Replay | None:
    """Return the plan to replay, if there is one. Its file, perhaps a pipe, is read once."""
    if _REPLAY in config.stash:
        return config.stash[_REPLAY]
    path = path_setting(config, "replay")
    if path is None:
        return None
    if config.getoption("--expedition-dry-run"):
        raise pytest.UsageError(
            "--expedition-replay and --expedition-dry-run do not work together: remove one"
        )
    if find_replacing(report_paths(config), [path]) is not None:
        raise pytest.UsageError("expedition_replay: a report would replace it: name another file")
    from pytest_expedition.suite.plan import PlanError, read_replay, require_allowed

    try:
        plan = read_replay(path)
        target = live_target(config)
        if target is not None:
            require_allowed(plan, target)
    except PlanError as error:
        raise pytest.UsageError(f"expedition_replay: {error}") from None
    config.stash[_REPLAY] = plan
    return plan


def plan_path(report: Path, requirement: str) -> Path:
    """Return the file for the plan that showed a requirement broken: beside the report."""
    return report.with_name(f"{report.stem}.plan.{requirement}.json")


def replay_command(config: pytest.Config, requirement: str) -> str:
    """Return the command that replays a plan; empty without a report, beside which plans are."""
    reports = report_paths(config)
    if not reports:
        return ""
    path = plan_path(reports[0], requirement)
    here = config.invocation_params.dir
    parts = ["pytest --pyargs pytest_expedition.contract --expedition-replay"]
    parts.append(shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path)))
    for name in ("url", "config"):
        value, of_ini = _setting(config, name)
        if value and not of_ini:
            parts.append(f"--expedition-{name} {shlex.quote(value)}")
    return " ".join(parts)


def workers(config: pytest.Config) -> int:
    """Return the number of workers of pytest-xdist if this process is one, else 0."""
    return int(getattr(config, "workerinput", {"workercount": 0})["workercount"])


def note_process(config: pytest.Config) -> None:
    """Remember the process of the session; pytest-forked runs each test in another."""
    config.stash[_PROCESS] = os.getpid()


def is_another_process(config: pytest.Config) -> bool:
    """Whether this is not the process of the session."""
    return config.stash.get(_PROCESS, None) not in {None, os.getpid()}


def require_one_run(session: pytest.Session) -> None:
    """Refuse options with which each test would carry out a run."""
    marked = any(item.get_closest_marker("forked") for item in session.items)
    if marked or session.config.getoption("forked", None):
        raise pytest.UsageError(ONE_RUN)


def hidden_contract(config: pytest.Config) -> str:
    """Say why pytest collected no test of the contract, though it was asked for."""
    # Patterns of files are globs; those of functions are prefixes, too.
    rules = (("python_files", "test_*.py", ""), ("python_functions", "test_*", "*"))
    changed = [
        f"{name} = {' '.join(config.getini(name))!r} (add `-o {name}={usual}`)"
        for name, usual, more in rules
        if not any(
            fnmatch.fnmatch(usual.replace("*", "contract"), pattern + more)
            for pattern in config.getini(name)
        )
    ]
    return (
        "pytest collected no test of pytest_expedition.contract: they are hidden by "
        f"{' and '.join(changed) or 'an option that hides tests, such as --ignore'}"
    )


def seed(config: pytest.Config) -> int | None:
    """Return the number given by `--hypothesis-seed`, if any."""
    given = str(config.getoption("--hypothesis-seed", None))
    return int(given) if given.isdecimal() else None


def require_no_other_target(config: pytest.Config) -> None:
    """Fail if a conftest has a target that the contract suite cannot see.

    Otherwise the fake would be judged in its place.
    """
    for plugin in config.pluginmanager.get_plugins():
        file = getattr(plugin, "__file__", None) or ""
        if file.endswith("conftest.py") and hasattr(plugin, "expedition_target"):
            pytest.fail(
                f"{file} has a fixture expedition_target, but the contract suite is not in that "
                f"folder and cannot use it: move it to the conftest.py of {config.rootpath}, "
                "pytest's rootdir",
                pytrace=False,
            )


NO_INSTANCE: Final = (
    "no instance to judge: give its URL, such as http://127.0.0.1:8080, or "
    "--expedition-config=FILE, or set EXPEDITION_URL, or expedition_url in the settings of pytest"
)


def live_target(config: pytest.Config) -> Target | None:
    """Return the target that the settings name, or ``None`` if they name none."""
    url, file = setting(config, "url"), path_setting(config, "config")
    if not url and file is None:
        return None
    if workers(config) or config.getoption("dist", "no") != "no":
        raise pytest.UsageError(ONE_PROCESS)
    if _TARGET not in config.stash:
        from pytest_expedition.suite.target import TargetError
        from pytest_expedition.suite.target_file import at_url, load

        try:
            sends = not any(map(config.getoption, ("--expedition-dry-run", "collectonly")))
            target = (
                at_url(url, credentials=sends)
                if file is None
                else load(file, url=url, credentials=sends)
            )
        except TargetError as error:
            raise pytest.UsageError(str(error)) from None
        config.stash[_TARGET] = target
    return config.stash[_TARGET]
