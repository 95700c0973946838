"""The console's pure parts, run in the browser that runs them in the control room; and its colours."""

import json
import re
from collections.abc import Mapping

import pytest

from tests.console.canned import CONSOLE
from tests.console.conftest import Console

pytestmark = pytest.mark.xdist_group("modules")
CONTRAST_MIN = 4.5  # WCAG 2.1 AA, text
SIGN_CONTRAST_MIN = 3.0  # WCAG 2.1 AA, graphics
SPLIT_EVERYWHERE = """async (text) => {
  const { EventSplitter } = await import('/api.js');
  const heard = (pieces) => {
    const events = [];
    const splitter = new EventSplitter((name, data) => events.push([name, data]));
    for (const piece of pieces) splitter.feed(piece);
    return JSON.stringify(events);
  };
  const answers = new Set([heard([text]), heard([...text])]);
  for (let at = 0; at <= text.length; at += 1) answers.add(heard([text.slice(0, at), text.slice(at)]));
  return [...answers];
}"""


@pytest.mark.hil
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
async def test_the_stream_is_understood_however_the_network_cuts_it(console: Console, end: str) -> None:
    page = await console.open()
    lines = (
        ": beat",
        "",
        "event: points",
        'data: {"a":',
        'data: "é"}',
        "id: 7",
        "",
        ": beat",
        "",
        "data:x",
        "",
        "event: lost",
        "",
        "data: y",
        "",
    )
    answers = await page.evaluate(SPLIT_EVERYWHERE, "".join(line + end for line in lines) + ": beat")
    assert [json.loads(answer) for answer in answers] == [
        [["points", '{"a":\n"é"}'], ["message", "x"], ["message", "y"]]
    ]


@pytest.mark.hil
@pytest.mark.asyncio(loop_scope="module")
async def test_ages_values_and_outcomes_read_plainly(console: Console) -> None:
    page = await console.open()
    ages = await page.evaluate(
        "import('/words.js').then(({age}) => [0, 59999, 60000, 3900000, 172800000, null].map(age))"
    )
    assert ages == ["0 s", "59 s", "1 min", "1 h 05", "2 d", "–"]
    script = """import('/words.js').then(({valueWithUnit}) => [['power_w', 12.5], ['loop_a', true], ['level_percent', 60],
        ['state', 'down'], ['energy_kwh', null], ['energy_kwh', 48213.75], ['aspects', 7]].map(([name, raw]) => valueWithUnit(name, raw)))"""
    assert await page.evaluate(script) == ["12.5 W", "yes", "60 %", "down", "no value", "48213.75 kWh", "7"]
    script = """import('/commands.js').then(({sentence}) => [
        {status: 'refused', rule: 'SR-19', reason: 'loop A is occupied', state: 'The bollard stays down'},
        {status: 'done', reason: '', state: ''}, {status: 'sent'}, {}].map(sentence))"""
    assert await page.evaluate(script) == [
        "refused by SR-19: loop A is occupied. The bollard stays down.", "done", "sent, waiting for the cabinet's answer", "unknown",
    ]  # fmt: skip


def themes() -> dict[str, dict[str, str]]:
    """Custom properties of the dark and of the light theme; light inherits what it does not name."""
    css = (CONSOLE / "style.css").read_text()
    dark, light = (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))
        for block in re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    )
    return {"dark": dark, "light": {**dark, **light}}


def contrast(first: str, second: str) -> float:
    """WCAG 2.1 contrast ratio of two colours."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    brighter, darker = sorted((luminance(first), luminance(second)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_every_text_has_the_contrast_of_wcag_aa(theme: str) -> None:
    colours: Mapping[str, str] = themes()[theme]
    pairs = [
        (ink, ground)
        for ink in ("ink", "quiet", "accent", "ok", "warn", "alarm", "stale")
        for ground in ("bg", "panel", "raised")
    ]
    pairs += [("warn", "warn-ground"), ("ink", "alarm-ground"), ("quiet", "alarm-ground"), ("alarm", "alarm-ground")]
    pairs += [("on-aspect", aspect) for aspect in ("red", "yellow", "green")]
    weak = {f"{ink} on {ground}": contrast(colours[ink], colours[ground]) for ink, ground in pairs}
    assert {pair: ratio for pair, ratio in weak.items() if ratio < CONTRAST_MIN} == {}


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_every_sign_on_the_map_stands_out(theme: str) -> None:
    colours = themes()[theme]
    pairs = [(sign, "bg") for sign in ("ink", "stale", "alarm", "warn", "lamp-off")] + [
        (each, "dark-aspect") for each in ("red", "yellow", "green")
    ]
    weak = {f"{sign} on {ground}": contrast(colours[sign], colours[ground]) for sign, ground in pairs}
    assert {pair: ratio for pair, ratio in weak.items() if ratio < SIGN_CONTRAST_MIN} == {}


def test_no_module_parses_text_as_html() -> None:
    forbidden = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|https?://(?!www\.w3\.org)"
    )
    found = [
        f"{path.name}: {match.group()}"
        for path in sorted(CONSOLE.iterdir())
        for match in forbidden.finditer(path.read_text())
    ]
    assert found == []
