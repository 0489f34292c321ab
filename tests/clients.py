"""Clients that the scenarios are held against: good ones of every style, and broken ones."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Final

import httpx
import requests
from urllib3.util import Retry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pytest_expedition.clients.harness import Harness
    from pytest_expedition.oracle.verdict import Result


class Unanswered(Exception):
    """A gateway answered, or nothing did."""


class GaveUp(Exception):
    pass


def broken_promises(results: Iterable[Result]) -> dict[str, str]:
    """The promises that were broken, and the traceback where a rule broke down."""
    return {
        each.requirement.id: each.crash
        for each in results
        if each.outcome not in {"pass", "inconclusive"}
    }


def content(document: Any) -> Any:
    return document["Contents"]["response"]["data"]["content"]


class Client:
    """Good: a session of requests. The others differ from it in one thing."""

    pause = 30.0
    polls = 60

    def __init__(self, harness: Harness) -> None:
        self.api = f"{harness.server.url}/api/v1"
        self.key = harness.server.api_key
        self.harness = harness
        self.session = requests.Session()
        self.session.trust_env = False

    def close(self) -> None:
        self.session.close()

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def send(self, method: str, path: str) -> tuple[int, bytes]:
        try:
            answer = self.session.request(
                method, f"{self.api}/{path}", headers=self.headers(), timeout=10
            )
        except requests.RequestException as error:
            raise Unanswered from error
        return answer.status_code, answer.content

    def ask(self, method: str, path: str) -> Any:
        status, body = self.send(method, path)
        if status != 200:
            raise Unanswered(f"HTTP {status}")
        return json.loads(body)

    def start(self) -> Any:
        return self.job(self.ask("POST", "project/1/import"))["jobId"]

    def cancel(self, job_id: Any) -> None:
        self.ask("DELETE", f"job/{job_id}")

    def job(self, document: Any) -> Any:
        found = content(document)
        return found.get("system", {}).get("jobs") or found.get("msg") or found

    def status(self, job_id: Any) -> Any:
        return self.job(self.ask("GET", f"job/status/{job_id}"))

    def end(self, job: Any) -> str | None:
        if job["state"] == -1:
            return "cancelled"
        if job["state"] != 1:
            return None
        told = [job.get("JobMsg", {}), *(x for x in job["TasksMsg"] if isinstance(x, dict))]
        return "failed" if any(each.get("statusCode") == -1 for each in told) else "finished"

    def wait(self, job_id: Any) -> str:
        for _ in range(self.polls):
            try:
                end = self.end(self.status(job_id))
            except Unanswered:
                end = None
            if end is not None:
                return end
            self.harness.sleep(self.pause)
        raise GaveUp


class InThreads(Client):
    """Good: it waits in a thread pool."""

    def wait(self, job_id: Any) -> str:
        with ThreadPoolExecutor(2) as pool:
            return pool.submit(super().wait, job_id).result()


class Asynchronous(Client):
    """Good: asyncio with httpx."""

    def send(self, method: str, path: str) -> tuple[int, bytes]:
        return asyncio.run(self.send_async(method, path))

    async def send_async(self, method: str, path: str) -> tuple[int, bytes]:
        async with httpx.AsyncClient(trust_env=False, timeout=10, verify=False) as session:  # noqa: S501 - no TLS here
            try:
                answer = await session.request(method, f"{self.api}/{path}", headers=self.headers())
            except httpx.HTTPError as error:
                raise Unanswered from error
        return answer.status_code, answer.content

    def wait(self, job_id: Any) -> str:
        return asyncio.run(self.wait_async(job_id))

    async def wait_async(self, job_id: Any) -> str:
        for _ in range(self.polls):
            status, body = 0, b""
            with contextlib.suppress(Unanswered):
                status, body = await self.send_async("GET", f"job/status/{job_id}")
            end = self.end(self.job(json.loads(body))) if status == 200 else None
            if end is not None:
                return end
            await self.harness.sleep_async(self.pause)
        raise GaveUp


class WithUrllib(Client):
    """Good: the standard library's urllib."""

    def send(self, method: str, path: str) -> tuple[int, bytes]:
        request = urllib.request.Request(  # noqa: S310 - of a server of ours
            f"{self.api}/{path}", method=method, headers=self.headers()
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()
        except (OSError, HTTPException) as error:
            raise Unanswered from error


class WithCurl(Client):
    """Good: curl in a process of its own."""

    def send(self, method: str, path: str) -> tuple[int, bytes]:
        command = ["curl", "-sS", "--noproxy", "*", "-X", method, "-w", "\n%{http_code}"]
        key = ["-H", f"Authorization: Bearer {self.key}"]
        done = subprocess.run(
            [*command, *key, f"{self.api}/{path}"], capture_output=True, check=False, timeout=20
        )
        if done.returncode:
            raise Unanswered(done.stderr)
        body, _, status = done.stdout.rpartition(b"\n")
        return int(status), body


GOOD: Final = (Client, InThreads, Asynchronous, WithUrllib, WithCurl)
CURL_IS_MISSING: Final = shutil.which("curl") is None


@dataclass(frozen=True, kw_only=True)
class BrokenClient:
    """A broken client: the scenario in which it shows, and all promises that it breaks there."""

    make: Callable[[Harness], Client]
    scenario: str
    breaks: tuple[str, ...]


BROKEN: Final[dict[str, BrokenClient]] = {}


def broken(scenario: str, *breaks: str) -> Callable[[type[Client]], type[Client]]:
    def declare(client: type[Client]) -> type[Client]:
        name = f"{client.__name__}-{scenario}"
        promises = tuple(f"client.{each}" for each in breaks)
        BROKEN[name] = BrokenClient(make=client, scenario=scenario, breaks=promises)
        return client

    return declare


@broken("one-point-zero", "stops-when-finished")
@broken("cancelled-by-another", "stops-on-cancel")
@broken("fails", "sees-failure")
@broken("status-lost", "survives-outages")
class DocumentedLoop(Client):
    """The loop of the documentation: it compares texts, and knows no end but 1."""

    pause = 0.5

    def wait(self, job_id: Any) -> str:
        job = content(self.ask("GET", f"job/status/{job_id}"))["msg"]
        while json.dumps(job["state"]) != "1":
            self.harness.sleep(self.pause)
            job = content(self.ask("GET", f"job/status/{job_id}"))["system"]["jobs"]
        return "finished"


@broken("minus-one-point-zero", "stops-on-cancel")
class ComparesTexts(Client):
    def end(self, job: Any) -> str | None:
        return {"1": "finished", "-1": "cancelled"}.get(json.dumps(job["state"]))

    polls = 10_000


@broken("cancelled-by-another", "sees-cancel")
class AnyEndIsSuccess(Client):
    def end(self, job: Any) -> str | None:
        return "finished" if job["state"] in {1, -1} else None


@broken("cancelled-near-the-end", "sees-cancel")
class CancelIsFailure(Client):
    def end(self, job: Any) -> str | None:
        return {1: "finished", -1: "failed"}.get(job["state"])


@broken("ordinary", "does-as-told")
class StartsNothing(Client):
    def start(self) -> Any:
        return self.strat()  # type: ignore[attr-defined]


@broken("cancel-granted", "does-as-told")
class CancelsNothing(Client):
    def cancel(self, job_id: Any) -> None:
        """Do nothing."""


@broken("two-jobs-cancelled", "does-as-told")
class CancelsTheLast(Client):
    latest: Any = None

    def start(self) -> Any:
        self.latest = super().start()
        return self.latest

    def cancel(self, job_id: Any) -> None:  # noqa: ARG002
        super().cancel(self.latest)


@broken("fails-at-creation", "sees-failure")
class OneIsSuccess(Client):
    def end(self, job: Any) -> str | None:
        return {1: "finished", -1: "cancelled"}.get(job["state"])


@broken("nearly-one", "waits-to-the-end")
class Rounds(Client):
    pause = 5.0

    def end(self, job: Any) -> str | None:
        return super().end({**job, "state": round(job["state"], 2)})


@broken("long-at-ninety-nine", "waits-to-the-end")
class NinetyNineWillDo(Client):
    def end(self, job: Any) -> str | None:
        return "finished" if job["state"] >= 0.99 else super().end(job)


@broken("long-at-zero", "waits-to-the-end")
class ZeroIsFalse(Client):
    def end(self, job: Any) -> str | None:
        return super().end(job) if job["state"] else "failed"


@broken("agent-started-late", "is-patient")
class Impatient(Client):
    polls = 3


class GivesUpAndCancels(Client):
    """It cleans up: a job that it gives up is cancelled."""

    def wait(self, job_id: Any) -> str:
        try:
            return super().wait(job_id)
        except GaveUp:
            self.cancel(job_id)
            self.end(self.status(job_id))
            raise


@broken("agent-started-late", "is-patient")
class CancelsWhatTakesLong(GivesUpAndCancels):
    polls = 3


@broken("agent-stopped", "polls-not-for-ever")
class PollsForEver(Client):
    polls = 10**9


@broken("agent-stopped", "polls-not-for-ever")
class PollsEverySecond(PollsForEver):
    """It sends more requests than a scenario lasts seconds."""

    pause = 0.9


@broken("ordinary", "does-not-hammer")
class Hammers(Client):
    pause = 0.1
    polls = 10_000


@broken("long-at-zero", "does-not-hammer")
class NeverSleeps(Client):
    """It catches all that a request can raise, and never sleeps."""

    def wait(self, job_id: Any) -> str:
        while True:
            try:
                end = self.end(self.status(job_id))
            except Exception:  # noqa: BLE001, S112 - that is what is broken
                continue
            if end is not None:
                return end


@broken("long-at-zero", "does-not-hammer")
class NeverSleepsInAThread(NeverSleeps):
    def wait(self, job_id: Any) -> str:
        with ThreadPoolExecutor() as pool:
            return pool.submit(super().wait, job_id).result()


@broken("down-for-a-minute", "does-not-hammer")
class NeverSleepsWhileDown(Client):
    def status(self, job_id: Any) -> Any:
        while True:
            with contextlib.suppress(Unanswered):
                return super().status(job_id)


@broken("creation-lost", "creates-once")
@broken("creation-cut-short", "creates-once")
class CreatesAgain(Client):
    def start(self) -> Any:
        try:
            return super().start()
        except Unanswered:
            return super().start()


@broken("creation-bad-gateway", "creates-once")
class RetriesEverything(Client):
    """Its session repeats requests of any method."""

    def __init__(self, harness: Harness) -> None:
        super().__init__(harness)
        again = Retry(total=3, status_forcelist=[502, 503], allowed_methods=None)
        self.session.mount("http://", requests.adapters.HTTPAdapter(max_retries=again))


@broken("ordinary", "sends-key")
class PollsWithoutKey(Client):
    def status(self, job_id: Any) -> Any:
        key, self.key = self.key, ""
        try:
            return super().status(job_id)
        finally:
            self.key = key


@broken("unavailable", "survives-outages")
@broken("bad-gateway", "survives-outages")
@broken("bad-gateway-at-the-end", "survives-outages")
@broken("status-cut-short", "survives-outages")
@broken("key-expires", "renews-key")
class GivesUpAtOnce(Client):
    def wait(self, job_id: Any) -> str:
        while (end := self.end(self.status(job_id))) is None:
            self.harness.sleep(self.pause)
        return end


@broken("unavailable", "waits-to-the-end")
@broken("status-lost", "waits-to-the-end")
@broken("key-expires", "waits-to-the-end")
class OutageIsFailure(Client):
    def status(self, job_id: Any) -> Any:
        try:
            return super().status(job_id)
        except Unanswered:
            return {"state": 1, "JobMsg": {"statusCode": -1}, "TasksMsg": []}


@broken("slow-answers", "is-patient")
class TimesOut(Client):
    def status(self, job_id: Any) -> Any:
        path = f"{self.api}/job/status/{job_id}"
        try:
            return self.job(self.session.get(path, headers=self.headers(), timeout=0.05).json())
        except requests.Timeout:
            raise GaveUp from None


@broken("huge-ids", "keeps-digits")
class IdsAreFloats(Client):
    def start(self) -> Any:
        return int(float(super().start()))


@broken("large-ids", "asks-for-its-job")
class IdsHaveFewDigits(Client):
    """It gives up at the first 404."""

    def start(self) -> Any:
        return f"{super().start():g}"

    def send(self, method: str, path: str) -> tuple[int, bytes]:
        status, body = super().send(method, path)
        if status == 404:
            raise GaveUp
        return status, body


@broken("large-ids", "asks-for-its-job")
class IdsHave32Bits(Client):
    def start(self) -> Any:
        return super().start() & 0xFFFFFFFF >> 1


@broken("first-under-msg", "understands-answers")
class KnowsOnePlace(Client):
    def job(self, document: Any) -> Any:
        return content(document)["system"]["jobs"]


@broken("unknown-fields", "waits-to-the-end")
class TakesAnyState(Client):
    """It takes the first state that it comes across."""

    def end(self, job: Any) -> str | None:
        return super().end(job) if job["state"] in {0, 0.25, 0.5, 0.75, 1, -1} else "failed"

    def status(self, job_id: Any) -> Any:
        document = self.ask("GET", f"job/status/{job_id}")
        return {**self.job(document), "state": document.get("state", 0)}


@broken("cancel-refused", "trusts-the-state")
@broken("cancel-too-late", "trusts-the-state")
class TrustsItsCancel(Client):
    asked = False

    def cancel(self, job_id: Any) -> None:
        super().cancel(job_id)
        self.asked = True

    def wait(self, job_id: Any) -> str:
        end = super().wait(job_id)
        return "cancelled" if self.asked else end


@broken("cancel-takes-a-moment", "trusts-the-state")
class TakesProgressForRefusal(Client):
    def cancel(self, job_id: Any) -> None:
        self.refused = self.job(self.ask("DELETE", f"job/{job_id}"))["state"] != -1

    def wait(self, job_id: Any) -> str:
        end = super().wait(job_id)
        return "finished" if self.refused else end


@broken("cancel-refused-in-greek", "trusts-the-state")
class PrintsAscii(Client):
    def cancel(self, job_id: Any) -> None:
        document = self.ask("DELETE", f"job/{job_id}")
        messages = document["Contents"]["response"]["response-messages"]["messages"]
        self.said = messages[0]["message"]

    def wait(self, job_id: Any) -> str:
        end = super().wait(job_id)
        self.said.encode("ascii")
        return end


@broken("cancel-refused", "does-not-insist")
class Insists(Client):
    def cancel(self, job_id: Any) -> None:
        for _ in range(5):
            super().cancel(job_id)
            self.harness.sleep(1)


@broken("two-jobs", "keeps-jobs-apart")
class RemembersOneEnd(Client):
    @functools.cached_property
    def first_end(self) -> list[str]:
        return []

    def wait(self, job_id: Any) -> str:
        self.first_end.append(super().wait(job_id))
        return self.first_end[0]


@broken("two-jobs", "keeps-jobs-apart")
class RemembersOneJob(Client):
    latest = 0

    def start(self) -> Any:
        self.latest = super().start()

    def wait(self, job_id: Any) -> str:  # noqa: ARG002
        return super().wait(self.latest)


@broken("long-at-zero", "cancels-when-told")
class CancelsWhatStandsStill(Client):
    def status(self, job_id: Any) -> Any:
        job = super().status(job_id)
        if job["state"] == 0:
            self.cancel(job_id)
        return job


@broken("ordinary", "asks-properly")
class ImportsByPut(Client):
    def start(self) -> Any:
        self.send("PUT", "project/1/import")
        return super().start()


@broken("ordinary", "stops-when-finished")
class AsksForTheResultAgainAndAgain(Client):
    def wait(self, job_id: Any) -> str:
        end = super().wait(job_id)
        for _ in range(4):
            self.status(job_id)
        return end


@broken("no-next-step", "sees-success")
class TakesTheFirstNextStep(Client):
    def end(self, job: Any) -> str | None:
        end = super().end(job)
        assert end is None or job["nextStep"][0]
        return end


@broken("greek-tasks", "sees-success")
class GoesByWords(Client):
    def end(self, job: Any) -> str | None:
        end = super().end(job)
        return "failed" if end == "finished" and "Completed" not in str(job["TasksMsg"]) else end


@broken("failure-in-words-only", "sees-success")
@broken("failure-in-codes-only", "sees-failure")
class LooksForWords(Client):
    def end(self, job: Any) -> str | None:
        end = super().end(job)
        if end not in {"finished", "failed"}:
            return end
        told = json.dumps([job.get("JobMsg"), job["TasksMsg"]]).lower()
        return "failed" if "fail" in told or "error" in told else "finished"


@broken("finished-at-creation", "sees-success")
class ExpectsToSeeItRun(Client):
    def start(self) -> Any:
        job = self.job(self.ask("POST", "project/1/import"))
        assert job["state"] < 1
        return job["jobId"]
