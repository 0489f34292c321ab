"""The model client for instances that keep to the vendor's API reference of 2023 (`data`)."""

from __future__ import annotations

import time
from typing import Any

import requests
from model_client import Expedition, JobCancelled, JobFailed


class ExpeditionOf2023(Expedition):
    def log_in(self) -> None:
        answer = self.session.post(f"{self.api}/login", json=self.login, timeout=60)
        answer.raise_for_status()
        key = answer.json()["data"]["api_key"]
        self.session.headers["Authorization"] = f"Bearer {key}"

    def start(self, project: int, **fields: Any) -> int:
        """Import a device. Where the answer is lost, the job may exist, so this raises."""
        path = f"{self.api}/project/{project}/import/device"
        answer = self.session.post(path, json=fields, timeout=60)
        answer.raise_for_status()
        return int(answer.json()["data"]["job_id"])

    def job(self, job_id: int) -> dict[str, Any]:
        """The job as its status shows it."""
        answer = self.session.get(f"{self.api}/job/{job_id}?complete=true", timeout=60)
        if answer.status_code == requests.codes.unauthorized:
            self.log_in()
        answer.raise_for_status()
        job: dict[str, Any] = answer.json()["data"]
        return job

    def wait(self, job_id: int, *, polls: int = 720) -> dict[str, Any]:
        """Return the job once it has finished; raises what else became of it."""
        for _ in range(polls):
            try:
                job = self.job(job_id)
            except requests.RequestException:  # a gateway or the network: ask again
                job = {"state": None}
            if job.get("status_message") == "failed":  # at whatever state
                raise JobFailed(job_id, job.get("task"))
            if job["state"] == -1:
                raise JobCancelled(job_id)
            if job["state"] == 1:
                return job
            time.sleep(self.pause)
        raise TimeoutError(f"job {job_id} has not ended")
