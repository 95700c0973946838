"""The console as an operator meets it: in a browser, over a manager with canned answers."""

import asyncio
import itertools
import re

import pytest
from playwright.async_api import Locator, Page, expect

from tests.console import district
from tests.console.canned import CannedFleet
from tests.console.conftest import Console

pytestmark = [pytest.mark.hil, pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("the page")]

LOOP_A = "gw-darcy/bollard-liberte-1"
COUNT_PIXELS = """async () => {
  for (let frame = 0; frame < 3; frame += 1) await new Promise(requestAnimationFrame);
  const canvas = document.querySelector('.leaflet-overlay-pane canvas');
  const image = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  const colours = {};
  for (let at = 0; at < image.length; at += 4) {
    if (image[at + 3] < 250) continue;
    const name = [image[at], image[at + 1], image[at + 2]].map((part) => part.toString(16).padStart(2, '0')).join('');
    colours[name] = (colours[name] ?? 0) + 1;
  }
  return colours;
}"""


def row(page: Page, key: str) -> Locator:
    return page.locator(f"tr[data-key='{key}']")


async def test_the_page_shows_the_district_without_errors_and_asks_nobody_else(
    console: Console, canned: CannedFleet
) -> None:
    page = await console.open()
    await expect(page.locator("#city")).to_have_text("Armoire · dijon")
    await expect(page.locator("#fleet")).to_have_text("manager centre, term 4")
    await expect(page.locator("#connection")).to_have_text("● live")
    await expect(page.locator("#figures")).to_contain_text("2 gateways up")
    await expect(page.locator("#figures")).to_contain_text("1 lost")
    await expect(page.locator("#figures")).to_contain_text("1 latched")
    await expect(page.locator("#alarms")).to_contain_text("latched by SR-02")
    await expect(page.locator("#count")).to_have_text(
        f"{len(canned.district['equipment'])} of {len(canned.district['equipment'])}"
    )
    await expect(page.locator("#events li")).to_have_count(5)


async def test_every_piece_of_equipment_is_drawn_on_the_map(console: Console, canned: CannedFleet) -> None:
    page = await console.open()
    assert await page.get_attribute("#map", "data-drawn") == str(len(canned.district["equipment"]))
    await expect(page.locator("#connection")).to_have_text("● live")
    colours = await page.evaluate(COUNT_PIXELS)
    for aspect in ("ff6b5e", "f6cf4a", "4fd08a"):
        assert colours.get(aspect, 0) > 20, f"no {aspect} on the map: {colours}"
    assert colours.get("ffd27a", 0) > 300, "no lit lamps on the map"


async def test_the_table_filters_and_sorts(console: Console) -> None:
    page = await console.open()
    await page.fill("#filter", "bollard loop")
    await expect(page.locator("tr.row")).to_have_count(1)
    await expect(row(page, LOOP_A)).to_contain_text("down, loop A occupied")
    await expect(page.locator("#count")).to_contain_text("1 of ")
    await page.fill("#filter", "bollard")
    await page.get_by_role("button", name="Name").click()
    await expect(page.locator("tr.row").first).to_contain_text("Liberté 1")
    await page.get_by_role("button", name="Name").click()
    await expect(page.locator("tr.row").first).to_contain_text("Liberté 3")
    await expect(page.locator("th.c-name")).to_have_attribute("aria-sort", "descending")


async def test_a_long_table_keeps_only_the_rows_in_view(console: Console, canned: CannedFleet) -> None:
    canned.district["equipment"] += district.street("gw-darcy", "segment-rocade", "Rocade", (47.34, 5.03), 40, 4000)
    page = await console.open()
    await expect(page.locator("#count")).to_have_text(
        f"{len(canned.district['equipment'])} of {len(canned.district['equipment'])}"
    )
    assert await page.locator("tr.row").count() < 80
    await page.locator("tr.row").first.focus()
    await page.keyboard.press("End")
    await expect(page.locator("tr.row:focus")).to_have_attribute(
        "aria-rowindex", str(len(canned.district["equipment"]) + 1)
    )


