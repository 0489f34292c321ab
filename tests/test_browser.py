"""The page of a report in a real browser: headless Chromium, where there is one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from documents import document_of, hostile, slipping_back
from histories import Story

from pytest_expedition.report.html import as_html

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_expedition.report.entries import Document

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), "")

pytestmark = pytest.mark.skipif(not BROWSER, reason=f"none of {', '.join(BROWSERS)} is installed")

WATCHED = """<!DOCTYPE html><meta charset="utf-8"><body><script>
const frame = document.createElement("iframe");
frame.style = "width: WIDTHpx; height: 800px; border: 0";
frame.src = "report.html";
frame.onload = () => {
  const page = frame.contentDocument;
  const shown = (selector) =>
    [...page.querySelectorAll(selector)].filter((each) => each.getClientRects().length).length;
  const wide = [...page.querySelectorAll("body *")].filter(
    (each) => each.getBoundingClientRect().right > WIDTH + 0.5 && !each.closest(".skip, thead"));
  const seen = {
    width: page.documentElement.scrollWidth,
    wide: wide.map((each) => each.outerHTML.slice(0, 80)),
    narrowest: Math.min(
      ...[...page.querySelectorAll(".requirements :is(tbody th, .why, .source)")].map(
        (each) => each.clientWidth)),
    buttons: shown(".curl button"),
    charts: shown("svg.chart"),
    articles: shown("article"),
    colour: getComputedStyle(page.body).backgroundColor,
    verdict: page.querySelector("h1").innerText,
  };
  document.body.textContent = "seen:" + JSON.stringify(seen) + ":seen";
};
document.body.append(frame);
</script>
"""
"""A page that shows the report in a frame of some width, and says what it looks like there."""

LOUD = "<!DOCTYPE html><script>console.error('a cry'); nothing.at.all</script>"


def browse(folder: Path, page: str, *options: str) -> tuple[str, list[str]]:
    """Open a page; return its document once it has loaded, and what the console said."""
    result = subprocess.run(
        [
            BROWSER,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--allow-file-access-from-files",
            "--enable-logging=stderr",
            "--virtual-time-budget=5000",
            f"--user-data-dir={folder / 'profile'}",
            *options,
            "--dump-dom",
            (folder / page).as_uri(),
        ],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
        timeout=120,
    )
    said = [line for line in result.stderr.splitlines() if "CONSOLE" in line]
    return result.stdout, said


def look_at(folder: Path, document: Document, *options: str, width: int) -> dict[str, Any]:
    """Show a report in so many CSS pixels; return what is seen there."""
    (folder / "report.html").write_text(as_html(document), encoding="utf-8")
    watched = WATCHED.replace("WIDTH", str(width))
    (folder / "watch.html").write_text(watched, encoding="utf-8")
    shown, said = browse(folder, "watch.html", *options)
    assert said == []
    found = re.search("seen:(.*):seen", shown)
    assert found is not None, shown
    seen: dict[str, Any] = json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">"))
    return seen


def test_an_error_on_the_console_would_be_seen(tmp_path: Path) -> None:
    (tmp_path / "loud.html").write_text(LOUD, encoding="utf-8")
    _, said = browse(tmp_path, "loud.html")
    assert len(said) == 2
    assert "a cry" in said[0]


@pytest.mark.parametrize(
    ("width", "story"),
    [
        pytest.param(360, slipping_back, id="360-failing"),
        pytest.param(360, hostile, id="360-hostile", marks=pytest.mark.long),
        pytest.param(360, Story, id="360-empty", marks=pytest.mark.long),
        pytest.param(1280, slipping_back, id="1280-failing", marks=pytest.mark.long),
        pytest.param(1280, hostile, id="1280-hostile"),
        pytest.param(1280, Story, id="1280-empty"),
    ],
)
def test_a_report_opens_without_an_error_and_is_not_too_wide(
    tmp_path: Path, story: Any, width: int
) -> None:
    document = document_of(story())
    entries = document["requirements"]
    told = len([each for each in entries if each["evidence"] and not each["follows_from"]])
    seen = look_at(tmp_path, document, width=width)
    assert seen["wide"] == []
    assert seen["width"] <= width
    assert seen["narrowest"] > (300 if width == 360 else 150)  # a phone shows cards, no columns
    assert seen["verdict"].endswith(document["verdict"])
    assert seen["articles"] == seen["charts"] == seen["buttons"] == told


@pytest.mark.long
def test_dark_is_dark_and_light_is_light(tmp_path: Path) -> None:
    document = document_of(slipping_back())
    dark = look_at(tmp_path, document, "--blink-settings=preferredColorScheme=0", width=800)
    light = look_at(tmp_path, document, "--blink-settings=preferredColorScheme=1", width=800)
    assert (dark["colour"], light["colour"]) == ("rgb(13, 17, 23)", "rgb(255, 255, 255)")
