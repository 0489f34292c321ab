"""Carrying plans out: what is sent, when, and what stops it."""

from __future__ import annotations

import itertools
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from in_process import in_process
from test_situations import covering

from pytest_expedition import JobRecipe, JobScript, Limits, Target
from pytest_expedition.suite.client import Client
from pytest_expedition.suite.clock import SkippingClock
from pytest_expedition.suite.errors import LimitReachedError, TargetUnusableError
from pytest_expedition.suite.executor import POLLS_AFTER_THE_END, Executor
from pytest_expedition.suite.plan import AT_ONCE, AT_THE_END, Act, JobPlan, Plan
from pytest_expedition.suite.probes import run_plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_expedition import ExpeditionServer
    from pytest_expedition.oracle.history import Exchange

IMPORT = JobRecipe(
    name="import", path="/api/v1/project/1/import", form={"resource": "/tmp/a b"}, cancellable=True
)
EXPORT = JobRecipe(
    name="export", path="/api/v1/projects/1/export", query={"dry": "1"}, cancellable=False
)


@pytest.fixture
def make_target(expedition_server: ExpeditionServer) -> Callable[..., Target]:
    expedition_server.clock.seconds_per_poll = 0
    expedition_server.instance.set_pace(10)

    def make(**changes: Any) -> Target:
        limits = {"poll_seconds": 1.0, "job_seconds": 20.0, **changes.pop("limits", {})}
        return Target(
            **{
                "url": expedition_server.url,
                "api_key": expedition_server.api_key,
                "jobs": (IMPORT, EXPORT),
                "clock": SkippingClock(expedition_server.advance),
                "limits": Limits(**limits),
                **changes,
            }
        )

    return make


def plan_of(*jobs: JobPlan, **changes: Any) -> Plan:
    return Plan(jobs=jobs, **changes)


def one(*acts: Act, recipe: str = "import", **changes: Any) -> Plan:
    return plan_of(JobPlan(recipe=recipe, acts=acts, **changes))


def run(client: Client, plan: Plan) -> list[Exchange]:
    """Carry out a plan and return its exchanges."""
    first = len(client.exchanges)
    run_plan(Executor(client), plan)
    return client.exchanges[first:]


def states(exchanges: list[Any]) -> list[float | None]:
    return [x.state for x in exchanges]


def test_a_job_is_polled_to_its_end_and_a_little_beyond(make_target: Any) -> None:
    with Client(make_target()) as client:
        exchanges = run(client, one())
    assert [x.kind for x in exchanges] == ["create"] + ["status"] * (11 + POLLS_AFTER_THE_END)
    assert states(exchanges)[1:] == [step / 10 for step in range(11)] + [1.0] * POLLS_AFTER_THE_END


def test_the_recipe_says_what_is_sent(
    make_target: Any, expedition_server: ExpeditionServer
) -> None:
    with Client(make_target()) as client:
        run(client, one())
        run(client, one(recipe="export"))
    creations = [x for x in expedition_server.requests if x.method == "POST"]
    assert creations[0].form == {"resource": "/tmp/a b"}
    assert (creations[1].path, creations[1].query) == (EXPORT.path, "dry=1")


def test_the_query_of_a_recipe_follows_the_one_in_its_path(make_target: Any) -> None:
    both = JobRecipe(name="both", path="/api/v1/projects/1/export?dry=1", query={"force": "no"})
    with Client(make_target(jobs=(both,))) as client:
        exchanges = run(client, one(recipe="both"))
    assert exchanges[0].path == "/api/v1/projects/1/export?dry=1&force=no"


def test_acts_wait_for_their_progress(make_target: Any) -> None:
    plan = one(
        Act(progress=0.0, requests=("poll", "poll")),
        Act(progress=0.35, requests=("cancel",)),
        Act(progress=AT_THE_END, requests=("cancel",)),
    )
    with Client(make_target()) as client:
        exchanges = run(client, plan)
    kinds = "".join(x.kind[0] for x in exchanges[1:])  # status or cancel
    assert kinds == "ss" + "ssss" + "c" + "c" + "s" * POLLS_AFTER_THE_END
    assert states(exchanges)[6:9] == [0.4, -1, -1]


