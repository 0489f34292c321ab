"""Requests of documented workflows that create no job: projects, devices, filters and the like.

A request of a workflow is answered in the form that its page shows, whatever dialect the instance
speaks: `project` and `device` in the envelope of `data`, the older `projects` and `devices` in that
of the first dialects. It is small but consistent: an id that was given out is known, any other is
404, and what a job produces (a source, the objects of a filter, the policies of a
configuration) is there once that job has finished. The requests that create jobs know any id.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar
from urllib.parse import parse_qs

from pytest_expedition.fake.bodies import JSON, MULTIPART, Refusal, names_in_multipart
from pytest_expedition.fake.dialects import contents_envelope, data_envelope, date_at
from pytest_expedition.fake.simulation import FINISHED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_expedition.fake.http import Request
    from pytest_expedition.fake.simulation import Job, Simulation

Fields = dict[str, Any]
_Thing = TypeVar("_Thing")

FIRST_ID: Final = 101
"""Ids of all kinds share one counter, so an id of the wrong kind is not found."""

VENDORS: Final = (
    "checkpoint",
    "checkpoint_r80",
    "cisco_asa",
    "fortinet",
    "netscreen",
    "sonicwall",
    "srx",
    "stonesoft",
)
DEVICE_TYPES: Final = ("firewall", "panorama", "paloalto")
API_CALL_TYPES: Final = ("atomic", "subatomic", "mega", "clear")
PREDEFINED_FILTERS: Final = {
    "unused objects": "[address, address_group, service, service_group] is unused",
    "disabled rules": '[security_rule] disabled equals "yes"',
}
_PROFILE_GROUP: Final = "default"
_OBJECTS_OF_A_TYPE: Final = 2
_ID: Final = re.compile("[0-9]{1,18}")
_NO_COLLECTION: Final = "The filter has no result: execute it, and wait until its job has finished"


class Told(NamedTuple):
    """The answer to a request: content and messages, in the older form or in that of `data`."""

    content: Any
    messages: Sequence[str] = ()


@dataclass(kw_only=True)
class _Project:
    name: str
    description: str = ""
    device_id: list[int] = field(default_factory=list)
    profile_group: int
    migrations: dict[int, Fields] = field(default_factory=dict)
    filters: dict[int, Fields] = field(default_factory=dict)
    collections: dict[int, Fields] = field(default_factory=dict)


class _Asked(NamedTuple):
    """A request, read: its fields, the names of the files that it uploads, and its query."""

    fields: Mapping[str, Any]
    files: frozenset[str]
    query: Mapping[str, str]

    def require(self, *names: str) -> Any:
        """Return the first of these fields that is there. Raises ``Refusal`` if none is."""
        for name in names:
            if self.fields.get(name) not in (None, ""):
                return self.fields[name]
        raise Refusal(400, f"The field {names[0]} is missing")

    def text(self, *names: str) -> str:
        """Return the first of these fields that is there. Raises ``Refusal`` if it is no text."""
        value = self.require(*names)
        if not isinstance(value, str):
            raise Refusal(400, f"The field {names[0]} is not a text")
        return value

    def number(self, name: str) -> int:
        """Return a field that is an id."""
        value = str(self.require(name)).strip('"')
        if not _ID.fullmatch(value):
            raise Refusal(400, f"The field {name} is not an id")
        return int(value)


class Workflows:
    """What one instance knows besides its jobs."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._ids = itertools.count(FIRST_ID)
        self._projects: dict[int, _Project] = {}
        self._devices: dict[int, Fields] = {}
        self._jobs: dict[str, list[tuple[Job, int]]] = defaultdict(list)
        """The jobs by the paths that created them, each with the id of what it produces."""

    def note(self, job: Job, request: Request) -> None:
        """Remember which request created a job."""
        self._jobs[_trimmed(request.path)].append((job, next(self._ids)))

    def answer(self, request: Request) -> tuple[Fields, int, Mapping[str, str]] | None:
        """Return document, HTTP status and headers of the answer; nothing for an unknown path."""
        allowed: list[str] = []
        path = _trimmed(request.path)
        for method, pattern, handler, write in _ROUTES:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            if method != request.method:
                allowed.append(method)
                continue
            ids = (int(each) if each.isdecimal() else each for each in match.groups())
            try:
                told = handler(self, _read(request), *ids)
            except Refusal as refusal:
                return _refused(write, str(refusal), refusal.status), refusal.status, {}
            return write(told.content, messages=told.messages, success=True, code=0), 200, {}
        if not allowed:
            return None
        refused = _refused(_data_form, "The method is not allowed", 405)
        return refused, 405, {"Allow": ", ".join(allowed)}

    # Projects and devices

    def create_project(self, asked: _Asked) -> Told:
        """Create a project, with the devices that `device_id`, or `device_id[…]`, names."""
        devices = [
            self._device_id(asked.number(name))
            for name in asked.fields
            if name.startswith("device_id[")
        ] + self._device_ids(asked.fields.get("device_id"))
        project_id = next(self._ids)
        self._projects[project_id] = _Project(
            name=asked.text("name", "project"),
            description=asked.fields.get("description", ""),
            device_id=devices,
            profile_group=next(self._ids),
        )
        return Told(self._project(project_id), ["The project has been created"])

    def list_projects(self, _: _Asked) -> Told:
        """List the projects."""
        return Told({"project": [self._project(each) for each in self._projects]})

    def show_project(self, _: _Asked, project_id: int) -> Told:
        """Show a project."""
        self._find(project_id)
        return Told(self._project(project_id))

    def delete_project(self, _: _Asked, project_id: int) -> Told:
        """Delete a project."""
        self._find(project_id)
        told = self._project(project_id)
        del self._projects[project_id]
        return Told(told, ["The project has been deleted"])

    def update_projects(self, asked: _Asked) -> Told:
        """Give a project devices."""
        project = self._find(asked.number("id"))
        given = asked.fields.get("devices", asked.fields.get("devices[0]"))
        project.device_id += self._device_ids(given)
        return Told(None, ["The project has been updated"])

    def create_device(self, asked: _Asked) -> Told:
        """Add a device."""
        device_id = self._add_device(asked.text("name", "device_name"), asked.fields)
        return Told(self._devices[device_id], ["The device has been added"])

    def list_devices(self, _: _Asked) -> Told:
        """List the devices."""
        return Told({"device": list(self._devices.values())})

    def show_device(self, _: _Asked, device_id: int) -> Told:
        """Show a device."""
        return Told(self._devices[self._device_id(device_id)])

    def delete_device(self, _: _Asked, device_id: int) -> Told:
        """Delete a device."""
        return Told(self._devices.pop(self._device_id(device_id)), ["The device has been deleted"])

    def add_keys(self, asked: _Asked) -> Told:
        """Give a device its API keys."""
        self._device_id(asked.number("id"))
        for name in ("username", "password"):
            asked.require(name)
        return Told(None, ["The key of the device has been added"])

    def upload_config(self, asked: _Asked, device_id: int) -> Told:
        """Take the configuration of a device."""
        self._device_id(device_id)
        _require_file(asked)
        return Told(None, ["The configuration has been uploaded"])

    # Migrations

    def create_migration(self, asked: _Asked, project_id: int) -> Told:
        """Create a migration, and the device that it will fill."""
        project = self._find(project_id)
        kind = asked.text("device_type")
        if kind not in DEVICE_TYPES:
            raise Refusal(400, f"The field device_type must be one of {', '.join(DEVICE_TYPES)}")
        name = asked.fields.get("name", "migration")
        device_id = self._add_device(f"{name} device", {"type": kind})
        migration_id = next(self._ids)
        project.migrations[migration_id] = {
            "id": migration_id,
            "name": name,
            "device_id": [device_id],
            "device": [device_id],
            "project_id": project_id,
            "resource_id": [],
            "resource": [],
        }
        return Told(project.migrations[migration_id])

    def list_migrations(self, _: _Asked, project_id: int) -> Told:
        """List the migrations of a project."""
        return Told({"migration": list(self._find(project_id).migrations.values())})

    def upload_vendor(self, asked: _Asked, project_id: int, migration_id: int, vendor: str) -> Told:
        """Take the configuration of another vendor, as a resource of a migration."""
        migration = self._migration(project_id, migration_id)
        if vendor not in VENDORS:
            raise Refusal(404, f"The vendor must be one of {', '.join(VENDORS)}")
        _require_file(asked)
        resource = {
            "id": next(self._ids),
            "name": asked.fields.get("name", vendor),
            "vendor": vendor,
            "migration_id": migration_id,
        }
        migration["resource_id"].append(resource["id"])
        migration["resource"].append(resource)
        return Told(resource)

    def show_discovered(
        self, _: _Asked, project_id: int, migration_id: int, resource_id: int
    ) -> Told:
        """List what a discovery job has found in a resource."""
        self._resource(project_id, migration_id, resource_id)
        path = f"project/{project_id}/migration/{migration_id}/resource/{resource_id}/discover"
        if not self._finished(path):
            raise Refusal(404, "Nothing has been discovered: wait until the job has finished")
        names = [f"{kind}_{resource_id}" for kind in ("policy", "policy_dmz", "route")]
        return Told({"policy": names[:2], "route": names[2:]})

    def map_policies(
        self, asked: _Asked, project_id: int, migration_id: int, resource_id: int
    ) -> Told:
        """Map policies to routes."""
        resource = self._resource(project_id, migration_id, resource_id)
        mapping = asked.require("mapping")
        if not isinstance(mapping, list) or not all(
            isinstance(each, dict) and {"policy", "route"} <= each.keys() for each in mapping
        ):
            raise Refusal(400, "The field mapping must be a list of objects with policy and route")
        resource["mapping"] = mapping
        return Told(None, ["The mapping has been created"])

    def show_mapping(self, _: _Asked, project_id: int, migration_id: int, resource_id: int) -> Told:
        """Show the mapping of a resource."""
        resource = self._resource(project_id, migration_id, resource_id)
        return Told({"mapping": resource.get("mapping", [])})

    # Sources, filters, collections

    def list_sources(self, _: _Asked, project_id: int) -> Told:
        """List the configurations that jobs have imported into a project."""
        self._find(project_id)
        return Told({"source": self._sources(project_id)})

    def create_filter(self, asked: _Asked, project_id: int) -> Told:
        """Create a filter."""
        project = self._find(project_id)
        for name in ("name", "filter"):
            asked.text(name)
        return Told(self._add_filter(project, asked.fields))

    def generate_filters(self, asked: _Asked, project_id: int) -> Told:
        """Create the predefined filters of Expedition."""
        project = self._find(project_id)
        asked.require("type")
        for name, text in PREDEFINED_FILTERS.items():
            if not any(each["name"] == name for each in project.filters.values()):
                made = self._add_filter(project, {"name": name, "filter": text})
                made["type"] = "predefined"
        return Told(None, ["The predefined filters have been generated"])

    def list_filters(self, asked: _Asked, project_id: int) -> Told:
        """List the filters of a project, of one type or with a text in their names."""
        wanted, text = asked.query.get("type"), asked.query.get("query", "").lower()
        project = self._find(project_id)
        found = [self._filter(project_id, each) for each in project.filters]
        return Told(
            {
                "filter": [
                    each
                    for each in found
                    if wanted in {None, each["type"]} and text in each["name"].lower()
                ]
            }
        )

    def show_filter(self, _: _Asked, project_id: int, filter_id: int) -> Told:
        """Show a filter."""
        return Told(self._filter(project_id, filter_id))

    def update_filter(self, asked: _Asked, project_id: int, filter_id: int) -> Told:
        """Change a filter."""
        changed = self._filter(project_id, filter_id)
        given = {name: asked.text(name) for name in ("name", "filter") if name in asked.fields}
        changed.update(given)
        changed["description"] = asked.fields.get("description", changed["description"])
        self._tell(changed, "modified filter")
        return Told(self._filter(project_id, filter_id))

    def delete_filter(self, _: _Asked, project_id: int, filter_id: int) -> Told:
        """Delete a filter."""
        deleted = self._filter(project_id, filter_id)
        del self._projects[project_id].filters[filter_id]
        return Told(deleted)

    def show_history(self, _: _Asked, project_id: int, filter_id: int) -> Told:
        """Show the history of a filter."""
        entry = self._filter(project_id, filter_id)["last_history_entry"]
        executed = [{**entry, "description": "executed"}] * len(
            self._finished(f"project/{project_id}/tools/filter/{filter_id}/execute")
        )
        return Told({"filter_history": [entry, *executed]})

    def show_result(self, _: _Asked, project_id: int, filter_id: int) -> Told:
        """Show what a filter has found, once its job has finished."""
        found = self._filter(project_id, filter_id)
        project = self._projects[project_id]
        jobs = self._finished(f"project/{project_id}/tools/filter/{filter_id}/execute")
        if not jobs:
            raise Refusal(404, _NO_COLLECTION)
        collection_id = jobs[-1]
        if collection_id not in project.collections:
            project.collections[collection_id] = {
                "id": collection_id,
                "editable": False,
                "filter_id": filter_id,
                "type": "filter",
                "content": self._objects(project_id, found["filter"]),
                "name": "success",
                "description": f"Objects that match the filter {found['name']}",
            }
        return Told(project.collections[collection_id])

    def show_collection(self, _: _Asked, project_id: int, collection_id: int) -> Told:
        """Show the objects of a collection."""
        return Told(self._collection(project_id, collection_id))

    def empty_collection(self, _: _Asked, project_id: int, collection_id: int) -> Told:
        """Delete the objects of a collection."""
        collection = self._collection(project_id, collection_id)
        collection["content"] = []
        return Told(collection, ["The content of the collection has been deleted"])

    def list_profile_groups(self, _: _Asked, project_id: int) -> Told:
        """List the security profile groups of a project."""
        project = self._find(project_id)
        return Told({"profile_group": [{"id": project.profile_group, "name": _PROFILE_GROUP}]})

    def change_rules(self, asked: _Asked, project_id: int) -> Told:
        """Give all rules of a collection a security profile group."""
        self._collection(project_id, asked.number("id"))
        if asked.number("add[profile][0]") != self._find(project_id).profile_group:
            raise Refusal(404, "There is no such security profile group")
        return Told(None, ["The rules have been changed"])

    # What only the older page sends

    def convert_outside(self, asked: _Asked) -> Told:
        """Convert a configuration outside a migration."""
        for name in ("file", "out", "vendor"):
            asked.require(name)
        return Told(None, ["The configuration has been converted"])

    def import_config(self, asked: _Asked, project_id: int) -> Told:
        """Import a converted configuration."""
        self._find(project_id)
        asked.require("config")
        return Told(None, ["The configuration has been imported"])

    def generate_api_calls(self, _: _Asked, project_id: int, kind: str) -> Told:
        """Generate the calls that bring a configuration to a device."""
        self._find(project_id)
        if kind not in API_CALL_TYPES:
            raise Refusal(404, f"The type must be one of {', '.join(API_CALL_TYPES)}")
        calls = [{"id": next(self._ids), "type": kind, "order": order} for order in (1, 2)]
        return Told(calls, ["The API calls have been generated"])

    # What is known

    def _find(self, project_id: int) -> _Project:
        return _known(self._projects, project_id, "project")

    def _project(self, project_id: int) -> Fields:
        project = self._projects[project_id]
        return {
            "id": project_id,
            "name": project.name,
            "description": project.description,
            "device_id": list(project.device_id),
        }

    def _device_id(self, device_id: int) -> int:
        _known(self._devices, device_id, "device")
        return device_id

    def _device_ids(self, given: Any) -> list[int]:
        """Return the ids in a field that holds one of them, or a list."""
        return [self._device_id(int(each)) for each in _ID.findall(json.dumps(given))]

    def _add_device(self, name: str, fields: Mapping[str, Any]) -> int:
        device_id = next(self._ids)
        told = {
            each: fields.get(each, "") for each in ("serial", "hostname", "type", "description")
        }
        self._devices[device_id] = {"id": device_id, "name": name, **told}
        return device_id

    def _migration(self, project_id: int, migration_id: int) -> Fields:
        return _known(self._find(project_id).migrations, migration_id, "migration")

    def _resource(self, project_id: int, migration_id: int, resource_id: int) -> Fields:
        for each in self._migration(project_id, migration_id)["resource"]:
            if each["id"] == resource_id:
                resource: Fields = each
                return resource
        raise Refusal(404, "There is no such resource in the migration")

    def _filter(self, project_id: int, filter_id: int) -> Fields:
        found = _known(self._find(project_id).filters, filter_id, "filter")
        if self._finished(f"project/{project_id}/tools/filter/{filter_id}/execute"):
            found["status"] = "executed"
            found["matches"] = len(self._objects(project_id, found["filter"]))
        return found

    def _add_filter(self, project: _Project, fields: Mapping[str, Any]) -> Fields:
        filter_id = next(self._ids)
        made: Fields = {
            "id": filter_id,
            "status": "potentially_invalid",
            "type": "single",
            "warnings": 0,
            "created_at": self._now(),
            "matches": 0,
            "name": fields["name"],
            "description": fields.get("description", ""),
            "filter": fields["filter"],
        }
        self._tell(made, "new filter")
        project.filters[filter_id] = made
        return made

    def _tell(self, changed: Fields, what: str) -> None:
        changed["updated_at"] = self._now()
        changed["last_history_entry"] = {
            "filter_id": changed["id"],
            "description": what,
            "updated_at": changed["updated_at"],
        }

    def _collection(self, project_id: int, collection_id: int) -> Fields:
        return _known(self._find(project_id).collections, collection_id, "collection")

    def _sources(self, project_id: int) -> list[Fields]:
        paths = (f"project/{project_id}/import/device", f"project/{project_id}/import")
        ids = [each for path in paths for each in self._finished(path)]
        return [{"id": each, "name": f"config-{each}", "type": "panos"} for each in sorted(ids)]

    def _objects(self, project_id: int, text: str) -> list[Fields]:
        """Return the objects that a filter finds: two of each type it names, in each source."""
        types = re.findall("[a-z_]+", text.partition("]")[0])
        return [
            {
                "object_id": source["id"] * 1000 + place * _OBJECTS_OF_A_TYPE + number,
                "name": f"{kind}_{number + 1}",
                "object_type": kind,
                "vsys_name": "vsys1",
                "vsys": 1,
                "source_name": source["name"],
                "source": source["id"],
            }
            for source in self._sources(project_id)
            for place, kind in enumerate(types)
            for number in range(_OBJECTS_OF_A_TYPE)
        ]

    def _finished(self, path: str) -> list[int]:
        """Return what the jobs that a path created have produced, once they have finished."""
        return [
            made
            for job, made in self._jobs[f"/api/v1/{path}"]
            if self._simulation.state(job) == FINISHED and not job.script.fails
        ]

    def _now(self) -> str:
        return date_at(self._simulation.clock.now())


