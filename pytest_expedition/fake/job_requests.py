"""The documented requests that create jobs: their paths, and what each may carry."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from pytest_expedition.fake.dialects import DIALECTS
from pytest_expedition.fake.simulation import JobScript

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_expedition.fake.dialects import DialectName

CHOICES: Final = {"config": ("candidate", "running")}
"""The words that a name in a path or a query may take; all other names are numbers."""


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """A documented request that creates a job.

    A name in braces in its ``path`` is a number, or one of the words in ``CHOICES``. The same holds
    for the names in its ``query``, which are required. ``form`` are the fields of the
    form that a page shows, ``fields`` the JSON Schemas of the fields that the API reference
    declares; none is required. ``files`` are the fields that a multipart form must have, files and
    texts. ``job_type`` is what the dialect ``data`` calls the job's type, ``dialects`` are those
    that know the request.
    """

    name: str
    method: str
    path: str
    script: JobScript
    form: Sequence[str] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)
    files: Sequence[str] = ()
    query: Sequence[str] = ()
    job_type: str
    dialects: Sequence[DialectName] = DIALECTS

    @functools.cached_property
    def pattern(self) -> re.Pattern[str]:
        """The pattern of the paths of such requests."""
        return re.compile(re.sub("{(.*?)}", lambda name: _pattern_of(name[1]), self.path))

    @property
    def body(self) -> dict[str, Any]:
        """The JSON Schema of a JSON body; any document if no field is declared."""
        return {"type": "object", "properties": dict(self.fields)} if self.fields else {}


def _pattern_of(name: str) -> str:
    return "(?:" + "|".join(CHOICES.get(name, ("[0-9]+",))) + ")"


def _creates(
    name: str,
    method: str,
    path: str,
    description: str,
    *,
    cancellable: bool = True,
    **options: Any,
) -> JobRequest:
    options.setdefault("job_type", name.replace("-", "_"))
    return JobRequest(
        name=name,
        method=method,
        path="/api/v1/" + path,
        script=JobScript(description=description, cancellable=cancellable),
        **options,
    )


def _by_reference(
    name: str, method: str, path: str, description: str, **options: Any
) -> JobRequest:
    """Make a request that only the API reference declares."""
    return _creates(name, method, path, description, dialects=("data",), **options)


_NUMBER: Final = {"type": "integer"}
_NUMBERS: Final = {"type": "array", "items": _NUMBER}
_TEXT: Final = {"type": "string"}
_BOOLEAN: Final = {"type": "boolean"}
_FLAG: Final = {"enum": [True, False, "true", "false"]}
_REPLICATE: Final = {
    "where": {"enum": ["top", "bottom", "after", "before"]},
    "destination": _NUMBER,
    "vsys": _NUMBER,
    "id": _NUMBERS,
    "preorpost": {"enum": [0, 1, 2]},
}
_MERGE: Final = {"id": _NUMBERS, "object_type": _TEXT, "source": _NUMBER, "vsys": _NUMBERS}
_MIGRATION: Final = "project/{projectId}/migration/{migrationId}"
_RETRIEVE: Final = "device/{deviceId}/retrieve_content"

JOB_REQUESTS: Final = (
    _creates(
        "import",
        "POST",
        "project/{projectId}/import",
        "Importing Config into Project",
        form=["resource"],
    ),
    _creates(
        "import-device",
        "POST",
        "project/{projectId}/import/device",
        "Importing Device",
        form=["device_id"],
        fields={"device_id": _NUMBER, "managed_by_panorama": _FLAG},
        job_type="import",
    ),
    _creates(
        "export",
        "POST",
        "projects/{projectId}/export",
        "Exporting Config",
        form=["out", "sourceId"],
        cancellable=False,
    ),
    _creates(
        "push",
        "POST",
        "projects/{projectId}/device/push",
        "Pushing Config to Device",
        form=["serial", "source"],
        cancellable=False,
        job_type="upload_device_config",
    ),
    _creates(
        "retrieve",
        "GET",
        "device/{deviceId}/retrieveContent/{config}",
        "Retrieving Content from Device",
        job_type="retrieve_device_config",
    ),
    _creates("convert", "POST", _MIGRATION + "/convert", "Converting Config"),
    _creates(
        "discover",
        "POST",
        _MIGRATION + "/resource/{resourceId}/discover",
        "Discovering Resource",
    ),
    _creates(
        "filter",
        "POST",
        "project/{projectId}/tools/filter/{filterId}/execute",
        "Executing Filter",
        form=["source_id"],
        fields={"source_id": _NUMBER},
    ),
    _by_reference("discover-all", "POST", _MIGRATION + "/discover", "Discovering Migration"),
    _by_reference(
        "discover-checkpoint",
        "POST",
        _MIGRATION + "/upload_and_discover/checkpoint",
        "Discovering Check Point Config",
        files=["name", "objects", "policy"],
    ),
    _by_reference(
        "discover-stonesoft",
        "POST",
        _MIGRATION + "/upload_and_discover/stonesoft",
        "Discovering Stonesoft Config",
        files=["name", "config"],
    ),
    _by_reference(
        "import-resource",
        "POST",
        "project/{projectId}/import/resource/{resourceId}",
        "Importing Resource",
        job_type="import",
    ),
    _by_reference(
        "import-migration",
        "POST",
        "project/{projectId}/import/migration/{migrationId}",
        "Importing Migration",
        job_type="import",
    ),
    _by_reference(
        "export-config",
        "POST",
        "project/{projectId}/export_config",
        "Exporting Config",
        fields={"source": _NUMBER},
    ),
    _by_reference(
        "export-api-calls",
        "POST",
        "project/{projectId}/export_api_calls",
        "Exporting API Calls",
        fields={
            "source": _NUMBER,
            "operation": {"enum": ["set", "edit"]},
            "type": {"enum": ["atomic", "subatomic", "mega", "clean"]},
        },
    ),
    _by_reference(
        "push-api-calls",
        "POST",
        "project/{projectId}/export_api_call/push",
        "Pushing API Calls to Device",
        fields={"device": _NUMBER, "source": _NUMBER, "api_call": _NUMBERS},
        cancellable=False,
        job_type="upload_device_config",
    ),
    _by_reference(
        "upload-migration",
        "POST",
        "device/{deviceId}/upload/migration",
        "Uploading Migration to Device",
        fields={"migration_id": _NUMBER},
        cancellable=False,
        job_type="upload_device_config",
    ),
    _by_reference(
        "retrieve-content",
        "GET",
        _RETRIEVE,
        "Retrieving Content from Device",
        query=["config"],
        job_type="retrieve_device_config",
    ),
    _by_reference(
        "retrieve-config",
        "GET",
        _RETRIEVE + "/config",
        "Retrieving Config from Device",
        query=["config"],
        job_type="retrieve_device_config",
    ),
    *(
        _by_reference(
            "retrieve-" + what.replace("_", "-"),
            "GET",
            f"{_RETRIEVE}/{what}",
            f"Retrieving {what.replace('_', ' ').title()} from Device",
            job_type="retrieve_device_config",
        )
        for what in (
            "application",
            "application_container",
            "region",
            "system_information",
            "licenses",
        )
    ),
    _by_reference(
        "retrieve-connected-devices",
        "POST",
        "device/{deviceId}/retrieve_connected_devices",
        "Retrieving Connected Devices",
        job_type="retrieve_device_config",
    ),
    *(
        _by_reference(
            "replicate-" + rules.replace("_", "-"),
            "POST",
            f"project/{{projectId}}/policy/{path}/replicate",
            "Replicating Rules",
            fields=_REPLICATE,
            job_type="replace",
        )
        for rules, path in (
            ("security", "security"),
            ("nat", "nat/{objectId}"),
            ("application_override", "application_override/{objectId}"),
        )
    ),
    _by_reference(
        "reduce",
        "POST",
        "project/{projectId}/tools/reduce",
        "Merging Objects",
        fields={
            **_MERGE,
            "type": {"enum": ["by_name", "by_value", "by_name_and_value", "by_selection"]},
        },
        job_type="replace",
    ),
    _by_reference(
        "combine",
        "POST",
        "project/{projectId}/tools/combine",
        "Combining Objects",
        fields={**_MERGE, "type": {"enum": ["by_selection"]}},
        job_type="replace",
    ),
    _by_reference(
        "reverse-dns",
        "POST",
        "project/{projectId}/tools/reverse_dns",
        "Resolving Addresses",
        fields={"collection": _NUMBER, "recalculate": _BOOLEAN},
    ),
    _by_reference(
        "autozone",
        "POST",
        "project/{projectId}/tools/autozone",
        "Calculating Zones",
        fields={
            "source": _NUMBER,
            "vsys": _NUMBER,
            "virtual_router": _NUMBER,
            "template": _NUMBER,
            "object_type": {"enum": ["security_rule", "nat_rule"]},
            "id": _NUMBERS,
            "clean": _BOOLEAN,
            "calculate_source": _BOOLEAN,
            "calculate_destination": _BOOLEAN,
            "apply_nat": _BOOLEAN,
        },
    ),
    _by_reference(
        "transfer",
        "POST",
        "project/{projectId}/configuration/transfer/execute",
        "Transferring Config",
        fields={"from": _NUMBER, "to": _NUMBER},
        job_type="transfer_rules",
    ),
)
"""The documented requests that create jobs; which of them can be cancelled is our assumption."""