def test_acts_that_a_jump_has_overtaken_are_not_lost(
    make_target: Any, expedition_server: ExpeditionServer
) -> None:
    target = make_target()
    expedition_server.next_job(JobScript(progress=(1,)))
    with Client(target) as client:
        exchanges = run(client, one(Act(progress=0.3, requests=("cancel",))))
    assert "cancel" in [x.kind for x in exchanges]


def test_what_is_sent_at_the_same_instant_overlaps(make_target: Any) -> None:
    plan = one(Act(progress=0.0, requests=("cancel", "poll", "poll")))
    with Client(make_target()) as client:
        exchanges = run(client, plan)
    cancel = next(x for x in exchanges if x.kind == "cancel")
    polls = [x for x in exchanges if x.kind == "status"][:2]
    assert not any(x.before(cancel) or cancel.before(x) for x in polls)


@pytest.mark.parametrize(("tick_seconds", "overlap"), [(0.001, False), (0.1, True)])
def test_jobs_of_a_slow_server_are_polled_at_the_same_instant(
    make_target: Any, monkeypatch: pytest.MonkeyPatch, *, tick_seconds: float, overlap: bool
) -> None:
    """One after the other, the polls would keep cancels from being sent in time."""
    monkeypatch.setattr("pytest_expedition.suite.clock.TICK_SECONDS", tick_seconds)
    cancelled = JobPlan(recipe="import", acts=(Act(progress=0.5, requests=("cancel",)),))
    with Client(make_target()) as client:
        exchanges = run(client, plan_of(cancelled, *[JobPlan(recipe="import")] * 2, framed=True))
    cancel = next(x for x in exchanges if x.kind == "cancel")
    polls = [x for x in exchanges if x.kind == "status"]
    after_the_cancel = [x for x in polls if cancel.before(x)][:3]
    for three in (after_the_cancel, polls[-2:]):
        assert len({x.job_id for x in three}) == len(three)
        assert any(a.before(b) for a, b in pairwise(three)) is not overlap


def test_jobs_run_side_by_side_up_to_the_limit(
    make_target: Any, expedition_server: ExpeditionServer
) -> None:
    target = make_target(limits={"concurrent_jobs": 2})
    with Client(target) as client:
        run(client, plan_of(*[JobPlan(recipe="import")] * 5))
    lifetimes = [(job.created, job.created + 10) for job in expedition_server.jobs]
    assert len(lifetimes) == 5
    for created, _ in lifetimes:
        assert sum(start <= created < end for start, end in lifetimes) <= 2
    assert lifetimes[-1][1] < 45  # three rounds, not five


def test_jobs_meet_at_different_ages(make_target: Any, expedition_server: ExpeditionServer) -> None:
    plan = plan_of(
        JobPlan(recipe="import", after=0.9),
        JobPlan(recipe="export", after=0.5),
        JobPlan(recipe="export", after=1.0),
    )
    target = make_target()
    with Client(target) as client:
        run(client, plan)
    first, second, third = (job.created for job in expedition_server.jobs)
    assert (first, second) == (0, 0)
    assert 10 <= third < 12


def test_a_job_waits_until_the_first_is_far_enough(
    make_target: Any, expedition_server: ExpeditionServer
) -> None:
    plan = plan_of(JobPlan(recipe="import"), JobPlan(recipe="export", after=0.5))
    with Client(make_target()) as client:
        run(client, plan)
    first, second = (job.created for job in expedition_server.jobs)
    assert first == 0
    assert 5 <= second < 7


def test_jobs_that_are_cancelled_at_once_are_not_polled_before_by_each_other(
    make_target: Any,
) -> None:
    at_once = JobPlan(recipe="export", acts=(Act(progress=AT_ONCE, requests=("cancel",)),))
    with Client(make_target()) as client:
        exchanges = run(client, plan_of(JobPlan(recipe="import"), at_once, at_once, framed=True))
    kinds: dict[int | None, list[str]] = {}
    for each in exchanges:
        if each.kind != "create":
            kinds.setdefault(each.job_id, []).append(each.kind)
    assert sorted(asked[0] for asked in kinds.values()) == ["cancel", "cancel", "status"]


def test_a_slow_job_is_asked_for_less_often(
    make_target: Any, expedition_server: ExpeditionServer
) -> None:
    target = make_target(limits={"job_seconds": 1000.0})
    expedition_server.instance.set_pace(500)
    with Client(target) as client:
        exchanges = run(client, one())
    assert exchanges[-1].state == 1
    assert len(exchanges) < 250