def _known(things: Mapping[int, _Thing], number: int, what: str) -> _Thing:
    """Return the thing with an id. Raises ``Refusal`` if there is none."""
    if number not in things:
        raise Refusal(404, f"There is no such {what}")
    return things[number]


def _trimmed(path: str) -> str:
    return path.rstrip("/")


def _require_file(asked: _Asked) -> None:
    if "config" not in asked.files:
        raise Refusal(400, "The file config is missing")


def _read(request: Request) -> _Asked:
    """Read what a request carries: a form, with files or without, or JSON."""
    fields: Mapping[str, Any] = {}
    files: frozenset[str] = frozenset()
    content_type = request.header("Content-Type").partition(";")[0].strip().lower()
    if request.method in {"POST", "PUT"} and request.body:
        fields = request.read_form()  # refuses what is malformed
        if content_type == JSON:
            document = json.loads(request.body)
            fields = document if isinstance(document, dict) else {}
        elif content_type == MULTIPART:
            named = names_in_multipart(request.body, content_type=request.header("Content-Type"))
            files = frozenset(named - fields.keys())
    query = {name: values[-1] for name, values in parse_qs(request.query).items()}
    return _Asked(fields=fields, files=files, query=query)


def _refused(write: Callable[..., Fields], text: str, status: int) -> Fields:
    return write(None, messages=[text], success=False, code=status)


