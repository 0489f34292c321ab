"""The catalogue: every promise that the contract suite judges, with its level and its source."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

from pytest_expedition.protocol.envelope import Dialect

Level = Literal["MUST", "SHOULD"]
Basis = Literal["stated", "shown", "reference", "assumed"]
"""Why a promise is held: a page states it, a page's sample shows it, the vendor's API reference
declares it, or no source says it and any sensible server does it."""
Capability = Literal["cancellable", "refusable", "granted", "field", "agent-start", "agent-control"]

DOCUMENTATION: Final = "https://pan.dev/expedition/docs/"


@dataclass(frozen=True)
class Source:
    """The place in the documentation that makes a promise: page and heading, and the URL."""

    text: str
    url: str = ""


CREATION: Final = Source(
    "Managing Jobs, “Example of a Job Creation”",
    f"{DOCUMENTATION}managing_jobs/#example-of-a-job-creation",
)
STATUS: Final = Source(
    "Managing Jobs, “Checking Job status”", f"{DOCUMENTATION}managing_jobs/#checking-job-status"
)
CANCEL: Final = Source(
    "Managing Jobs, “Cancelling a Job”", f"{DOCUMENTATION}managing_jobs/#cancelling-a-job"
)
RESULT: Final = Source(
    "Managing Jobs, “Getting the Job result”",
    f"{DOCUMENTATION}managing_jobs/#getting-the-job-result",
)
AGENT: Final = Source(
    "Expedition Agent, “Starting the Agent”",
    f"{DOCUMENTATION}managing_expedition_agent/#starting-the-agent",
)
AUTHENTICATION: Final = Source(
    "API Keys, “Generating Expedition API Keys”",
    f"{DOCUMENTATION}creating_credentials/#generating-expedition-api-keys",
)
NOWHERE: Final = Source("not documented; common sense")

API_REFERENCE: Final = (
    "https://github.com/PaloAltoNetworks/pan.dev/blob/90d093e95/openapi-specs/expedition/"
    "api-docs.yaml"
)
"""The vendor's OpenAPI description of the API, of May 2023."""

JOB_REFERENCE: Final = Source("API reference, `GET job/{job_id}`", API_REFERENCE)
CANCEL_REFERENCE: Final = Source("API reference, `DELETE job/{job_id}`", API_REFERENCE)
LIST_REFERENCE: Final = Source("API reference, `GET job`", API_REFERENCE)
RESOURCE_REFERENCE: Final = Source(
    "API reference, `GET project/{project_id}/job`, `GET device/{device_id}/job`", API_REFERENCE
)
CREATION_REFERENCE: Final = Source("API reference, `job_id_response_schema`", API_REFERENCE)


@dataclass(frozen=True, kw_only=True)
class ByReference:
    """What differs in a requirement if the API reference makes the promise.

    That is so in the dialect ``data``. ``None`` leaves the field of the requirement as it is.
    """

    source: Source
    text: str | None = None
    unexercised: str | None = None
    capability: Capability | None = None


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """One promise of the job API.

    ``level`` says what failing means, ``basis`` why the promise is held, ``text`` is the promise
    in one sentence, ``source`` the place of the documentation that makes it. ``unexercised``
    says what did not happen in a run that could not put the promise to the test. ``capability`` is
    what an instance must have for the promise to be tested at all:

    * ``cancellable``: a job recipe with ``cancellable = true``;
    * ``refusable``: a job recipe with ``cancellable = false``;
    * ``granted``: jobs that can be cancelled, whether a recipe says so or a cancel shows it;
    * ``field``: a field that the documentation does not show in every dialect;
    * ``agent-start``, ``agent-control``: leave to start the agent, or to stop it, too.

    ``dialects`` are those whose documentation has what the promise is about. ``in_data`` is how the
    API reference makes the promise in the dialect ``data``.
    """

    id: str
    level: Level
    basis: Basis
    text: str
    source: Source
    unexercised: str
    capability: Capability | None = None
    dialects: tuple[Dialect, ...] = get_args(Dialect)
    in_data: ByReference | None = None

    def in_dialect(self, dialect: str | None) -> Requirement:
        """Return the requirement as it is made in a dialect; ``mixed`` is read as ``system``."""
        if dialect != "data" or self.in_data is None:
            return self
        return replace(
            self,
            basis="reference",
            source=self.in_data.source,
            text=self.in_data.text or self.text,
            unexercised=self.in_data.unexercised or self.unexercised,
            capability=self.in_data.capability or self.capability,
        )

    def is_about(self, dialect: str | None) -> bool:
        """Whether the documentation of a dialect has what the promise is about."""
        return dialect is None or {"mixed": "system"}.get(dialect, dialect) in self.dialects