def test_a_job_that_never_ends_is_given_up_after_its_time(
    make_target: Any, expedition_server: ExpeditionServer
) -> None:
    target = make_target()
    expedition_server.next_job(JobScript(progress=(0, 0.5)))
    with Client(target) as client:
        exchanges = run(client, one(recipe="export"))
    assert exchanges[-1].sent > exchanges[0].received + 20
    assert exchanges[-2].sent <= exchanges[0].received + 20


@pytest.mark.parametrize(("limit", "value"), [("requests", 12), ("jobs", 5)])
def test_a_limit_is_never_exceeded(
    make_target: Any, expedition_server: ExpeditionServer, limit: str, value: int
) -> None:
    target = make_target(limits={limit: value})
    plan = plan_of(*[JobPlan(recipe="import")] * 9)
    with pytest.raises(LimitReachedError) as caught, Client(target) as client:
        run(client, plan)
    assert caught.value.limit == limit
    used = expedition_server.requests if limit == "requests" else expedition_server.jobs
    assert 0 < len(used) <= value
    assert all(expedition_server.state(job) in {1, -1} for job in expedition_server.jobs)


def test_the_seconds_of_the_whole_run_are_a_limit(make_target: Any) -> None:
    with (
        pytest.raises(LimitReachedError, match="seconds"),
        Client(make_target(limits={"seconds": 1e-9})) as client,
    ):
        run(client, one())


def test_what_still_runs_at_the_end_is_cancelled_if_it_may_be(
    make_target: Any, expedition_server: ExpeditionServer
) -> None:
    target = make_target(limits={"requests": 8})
    with pytest.raises(LimitReachedError), Client(target) as client:
        run(client, plan_of(JobPlan(recipe="import"), JobPlan(recipe="export")))
    by_request = {job.request: job.cancel_requests for job in expedition_server.jobs}
    assert by_request == {"import": 1, "export": 0}


def test_probes_change_nothing(make_target: Any, expedition_server: ExpeditionServer) -> None:
    with in_process(expedition_server), Client(make_target()) as client:
        exchanges = run(client, covering((IMPORT, EXPORT))[0])
    probes = [x for x in exchanges if x.probe]
    refused = [x for x in probes if x.probe != "no-accept"]
    assert {x.probe for x in refused} == {"no-key", "wrong-key", "unknown-id", "bad-id"}
    assert all(x.status is not None and 400 <= x.status < 500 for x in refused)
    assert [(x.kind, x.status) for x in probes if x.probe == "no-accept"] == [("status", 200)]
    assert len(expedition_server.jobs) == 20
    own = {job.id for job in expedition_server.jobs}
    named = {int(x.path.rsplit("/", 1)[1]) for x in exchanges if x.kind == "cancel" and not x.probe}
    assert named <= own


def test_a_job_is_asked_for_without_a_key_right_before_it_is_cancelled(
    make_target: Any, expedition_server: ExpeditionServer
) -> None:
    """Until then, no cancel without a key can be the reason for what the job shows."""
    with in_process(expedition_server), Client(make_target()) as client:
        exchanges = run(client, covering((IMPORT, EXPORT))[0])
    probes = [x for x in exchanges if x.probe in {"no-key", "wrong-key"} and x.kind != "create"]
    (job_id,) = {x.job_id for x in probes}
    about_it = [x for x in exchanges if x.job_id == job_id and x.probe != "no-accept"]
    cancel = next(x for x in about_it if x.kind == "cancel" and not x.probe)
    first, *_, last = probes
    before = about_it[about_it.index(first) - 1]
    assert (before.kind, before.probe) == ("status", "")
    assert before.state is not None
    assert 0 < before.state < 1
    # A poll before the cancel with the key shows whether one without it was carried out.
    between = about_it[about_it.index(last) + 1 : about_it.index(cancel)]
    assert {(x.kind, x.state == before.state) for x in between} == {("status", True)}
    assert cancel.state == -1


def test_an_instance_that_is_not_there(make_target: Any) -> None:
    with (
        pytest.raises(TargetUnusableError, match=r"http://127\.0\.0\.1:1 does not answer"),
        Client(make_target(url="http://127.0.0.1:1")) as client,
    ):
        run(client, one())


