"""Situations: the list, the fixed plans that cover it, and what a history shows of it."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
from histories import JOB, Story
from in_process import in_process

from pytest_expedition import JobRecipe, Limits, Target
from pytest_expedition.oracle.situations import (
    CANCELS,
    PHASES,
    REQUESTS,
    RUNNING,
    SITUATIONS,
    Situation,
    exercised,
)
from pytest_expedition.suite.clock import SkippingClock
from pytest_expedition.suite.cover import (
    SOON,
    covering_jobs,
    plans_of,
    smoke_jobs,
)
from pytest_expedition.suite.coverage import coverage
from pytest_expedition.suite.plan import AT_ONCE, AT_THE_END
from pytest_expedition.suite.run import run_contract

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_expedition import ExpeditionServer
    from pytest_expedition.oracle.situations import Company
    from pytest_expedition.suite.cover import CoveringJob
    from pytest_expedition.suite.plan import Plan

IMPORT = JobRecipe(name="import", path="/api/v1/project/1/import", cancellable=True)
EXPORT = JobRecipe(name="export", path="/api/v1/projects/1/export", cancellable=False)
PLACES = 4
OTHER, THIRD = JOB + 1, JOB + 2


class TestList:
    def test_each_pair_of_phase_and_request_is_there_but_for_the_senseless(self) -> None:
        pairs = {(each.phase, each.request) for each in SITUATIONS}
        senseless = {("finished", "cancel-twice"), ("cancelled", "cancel-twice")}
        assert pairs == set(itertools.product(PHASES, REQUESTS)) - senseless

    def test_each_has_an_id_and_a_sentence_of_its_own(self) -> None:
        assert len({each.id for each in SITUATIONS}) == len(SITUATIONS)
        assert len({each.text for each in SITUATIONS}) == len(SITUATIONS)
        assert Situation("late", "cancel", "crowd").id == "late.cancel.crowd"
        assert Situation("late", "cancel", "crowd").text == (
            "A cancel of a job in its last tenth, while as many jobs as allowed are alive and the "
            "others well under way."
        )
        assert Situation("refused", "two-cancels", "any").id == "refused.two-cancels"


def groups(places: int = PLACES, **agent: bool) -> Mapping[Company, Sequence[CoveringJob]]:
    return covering_jobs((IMPORT, EXPORT), jobs_at_once=places, **agent)


def covering(
    recipes: Sequence[JobRecipe],
    *,
    jobs_at_once: int = PLACES,
    start_agent: bool = False,
    stop_agent: bool = False,
) -> list[Plan]:
    """The fixed plans of the profile `default`."""
    jobs = covering_jobs(recipes, jobs_at_once=jobs_at_once, start_agent=start_agent)
    return plans_of(jobs, stop_agent=stop_agent)


def planned(jobs: Mapping[Company, Sequence[CoveringJob]]) -> list[Situation]:
    return [each for group in jobs.values() for job in group for each in job.situations]


class TestCover:
    def test_every_situation_is_planned(self) -> None:
        by_chance = {each for each in SITUATIONS if each.request == "poll"}  # all jobs are polled
        assert set(SITUATIONS) - by_chance <= set(planned(groups()))

    def test_every_first_cancel_is_planned_once(self) -> None:
        cancels = [each for each in planned(groups()) if is_first_cancel(each)]
        assert sorted(cancels) == sorted(filter(is_first_cancel, SITUATIONS))

    def test_there_are_no_fewer_rounds(self) -> None:
        """A first cancel ends its job, so each takes a job of its own.

        What is sent at the same instant is one, though: two cancels and two polls. Three jobs
        finish and three refuse. A round has as many jobs as its company allows to be alive at the
        same time; where the company is not told apart, this may be any.
        """
        cancels = [each for each in SITUATIONS if is_first_cancel(each)]
        at_one_instant = sum(each.request == "two-cancels" for each in cancels)
        alone = sum(each.company == "alone" for each in cancels)
        beside = sum(each.company == "beside" for each in cancels)
        free = -beside % 2  # places beside others that any other job may fill
        in_crowd = len(cancels) - at_one_instant - alone - beside - free + 3 + 3
        fewest = {"crowd": -(-in_crowd // PLACES), "beside": -(-beside // 2), "alone": alone}
        at_once = {"crowd": PLACES, "beside": 2, "alone": 1}
        rounds = {name: -(-len(jobs) // at_once[name]) for name, jobs in groups().items()}
        assert rounds == fewest

    def test_two_neighbours_finish_and_two_refuse_among_the_twelve_of_the_default(self) -> None:
        """A fault of every second job shows on one of them, whichever ids they are given."""
        crowd = [job.plan for job in groups()["crowd"][8:12]]
        assert [job.recipe for job in crowd] == ["import", "import", "export", "export"]
        finishing, refusing = crowd[0], crowd[2]
        assert crowd == [finishing, finishing, refusing, refusing]
        assert {act.progress for act in finishing.acts} == {AT_THE_END}
        assert max(act.progress for act in refusing.acts) < AT_THE_END

    def test_the_first_four_are_as_different_as_can_be(self) -> None:
        first = groups()["crowd"][:4]
        assert [job.plan.recipe for job in first] == ["import", "export", "import", "import"]
        phases = [job.situations[0].phase for job in first]
        assert phases == ["created", "refused", "middle", "created"]

    def test_every_recipe_has_its_turn_early(self) -> None:
        more = [JobRecipe(name=f"r{n}", path="/api/v1/x", cancellable=n > 1) for n in range(4)]
        crowd = covering(more)[0].jobs
        assert {job.recipe for job in crowd[:12]} == {"r0", "r1", "r2", "r3"}

    def test_what_is_not_known_to_refuse_is_taken_to_be_cancellable(self) -> None:
        crowd = covering((JobRecipe(name="x", path="/api/v1/x"), EXPORT))[0].jobs
        assert [job.recipe for job in crowd[:4]] == ["x", "export", "x", "x"]

    @pytest.mark.parametrize("recipes", [(IMPORT,), (EXPORT,)])
    def test_one_recipe_is_enough(self, recipes: Any) -> None:
        jobs = covering_jobs(recipes, jobs_at_once=PLACES)
        refused = {each for each in SITUATIONS if each.phase == "refused"}
        assert {each for each in SITUATIONS if is_first_cancel(each)} <= set(planned(jobs))
        assert not refused & set(planned(jobs))

    @pytest.mark.parametrize(("places", "companies"), [(1, 1), (2, 2), (3, 3), (10, 3)])
    def test_other_limits(self, places: int, companies: int) -> None:
        plans = covering((IMPORT, EXPORT), jobs_at_once=places)
        assert len(plans) == companies
        assert [plan.at_once for plan in plans] == [0, 2, 1][:1] + [1] * (places == 2) + (
            [2, 1] if places > 2 else []
        )
        assert len(plans[0].jobs) % places == 0

    def test_the_agent_is_stopped_between_two_parts_of_the_crowd(self) -> None:
        whole = covering((IMPORT, EXPORT))
        parts = covering((IMPORT, EXPORT), stop_agent=True)
        assert parts[0].jobs + parts[1].jobs == whole[0].jobs
        assert [plan.agent_stopped for plan in parts] == [False, True, False, False]
        assert parts[1].jobs[0] == whole[0].jobs[0]  # the one that is stopped is left to finish

    def test_the_agent_is_started_once_more(self) -> None:
        acts = [
            act for job in covering((IMPORT, EXPORT), start_agent=True)[0].jobs for act in job.acts
        ]
        assert sum("start-agent" in act.requests for act in acts) == 1

    def test_acts_are_in_order(self) -> None:
        for plan in covering((IMPORT, EXPORT), start_agent=True):
            for job in plan.jobs:
                progress = [act.progress for act in job.acts]
                assert progress == sorted(progress)
                assert all(0 <= each <= AT_THE_END for each in progress)


class TestSmoke:
    def test_jobs_that_run_to_their_end_come_first_then_the_earliest_cancels(self) -> None:
        (plan,) = plans_of({"crowd": smoke_jobs(groups()["crowd"])})
        assert [(job.recipe, job.after, job.acts[0].progress) for job in plan.jobs] == [
            ("import", AT_ONCE, AT_THE_END),
            ("export", AT_ONCE, SOON),
            ("import", 3 * SOON, AT_ONCE),
            ("import", 4 * SOON, 0.75),
        ]

    def test_the_first_is_created_while_the_agent_is_stopped(self) -> None:
        jobs = smoke_jobs(groups()["crowd"], stop_agent=True)
        running, stopped = plans_of({"crowd": jobs}, stop_agent=True)
        assert [job.recipe for job in running.jobs] == ["export", "import", "import"]
        assert stopped.agent_stopped
        assert stopped.jobs == plans_of({"crowd": groups()["crowd"]})[0].jobs[:1]


def is_first_cancel(situation: Situation) -> bool:
    return situation.phase in RUNNING and situation.request in CANCELS


class Lives:
    """Jobs whose states grow by a tenth a second, polled at the same time once a second."""

    def __init__(self, *jobs: int, cancellable: bool | None = True) -> None:
        self.story = Story()
        self.jobs = list(jobs)
        for job in jobs:
            self.story.create(job, at=0.0, until=0.01, cancellable=cancellable)

    def poll(self, *seconds: float) -> Lives:
        for second in seconds:
            for job in self.jobs:
                state = min(second / 10, 1)
                self.story.poll(state, job=job, at=second - 0.01, until=second + 0.01)
        return self

    def cancel(self, *seconds: float, job: int = JOB, state: float = -1) -> Lives:
        for second in seconds:
            self.story.cancel(state, job=job, at=second - 0.01, until=second + 0.01)
        return self

    def seen(self, *, jobs_at_once: int = 4) -> set[str]:
        counts = exercised(self.story.history(), jobs_at_once=jobs_at_once)
        return {each.id for each in counts if each.request != "creation"}

    def cancels(self, *, jobs_at_once: int = 4) -> set[str]:
        return {each for each in self.seen(jobs_at_once=jobs_at_once) if ".poll" not in each}


class TestExercised:
    def test_a_cancel_before_anything_else_is_asked(self) -> None:
        assert Lives(JOB).cancel(0.1).cancels() == {"created.cancel.alone"}

    def test_a_cancel_of_a_job_that_was_seen_at_0(self) -> None:
        lives = Lives(JOB)
        lives.story.poll(0, at=0.02, until=0.03)
        assert lives.cancel(0.05).cancels() == {"queued.cancel.alone"}

    @pytest.mark.parametrize(
        ("second", "phase"),
        [(1.5, "early"), (3.4, "early"), (3.6, "middle"), (8.8, "middle"), (9.2, "late")],
    )
    def test_the_phase_is_estimated_by_the_pace_that_polls_have_shown(
        self, second: float, phase: str
    ) -> None:
        polls = [each for each in range(1, 10) if each < second]
        assert Lives(JOB).poll(*polls).cancel(second).cancels() == {f"{phase}.cancel.alone"}

    def test_the_pace_of_the_first_poll_is_enough_for_the_last_tenth(self) -> None:
        assert Lives(JOB).poll(5).cancel(9.5).cancels() == {"late.cancel.alone"}

    def test_a_cancel_that_may_have_come_too_late_is_not_counted(self) -> None:
        assert Lives(JOB).poll(5).cancel(9.5, state=1).cancels() == set()
        assert Lives(JOB).poll(5).cancel(10.5).cancels() == set()

    def test_a_job_of_unknown_pace_gets_the_pace_of_another_job_of_its_recipe(self) -> None:
        lives = Lives(JOB, OTHER)
        lives.story.poll(0.4, job=OTHER, at=3.99, until=4.01)
        lives.story.poll(0, job=JOB, at=0.02, until=0.03)
        lives.story.poll(0.99, job=OTHER, at=9.89, until=9.91)
        assert lives.cancel(9.5).cancels() == {"late.cancel.beside"}

    def test_a_job_that_may_have_ended_is_no_company_and_leaves_no_other_alone(self) -> None:
        lives = Lives(JOB, OTHER).poll(2)
        lives.jobs.remove(OTHER)
        assert lives.poll(3, 4).cancel(5).cancels() == set()

    def test_without_any_pace_nothing_is_counted(self) -> None:
        lives = Lives(JOB)
        lives.story.poll(0, at=0.02, until=0.03)
        lives.story.poll(0.5, job=OTHER)
        assert "late.cancel.alone" not in lives.cancel(9.5).cancels()

    def test_what_the_answer_to_a_refused_cancel_shows_is_taken(self) -> None:
        lives = Lives(JOB, cancellable=False)
        lives.poll(5).cancel(9.1, state=0.89)
        assert lives.cancels() == {"middle.cancel.alone"}

    def test_after_a_refused_cancel(self) -> None:
        lives = Lives(JOB, cancellable=False).poll(2).cancel(3, state=0.3).poll(4)
        assert lives.cancel(5, state=0.5).cancels() == {
            "early.cancel.alone",
            "refused.cancel",
        }

    def test_refused_cancels_count_only_as_such_where_others_are_granted(self) -> None:
        lives = Lives(JOB, cancellable=False).poll(2).cancel(3, state=0.3).poll(4)
        lives.story.create(OTHER, cancellable=True, at=0.0, until=0.01)
        assert lives.cancel(5, state=0.5).cancels() == {"refused.cancel"}

    def test_jobs_that_have_ended(self) -> None:
        lives = Lives(JOB).poll(5, 10, 11).cancel(12, state=1)
        assert lives.seen() >= {"finished.poll", "finished.cancel"}
        lives = Lives(JOB).poll(5).cancel(6, 7)
        lives.story.poll(-1, at=8)
        assert lives.seen() >= {"cancelled.cancel", "cancelled.poll", "middle.cancel.alone"}

    def test_two_cancels_one_after_the_other(self) -> None:
        assert "middle.cancel-twice" in Lives(JOB).poll(5).cancel(6, 6.1).cancels()

    def test_two_cancels_with_a_poll_between_are_not_twice(self) -> None:
        lives = Lives(JOB).poll(5).cancel(6)
        lives.story.poll(-1, at=6.05, until=6.06)
        assert lives.cancel(6.1).cancels() == {"middle.cancel.alone", "cancelled.cancel"}

    def test_two_cancels_at_the_same_instant(self) -> None:
        assert Lives(JOB).poll(5).cancel(6, 6).cancels() == {"middle.two-cancels"}

    def test_a_cancel_and_polls_at_the_same_instant(self) -> None:
        lives = Lives(JOB).poll(5)
        lives.story.poll(0.6, at=6 - 0.01, until=6.01)
        assert lives.cancel(6).cancels() == {"middle.cancel-and-polls"}

    def test_a_crowd_is_as_many_as_allowed_and_all_others_well_under_way(self) -> None:
        def crowd(seconds: float) -> Lives:
            lives = Lives(JOB, OTHER, THIRD).poll(0.2, seconds).cancel(seconds + 0.1)
            lives.jobs.remove(JOB)
            return lives.poll(seconds + 0.2)

        assert crowd(5).cancels(jobs_at_once=3) == {"middle.cancel.crowd"}
        assert crowd(5).cancels(jobs_at_once=4) == {"middle.cancel.beside"}
        assert crowd(0.5).cancels(jobs_at_once=3) == {"early.cancel.beside"}

    def test_a_job_that_has_ended_is_no_company(self) -> None:
        lives = Lives(JOB, OTHER).poll(2).cancel(2.1, job=OTHER)
        lives.jobs.remove(OTHER)
        assert "middle.cancel.alone" in lives.poll(3, 4).cancel(5).cancels()

    @pytest.mark.parametrize(
        ("second", "phase"),
        [(0.0, "created"), (1.1, "early"), (4.1, "middle"), (9.1, "late"), (12, "finished")],
    )
    def test_a_creation_beside_a_job(self, second: float, phase: str) -> None:
        lives = Lives(JOB)
        if second:
            lives.poll(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
        lives.story.create(OTHER, at=second, until=second + 0.01)
        counts = exercised(lives.story.history(), jobs_at_once=4)
        shown = {each.phase for each in counts if each.request == "creation"}
        assert phase in shown
        assert shown <= {phase, "created"}


class TestCoverage:
    def target(self, *recipes: JobRecipe, places: int = 4) -> Target:
        return Target(
            url="http://127.0.0.1:1",
            api_key="key",
            jobs=recipes or (IMPORT, EXPORT),
            limits=Limits(concurrent_jobs=places),
        )

    def reasons(self, target: Target, **changes: Any) -> dict[str, str]:
        said = {"counts": {}, "planned": (), "otherwise": "too few jobs", **changes}
        return {each.situation.id: each.reason for each in coverage(target, **said)}

    def test_every_situation_has_a_count_or_a_reason(self) -> None:
        first = SITUATIONS[0]
        results = coverage(self.target(), counts={first: 2}, planned=(), otherwise="too few jobs")
        assert [each.situation for each in results] == list(SITUATIONS)
        assert (results[0].exercised, results[0].reason) == (2, "")
        assert {each.reason for each in results[1:]} == {"too few jobs"}

    def test_what_was_planned_and_missed_is_told(self) -> None:
        late = Situation("late", "cancel", "crowd")
        told = self.reasons(self.target(), planned={late})
        assert told[late.id] == "it was planned, but the request did not come at that moment"

    def test_what_no_run_can_exercise_is_told(self) -> None:
        one = self.reasons(self.target(places=1))
        assert (
            one["late.cancel.crowd"] == "the target allows one job at a time, and a crowd needs two"
        )
        assert one["late.cancel.beside"] == "the target allows one job at a time"
        assert one["late.creation"] == "the target allows one job at a time"
        assert one["late.cancel.alone"] == one["finished.creation"] == "too few jobs"
        two = self.reasons(self.target(places=2))
        assert two["late.cancel.beside"] == (
            "the target allows two jobs at a time, and two jobs count as a crowd"
        )
        cancellable = self.reasons(self.target(IMPORT))
        assert cancellable["refused.poll"] == "the target has no job that refuses a cancel"
        refusing = self.reasons(self.target(EXPORT))
        assert refusing["cancelled.poll"] == "the target has no job that may be cancelled"


class Waits(SkippingClock):
    """A virtual clock that the suite takes for the real one."""

    waits = True


@pytest.mark.parametrize(
    "seconds",
    [20.0, pytest.param(60.0, marks=pytest.mark.long), pytest.param(120.0, marks=pytest.mark.long)],
)
def test_thorough_exercises_every_situation(
    expedition_server: ExpeditionServer, seconds: float
) -> None:
    expedition_server.clock.seconds_per_poll = 0
    expedition_server.instance.set_pace(seconds)
    target = Target(
        url=expedition_server.url,
        api_key=expedition_server.api_key,
        jobs=(IMPORT, EXPORT),
        clock=Waits(expedition_server.advance),
        limits=Limits(job_seconds=4 * seconds, jobs=40),
    )
    with in_process(expedition_server):
        record = run_contract(target, profile="thorough", seed=1)
    told = {each.situation.id: each.reason for each in record.situations if not each.exercised}
    assert told == {}
