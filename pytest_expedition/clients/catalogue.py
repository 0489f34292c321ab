"""The catalogue of scenarios: to add one, add an entry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pytest_expedition.fake.situation import Outage, Situation

CANCELS_AFTER: Final = 15.0
"""Seconds between the start of a job and its cancel by the client."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A situation that every client must expect.

    ``text`` is the situation in one sentence, ``good`` what a good client does in it.
    """

    id: str
    text: str
    good: str
    situation: Situation


_FINISHES: Final = "Polls now and then, and says that the job has finished."
_ASKS_AGAIN: Final = "Asks again after a pause, and says in the end that the job has finished."
_KNOWS_NOT: Final = (
    "Does not create the job again: it may exist already. Raises an error that says so."
)

_ALL: Final = (
    Scenario(
        id="ordinary",
        text="A job runs through its states and finishes.",
        good=_FINISHES,
        situation=Situation(),
    ),
    Scenario(
        id="finished-at-creation",
        text="The job is already finished when the answer to its creation arrives.",
        good="Says that the job has finished, polling once at the most.",
        situation=Situation(progress=[1]),
    ),
    Scenario(
        id="long-at-zero",
        text="The state stands at 0 for two minutes, then jumps to 1.",
        good="Keeps polling at its pace: 0 does not mean that the job has failed or was forgotten.",
        situation=Situation(progress=[0, 1], step_seconds=120),
    ),
    Scenario(
        id="long-at-ninety-nine",
        text="The state stands at 0.99 for two minutes, then gets to 1.",
        good="Keeps polling: only 1 is the end.",
        situation=Situation(progress=[0, *[0.99] * 12, 1]),
    ),
    Scenario(
        id="nearly-one",
        text="The state gets as close to 1 as a floating-point number can without being 1.",
        good="Keeps polling: only 1 is the end, not what rounds to it.",
        situation=Situation(progress=[0, 0.9999, 0.9999999999999999, 1]),
    ),
    Scenario(
        id="many-digits",
        text="Progress has all digits of a floating-point number: 0.30000000000000004.",
        good=_FINISHES,
        situation=Situation(progress=[0, 0.1 + 0.2, 0.7 + 0.1, 1]),
    ),
    Scenario(
        id="one-point-zero",
        text="Every state is spelled with a fraction: 0.0, 1.0.",
        good="Compares numbers, not texts: 1.0 is 1.",
        situation=Situation(spelled="fraction"),
    ),
    Scenario(
        id="minus-one-point-zero",
        text="Somebody else cancels the job, and its state is spelled -1.0.",
        good="Compares numbers, not texts, stops polling, and says that it was cancelled.",
        situation=Situation(spelled="fraction", cancelled_after=15),
    ),
    Scenario(
        id="cancelled-by-another",
        text="Somebody else cancels the job while the client polls.",
        good="Stops polling at -1, and says that the job was cancelled.",
        situation=Situation(cancelled_after=15),
    ),
    Scenario(
        id="cancelled-at-once",
        text="Somebody else cancels the job before its first poll.",
        good="Stops polling at -1, and says that the job was cancelled.",
        situation=Situation(cancelled_after=0.001),
    ),
    Scenario(
        id="cancelled-near-the-end",
        text="Somebody else cancels the job at a state of 0.99.",
        good="Stops polling at -1, and says that the job was cancelled.",
        situation=Situation(progress=[0, 0.99, 0.99, 1], cancelled_after=25),
    ),
    Scenario(
        id="cancel-granted",
        text="The client cancels its job, and the state is -1 at once.",
        good="Says that the job was cancelled.",
        situation=Situation(client_cancels=True),
    ),
    Scenario(
        id="cancel-takes-a-moment",
        text="The client cancels its job; the answer still shows the progress, and -1 shows later.",
        good="Does not take the answer for a refusal: polls on, and says that it was cancelled.",
        situation=Situation(client_cancels=True, cancel_seconds=8),
    ),
    Scenario(
        id="cancel-refused",
        text="The client cancels a job that cannot be cancelled: it goes on and finishes.",
        good="Goes on polling, and says that the job has finished.",
        situation=Situation(client_cancels=True, cancellable=False),
    ),
    Scenario(
        id="cancel-refused-in-greek",
        text="The message of a refused cancel is in another alphabet.",
        good="Goes by the state, not by words: says that the job has finished.",
        situation=Situation(
            client_cancels=True,
            cancellable=False,
            refusal="Η εργασία δεν ακυρώνεται",  # noqa: RUF001
        ),
    ),
    Scenario(
        id="cancel-too-late",
        text="The job finishes a moment before the client's cancel gets there.",
        good="Says that the job has finished, because it has.",
        situation=Situation(client_cancels=True, cancel_too_late=True),
    ),
    Scenario(
        id="cancel-answer-lost",
        text="The client's cancel is carried out, and the connection breaks before the answer.",
        good="Finds out by polling whether it took effect, and says that the job was cancelled.",
        situation=Situation(client_cancels=True, outages=[Outage(kind="lost", of="cancel", nth=1)]),
    ),
    Scenario(
        id="fails",
        text="The job ends in failure: state 1, status code -1 (`data`: status message `failed`).",
        good="Says that the job has failed: a state of 1 alone is not success.",
        situation=Situation(fails=True),
    ),
    Scenario(
        id="fails-at-creation",
        text="The job has already failed when the answer to its creation arrives.",
        good="Says that the job has failed.",
        situation=Situation(progress=[1], fails=True),
    ),
    Scenario(
        id="fails-at-two-thirds",
        text="In the dialect `data` the job fails at two thirds: its state stays there, its status "
        "message is `failed`.",
        good="Stops polling, and says that the job has failed.",
        situation=Situation(dialect="data", progress=[0, 1 / 3, 2 / 3], fails=True),
    ),
    Scenario(
        id="agent-started-late",
        text="The agent is stopped: the job stands at 0 until it is started two minutes later.",
        good="Keeps polling, and says in the end that the job has finished.",
        situation=Situation(agent_idle=120),
    ),
    Scenario(
        id="agent-stopped",
        text="The agent is stopped and is never started: the state stays at 0.",
        good="Gives up after a time limit of its own, at most two hours, and raises an error.",
        situation=Situation(agent_idle=float("inf")),
    ),
    Scenario(
        id="key-expires",
        text="One status request is refused with 401. After that the key works again.",
        good="Logs in again if it can, asks again, and says that the job has finished.",
        situation=Situation(outages=[Outage(kind="unauthorized")]),
    ),
    Scenario(
        id="unavailable",
        text="Two status requests in a row meet a gateway that answers 503.",
        good=_ASKS_AGAIN,
        situation=Situation(outages=[Outage(kind="unavailable", times=2)]),
    ),
    Scenario(
        id="down-for-a-minute",
        text="A gateway answers 503 to all status requests for a minute.",
        good="Asks again after a pause each time, or gives up after a few requests.",
        situation=Situation(outages=[Outage(kind="unavailable", seconds=60)]),
    ),
    Scenario(
        id="bad-gateway",
        text="A status request meets a gateway that answers 502.",
        good=_ASKS_AGAIN,
        situation=Situation(outages=[Outage(kind="bad-gateway")]),
    ),
    Scenario(
        id="bad-gateway-at-the-end",
        text="The first status request after the job has finished is answered with 502.",
        good=_ASKS_AGAIN,
        situation=Situation(
            progress=[0, 1],
            step_seconds=0.1,
            outages=[Outage(kind="bad-gateway", nth=1)],
        ),
    ),
    Scenario(
        id="status-lost",
        text="The connection breaks before a status request is answered.",
        good=_ASKS_AGAIN,
        situation=Situation(outages=[Outage(kind="lost")]),
    ),
    Scenario(
        id="status-cut-short",
        text="The connection breaks in the middle of the answer to a status request.",
        good=_ASKS_AGAIN,
        situation=Situation(outages=[Outage(kind="cut-short")]),
    ),
    Scenario(
        id="slow-answers",
        text="Two status answers are slow: 20 s on the fake's clock, 0.15 s in real time.",
        good="Waits for the answer, or asks again: says in the end that the job has finished.",
        situation=Situation(outages=[Outage(kind="slow", nth=1, times=2)]),
    ),
    Scenario(
        id="creation-lost",
        text="The request that creates the job is carried out, and its answer is lost.",
        good=_KNOWS_NOT,
        situation=Situation(outages=[Outage(kind="lost", of="creation", nth=1)]),
    ),
    Scenario(
        id="creation-cut-short",
        text="The connection breaks in the middle of the answer to the creation of the job.",
        good=_KNOWS_NOT,
        situation=Situation(outages=[Outage(kind="cut-short", of="creation", nth=1)]),
    ),
    Scenario(
        id="creation-bad-gateway",
        text="The job is created, but a gateway answers 502 in place of the instance.",
        good=_KNOWS_NOT,
        situation=Situation(outages=[Outage(kind="bad-gateway", of="creation", nth=1)]),
    ),
    Scenario(
        id="two-jobs",
        text="The client runs two jobs at once; somebody else cancels the first.",
        good="Says of the first that it was cancelled, and of the second that it has finished.",
        situation=Situation(jobs=2, cancelled_after=15),
    ),
    Scenario(
        id="two-jobs-cancelled",
        text="The client runs two jobs at once, and cancels each.",
        good="Cancels each by its own id, and says of each that it was cancelled.",
        situation=Situation(jobs=2, client_cancels=True),
    ),
    Scenario(
        id="large-ids",
        text="Job ids lie beyond 32 bits.",
        good="Takes ids as they are, and asks for its own job.",
        situation=Situation(first_id=2**31 + 1),
    ),
    Scenario(
        id="huge-ids",
        text="Job ids lie beyond 2^53, so a floating-point number does not hold all their digits.",
        good="Takes ids as they are, and asks for its own job.",
        situation=Situation(first_id=2**53 + 1),
    ),
    Scenario(
        id="unknown-fields",
        text="Answers have undocumented fields, some of which are called `state` and `job`.",
        good="Reads the documented fields at their documented places, and ignores the rest.",
        situation=Situation(unknown_fields=True),
    ),
    Scenario(
        id="no-next-step",
        text="The finished job suggests no next step: `nextStep` is empty.",
        good=_FINISHES,
        situation=Situation(next_step=[]),
    ),
    Scenario(
        id="one-next-step",
        text="The finished job suggests one next step.",
        good=_FINISHES,
        situation=Situation(next_step=["Download"]),
    ),
    Scenario(
        id="several-next-steps",
        text="The finished job suggests several next steps, some of them objects.",
        good=_FINISHES,
        situation=Situation(next_step=["Download", {"name": "Merge", "id": 7}, "Export"]),
    ),
    Scenario(
        id="greek-tasks",
        text="The messages of the tasks are in another alphabet, and say nothing of success.",
        good="Goes by state and codes, not by words: says that the job has finished.",
        situation=Situation(tasks=["Η εισαγωγή τελείωσε", ""]),  # noqa: RUF001
    ),
    Scenario(
        id="failure-in-words-only",
        text="The job finishes, and its messages have the words `failed` and `error`.",
        good="Goes by state and codes, not by words: says that the job has finished.",
        situation=Situation(
            status_message="Completed: 12 imported, 0 failed",
            tasks=["failover.xml: no error"],
        ),
    ),
    Scenario(
        id="failure-in-codes-only",
        text="The job ends in failure, and no message says so.",
        good="Goes by state and codes, not by words: says that the job has failed.",
        situation=Situation(fails=True, status_message="Stopped", tasks=["No rules in this file"]),
    ),
    Scenario(
        id="first-under-msg",
        text="The first status stands at `content.msg`, later ones at `content.system.jobs`.",
        good="Looks for the state at both places each time.",
        situation=Situation(dialect="mixed"),
    ),
)

SCENARIOS: Final[dict[str, Scenario]] = {each.id: each for each in _ALL}
"""Every scenario, by its id."""