def test_an_instance_that_goes_down(make_target: Any, expedition_server: ExpeditionServer) -> None:
    target = make_target()
    clock = target.clock
    polls = []

    def advance(seconds: float) -> None:
        polls.append(seconds)
        if len(polls) == 3:
            server.stop()

    server = type(expedition_server)()
    server.start()
    target = make_target(url=server.url, clock=type(clock)(advance))
    with (
        pytest.raises(
            TargetUnusableError,
            match=r"stopped answering: the last answer came .* the connection failed",
        ),
        Client(target) as client,
    ):
        run(client, plan_of(JobPlan(recipe="import"), JobPlan(recipe="export")))


def test_a_key_that_is_refused(make_target: Any) -> None:
    with (
        pytest.raises(TargetUnusableError, match="refuses the key"),
        Client(make_target(api_key="old")) as client,
    ):
        run(client, one())


def test_a_request_that_the_instance_does_not_know(make_target: Any) -> None:
    jobs = (JobRecipe(name="import", path="/api/v1/nothing"),)
    with (
        pytest.raises(TargetUnusableError, match="POST /api/v1/nothing got HTTP 404"),
        Client(make_target(jobs=jobs)) as client,
    ):
        run(client, one())


def test_user_name_and_password_are_turned_into_a_key(make_target: Any) -> None:
    target = make_target(api_key="", username="admin", password="paloalto")
    with Client(target) as client:
        exchanges = run(client, one())
        assert set(client.secrets) == {"fake-expedition-key", "paloalto", "admin:paloalto"}
    assert exchanges[-1].state == 1


def test_a_wrong_password(make_target: Any) -> None:
    target = make_target(api_key="", username="admin", password="wrong")
    with (
        pytest.raises(TargetUnusableError, match=r"gives no key .* answered with 401"),
        Client(target) as client,
    ):
        run(client, one())


def test_a_login_that_is_granted_without_a_key(
    make_target: Any, expedition_server: ExpeditionServer
) -> None:
    target = make_target(api_key="", username="admin", password="paloalto")
    expedition_server.own_job_answers = True
    login = expedition_server.expect_request("/api/v1/generate_api_key", method="POST")
    login.respond_with_json({"token": "abc"})
    with (
        pytest.raises(TargetUnusableError, match=r"answered with 200, without an `api_key`"),
        Client(target) as client,
    ):
        run(client, one())


def test_the_dialect_is_found_out(make_target: Any) -> None:
    with Client(make_target()) as client:
        assert client.dialect is None
        run(client, one())
        assert client.dialect == "system"
    with Client(make_target(dialect="data")) as client:
        assert client.dialect == "data"