async def test_a_refused_command_shows_its_rule_and_what_the_equipment_does(
    console: Console, canned: CannedFleet
) -> None:
    page = await console.open()
    await page.select_option("#operator", "alice")
    await row(page, LOOP_A).click()
    await page.get_by_role("button", name="Raise").click()
    await expect(page.get_by_role("button", name="No", exact=True)).to_be_focused()
    await page.get_by_role("button", name="Yes, raise").click()
    await expect(page.locator(".outcome")).to_contain_text(
        "refused by SR-19: loop A is occupied. The bollard stays down."
    )
    await expect(page.locator("#commands")).to_contain_text("refused by SR-19")
    assert canned.posted == [
        {"gateway": "gw-darcy", "equipment": "bollard-liberte-1", "verb": "raise", "args": {}, "operator": "alice",
         "expect": {"point": "bollard-liberte-1/state", "value": "down"}, "dry_run": False}
    ]  # fmt: skip


async def test_what_lowers_is_asked_for_without_conditions(console: Console, canned: CannedFleet) -> None:
    page = await console.open()
    await page.select_option("#operator", "alice")
    await row(page, LOOP_A).click()
    await page.get_by_role("button", name="Lower").click()
    await expect(page.locator(".outcome")).to_contain_text("The bollard is down.")
    assert "expect" not in canned.posted[0]


async def test_an_unknown_verb_is_passed_on_and_its_refusal_shown(console: Console, canned: CannedFleet) -> None:
    page = await console.open()
    await page.select_option("#operator", "alice")
    await page.fill("#filter", "darcy junction")
    await row(page, "gw-darcy/darcy").click()
    await page.get_by_text("Other verb").click()
    await page.get_by_label("Verb", exact=True).fill("set-green")
    await page.get_by_label("Arguments").fill("group=1 now=true name=x")
    await page.get_by_role("button", name="Send").click()
    await expect(page.locator(".outcome")).to_contain_text("refused by SR-01: no such verb 'set-green'")
    assert canned.posted[0]["args"] == {"group": 1, "now": True, "name": "x"}


async def test_arguments_that_cannot_be_read_are_not_sent(console: Console, canned: CannedFleet) -> None:
    page = await console.open()
    await page.select_option("#operator", "alice")
    await row(page, LOOP_A).click()
    await page.get_by_text("Other verb").click()
    await page.get_by_label("Verb", exact=True).fill("lower")
    await page.get_by_label("Arguments").fill("now")
    await page.get_by_role("button", name="Send").click()
    await expect(page.locator(".outcome")).to_contain_text('not sent: "now" is not of the form name=value')
    assert canned.posted == []


async def test_nobody_commands_without_saying_who_they_are(console: Console, canned: CannedFleet) -> None:
    page = await console.open()
    await row(page, LOOP_A).click()
    await page.get_by_role("button", name="Lower").click()
    await expect(page.locator(".outcome")).to_contain_text("choose who you are acting as first")
    assert canned.posted == []


async def test_flash_waits_for_the_approval_of_another_operator(console: Console, canned: CannedFleet) -> None:
    page = await console.open()
    await page.select_option("#operator", "alice")
    await page.fill("#filter", "darcy junction")
    await row(page, "gw-darcy/darcy").click()
    await page.get_by_role("button", name="Yellow flash").click()
    await page.get_by_role("button", name="Yes, yellow flash").click()
    await expect(page.locator(".outcome")).to_contain_text("A different operator than alice must approve")
    await expect(page.locator("#figures")).to_contain_text("1 awaiting approval")
    assert canned.posted[0]["args"] == {"lease_s": 600}
    await page.select_option("#operator", "bruno")
    await page.locator(".outcome").get_by_role("button", name="Approve as bruno").click()
    await expect(page.locator(".outcome")).to_contain_text("done: The junction flashes.")
    await page.keyboard.press("Escape")
    await expect(page.locator("#commands")).to_contain_text("by alice + bruno")


