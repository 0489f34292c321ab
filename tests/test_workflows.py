"""The documented workflows, each carried out by a client from the login to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import requests

from pytest_expedition import JobScript

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_expedition import ExpeditionServer

    Call = Callable[..., requests.Response]

RULES = '[security_rule] action equals "allow"'
CONFIG = {"config": ("config.xml", b"<config/>")}


class Client:
    """A client of the pages since 2023, which speak the dialect `data`."""

    def __init__(self, server: ExpeditionServer, *, login: str = "generate_api_key") -> None:
        self.api = f"{server.url}/api/v1/"
        self.session = requests.Session()
        self.session.trust_env = False
        given = {"username": "admin", "password": "paloalto"}
        answer = self.session.post(self.api + login, data=given, timeout=10).json()
        key = answer["Contents"]["response"]["data"]["content"]["api_key"]
        self.session.headers["Authorization"] = f"Bearer {key}"

    def ask(self, method: str, path: str, **options: Any) -> Any:
        answer = self.session.request(method, self.api + path, timeout=10, **options).json()
        assert answer["success"] is True, answer
        return answer["data"]

    def message(self, method: str, path: str) -> str:
        answer = self.session.request(method, self.api + path, timeout=10).json()
        text: str = answer["messages"][0]["message"]
        return text

    def run(self, path: str, **options: Any) -> None:
        """Create a job, and wait for it."""
        job_id = self.ask("POST", path, **options)["job_id"]
        while self.ask("GET", f"job/{job_id}?complete=true")["state"] != 1:
            pass

    def imported(self) -> tuple[int, int]:
        """Carry out what three pages have in common; return the ids of the project and source."""
        device = {"name": "fw", "serial": "1234", "hostname": "192.0.2.1", "type": "pa220"}
        device_id = self.ask("POST", "device", data=device)["id"]
        project = {"name": "cleanup", "description": "old rules", "device_id[0]": device_id}
        project_id = self.ask("POST", "project", data=project)["id"]
        self.ask("POST", f"device/{device_id}/upload_config", files=CONFIG, data=device)
        assert self.ask("GET", f"project/{project_id}/source") == {"source": []}
        self.run(f"project/{project_id}/import/device", data={"device_id": device_id})
        (source,) = self.ask("GET", f"project/{project_id}/source")["source"]
        return project_id, source["id"]

    def executed(self, project_id: int, filter_id: int, source_id: int) -> int:
        """Execute a filter; return the id of the collection of what it has found."""
        path = f"project/{project_id}/tools/filter/{filter_id}"
        self.run(f"{path}/execute", data={"source_id": source_id})
        collection_id: int = self.ask("GET", f"{path}/success")["id"]
        return collection_id


class OlderClient(Client):
    """A client of the older page, which speaks the dialect `msg`."""

    def ask(self, method: str, path: str, **options: Any) -> Any:
        answer = self.session.request(method, self.api + path, timeout=10, **options).json()
        assert answer["Contents"]["success"] is True, answer
        response = answer["Contents"]["response"]
        self.told = [each["message"] for each in response["response-messages"]["messages"]]
        return response["data"]["content"]

    def run(self, path: str, **options: Any) -> None:
        method = "GET" if "retrieveContent" in path else "POST"
        job_id = self.ask(method, path, **options)["jobId"]
        assert self.told[0]
        while self.ask("GET", f"job/status/{job_id}")["msg"]["state"] != 1:
            pass
        done = self.ask("GET", f"job/status/{job_id}/complete")["msg"]
        assert done["TasksMsg"][0]["statusCode"] == 1


@pytest.fixture
def data(expedition_server: ExpeditionServer) -> Client:
    expedition_server.dialect = "data"
    return Client(expedition_server)


class TestPages:
    def test_migration_of_another_vendor(self, data: Client) -> None:
        project = f"project/{data.ask('POST', 'project', data={'name': 'vendor'})['id']}"
        made = data.ask(
            "POST", f"{project}/migration", data={"name": "first", "device_type": "panorama"}
        )
        migration = f"{project}/migration/{made['id']}"
        uploaded = data.ask(
            "POST", f"{migration}/upload/cisco_asa", data={"name": "cisco"}, files=CONFIG
        )
        resource = f"{migration}/resource/{uploaded['id']}"
        data.run(f"{resource}/discover")
        found = data.ask("GET", f"{resource}/discover")
        mapping = [{"policy": each, "route": found["route"][0]} for each in found["policy"]]
        assert len(mapping) > 1
        data.ask("POST", f"{resource}/map", json={"mapping": mapping})
        assert data.ask("GET", f"{resource}/map") == {"mapping": mapping}
        data.run(f"{migration}/convert")
        data.run(f"{project}/import/device", data={"device_id": made["device_id"][0]})
        assert len(data.ask("GET", f"{project}/source")["source"]) == 1

    def test_bulk_change(self, data: Client) -> None:
        project_id, source_id = data.imported()
        path = f"project/{project_id}"
        given = {"name": "allowed", "reference": "allowed", "filter": RULES, "source": source_id}
        made = data.ask("POST", f"{path}/tools/filter", data=given)
        filter_id = made["last_history_entry"]["filter_id"]
        collection_id = data.executed(project_id, filter_id, source_id)
        content = data.ask("GET", f"{path}/collection/{collection_id}/content")["content"]
        assert {each["object_type"] for each in content} == {"security_rule"}
        assert {each["source"] for each in content} == {source_id}
        group = data.ask("GET", f"{path}/object/profile_group")["profile_group"][0]["id"]
        change = {"add[profile][0]": group, "id": collection_id}
        data.ask("PUT", f"{path}/policy/security", data=change)

    def test_removal_of_unused_objects(self, data: Client) -> None:
        project_id, source_id = data.imported()
        path = f"project/{project_id}"
        wanted = {"type": "basic", "source": source_id}
        data.ask("POST", f"{path}/tools/filter/generate_predefined", data=wanted)
        listed = data.ask("GET", f"{path}/tools/filter?type=predefined&query=unused%20objects")
        (unused,) = listed["filter"]
        content = f"{path}/collection/{data.executed(project_id, unused['id'], source_id)}/content"
        assert len(data.ask("GET", content)["content"]) > 1
        assert "deleted" in data.message("DELETE", content)
        assert data.ask("GET", content)["content"] == []

    def test_search_for_rules(self, data: Client) -> None:
        project_id, source_id = data.imported()
        path = f"project/{project_id}/tools/filter"
        filter_ids = [
            data.ask("POST", path, data={"name": f"f{number}", "filter": text})["id"]
            for number, text in enumerate([RULES, "[address] is used", "[filter] f0 or f1"])
        ]
        assert len(set(filter_ids)) == 3
        assert data.executed(project_id, filter_ids[2], source_id)

    def test_filters(self, data: Client) -> None:
        project_id, source_id = data.imported()
        path = f"project/{project_id}/tools/filter"
        office = {"name": "office", "filter": '[address, address_group] name contains "office"'}
        made = data.ask("POST", path, data=office)
        assert (made["status"], made["matches"]) == ("potentially_invalid", 0)
        one = f"{path}/{made['id']}"
        changed = data.ask("PUT", one, data={"name": "home", "description": "changed"})
        assert (changed["name"], changed["filter"]) == ("home", office["filter"])
        assert changed["last_history_entry"]["description"] == "modified filter"
        data.executed(project_id, made["id"], source_id)
        shown = data.ask("GET", one)
        assert (shown["status"], shown["matches"]) == ("executed", 4)
        assert data.ask("GET", f"{path}/") == {"filter": [shown]}
        history = data.ask("GET", f"{one}/history")["filter_history"]
        assert [each["description"] for each in history][-1] == "executed"
        assert data.ask("DELETE", one)["id"] == made["id"]
        assert data.ask("GET", path) == {"filter": []}

    def test_the_older_workflow(self, expedition_server: ExpeditionServer) -> None:
        expedition_server.dialect = "msg"
        client = OlderClient(expedition_server, login="login")
        project_id = client.ask("POST", "projects", data={"project": "demo"})["id"]
        assert client.told == ["The project has been created"]
        converted = {"file": "/tmp/asa.txt", "out": "/tmp/a.xml", "vendor": "ciscoasa"}
        client.ask("POST", "external-tools/convert", data=converted)
        project = f"projects/{project_id}"
        client.ask("POST", f"{project}/importConfig", data={"config": "/tmp/a.xml"})
        device = {"serial": "1", "device_name": "fw", "hostname": "fw", "type": "pa220"}
        device_id = client.ask("POST", "devices", data=device)["id"]
        keys = {"id": f'"{device_id}"', "role": "admin", "username": "u", "password": "p"}
        client.ask("POST", "device/keys", data=keys)
        client.run(f"device/{device_id}/retrieveContent/candidate")
        client.ask("PUT", "projects", data={"devices": [device_id], "id": project_id})
        shown = requests.get(
            f"{client.api}project/{project_id}", headers=client.session.headers, timeout=10
        )
        assert shown.json()["data"]["device_id"] == [device_id]
        client.ask("POST", f"{project}/apiCalls/atomic", data={"source": 1})
        assert client.told
        client.run(f"{project}/device/push", data={"serial": "1", "source": 1})
        client.run(f"{project}/export", data={"out": "/tmp/out.xml", "sourceId": 1})


class TestConsistency:
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "project/99"),
            ("DELETE", "project/99"),
            ("POST", "project/99/migration"),
            ("GET", "project/99/source"),
            ("GET", "project/99/tools/filter"),
            ("POST", "project/99/tools/filter"),
            ("GET", "project/99/object/profile_group"),
            ("GET", "project/99/collection/1/content"),
            ("POST", "device/99/upload_config"),
            ("GET", "device/99"),
            ("POST", "projects/99/importConfig"),
            ("POST", "projects/99/apiCalls/atomic"),
        ],
    )
    def test_what_was_not_created_is_not_found(self, call: Call, method: str, path: str) -> None:
        given = {"device_type": "panorama", "config": "/a", "name": "n", "filter": RULES}
        response = call(method, path, data=given if method == "POST" else None)
        document = response.json()
        assert response.status_code == 404
        assert document["success"] is False
        if "projects/" not in path:
            assert "There is no such" in document["messages"][0]["message"]

    @pytest.mark.parametrize("by", ["json", "data"])
    def test_a_project_has_the_devices_that_it_was_given(self, call: Call, by: str) -> None:
        ids = [
            call("POST", "device", data={"name": name}).json()["data"]["id"] for name in ("a", "b")
        ]
        fields = (
            {"device_id": ids} if by == "json" else {"device_id[0]": ids[0], "device_id[1]": ids[1]}
        )
        made = call("POST", "project", **{by: {"name": "p", **fields}}).json()["data"]
        assert made["device_id"] == ids

    def test_ids_of_one_kind_are_not_ids_of_another(self, call: Call) -> None:
        device_id = call("POST", "device", data={"name": "fw"}).json()["data"]["id"]
        project_id = call("POST", "project", data={"name": "p"}).json()["data"]["id"]
        assert call("GET", f"project/{device_id}").status_code == 404
        assert call("GET", f"device/{project_id}").status_code == 404
        assert call("GET", f"project/{project_id}/tools/filter/{project_id}").status_code == 404
        listed = call("GET", "project").json()["data"]["project"]
        assert [each["id"] for each in listed] == [project_id]
        assert call("DELETE", f"project/{project_id}").status_code == 200
        assert call("GET", "project").json()["data"]["project"] == []

    @pytest.mark.parametrize("fails", [False, True])
    def test_a_result_is_there_once_its_job_has_finished(
        self, data: Client, call: Call, expedition_server: ExpeditionServer, *, fails: bool
    ) -> None:
        project_id, source_id = data.imported()
        path = f"project/{project_id}/tools/filter"
        made = data.ask("POST", path, data={"name": "n", "filter": RULES})
        result = f"{path}/{made['id']}/success"
        assert call("GET", result).status_code == 404
        expedition_server.next_job(JobScript(progress=(0.5, 1), step_seconds=60, fails=fails))
        data.ask("POST", f"{path}/{made['id']}/execute", data={"source_id": source_id})
        assert call("GET", result).status_code == 404
        expedition_server.advance(60)
        assert call("GET", result).status_code == (404 if fails else 200)

    @pytest.mark.parametrize(
        ("method", "path", "given", "message"),
        [
            ("POST", "project", {}, "The field name is missing"),
            ("POST", "project", {"name": ""}, "The field name is missing"),
            ("POST", "project", {"name": "p", "device_id[0]": 7}, "There is no such device"),
            ("POST", "project", {"name": "p", "device_id[0]": "9" * 5000}, "is not an id"),
            ("POST", "project", {"name": "p", "device_id[0]": "x"}, "is not an id"),
            ("POST", "device", {}, "The field name is missing"),
            ("POST", "project/{p}/migration", {}, "The field device_type is missing"),
            ("POST", "project/{p}/migration", {"device_type": "x"}, "must be one of firewall"),
            ("POST", "project/{p}/migration/7/upload/srx", {}, "There is no such migration"),
            ("POST", "project/{p}/tools/filter", {"name": "n"}, "The field filter is missing"),
            ("PUT", "project/{p}/policy/security", {"id": "x"}, "The field id is not an id"),
            ("PUT", "project/{p}/policy/security", {"id": 7}, "There is no such collection"),
            ("POST", "device/{d}/upload_config", {"config": "x"}, "The file config is missing"),
        ],
    )
    def test_a_refusal_says_what_is_wrong(
        self, call: Call, method: str, path: str, given: dict[str, Any], message: str
    ) -> None:
        ids = {
            "p": call("POST", "project", data={"name": "p"}).json()["data"]["id"],
            "d": call("POST", "device", data={"name": "fw"}).json()["data"]["id"],
        }
        response = call(method, path.format(**ids), data=given)
        assert 400 <= response.status_code < 500
        assert message in response.json()["messages"][0]["message"]

    @pytest.mark.parametrize("value", [3, ["x"], {"x": 1}, True])
    def test_a_value_that_is_not_text_is_refused(self, data: Client, value: Any) -> None:
        project_id = data.ask("POST", "project", json={"name": "p"})["id"]
        path = f"project/{project_id}/tools/filter"
        made = data.ask("POST", path, json={"name": "n", "filter": RULES})
        for method, where, given in (
            ("POST", "project", {"name": value}),
            ("POST", path, {"name": "n", "filter": value}),
            ("POST", path, {"name": value, "filter": RULES}),
            ("PUT", f"{path}/{made['id']}", {"filter": value}),
        ):
            refused = data.session.request(method, data.api + where, json=given, timeout=10)
            assert refused.status_code == 400
            assert "is not a text" in refused.json()["messages"][0]["message"]
        assert data.ask("GET", path) == {"filter": [made]}

    def test_an_unknown_vendor_and_an_invalid_mapping(self, data: Client) -> None:
        project = f"project/{data.ask('POST', 'project', json={'name': 'by JSON'})['id']}"
        made = data.ask("POST", f"{project}/migration", data={"device_type": "firewall"})
        path = f"{data.api}{project}/migration/{made['id']}"
        refused = data.session.post(f"{path}/upload/acme", files=CONFIG, timeout=10)
        assert (refused.status_code, "cisco_asa" in refused.text) == (404, True)
        resource = data.session.post(f"{path}/upload/srx", files=CONFIG, timeout=10).json()["data"]
        path = f"{path}/resource/{resource['id']}"
        assert data.session.get(f"{path}/discover", timeout=10).status_code == 404
        for mapping in ([], "x", [{"policy": "a"}], [3]):
            refused = data.session.post(f"{path}/map", json={"mapping": mapping}, timeout=10)
            assert refused.status_code == (200 if mapping == [] else 400)

    @pytest.mark.parametrize(
        ("method", "path", "allowed"),
        [
            ("PATCH", "project", "POST, GET"),
            ("POST", "project/1/source", "GET"),
            ("GET", "projects", "POST, PUT"),
            ("PUT", "project/1/migration/1/resource/1/discover", "POST"),
        ],
    )
    def test_another_method_is_refused(
        self, call: Call, method: str, path: str, allowed: str
    ) -> None:
        response = call(method, path)
        assert (response.status_code, response.headers["Allow"]) == (405, allowed)

    def test_a_key_is_asked_for(self, call: Call) -> None:
        assert call("POST", "project", headers={"Authorization": None}).status_code == 401

    @pytest.mark.parametrize("dialect", ["system", "msg", "mixed"])
    def test_the_creation_of_a_job_carries_a_message(
        self, call: Call, expedition_server: ExpeditionServer, dialect: Any
    ) -> None:
        expedition_server.dialect = dialect
        answer = call("POST", "projects/1/export", data={"out": "/tmp/x", "sourceId": 1}).json()
        response = answer["Contents"]["response"]
        assert response["response-messages"]["messages"][0]["message"] == "The job has been created"

    def test_a_reset_forgets_all(self, call: Call, expedition_server: ExpeditionServer) -> None:
        call("POST", "project", data={"name": "p"})
        expedition_server.reset()
        assert call("GET", "project").json()["data"]["project"] == []
