"""Lists what a contract run would send, without sending anything."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timezone
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from pytest_expedition.suite.cover import fixed_jobs
from pytest_expedition.suite.executor import SHORTEST_PAUSE
from pytest_expedition.suite.plan import AT_THE_END
from pytest_expedition.suite.profile import DEFAULT_JOBS, RANDOM_PLANS, SMOKE_JOBS
from pytest_expedition.suite.request_list import MALFORMED_IDS, allowed_by

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
    yield f"{target.url}, profile {profile}"
    yield (
        f"limits: jobs = {jobs}, concurrent_jobs = {limits.concurrent_jobs}, "
        f"requests = {limits.requests}, seconds = {limits.seconds:g}"
    )
    today = datetime.now(timezone.utc).date()
    expired = [waiver.id for waiver in target.waivers if waiver.until < today]
    if expired:
        yield f"waiver expired, which fails a run; renew it or remove it: {', '.join(expired)}"
    yield ""
    quick = limits.poll_seconds * SHORTEST_PAUSE
    yield (
        f"The first plan; jobs are polled every {limits.poll_seconds:g} s or slower, quick ones "
        f"every {quick:g} s:"
    )
    recipes = {recipe.name: recipe for recipe in target.jobs}
    crowd = fixed_jobs(target, smoke=profile == "smoke")["crowd"]
    for job in crowd[: min(jobs, DEFAULT_JOBS)]:
        yield f"  {_creation(recipes[job.plan.recipe])}"
        yield from (f"    {line}" for line in _acts(job.plan))
    if RANDOM_PLANS[profile]:
        yield f"Then up to {RANDOM_PLANS[profile]} random plans, if there is time for them:"
        yield "  jobs of the same requests, polled and cancelled at other times"
    yield ""
    yield "Every request that the run can send:"
    for name, listed in allowed_by(target).items():
        if name == "creation":
            shown = [f"{recipe.method} {recipe.path}" for recipe in target.jobs]
        else:
            shown = [f"{listed.method} {listed.path}"]
        yield from (f"  {request}" for request in shown)
        yield f"    when: {listed.when}"
        yield f"    safe: {listed.safe}"
    yield "  {job}: the id of a job that the run created; {far}: an id far above these;"
    yield "  {agent}: the id of the instance's agent;"
    yield "  {project}, {device}: the numbers in the paths of the recipes;"
    yield "  {ended}: the id of a job of the run that has ended;"
    yield "  {malformed}: one of these malformed ids:"
    for each in MALFORMED_IDS:
        yield f"    {each.text} ({', '.join(each.methods)}): {each.safe}"


def _creation(recipe: JobRecipe) -> str:
    query = f"?{urlencode(recipe.query)}" if recipe.query else ""
    fields = " ".join(f"{name}={value}" for name, value in recipe.form.items())
    body = fields or ("" if recipe.json is None else "with a JSON document")
    return f"{recipe.method} {recipe.path}{query} {body}".rstrip()


def _acts(job: JobPlan) -> Iterator[str]:
    yield "GET the status, until the job has ended"
    cancels = Counter(act.progress for act in job.acts for each in act.requests if each == "cancel")
    for progress, count in cancels.items():
        when = "once it has ended" if progress == AT_THE_END else f"from {progress:g} on"
        yield f"DELETE the job {when}" + (f", {count} times" if count > 1 else "")