class TestTiming:
    """Acts late in a job's life, where the pause between polls is far too long to see it coming."""

    @pytest.mark.parametrize("progress", [0.91, 0.95, 0.97])
    @pytest.mark.parametrize("seconds", [2.0, 10.0, 60.0])
    def test_a_late_act_comes_when_the_job_is_due_there(
        self,
        make_target: Any,
        expedition_server: ExpeditionServer,
        seconds: float,
        progress: float,
    ) -> None:
        target = make_target(limits={"poll_seconds": 0.5, "job_seconds": 4 * seconds})
        expedition_server.instance.set_pace(seconds)
        with Client(target) as client:
            run(client, one(Act(progress=progress, requests=("cancel",)), recipe="export"))
        (cancel,) = [x for x in client.exchanges if x.kind == "cancel"]
        assert cancel.state == pytest.approx(progress, abs=0.02)

    def test_the_pace_of_earlier_jobs_of_the_recipe_is_used(self, make_target: Any) -> None:
        target = make_target(limits={"poll_seconds": 5.0})
        late = JobPlan(recipe="export", acts=(Act(progress=0.95, requests=("cancel",)),))
        with Client(target) as client:
            run(client, plan_of(*[late] * 3, at_once=1))
        cancels = [x.state for x in client.exchanges if x.kind == "cancel"]
        assert cancels == [pytest.approx(0.95, abs=0.04)] * 3
        polls = [x for x in client.exchanges if x.kind == "status"]
        assert len(polls) < 50

    @pytest.mark.parametrize(
        ("seconds", "shortest", "longest"), [(10.0, 0.9, 1.1), (5.0, 0.4, 0.6), (1.2, 0.1, 0.2)]
    )
    def test_a_quick_job_is_polled_ten_times_but_no_more_than_eight_times_as_often(
        self,
        make_target: Any,
        expedition_server: ExpeditionServer,
        seconds: float,
        shortest: float,
        longest: float,
    ) -> None:
        expedition_server.next_job(
            JobScript(progress=[step / 100 for step in range(101)], step_seconds=seconds / 100)
        )
        target = make_target(limits={"poll_seconds": 1.0})
        expedition_server.clock.seconds_per_poll = 0
        with Client(target) as client:
            polls = [x for x in run(client, one()) if x.kind == "status"]
        pauses = [late.sent - early.sent for early, late in itertools.pairwise(polls)]
        assert shortest <= min(pauses[2:]) <= longest

    def test_a_job_of_unknown_pace_is_asked_for_soon_only_if_something_comes_late(
        self, make_target: Any
    ) -> None:
        with Client(make_target()) as client:
            early = run(client, one(Act(progress=0.3, requests=("cancel",)), recipe="export"))
            late = run(client, one(Act(progress=0.95, requests=("cancel",)), recipe="export"))
        assert early[2].sent - early[1].sent > 0.9
        assert late[2].sent - late[1].sent < 0.9

    def test_a_job_that_makes_no_progress_is_not_taken_to_be_late(
        self, make_target: Any, expedition_server: ExpeditionServer
    ) -> None:
        expedition_server.next_job(
            JobScript(progress=[step / 100 for step in range(66)], step_seconds=0.1)
        )
        with Client(make_target()) as client:
            run(client, one(Act(progress=0.95, requests=("cancel",)), recipe="export"))
        assert not [x for x in client.exchanges if x.kind == "cancel"]

    def test_acts_of_the_same_progress_follow_one_another_without_a_poll(
        self, make_target: Any
    ) -> None:
        acts = [Act(progress=0.35, requests=("cancel",))] * 2
        with Client(make_target()) as client:
            exchanges = run(client, one(*acts))
        kinds = "".join(x.kind[0] for x in exchanges[1:])
        assert kinds == "sssss" + "cc" + "s" * POLLS_AFTER_THE_END

    def test_what_comes_first_is_not_preceded_by_the_polls_around_it(
        self, make_target: Any
    ) -> None:
        at_once = JobPlan(recipe="import", acts=(Act(progress=0.0, requests=("cancel",)),))
        with Client(make_target()) as client:
            exchanges = run(client, plan_of(JobPlan(recipe="export"), at_once, framed=True))
        cancel = next(x for x in exchanges if x.kind == "cancel")
        before = [x for x in exchanges if x.kind == "status" and x.before(cancel)]
        assert {x.job_id for x in before} == {x.answer.job_id for x in exchanges[:2]} - {
            cancel.job_id
        }


def test_no_more_jobs_of_a_plan_are_alive_than_it_says(
    make_target: Any, expedition_server: ExpeditionServer
) -> None:
    with Client(make_target()) as client:
        run(client, plan_of(*[JobPlan(recipe="import")] * 3, at_once=1))
    created = sorted(job.created for job in expedition_server.jobs)
    assert all(later - earlier >= 10 for earlier, later in pairwise(created))


def test_a_plan_that_stops_the_agent_creates_its_first_job_then(
    make_target: Any, expedition_server: ExpeditionServer
) -> None:
    target = make_target(control_agent=True)
    with Client(target) as client:
        exchanges = run(client, plan_of(*[JobPlan(recipe="import")] * 2, agent_stopped=True))
    told = [x.path.rsplit("/", 1)[1] if x.kind == "agent" else x.kind for x in exchanges]
    orders = [each for each in told if each not in {"status", "cancel"}]
    assert orders == ["start", "stop", "create", "restart", "create", "start"]
    assert expedition_server.agent_running


def test_a_run_that_may_begin_no_more_ends_with_what_runs(make_target: Any) -> None:
    with Client(make_target(limits={"concurrent_jobs": 1})) as client:
        executor = Executor(client)
        executor.may_begin = lambda: 2 - len(executor.begun)
        executor.run(plan_of(*[JobPlan(recipe="import")] * 5))
    assert len(client.ledger.ids) == len(executor.begun) == 2
