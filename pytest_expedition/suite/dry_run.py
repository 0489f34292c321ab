"""What a contract run would send, told without sending anything."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from pytest_expedition.report.words import plural
from pytest_expedition.suite.plan import AT_THE_END, covering
from pytest_expedition.suite.profile import RANDOM_PLANS, SMOKE_JOBS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_expedition.protocol.recipe import JobRecipe
    from pytest_expedition.suite.plan import JobPlan
    from pytest_expedition.suite.profile import ProfileName
    from pytest_expedition.suite.target import Target


def preview(target: Target, *, profile: ProfileName) -> Iterator[str]:
    """Tell, line by line, what a run with a profile would send to a target."""
    limits = target.limits
    jobs = min(limits.jobs, SMOKE_JOBS) if profile == "smoke" else limits.jobs
    yield f"{target.url}, profile {profile}: at most"
    yield (
        f"  {plural(jobs, 'job')} ({limits.concurrent_jobs} at the same time), "
        f"{plural(limits.requests, 'request')}, {limits.seconds:g} s"
    )
    if not target.api_key:
        yield "with a key for the user name and the password:"
        yield "  POST /api/v1/generate_api_key, or /api/v1/login where that is unknown"
    if target.start_agent:
        yield "with an agent that runs:"
        yield "  GET /api/v1/agent/start, at the beginning and once more while it runs"
    if target.control_agent:
        yield "  GET /api/v1/agent/stop, create a job, GET /api/v1/agent/restart"
    recipes = {recipe.name: recipe for recipe in target.jobs}
    plan = covering(target.jobs)
    yield f"first, jobs that are polled every {limits.poll_seconds:g} s or slower:"
    for job in plan.jobs[:jobs]:
        yield f"  {_creation(recipes[job.recipe])}"
        yield from (f"    {line}" for line in _acts(job))
    yield "and requests that ought to be refused:"
    yield "  creation, status and cancel without a key, and with a wrong one"
    yield "  status and cancel of an id far above all others, and of ids that are none"
    if RANDOM_PLANS[profile]:
        yield f"then up to {RANDOM_PLANS[profile]} random plans:"
        yield "  jobs of the same requests, polled and cancelled at other times"
    yield "at the end, the status of the jobs once more, and a cancel for each that still runs"
    yield "DELETE is only ever sent for jobs of this run, and for ids that are none"


def _creation(recipe: JobRecipe) -> str:
    query = f"?{urlencode(recipe.query)}" if recipe.query else ""
    fields = " ".join(f"{name}={value}" for name, value in recipe.form.items())
    body = fields or ("" if recipe.json is None else "with a JSON document")
    return f"{recipe.method} {recipe.path}{query} {body}".rstrip()


def _acts(job: JobPlan) -> Iterator[str]:
    yield "GET the status, until the job has ended"
    for act in job.acts:
        when = "once it has ended" if act.progress == AT_THE_END else f"from {act.progress:g} on"
        cancels = act.requests.count("cancel")
        if cancels:
            yield f"DELETE the job {when}" + (f", {cancels} times" if cancels > 1 else "")