_ALL: Final = (
    Requirement(
        id="create.envelope",
        level="MUST",
        basis="shown",
        text="The creation answer is a success, is JSON, and validates.",
        source=CREATION,
        unexercised="no request to create a job was answered",
        in_data=ByReference(source=CREATION_REFERENCE),
    ),
    Requirement(
        id="create.job-id",
        level="MUST",
        basis="shown",
        text="`jobId` is a whole number of at least 1, at the documented place.",
        source=CREATION,
        unexercised="no request to create a job was answered with a success",
        in_data=ByReference(
            source=CREATION_REFERENCE,
            text="`data.job_id` is a whole number of at least 1.",
        ),
    ),
    Requirement(
        id="create.unique-id",
        level="MUST",
        basis="assumed",
        text="No two creations answer the same `jobId`, also when they run at the same time.",
        source=NOWHERE,
        unexercised="no two creations were answered with job ids that are whole numbers",
    ),
    Requirement(
        id="create.visible",
        level="MUST",
        basis="assumed",
        text="As soon as a creation has answered, a status request for its `jobId` answers with "
        "that job.",
        source=NOWHERE,
        unexercised="no answer to the first poll after a creation told whether the job is there",
    ),
    Requirement(
        id="create.initial-state",
        level="MUST",
        basis="stated",
        text="Where the creation answer carries a state, it is from 0 to 1.",
        source=STATUS,
        unexercised="no creation answer carried a state",
        capability="field",
        dialects=("system",),
    ),
    Requirement(
        id="status.envelope",
        level="MUST",
        basis="shown",
        text="The status answer is a success, is JSON, and validates.",
        source=STATUS,
        unexercised="no poll of a job that was certainly still there was answered",
        in_data=ByReference(
            source=JOB_REFERENCE,
            text="The status answer is a success, is JSON, and carries the job's state at `data`; "
            "`id`, `status_message`, `next_step`, `task` and `messages` have the declared types.",
        ),
    ),
    Requirement(
        id="status.identity",
        level="MUST",
        basis="assumed",
        text="The answer is about the job asked for.",
        source=NOWHERE,
        unexercised="no answer to a status request or a cancel carried a job id",
        capability="field",
        dialects=("system", "data"),
    ),
    Requirement(
        id="status.bounds",
        level="MUST",
        basis="stated",
        text="The state is a number (no text, no boolean, no null, no NaN) from 0 to 1, or -1.",
        source=STATUS,
        unexercised="no answer to a poll or a cancel carried the state of a job",
    ),
    Requirement(
        id="status.monotonic",
        level="MUST",
        basis="stated",
        text="While a job is not cancelled, its state never decreases.",
        source=STATUS,
        unexercised="no state of a job was seen twice, one after the other",
    ),
    Requirement(
        id="status.terminal",
        level="MUST",
        basis="stated",
        text="A state of 1 stays 1.",
        source=STATUS,
        unexercised="no later answer about a finished job carried its state",
        in_data=ByReference(
            source=JOB_REFERENCE,
            text="A state of 1 stays 1; a job that has failed stays failed, and its state stays "
            "where it was.",
            unexercised="no later answer about a finished or failed job carried its state",
        ),
    ),
    Requirement(
        id="status.completes",
        level="MUST",
        basis="stated",
        text="A job that is not cancelled reaches 1 within `job_seconds`.",
        source=STATUS,
        unexercised="no job without a cancel, and with the agent running, was watched to its end "
        "or for `job_seconds`",
        in_data=ByReference(
            source=JOB_REFERENCE,
            text="A job that is not cancelled reaches 1, or says that it has failed, within "
            "`job_seconds`.",
        ),
    ),
    Requirement(
        id="status.no-spontaneous-cancel",
        level="MUST",
        basis="stated",
        text="Only a job for which a cancel was sent shows -1.",
        source=CANCEL,
        unexercised="no answer showed the state of a job before a cancel of it may have been sent",
    ),
    Requirement(
        id="status.message-agrees",
        level="SHOULD",
        basis="shown",
        text="A job status code of 1 (completed) shows only with a state of 1, and a state of 1 "
        "only with a code of 1, or of -1 where the job failed.",
        source=CREATION,
        unexercised="no answer carried a state and a job status code",
        capability="field",
        dialects=("system", "data"),
        in_data=ByReference(
            source=JOB_REFERENCE,
            text="`status_message` agrees with the state: `completed` only at 1, `cancelled` only "
            "at -1, `pending`, `started` and `running` only below 1.",
            unexercised="no answer carried a state and a `status_message`",
        ),
    ),
    Requirement(
        id="status.wire-number",
        level="SHOULD",
        basis="shown",
        text="A finished state is spelled `1`, a cancelled one `-1`: the documented client "
        "compares text.",
        source=STATUS,
        unexercised="no answer showed a job finished or cancelled",
    ),
    Requirement(
        id="status.unknown",
        level="SHOULD",
        basis="assumed",
        text="The status of an id that was never given out is an error, not a job.",
        source=NOWHERE,
        unexercised="the application answered no poll of an id that certainly was never given out",
    ),
    Requirement(
        id="cancel.envelope",
        level="MUST",
        basis="shown",
        text="The answer to a cancel is JSON and validates, whether it is granted or refused.",
        source=CANCEL,
        unexercised="no cancel of a job was answered",
        in_data=ByReference(
            source=CANCEL_REFERENCE,
            text="The answer to a cancel is JSON and the envelope, with or without the job, and no "
            "server error, whether the cancel is granted or refused.",
        ),
    ),
    Requirement(
        id="cancel.minus-one",
        level="MUST",
        basis="stated",
        text="Cancelling a running job that can be cancelled brings its state to -1 within five "
        "seconds.",
        source=CANCEL,
        unexercised="no running job that can be cancelled was cancelled, and then showed -1 or "
        "was still running 5 s later (use a recipe whose jobs take thirty seconds "
        "or more)",
        capability="cancellable",
    ),
    Requirement(
        id="cancel.immediate",
        level="SHOULD",
        basis="shown",
        text="The answer to the cancel of a running job that can be cancelled already shows -1.",
        source=CANCEL,
        unexercised="no answered cancel of a running job that can be cancelled led to -1",
        capability="cancellable",
        in_data=ByReference(
            source=CANCEL_REFERENCE,
            text="Where the answer to the cancel of a running job that can be cancelled carries a "
            "state, it is -1.",
            unexercised="no cancel of a running job that can be cancelled led to -1 and had a "
            "state in its answer",
            capability="field",
        ),
    ),
    Requirement(
        id="cancel.persists",
        level="MUST",
        basis="stated",
        text="Once any answer has shown -1, the job stays at -1, and its status can still be asked"
        " for.",
        source=CANCEL,
        unexercised="no later answer about a cancelled job carried its state",
        capability="granted",
    ),
    Requirement(
        id="cancel.completed",
        level="MUST",
        basis="stated",
        text="Cancelling a finished job leaves it at 1.",
        source=STATUS,
        unexercised="no job that had been seen finished was cancelled and then polled",
    ),
    Requirement(
        id="cancel.repeat",
        level="SHOULD",
        basis="assumed",
        text="Cancelling a cancelled job leaves it at -1 and is not a server error.",
        source=NOWHERE,
        unexercised="no cancel of a job that had been seen cancelled was answered",
        capability="granted",
    ),
    Requirement(
        id="cancel.isolation",
        level="MUST",
        basis="assumed",
        text="Cancelling one job changes no other.",
        source=NOWHERE,
        unexercised="no job was watched while another was cancelled, and none created",
    ),
    Requirement(
        id="cancel.race",
        level="MUST",
        basis="assumed",
        text="The answers to cancels and polls sent at the same time fit one order of events: no "
        "job is both finished and cancelled.",
        source=NOWHERE,
        unexercised="no answered cancel of an unfinished job overlapped another request about it",
    ),
    Requirement(
        id="cancel.unknown",
        level="SHOULD",
        basis="assumed",
        text="Cancelling an id that was never given out is an error.",
        source=NOWHERE,
        unexercised="the application answered no cancel of an id that certainly was never given "
        "out",
    ),
    Requirement(
        id="refuse.state",
        level="MUST",
        basis="stated",
        text="The answer to a refused cancel shows the current progress, never -1, and the job "
        "never becomes -1.",
        source=CANCEL,
        unexercised="no answer to a cancel of a job that cannot be cancelled, nor one after it, "
        "showed the job still running",
        capability="refusable",
        in_data=ByReference(
            source=CANCEL_REFERENCE,
            text="After a refused cancel the job never becomes -1; where the answer carries a "
            "state, it is the current progress.",
        ),
    ),
    Requirement(
        id="refuse.message",
        level="MUST",
        basis="stated",
        text="The answer to a refused cancel has a message which says that it was refused.",
        source=CANCEL,
        unexercised="no answer to a cancel of a job that cannot be cancelled, nor one after it, "
        "showed the job still running",
        capability="refusable",
    ),
    Requirement(
        id="refuse.continues",
        level="MUST",
        basis="stated",
        text="A refused cancel does not affect the job: it is not reset, not stopped, and reaches "
        "1.",
        source=CANCEL,
        unexercised="no job whose cancel was refused was then watched to its end, or for "
        "`job_seconds`",
        capability="refusable",
    ),
    Requirement(
        id="result.next-step",
        level="MUST",
        basis="stated",
        text="`nextStep` is a list wherever the documentation shows it.",
        source=RESULT,
        unexercised="no answer carried, or should have carried, `nextStep`",
        capability="field",
        dialects=("system", "data"),
        in_data=ByReference(
            source=JOB_REFERENCE,
            text="`next_step` is a list of objects.",
            unexercised="no answer carried `next_step`",
        ),
    ),
    Requirement(
        id="result.stable",
        level="SHOULD",
        basis="assumed",
        text="Asking again for the result of a finished job gives the same result, and the job is "
        "still there.",
        source=NOWHERE,
        unexercised="no two polls of a finished job were answered with its result",
    ),
    Requirement(
        id="envelope.field-types",
        level="SHOULD",
        basis="reference",
        text="Fields of a job and of the envelope that no other requirement reads have the "
        "declared types; null counts as absent.",
        source=JOB_REFERENCE,
        unexercised="no answer told of a job",
        dialects=("data",),
    ),
    Requirement(
        id="envelope.for-plain-clients",
        level="SHOULD",
        basis="shown",
        text="A status request without the header Accept is answered as one with it.",
        source=STATUS,
        unexercised="no poll that certainly had no header Accept was answered",
    ),
    Requirement(
        id="list.envelope",
        level="SHOULD",
        basis="reference",
        text="The answer to a request for a list of jobs, or for the job of a project or device, "
        "is a success, is JSON, and has the declared types.",
        source=LIST_REFERENCE,
        unexercised="no list of jobs was answered",
        capability="field",
        dialects=("data",),
    ),
    Requirement(
        id="list.agrees",
        level="SHOULD",
        basis="reference",
        text="A list of jobs, or the job of a project or device, says of each job what its status "
        "says, and a list of all jobs leaves out none.",
        source=LIST_REFERENCE,
        unexercised="no list of jobs had a job whose status was asked for, too",
        capability="field",
        dialects=("data",),
    ),
    Requirement(
        id="list.filters",
        level="SHOULD",
        basis="reference",
        text="A list of jobs has only jobs of the status that was asked for.",
        source=LIST_REFERENCE,
        unexercised="no list of pending, completed or cancelled jobs had a job",
        capability="field",
        dialects=("data",),
    ),
    Requirement(
        id="list.of-resource",
        level="SHOULD",
        basis="reference",
        text="The job shown for a project or device belongs to that project or device.",
        source=RESOURCE_REFERENCE,
        unexercised="no answer told which project or device its job belongs to",
        capability="field",
        dialects=("data",),
    ),
    Requirement(
        id="auth.required",
        level="SHOULD",
        basis="stated",
        text="A request without a key, or with a wrong key, gets no data and changes nothing.",
        source=AUTHENTICATION,
        unexercised="no request that certainly had no key, or a wrong one, was answered",
    ),
    Requirement(
        id="input.bad-id",
        level="SHOULD",
        basis="assumed",
        text="A malformed id (text, `1619abc`, 0, negative, huge, empty, encoded slashes, quotes) "
        "gets a client error in JSON, never a server error, never another job.",
        source=NOWHERE,
        unexercised="the application answered no request with a malformed id",
    ),
    Requirement(
        id="agent.idempotent",
        level="SHOULD",
        basis="stated",
        text="Starting an agent that runs is a success and changes nothing: all jobs go on.",
        source=AGENT,
        unexercised="no running agent was started",
        capability="agent-start",
    ),
    Requirement(
        id="agent.gates",
        level="SHOULD",
        basis="assumed",
        text="A job created while the agent is stopped makes no progress until the agent is "
        "started.",
        source=NOWHERE,
        unexercised="no job was created while the agent was stopped, and watched until it ended",
        capability="agent-control",
    ),
)

