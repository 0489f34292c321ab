"""A client as the documentation teaches to write them: run an import, cancel one, cancel an export.

Its habits are those of the documentation: form posts, a certificate that is not verified, a state
that is compared as text with `1`, read at one place first and at another later.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import requests


def main(url: str, username: str, password: str, pause: str) -> None:
    session = requests.Session()
    session.verify = False
    session.trust_env = False
    api = f"{url}/api/v1"

    def content(response: requests.Response) -> Any:
        return response.json()["Contents"]["response"]["data"]["content"]

    def start(path: str, form: dict[str, str]) -> str:
        created = content(session.post(f"{api}/{path}", data=form))
        job_id = json.dumps(created["system"]["jobs"]["jobId"])
        print(path, job_id)
        return job_id

    login = {"username": username, "password": password}
    key = content(session.post(f"{api}/generate_api_key", data=login))["api_key"]
    session.headers["Authorization"] = f"Bearer {key}"

    job_id = start("project/1/import", {"resource": "/tmp/a & b.xml"})
    job = content(session.get(f"{api}/job/status/{job_id}"))["msg"]
    while True:
        state = json.dumps(job["state"])
        print("state", state)
        if state == "1":
            break
        time.sleep(float(pause))
        job = content(session.get(f"{api}/job/status/{job_id}"))["system"]["jobs"]
    print("next", json.dumps(job["nextStep"]))

    for path in ("project/1/import", "projects/1/export"):
        response = session.delete(f"{api}/job/{start(path, {})}")
        state = json.dumps(content(response)["system"]["jobs"]["state"])
        if state == "-1":
            print("cancelled")
        else:
            messages = response.json()["Contents"]["response"]["response-messages"]["messages"]
            print("refused", state, messages[0]["message"])


if __name__ == "__main__":
    main(*sys.argv[1:])
