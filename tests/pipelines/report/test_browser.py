"""The page in a real browser: no console message, no planted script, nothing pushed off the screen."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.pipelines.report.test_training import side_by_side
from windtunnel.pipelines.report.collect import collect
from windtunnel.pipelines.report.page import write_report

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> str:
    found = next((p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium on this machine")
    return found


def opened(browser: str, page: Path, profile: Path, *extra: str) -> tuple[str, list[str]]:
    """Return the DOM after loading, and what was written to the console."""
    done = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
            f"--user-data-dir={profile}", "--enable-logging=stderr", *extra, "--dump-dom", page.as_uri(),
        ],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def title(dom: str) -> str:
    found = re.search(r"<title>(.*?)</title>", dom, re.DOTALL)
    assert found, dom[:500]
    return found[1]


def test_the_report_opens_silently_and_nothing_planted_ran(browser, store, tmp_path) -> None:
    page = tmp_path / "report.html"
    write_report(collect(store.recipe, store.artifacts), page)
    dom, console = opened(browser, page, tmp_path / "profile")
    assert console == []
    assert "planted" not in title(dom)
    assert "cleaning" in title(dom)


def test_a_hole_in_the_escaping_would_be_caught_twice(browser, store, tmp_path) -> None:
    """The check above can fail: an unescaped script runs without the policy, and is refused and reported with it."""
    page, open_page = tmp_path / "policy.html", tmp_path / "open.html"
    write_report(collect(store.recipe, store.artifacts), page)
    html = page.read_text(encoding="utf-8").replace("<main", "<script>document.title='planted'</script><main", 1)
    page.write_text(html, encoding="utf-8")
    open_page.write_text(re.sub(r"<meta http-equiv.*?>", "", html), encoding="utf-8")
    dom, _ = opened(browser, open_page, tmp_path / "one")
    assert title(dom) == "planted"
    dom, console = opened(browser, page, tmp_path / "two")
    assert title(dom) != "planted"
    assert any("Content Security Policy" in line for line in console)


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_pushed_off_the_screen(browser, store, tmp_path, width) -> None:
    """Wide tables scroll by themselves; the page does not.

    In a frame of the wanted width, because Chromium lays out no window below 500.
    """
    page, frame = tmp_path / "report.html", tmp_path / "frame.html"
    write_report(collect(store.recipe, store.artifacts), page)
    html = re.sub(r"<meta http-equiv.*?>", "", page.read_text(encoding="utf-8"))
    measure = "parent.postMessage(document.documentElement.scrollWidth + ' of ' + innerWidth, '*')"
    page.write_text(html.replace("</body>", f"<script>{measure}</script></body>"), encoding="utf-8")
    frame.write_text(
        "<title>nothing</title><script>onmessage = e => { document.title = e.data }</script>"
        f'<iframe src="{page.name}" width="{width}" height="900" style="border:0"></iframe>',
        encoding="utf-8",
    )
    dom, _ = opened(browser, frame, tmp_path / "profile", "--window-size=1400,1000", "--virtual-time-budget=5000")
    needed, given = map(int, title(dom).split(" of "))
    assert given == width
    assert needed <= given


def test_the_table_of_trainings_is_seen_whole(browser, tmp_path) -> None:
    page = tmp_path / "report.html"
    html = re.sub(r"<meta http-equiv.*?>", "", side_by_side(tmp_path))
    measure = (
        "t = document.querySelector('#trainings .scroll'); document.title = t.scrollWidth + ' of ' + t.clientWidth"
    )
    page.write_text(html.replace("</body>", f"<script>{measure}</script></body>"), encoding="utf-8")
    dom, _ = opened(browser, page, tmp_path / "profile", "--window-size=1280,900")
    needed, given = map(int, title(dom).split(" of "))
    assert needed <= given