CATALOGUE: Final = {requirement.id: requirement for requirement in _ALL}
"""Every requirement by its id, in the order in which reports list them."""

_OF_CLIENTS: Final = (
    Requirement(
        id="client.sends-key",
        level="MUST",
        basis="stated",
        text="Every request of the job API but the login carries `Authorization: Bearer <key>`.",
        source=AUTHENTICATION,
        unexercised="the client sent no request that needs the key",
    ),
    Requirement(
        id="client.asks-properly",
        level="MUST",
        basis="stated",
        text="Each request of the job API that it sends has a path, method and body of that API.",
        source=STATUS,
        unexercised="the client sent no request",
    ),
    Requirement(
        id="client.asks-for-its-job",
        level="MUST",
        basis="stated",
        text="Status requests and cancels name a job that it created, by the id that it was given.",
        source=STATUS,
        unexercised="the client asked for no job and cancelled none",
    ),
    Requirement(
        id="client.keeps-digits",
        level="SHOULD",
        basis="assumed",
        text="It asks for its job by all digits of the id, also where the id lies beyond 2^53.",
        source=NOWHERE,
        unexercised="the client asked for no job whose id lies beyond 2^53",
    ),
    Requirement(
        id="client.does-as-told",
        level="MUST",
        basis="assumed",
        text="When told to start a job, or to cancel one that runs, it sends that request.",
        source=NOWHERE,
        unexercised="the client was not told to start a job",
    ),
    Requirement(
        id="client.creates-once",
        level="MUST",
        basis="assumed",
        text="Told to start a job once, it creates no second one, also when the answer was lost.",
        source=NOWHERE,
        unexercised="the client started no job",
    ),
    Requirement(
        id="client.understands-answers",
        level="MUST",
        basis="assumed",
        text="No answer that the documentation allows makes it fail.",
        source=NOWHERE,
        unexercised="the client did not say how a job ended",
    ),
    Requirement(
        id="client.waits-to-the-end",
        level="MUST",
        basis="stated",
        text="It does not say that a job has ended before an answer shows 1 or -1.",
        source=STATUS,
        unexercised="the client did not say how a job ended",
        in_data=ByReference(
            source=JOB_REFERENCE,
            text="It does not say that a job has ended before an answer shows 1, -1, or `failed` "
            "as the status message.",
        ),
    ),
    Requirement(
        id="client.sees-success",
        level="MUST",
        basis="stated",
        text="It says of a finished job that it has finished.",
        source=STATUS,
        unexercised="no answer showed that a job had finished",
    ),
    Requirement(
        id="client.sees-failure",
        level="MUST",
        basis="shown",
        text="It says of a job that ended in failure that it has failed: state 1 is not success.",
        source=RESULT,
        unexercised="no answer showed that a job had failed",
        in_data=ByReference(
            source=JOB_REFERENCE,
            text="It says of a job with the status message `failed` that it has failed, at any "
            "state.",
        ),
    ),
    Requirement(
        id="client.sees-cancel",
        level="MUST",
        basis="stated",
        text="It says of a job that somebody else cancelled that it was cancelled.",
        source=CANCEL,
        unexercised="no answer showed -1 of a job that the client did not cancel",
    ),
    Requirement(
        id="client.trusts-the-state",
        level="MUST",
        basis="stated",
        text="It learns from the state, -1 or 1, whether its own cancel took effect.",
        source=CANCEL,
        unexercised="no answer showed how a job ended that the client cancelled",
    ),
    Requirement(
        id="client.keeps-jobs-apart",
        level="MUST",
        basis="assumed",
        text="Of two jobs that run at once, it says of each how that one ended.",
        source=NOWHERE,
        unexercised="no answer showed how one of several jobs ended",
    ),
    Requirement(
        id="client.stops-when-finished",
        level="MUST",
        basis="stated",
        text="It polls a job that was seen finished, or failed, at most twice more.",
        source=STATUS,
        unexercised="no answer showed 1",
    ),
    Requirement(
        id="client.stops-on-cancel",
        level="MUST",
        basis="stated",
        text="It polls a job that was seen at -1 at most twice more.",
        source=CANCEL,
        unexercised="no answer showed -1",
    ),
    Requirement(
        id="client.polls-not-for-ever",
        level="SHOULD",
        basis="assumed",
        text="It gives up a job that never ends after two hours, or 7,200 status requests, at the "
        "latest.",
        source=NOWHERE,
        unexercised="no job went on for ten minutes",
    ),
    Requirement(
        id="client.is-patient",
        level="SHOULD",
        basis="assumed",
        text="It waits at least ten minutes for a job that runs.",
        source=NOWHERE,
        unexercised="no job took longer than a minute",
    ),
    Requirement(
        id="client.survives-outages",
        level="MUST",
        basis="assumed",
        text="A status request that a gateway refused (502, 503) or that was lost is sent again.",
        source=NOWHERE,
        unexercised="the instance answered every status request",
    ),
    Requirement(
        id="client.renews-key",
        level="SHOULD",
        basis="assumed",
        text="If the key is refused between polls, it goes on, and logs in again if it can.",
        source=AUTHENTICATION,
        unexercised="no status request was answered with 401",
    ),
    Requirement(
        id="client.does-not-hammer",
        level="MUST",
        basis="assumed",
        text="It sends fewer than ten polls of a job within two seconds; while none is answered, "
        "fewer than thirty in a row without a pause.",
        source=NOWHERE,
        unexercised="the client polled no job twice",
    ),
    Requirement(
        id="client.cancels-when-told",
        level="MUST",
        basis="assumed",
        text="It cancels no job that still runs unless it was told to, or has given it up.",
        source=NOWHERE,
        unexercised="no client that can cancel ran a job that it was not told to cancel",
    ),
    Requirement(
        id="client.does-not-insist",
        level="SHOULD",
        basis="stated",
        text="It sends a cancel that is refused at most three times.",
        source=CANCEL,
        unexercised="no cancel of the client was refused",
    ),
)

CLIENT_CATALOGUE: Final = {promise.id: promise for promise in _OF_CLIENTS}
"""Every promise that a client of the job API keeps, by its id; the scenarios put it to the test."""