async def test_a_dry_run_says_that_nothing_was_sent(console: Console, canned: CannedFleet) -> None:
    page = await console.open()
    await page.select_option("#operator", "alice")
    await page.fill("#filter", "segment-devosges segment")
    await row(page, "gw-darcy/segment-devosges").click()
    await page.get_by_label("dry run").check()
    await page.get_by_label("Level in percent").fill("40")
    await page.get_by_role("button", name="Set level").click()
    await expect(page.locator(".outcome")).to_contain_text(
        "Dry run: set level 40 % for 10 min if level percent is still"
    )
    await expect(page.locator(".outcome")).to_contain_text("Nothing was sent.")
    assert canned.posted[0]["dry_run"] is True
    assert canned.posted[0]["args"] == {"level_percent": 40, "lease_s": 600}


async def test_an_outcome_that_comes_later_replaces_the_first_word(console: Console, canned: CannedFleet) -> None:
    page = await console.open()
    await page.select_option("#operator", "alice")
    await row(page, LOOP_A).click()
    await page.get_by_role("button", name="Lower").click()
    await expect(page.locator(".outcome")).to_contain_text("done: The bollard is down.")
    canned.publish("command", {**canned.commands[0], "status": "unknown", "state": "", "reason": "no result in time"})
    await expect(page.locator(".outcome")).to_contain_text("unknown: no result in time.")


async def test_the_sheet_shows_signal_groups_by_letter_and_number(console: Console) -> None:
    page = await console.open()
    await page.fill("#filter", "darcy junction")
    await row(page, "gw-darcy/darcy").click()
    shown = await page.locator(".group").all_inner_texts()
    assert [text.split() for text in shown] == [[a, str(n)] for n, a in enumerate("GRRYGRR-", start=1)]
    await expect(page.locator(".sheet")).to_contain_text("60 s")


async def test_a_latch_shows_its_rule_its_reason_and_that_only_the_site_resets_it(console: Console) -> None:
    page = await console.open()
    await page.locator("#alarms button").first.click()
    await expect(page.locator(".latch")).to_contain_text("Latched by SR-02")
    await expect(page.locator(".latch")).to_contain_text("groups 1 and 3 conflict: green and green")
    await expect(page.locator(".latch")).to_contain_text("reset only on site")
    await expect(page.locator("form[data-verb=reset]")).to_have_count(0)


async def test_history_is_drawn_with_its_range_in_words(console: Console) -> None:
    page = await console.open()
    await page.fill("#filter", "meter-darcy")
    await row(page, "gw-darcy/meter-darcy").click()
    await expect(page.locator("canvas.chart")).to_have_attribute(
        "aria-label", re.compile("15 min: lowest 40 W, highest 80 W")
    )
    await page.get_by_role("button", name="2 h").click()
    await expect(page.locator("canvas.chart")).to_have_attribute("aria-label", re.compile("power_w: 2 h: lowest 40 W"))


async def test_new_values_reach_table_map_and_sheet(console: Console, canned: CannedFleet) -> None:
    page = await console.open()
    await row(page, LOOP_A).click()
    news = {"loop_a": district.point(False, age_ms=0), "state": district.point("rising", age_ms=0)}
    canned.publish(
        "points",
        {"gateway": "gw-darcy", "equipment": "bollard-liberte-1", "mode": "supervised", "latch": None, "points": news},
    )
    await expect(row(page, LOOP_A).locator(".c-state")).to_have_text("rising")
    await expect(page.locator(".sheet .status")).to_contain_text("rising")


async def test_an_event_appears_in_the_list_and_in_the_sheet_once(console: Console, canned: CannedFleet) -> None:
    page = await console.open()
    await row(page, LOOP_A).click()
    await expect(page.locator(".sheet .list li")).to_have_count(1)
    event = {**canned.events[3], "id": 99, "text": "loop B is occupied", "t_ms": district.now_ms()}
    canned.publish("event", event)
    canned.publish("event", event)
    await expect(page.locator(".sheet .list li").first).to_contain_text("loop B is occupied")
    await page.keyboard.press("Escape")
    await expect(page.locator("#events li", has_text="loop B is occupied")).to_have_count(1)


