"""What the project's own tests share."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
import requests

# Some are only loaded before any test: pytester unloads what a run in this process was the first to
# load, but the packages keep their attributes, and the next run would have two of some modules.
with contextlib.suppress(ImportError):  # who runs the contract alone need not have it
    import trustme  # noqa: F401

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from pytest_expedition import ExpeditionServer

pytest_plugins = ["pytester"]

gc.set_threshold(20_000)  # a full collection of garbage looks at each of the thousands of tests

FAIL_ON_SKIP = bool(os.environ.get("FAIL_ON_SKIP"))
"""Whether a test that is skipped, since a program is missing, fails instead: `.ci/run` sets it."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if FAIL_ON_SKIP and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"FAIL_ON_SKIP is set, but the test was skipped: {report.longreprtext}"
    return report


ONLY_OURS = {
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    "PYTEST_ADDOPTS": "-p expedition -p no:unraisableexception",
    "HYPOTHESIS_NO_PLUGINS": "1",
}
"""The environment in which pytest loads no other plugin unless it is named: some take seconds.

`unraisableexception`, which is pytest's own, collects garbage five times at the end of each run.
"""


@pytest.fixture(scope="session", autouse=True)
def only_our_plugin() -> Iterator[None]:
    """A pytest that a test starts loads no other plugin and compiles no module anew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        for name, value in ONLY_OURS.items():
            patch.setenv(name, value)
        yield


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Three workers for two processors: some tests wait, but each worker collects all of them."""
    return 3 * (os.cpu_count() or 1) // 2


@pytest.fixture
def no_http() -> Iterator[None]:
    """Runs of the suite in this process hand their requests to fake servers without HTTP."""
    from in_process import in_process

    with in_process():
        yield


@pytest.fixture
def heeds_interrupts() -> Iterator[None]:
    """Let the processes of a test heed Ctrl-C and SIGHUP.

    A shell that starts us in the background ignores the first, `nohup` the second.
    """
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
        signal.SIGHUP: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def pytester(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """pytest's own, which removes PYTEST_ADDOPTS from the environment."""
    monkeypatch.setenv("PYTEST_ADDOPTS", ONLY_OURS["PYTEST_ADDOPTS"])
    return pytester


@pytest.fixture
def call(expedition_server: ExpeditionServer) -> Iterator[Callable[..., requests.Response]]:
    """Send a request with the key to the fake server, over one connection that stays open."""
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Authorization"] = f"Bearer {expedition_server.api_key}"

        def send(method: str, path: str, **options: Any) -> requests.Response:
            url = f"{expedition_server.url}/api/v1/{path}"
            return session.request(method, url, timeout=10, allow_redirects=False, **options)

        yield send