def _data_form(content: Any, **said: Any) -> Fields:
    """Return an answer as the pages of the workflows show it: it has `data` in any case."""
    return data_envelope({} if content is None else content, **said) | {"metadata": []}


_Route = tuple[str, "re.Pattern[str]", "Callable[..., Told]", "Callable[..., Fields]"]


def _route(method: str, path: str, handler: Callable[..., Told], *, older: bool = False) -> _Route:
    pattern = re.sub("{.*?}", "([0-9]{1,18})", path).replace("<word>", "([a-z0-9_]+)")
    write = contents_envelope if older else _data_form
    return method, re.compile(f"/api/v1/{pattern}"), handler, write


_MIGRATION: Final = "project/{project}/migration/{migration}"
_RESOURCE: Final = f"{_MIGRATION}/resource/{{resource}}"
_FILTERS: Final = "project/{project}/tools/filter"
_FILTER: Final = f"{_FILTERS}/{{filter}}"
_COLLECTION: Final = "project/{project}/collection/{collection}/content"

_ROUTES: Final = (
    _route("POST", "project", Workflows.create_project),
    _route("GET", "project", Workflows.list_projects),
    _route("GET", "project/{project}", Workflows.show_project),
    _route("DELETE", "project/{project}", Workflows.delete_project),
    _route("POST", "device", Workflows.create_device),
    _route("GET", "device", Workflows.list_devices),
    _route("GET", "device/{device}", Workflows.show_device),
    _route("DELETE", "device/{device}", Workflows.delete_device),
    _route("POST", "device/{device}/upload_config", Workflows.upload_config),
    _route("POST", "project/{project}/migration", Workflows.create_migration),
    _route("GET", "project/{project}/migration", Workflows.list_migrations),
    _route("POST", f"{_MIGRATION}/upload/<word>", Workflows.upload_vendor),
    _route("GET", f"{_RESOURCE}/discover", Workflows.show_discovered),
    _route("POST", f"{_RESOURCE}/map", Workflows.map_policies),
    _route("GET", f"{_RESOURCE}/map", Workflows.show_mapping),
    _route("GET", "project/{project}/source", Workflows.list_sources),
    _route("POST", _FILTERS, Workflows.create_filter),
    _route("GET", _FILTERS, Workflows.list_filters),
    _route("POST", f"{_FILTERS}/generate_predefined", Workflows.generate_filters),
    _route("GET", _FILTER, Workflows.show_filter),
    _route("PUT", _FILTER, Workflows.update_filter),
    _route("DELETE", _FILTER, Workflows.delete_filter),
    _route("GET", f"{_FILTER}/success", Workflows.show_result),
    _route("GET", f"{_FILTER}/history", Workflows.show_history),
    _route("GET", _COLLECTION, Workflows.show_collection),
    _route("DELETE", _COLLECTION, Workflows.empty_collection),
    _route("GET", "project/{project}/object/profile_group", Workflows.list_profile_groups),
    _route("PUT", "project/{project}/policy/security", Workflows.change_rules),
    _route("POST", "projects", Workflows.create_project, older=True),
    _route("PUT", "projects", Workflows.update_projects, older=True),
    _route("POST", "projects/{project}/importConfig", Workflows.import_config, older=True),
    _route("POST", "projects/{project}/apiCalls/<word>", Workflows.generate_api_calls, older=True),
    _route("POST", "devices", Workflows.create_device, older=True),
    _route("POST", "device/keys", Workflows.add_keys, older=True),
    _route("POST", "external-tools/convert", Workflows.convert_outside, older=True),
)
"""Each request: its method and path, what answers it, and in which form."""