@pytest.mark.parametrize("place", ["name", "event", "reason"])
async def test_hostile_text_is_shown_as_text(console: Console, canned: CannedFleet, place: str) -> None:
    if place == "event":
        canned.events.append(
            {
                **canned.events[0],
                "id": 7,
                "kind": district.HOSTILE,
                "text": district.HOSTILE,
                "t_ms": district.now_ms(),
            }
        )
    if place == "reason":
        canned.district["equipment"][0]["latch"] = {
            "rule": district.HOSTILE,
            "reason": district.HOSTILE,
            "since_ms": 1,
        }
    page = await console.open()
    await page.fill("#filter", "onerror")
    await row(page, "gw-republique/cabinet-republique").click()
    await expect(page.locator(".sheet h2")).to_have_text(district.HOSTILE)
    await expect(page.locator(".sheet canvas.chart")).to_be_visible()
    if place == "event":
        await page.keyboard.press("Escape")
        await expect(page.locator("#events")).to_contain_text(district.HOSTILE)
    if place == "reason":
        await expect(page.locator("#alarms")).to_contain_text(district.HOSTILE)
    assert await page.evaluate("'pwned' in window") is False
    assert await page.locator("img[src=x]").count() == 0
    assert await page.locator("script").count() == 2


async def test_a_hostile_name_is_text_in_the_maps_tooltip_too(console: Console, canned: CannedFleet) -> None:
    canned.district["equipment"] = [each for each in canned.district["equipment"] if each["name"] == district.HOSTILE]
    page = await console.open()
    box = await page.locator("#map").bounding_box()
    assert box is not None
    async with asyncio.timeout(10):
        for step in itertools.count():  # The map may still be settling under the mouse.
            await page.mouse.move(box["x"] + box["width"] / 2 + step % 3, box["y"] + box["height"] / 2)
            if await page.locator(".leaflet-tooltip").is_visible():
                break
            box = await page.locator("#map").bounding_box() or box
    await expect(page.locator(".leaflet-tooltip strong")).to_have_text(district.HOSTILE)
    await page.locator("#map").click()
    await expect(page.locator(".sheet h2")).to_have_text(district.HOSTILE)
    assert await page.evaluate("'pwned' in window") is False


async def test_the_table_and_the_sheet_work_by_keyboard_alone(console: Console) -> None:
    page = await console.open()
    await page.keyboard.press("/")
    await expect(page.locator("#filter")).to_be_focused()
    await page.keyboard.type("bollard")
    await page.keyboard.press("ArrowDown")
    await expect(row(page, LOOP_A)).to_be_focused()
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")
    await expect(page.locator(".sheet h2")).to_have_text("Rue de la Liberté 2")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("button", name="Close the sheet")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(page.locator(".sheet")).to_be_hidden()
    await expect(row(page, "gw-darcy/bollard-liberte-2")).to_be_focused()


async def test_a_gateway_that_does_not_keep_up_says_so_in_the_board_and_on_the_sheet(
    console: Console, canned: CannedFleet
) -> None:
    gateway = next(each for each in canned.district["gateways"] if each["id"] == "gw-darcy")
    gateway |= {"behind": {"state": "12 batches it has sealed have not arrived"}, "unsealed": 1}
    for equipment in canned.district["equipment"]:
        for point in equipment["points"].values():
            point["quality"] = 2
    page = await console.open()
    await row(page, "gw-darcy/bollard-liberte-2").click()
    status = page.locator(".sheet .status")
    await expect(status).to_contain_text("has not arrived: stream state is behind: 12 batches it has sealed")
    await expect(status).to_contain_text("its disk does not take 1 record, which waits in its memory")
    await page.locator(".figure").click()
    line = page.locator("#gateways tr", has_text="gw-darcy")
    await expect(line).to_contain_text("stream state is behind: 12 batches it has sealed have not arrived")
    await expect(line).to_contain_text("its disk does not take 1 record")
    gateway |= {"behind": {}, "unsealed": 0}
    canned.publish("gateway", gateway)
    await expect(line).not_to_contain_text("behind")
    await expect(line).not_to_contain_text("disk")


async def test_the_gateways_are_told_one_by_one(console: Console) -> None:
    page = await console.open()
    await page.locator(".figure").click()
    await expect(page.locator("#gateways tr", has_text="gw-gare")).to_contain_text("lost")
    await page.keyboard.press("Escape")
    await expect(page.locator("#gateways")).to_be_hidden()
