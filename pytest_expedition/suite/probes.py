"""Requests that ought to be refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pytest_expedition.suite.errors import LimitReachedError
from pytest_expedition.suite.job_lists import JobLists
from pytest_expedition.suite.request_list import far_id, malformed_ids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_expedition.oracle.history import Probe
    from pytest_expedition.suite.client import Client
    from pytest_expedition.suite.executor import Executor, RunningJob
    from pytest_expedition.suite.plan import Plan

_ACCEPTING: Final[tuple[Probe, ...]] = ("", "no-accept")
_WITHOUT_ACCESS: Final[tuple[Probe, ...]] = ("no-key", "wrong-key")


def run_plan(executor: Executor, plan: Plan) -> None:
    """Carry out a plan, with the probes if it asks for them.

    Raises ``LimitReachedError`` before a request that a limit forbids, and
    ``TargetUnusableError`` where the target does not answer at all or refuses the key.
    """
    client, recipe = executor.client, plan.jobs[0].recipe
    if not plan.probes:
        executor.run(plan)
        return

    refuse = {each.name for each in client.target.jobs if each.cancellable is False}
    may_be_cancelled = {each.name for each in client.target.jobs} - refuse or refuse
    probed = False

    def before_cancel(job: RunningJob) -> None:
        nonlocal probed
        if not probed and not job.ended and job.plan.recipe in may_be_cancelled:
            probed = True
            _probe_access(client, job.id)

    lists = JobLists(client)
    limit: LimitReachedError | None = None
    try:
        executor.run(
            plan,
            once_started=lambda running: _probe_accept(client, running),
            before_cancel=before_cancel,
            each_round=lists.read_on_the_way,
        )
    except LimitReachedError as error:
        if error.limit != "jobs":
            raise
        limit = error  # most probes create no job
    if not probed and client.ledger.ids:
        _probe_access(client, client.ledger.ids[0])
    lists.read_afterwards()
    _probe_creation(client, recipe)
    _probe_ids(client)
    if limit is not None:
        raise limit


def _probe_access(client: Client, job_id: int) -> None:
    """Ask for a job without a key and with a wrong one, right before it is cancelled with the key.

    From then on a cancel without a key may be why the job shows -1, so no other rule judges that.
    """
    client.send([client.about("poll", job_id)])
    for probe in _WITHOUT_ACCESS:
        client.send([client.about("poll", job_id, probe)])
        client.send([client.about("cancel", job_id, probe)])


def _probe_accept(client: Client, running: Sequence[RunningJob]) -> None:
    """Ask for a running job without the header Accept, as the documented client does.

    If something before the application answers, it is asked once more: that may do so at any time,
    or every second time, so one more usual request comes before that.
    """
    for more in range(2):
        usual, plain = (client.about("poll", running[0].id, each) for each in _ACCEPTING)
        for _ in range(1 + more):
            client.send([usual])
        (answer,) = client.send([plain])
        if answer.answered:
            break


def _probe_creation(client: Client, recipe: str) -> None:
    """Ask for a new job without a key and with a wrong one, as far as jobs may be created."""
    # One is kept for the job that is created while the agent is stopped.
    kept = int(client.target.control_agent)
    for probe in _WITHOUT_ACCESS:
        if client.ledger.jobs_left > kept and client.ledger.room(client.now) > 0:
            client.send([client.creation(recipe, probe)])


def _probe_ids(client: Client) -> None:
    """Ask for an id that was never given out, and for malformed ids; cancel some of them.

    An id that turns out to be a job's is not cancelled: that job is not the run's.
    """
    ledger = client.ledger
    if not ledger.ids:
        return
    ended = next((each for each in ledger.ids if each not in ledger.left_behind), None)
    far = far_id(ledger.ids)
    if far is not None:
        _probe_id(client, far, "unknown-id", ("GET", "DELETE"))
    for text, methods in malformed_ids(ended):
        _probe_id(client, text, "bad-id", methods)


def _probe_id(client: Client, job_id: int | str, probe: Probe, methods: Sequence[str]) -> None:
    (answer,) = client.send([client.about("poll", job_id, probe)])
    if "DELETE" in methods and answer.answered and not answer.answer.tells_of_a_job:
        client.send([client.about("cancel", job_id, probe)])
