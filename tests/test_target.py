"""The target file: what it gives, and what it says of every mistake."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from pytest_expedition import JobRecipe, Limits, Target, Waiver
from pytest_expedition.suite.target import TargetError
from pytest_expedition.suite.target_file import at_url, load

if TYPE_CHECKING:
    from pathlib import Path

KEY = {"EXPEDITION_API_KEY": "s3cret"}
JOB = '[[job]]\nname = "import"\npath = "/api/v1/project/22/import"\n'
MINIMAL = 'url = "https://192.0.2.10"\n' + JOB
WAIVE = '[[waive]]\nid = "status.monotonic"\n'
WAIVED = WAIVE + 'reason = "known"\nuntil = 2027-03-01\n'

COMPLETE = """
url = "https://192.0.2.10"
verify = false
dialect = "msg"

[auth]
username_env = "WHO"
password_env = "WITH"

[[job]]
name = "import"
method = "POST"
path = "/api/v1/project/22/import"
form = { resource = "/tmp/cisco.xml" }
cancellable = true

[[job]]
name = "export"
path = "/api/v1/project/22/export"
json = { out = ["xml"] }
query = { dry = 1 }
cancellable = false

[limits]
job_seconds = 30
poll_seconds = 0.25
requests = 100
jobs = 5
seconds = 60
concurrent_jobs = 2
"""


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "expedition.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_everything(tmp_path: Path) -> None:
    target = load(written(tmp_path, COMPLETE), environ={"WHO": "admin", "WITH": "paloalto"})
    assert target.url == "https://192.0.2.10"
    assert target.verify is False
    assert target.dialect == "msg"
    assert (target.username, str(target.password), target.api_key) == ("admin", "paloalto", "")
    assert target.jobs == (
        JobRecipe(
            name="import",
            path="/api/v1/project/22/import",
            form={"resource": "/tmp/cisco.xml"},
            cancellable=True,
        ),
        JobRecipe(
            name="export",
            path="/api/v1/project/22/export",
            json={"out": ["xml"]},
            query={"dry": "1"},
            cancellable=False,
        ),
    )
    assert target.limits == Limits(
        job_seconds=30, poll_seconds=0.25, requests=100, jobs=5, seconds=60, concurrent_jobs=2
    )


def test_a_whole_number_may_be_written_with_a_fraction(tmp_path: Path) -> None:
    limits = load(written(tmp_path, MINIMAL + "[limits]\njobs = 5.0\n"), environ=KEY).limits
    assert type(limits.jobs) is int


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    """Editors of Windows write one."""
    windows = "\ufeff" + MINIMAL.replace("\n", "\r\n")
    assert load(written(tmp_path, windows), environ=KEY).url == "https://192.0.2.10"


def test_defaults(tmp_path: Path) -> None:
    target = load(written(tmp_path, MINIMAL), environ=KEY)
    assert target.api_key == "s3cret"
    assert (target.verify, target.dialect, target.limits) == (True, "auto", Limits())
    assert target.jobs[0].cancellable is None


def test_an_url_on_the_command_line_replaces_the_files(tmp_path: Path) -> None:
    target = load(written(tmp_path, MINIMAL), url="http://127.0.0.1:8080/", environ=KEY)
    assert target.url == "http://127.0.0.1:8080"
    assert load(written(tmp_path, JOB), url="http://127.0.0.1", environ=KEY).jobs


def test_an_url_alone_means_the_documented_import() -> None:
    target = at_url("https://192.0.2.10", environ=KEY)
    assert [(job.method, job.path) for job in target.jobs] == [("POST", "/api/v1/project/1/import")]


def test_user_name_and_password_are_taken_where_there_is_no_key() -> None:
    environ = {"EXPEDITION_USERNAME": "admin", "EXPEDITION_PASSWORD": "paloalto"}
    target = at_url("https://192.0.2.10", environ=environ)
    assert (target.username, target.password) == ("admin", "paloalto")


@pytest.mark.parametrize("until", ["2027-03-01", '"2027-03-01"'])
def test_a_waiver_ends_on_a_day_that_is_a_date_or_a_text(tmp_path: Path, until: str) -> None:
    text = MINIMAL + WAIVE + f'reason = "ticket 7"\nuntil = {until}\n'
    waiver = Waiver(id="status.monotonic", reason="ticket 7", until=date(2027, 3, 1))
    assert load(written(tmp_path, text), environ=KEY).waivers == (waiver,)
    text += "sometimes = true\n"
    assert load(written(tmp_path, text), environ=KEY).waivers == (replace(waiver, sometimes=True),)


def test_a_ca_bundle_is_found_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("x")
    target = load(written(tmp_path, 'verify = "ca.pem"\n' + MINIMAL), environ=KEY)
    assert target.verify == str(tmp_path / "ca.pem")


def test_a_ca_bundle_of_the_environment_verifies_unless_the_file_says_otherwise(
    tmp_path: Path,
) -> None:
    bundle = tmp_path / "corporate.pem"
    bundle.touch()
    environ = {**KEY, "REQUESTS_CA_BUNDLE": str(bundle)}
    assert at_url("https://192.0.2.1", environ=environ).verify == str(bundle)
    assert load(written(tmp_path, MINIMAL), environ=environ).verify == str(bundle)
    unverified = written(tmp_path, "verify = false\n" + MINIMAL)
    assert load(unverified, environ=environ).verify is False
    with pytest.raises(TargetError, match=r"REQUESTS_CA_BUNDLE = '/no\.pem': must be the path"):
        at_url("https://192.0.2.1", environ={**KEY, "REQUESTS_CA_BUNDLE": "/no.pem"})


def test_secrets_show_nowhere() -> None:
    target = Target(url="http://127.0.0.1", api_key="s3cret", username="u", password="pass-w0rd")
    shown = repr(target) + str(vars(target))
    assert "s3cret" not in shown
    assert "pass-w0rd" not in shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "is not TOML"),
        (b"\xff", "is not TOML: it is not UTF-8"),
        (JOB, "url is missing: must be a text"),
        ("url = 3\n" + JOB, "url = 3: must be a text"),
        (
            'url = "192.0.2.10"\n' + JOB,
            "url = '192.0.2.10': must begin with http:// or https://, like https://192.0.2.10",
        ),
        ('url = "ftp://192.0.2.10"\n' + JOB, "http:// or https://, like https://192.0.2.10"),
        ('url = "https://[::1"\n' + JOB, "must be like https://192.0.2.10"),
        ('url = "https://a:99999"\n' + JOB, "must be like https://192.0.2.10"),
        ('url = "https://h/api/v1"\n' + JOB, "must be given without /api/v1"),
        ('url = "https://me:pw@h"\n' + JOB, "must not hold credentials"),
        ('url = "https://me:pw@h:99999"\n' + JOB, "must not hold credentials"),
        ('url = "https://h?key=pw"\n' + JOB, "must not hold credentials"),
        ('url = "https://h/?key=pw"\n' + JOB, "must not hold credentials"),
        ('url = "https://h"\n', "[[job]] is missing"),
        ('url = "https://h"\njob = []\n', "[[job]] is missing"),
        ('url = "https://h"\njob = 3\n', "job = 3: must be tables: [[job]]"),
        ("colour = 1\n" + MINIMAL, "colour = 1: unknown key, known are url, verify"),
        ('"\\u001b\\u202e" = 1\n' + MINIMAL, r"\u001b\u202e = 1: unknown key, known are url"),
        (f"size = {'9' * 5000}\n" + MINIMAL, "is not TOML: a number has too many digits"),
        ('url = "http://h /"\n' + JOB, "must be like https://192.0.2.10"),
        ("verify = 3\n" + MINIMAL, "verify = 3: must be true, false or the path of a CA bundle"),
        ('verify = "no.pem"\n' + MINIMAL, "a CA bundle that exists"),
        ('dialect = "php"\n' + MINIMAL, "dialect = 'php': must be one of auto, system, msg, data"),
        (MINIMAL + "colour = 1\n", "job 1: colour = 1: unknown key, known are name"),
        (MINIMAL + 'cancellable = "yes"\n', "job 1: cancellable = 'yes': must be true or false"),
        (MINIMAL + 'method = "DELETE"\n', "job 1: method = 'DELETE': must be one of GET, POST"),
        (MINIMAL + "form = 3\n", "job 1: form = 3: must be a table of texts and numbers"),
        (MINIMAL + "form = {a = [1]}\n", "job 1: form.a = [1]: must be a text or a number"),
        (MINIMAL + "form = {a = true}\n", "form.a = True: must be a text or a number"),
        (MINIMAL + "form = {a = 1}\njson = {}\n", "job 1: json: must be left out"),
        (
            "agent = {strat = true}\n" + MINIMAL,
            "agent.strat = True: unknown key, known are start",
        ),
        ("agent = {strat = true}\n" + MINIMAL, "did you mean start?"),
        (
            MINIMAL + "[limits]\nseconds = 1" + "0" * 400,
            "must be a number above 0, at most",
        ),
        (MINIMAL + "[limits]\nseconds = 1" + "0" * 6000, "is not TOML: "),
        ("x = " + "[" * 100_000, "is not TOML: it is nested too deep"),
        (MINIMAL + JOB, "job: name = 'import': must be a name that no other job has"),
        (MINIMAL.replace("/api/v1", "api/v1"), "must be a path that begins with /api/"),
        (MINIMAL + "[limits]\njobs = 0\n", "limits.jobs = 0: must be a whole number from 1 to"),
        (MINIMAL + "[limits]\njobs = 1.5\n", "limits.jobs = 1.5: must be a whole number"),
        (MINIMAL + "[limits]\njobs = true\n", "limits.jobs = True: must be a whole number"),
        (MINIMAL + "[limits]\nseconds = nan\n", "limits.seconds = nan: must be a number above 0"),
        (MINIMAL + "[limits]\nhours = 1\n", "limits.hours = 1: unknown key, known are job_seconds"),
        ("limits = 1\n" + MINIMAL, "limits = 1: must be a table"),
        ("auth = 1\n" + MINIMAL, "auth: must be a table"),
        (MINIMAL + '[auth]\nkey = "x"\n', "auth.key: unknown key, known are api_key_env"),
        ('api_key = "s3cret"\n' + MINIMAL, "not in this file: set EXPEDITION_API_KEY, or"),
        (MINIMAL + '[login]\npassword = "s3cret"\n', "login: unknown key, known are url"),
        (MINIMAL + '[auth]\nusername_env = "A"\n', "must name username_env and password_env"),
        (
            MINIMAL + '[auth]\napi_key_env = "A"\nusername_env = "B"\npassword_env = "C"\n',
            "must name either api_key_env or username_env and password_env",
        ),
        (MINIMAL + '[auth]\napi_key_env = "UNSET"\n', "not empty: UNSET"),
        ("waive = 1\n" + MINIMAL, "waive = 1: must be tables: [[waive]]"),
        (MINIMAL + "[waive]\n", "[waive] must be written with two brackets: [[waive]]"),
        (
            'url = "http://h"\n[job]\nname = "a"\n',
            "[job] must be written with two brackets: [[job]]",
        ),
        ('url = "http://h"\n[[jobs]]\nname = "a"\n', "agent, waive; did you mean job?"),
        (
            MINIMAL + JOB * 2 + "third = 1\n" + JOB * 8 + "eleventh = 1\n",
            "job 3: third = 1: unknown key, known are name",
        ),
        (MINIMAL + "[[waive]]\n", "waive 1: id is missing"),
        (
            MINIMAL + WAIVED.replace("monotonic", "monotone"),
            "id = 'status.monotone': must be the id of a requirement; did you mean status.monoto",
        ),
        (
            MINIMAL + WAIVED.replace("status.monotonic", "?"),
            "waive 1: id = '?': must be the id of",
        ),
        (MINIMAL + WAIVED + WAIVED, "waive: id = 'status.monotonic': must be waived only once"),
        (MINIMAL + WAIVE, "waive 1: reason is missing: must be a text"),
        (
            MINIMAL + WAIVED.replace("known", " "),
            "waive 1: reason = ' ': must be a text, not empty",
        ),
        (
            MINIMAL + WAIVE + 'reason = "x"\n',
            "waive 1: until is missing: must be a date like 2027-03-01",
        ),
        (MINIMAL + WAIVE + 'reason = "x"\nuntil = "soon"\n', "until = 'soon': must be a date like"),
        (MINIMAL + WAIVE + 'reason = "x"\nuntil = "2027-02-30"\n', "until = '2027-02-30': must be"),
        (MINIMAL + WAIVE + 'reason = "x"\nuntil = 2027\n', "until = 2027: must be a date like"),
        (MINIMAL + WAIVE + 'reason = "x"\nuntil = 2027-03-01T12:00:00Z\n', "must be a date like"),
        (
            MINIMAL + WAIVED + "colour = 1\n",
            "colour = 1: unknown key, known are id, reason, until, ",
        ),
        (MINIMAL + WAIVED + "sometimes = 1\n", "waive 1: sometimes = 1: must be true or false"),
    ],
)
def test_every_mistake_is_told_in_one_line_that_names_the_file(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(TargetError) as caught:
        load(path, environ=KEY)
    assert message in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="cannot be read: No such file"):
        load(tmp_path / "none.toml", environ=KEY)


def test_a_missing_key_names_the_variable() -> None:
    with pytest.raises(TargetError, match=r"^EXPEDITION_API_KEY is not set: "):
        at_url("https://192.0.2.10", environ={})
    with pytest.raises(TargetError, match=r"^EXPEDITION_API_KEY is empty: "):
        at_url("https://192.0.2.10", environ={"EXPEDITION_API_KEY": ""})
    with pytest.raises(TargetError, match=r"^EXPEDITION_PASSWORD is not set: "):
        at_url("https://192.0.2.10", environ={"EXPEDITION_USERNAME": "me"})


@pytest.mark.parametrize("key", ["geheim…", "two\nlines", "tab\t"])
def test_a_key_that_no_header_can_carry_is_not_shown(key: str) -> None:
    with pytest.raises(TargetError, match="api_key") as caught:
        Target(url="https://192.0.2.10", api_key=key)
    assert key not in str(caught.value)


@pytest.mark.parametrize("key", ["Bearer s3cret", "bearer s3cret"])
def test_a_key_with_the_word_in_front_says_so(tmp_path: Path, key: str) -> None:
    with pytest.raises(TargetError, match="begins with `Bearer `") as caught:
        load(written(tmp_path, MINIMAL), environ={"EXPEDITION_API_KEY": key})
    assert "s3cret" not in str(caught.value)
    with pytest.raises(TargetError, match="begins with `Bearer `"):
        at_url("https://192.0.2.10", environ={"EXPEDITION_API_KEY": key})


@pytest.mark.parametrize(
    "url", ["https://h/api-gateway/expedition", "https://h/api/v1/proxy", "https://h/api/"]
)
def test_an_url_may_have_any_path(url: str) -> None:
    assert at_url(url, environ=KEY).url == url.rstrip("/")


@pytest.mark.parametrize("url", ["https://h/api/v1", "https://h/api/v1/", "https://h/x/api/v1"])
def test_an_url_ends_before_the_root_of_the_api(url: str) -> None:
    with pytest.raises(TargetError, match="must be given without /api/v1 at its end"):
        at_url(url, environ=KEY)


def test_a_target_without_jobs_is_refused() -> None:
    with pytest.raises(TargetError, match="at least one JobRecipe"):
        Target(url="https://192.0.2.10", api_key="key", jobs=())


@pytest.mark.parametrize(
    "path", ["project/1/import", ":8090/api/v1/project/1/import", "@elsewhere/api/", ""]
)
def test_a_recipe_leads_to_no_other_host(path: str) -> None:
    with pytest.raises(ValueError, match="must be a path that begins with /api/"):
        JobRecipe(name="import", path=path)


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/project/1/../../job",
        "/api/v1/project/%2e%2E/job",
        "/api/v1/./import",
        "/api/v1/job#/import",
        "/api/v1/import HTTP/1.1\r\nX: y",
        "/api/v1/a b",
        "/api/v1/\x1b",
        "/api/v1/x%3F/../../v1/agent/stop",
        "/api/v1/x%253f/../agent/stop",
        "/api/v1/project/%252e%252e/agent/stop",
        "/api/v1/project/..;/agent/stop",
        "/api/v1/project\\..\\agent/stop",
        "/api/v1/project%5c..%5cagent/stop",
        "/api/v1/project%2f..%2fagent/stop",
        "/api/v1/project/%20../agent/stop",
        "/api/v1/agent%23/stop",
        "/api/v1/agent%00/stop",
    ],
)
def test_the_path_of_a_recipe_is_as_it_is_sent(path: str) -> None:
    """Libraries resolve dots and cut fragments: another request would be sent than is named."""
    with pytest.raises(ValueError, match="must be as it is sent, without white space, `#`, `;`"):
        JobRecipe(name="import", path=path)


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/agent/stop",
        "/api/v1/agent/2/stop",
        "/api/v1/job/7",
        "/api/v1/job",
        "/api//v1/agent//stop",
        "/api/v1/%61gent/stop",
        "/api/v1/Agent/stop",
        "/api/v1/%2561gent/stop",
        "/api/v1%2Fagent/stop",
        "/api/v1/agent%20/stop",
        "/api/v1/job.json",
        "/api/v1/agent/stop?x=/../y",
    ],
)
def test_a_recipe_is_about_no_job_and_no_agent(path: str) -> None:
    """Only `control = true` allows to stop the agent."""
    with pytest.raises(ValueError, match="must create a job; requests about jobs and the agent"):
        JobRecipe(name="import", path=path, method="GET")


def test_what_is_said_in_python_is_checked_too() -> None:
    until = date(2027, 3, 1)
    wrong: Any = "DELETE"
    with pytest.raises(ValueError, match="method = 'DELETE': must be one of GET"):
        JobRecipe(name="import", path="/api/v1/x", method=wrong)
    with pytest.raises(ValueError, match="json: must be left out if form is given"):
        JobRecipe(name="import", path="/api/v1/x", json=[], form={"a": "1"})
    with pytest.raises(ValueError, match="json: cannot be written as JSON"):
        JobRecipe(name="import", path="/api/v1/x", json={"at": until})
    with pytest.raises(TargetError, match=r"Limits: jobs = 0: must be above 0"):
        Limits(jobs=0)
    with pytest.raises(ValueError, match="id = 'x': must be the id of a requirement"):
        Waiver(id="x", reason="known", until=until)
    with pytest.raises(ValueError, match="Waiver: reason = ' ': must be a text, not empty"):
        Waiver(id="status.bounds", reason=" ", until=until)
    waiver = Waiver(id="status.bounds", reason="known", until=until, sometimes=True)
    twice = r"waive: id = 'status\.bounds': must be waived only once"
    with pytest.raises(TargetError, match=twice):
        Target(url="https://192.0.2.10", api_key="key", waivers=(waiver, waiver))
    with pytest.raises(TargetError, match="needs api_key, or username and password"):
        Target(url="https://192.0.2.10", username="admin")


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"url": None}, "url = None: must be a str"),
        ({"jobs": "import"}, "jobs = 'import': must be a list of JobRecipe"),
        (
            {"jobs": [{"name": "import"}]},
            "jobs = [{'name': 'import'}]: must be a list of JobRecipe",
        ),
        ({"waivers": ["status.bounds"]}, "waivers = ['status.bounds']: must be a list of Waiver"),
        ({"limits": {"jobs": 1}}, "limits = {'jobs': 1}: must be a Limits"),
        ({"start_agent": "no"}, "start_agent = 'no': must be True or False"),
        ({"control_agent": "no"}, "control_agent = 'no': must be True or False"),
    ],
)
def test_the_types_of_a_target_are_checked(wrong: dict[str, Any], complaint: str) -> None:
    with pytest.raises(TypeError, match=re.escape(f"Target: {complaint}")):
        Target(**{"url": "https://192.0.2.10", "api_key": "key", **wrong})


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"jobs": "1"}, "jobs = '1': must be a whole number"),
        ({"jobs": 1.5}, "jobs = 1.5: must be a whole number"),
        ({"requests": True}, "requests = True: must be a whole number"),
        ({"seconds": None}, "seconds = None: must be a number"),
    ],
)
def test_limits_are_numbers(wrong: dict[str, Any], complaint: str) -> None:
    with pytest.raises(TypeError, match=f"Limits: {complaint}"):
        Limits(**wrong)


@pytest.mark.parametrize("wrong", ["no", 0, 1, "false"])
def test_jobs_can_be_cancelled_or_not_or_it_is_unknown(wrong: Any) -> None:
    """The suite would cancel jobs that must not be cancelled."""
    with pytest.raises(TypeError, match=f"cancellable = {wrong!r}: must be True, False or None"):
        JobRecipe(name="import", path="/api/v1/x", cancellable=wrong)


@pytest.mark.parametrize("auth", ['api_key = "s3cret-key"', 'api_key_env = "s3cret-key"'])
def test_a_secret_in_the_wrong_place_is_not_repeated(tmp_path: Path, auth: str) -> None:
    with pytest.raises(TargetError) as caught:
        load(written(tmp_path, f"{MINIMAL}[auth]\n{auth}\n"), environ=KEY)
    assert "s3cret" not in str(caught.value)


def test_no_url_is_taken_for_one() -> None:
    no_urls: list[Any] = ["", "http://", "//host", "http://host:0", "http://h#x"]
    no_urls += ["http://a..b", "http://é☃", f"http://{64 * 'x'}.com", "http://*", "http://h:80:80"]
    for url in no_urls:
        with pytest.raises(TargetError, match=r"^Target: url = .*: must "):
            Target(url=url)
