"""How to run an Expedition job: a client that copes with every scenario."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import requests


class JobFailed(Exception):
    pass


class JobCancelled(Exception):
    pass


class Expedition:
    def __init__(self, url: str, username: str, password: str, *, pause: float = 5.0) -> None:
        self.api, self.pause = f"{url}/api/v1", pause
        self.login = {"username": username, "password": password}
        self.session = requests.Session()
        self.log_in()

    def log_in(self) -> None:
        answer = self.session.post(f"{self.api}/generate_api_key", data=self.login, timeout=60)
        answer.raise_for_status()
        key = answer.json()["Contents"]["response"]["data"]["content"]["api_key"]
        self.session.headers["Authorization"] = f"Bearer {key}"

    def start_import(self, project: int, resource: str) -> int:
        """Start a job. If the answer is lost, the job may exist or not, so this raises."""
        path = f"{self.api}/project/{project}/import"
        answer = self.session.post(path, data={"resource": resource}, timeout=60)
        answer.raise_for_status()
        return int(job_in(answer)["jobId"])

    def cancel(self, job_id: int) -> None:
        """Ask for a cancel; only ``wait`` tells whether it took effect."""
        with contextlib.suppress(requests.RequestException):
            self.session.delete(f"{self.api}/job/{job_id}", timeout=60)

    def wait(self, job_id: int, *, polls: int = 720) -> dict[str, Any]:
        """Return the job once it has finished; raises what else became of it."""
        for _ in range(polls):
            try:
                answer = self.session.get(f"{self.api}/job/status/{job_id}", timeout=60)
                if answer.status_code == requests.codes.unauthorized:
                    self.log_in()
                answer.raise_for_status()
                job = job_in(answer)
            except requests.RequestException:  # a gateway or the network: ask again
                job = {"state": None}
            if job["state"] == -1:
                raise JobCancelled(job_id)
            if job["state"] == 1:  # a number: 1.0 is as good
                tasks = [task for task in job["TasksMsg"] if isinstance(task, dict)]
                if -1 in {each.get("statusCode") for each in (job.get("JobMsg", {}), *tasks)}:
                    raise JobFailed(job_id, job["TasksMsg"])
                return job
            time.sleep(self.pause)
        raise TimeoutError(f"job {job_id} has not ended")


def job_in(answer: requests.Response) -> dict[str, Any]:
    """The job, at whichever of its places the answer has it."""
    content = answer.json()["Contents"]["response"]["data"]["content"]
    job: dict[str, Any] = content.get("system", {}).get("jobs") or content.get("msg") or content
    return job
