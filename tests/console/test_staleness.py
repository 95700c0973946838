"""Nothing stale is ever shown as live: gateways that fall silent, managers that do, and pages that cannot tell."""

import asyncio

import pytest
from playwright.async_api import Page, expect

from tests.console import district
from tests.console.canned import CannedFleet
from tests.console.conftest import Console

pytestmark = [pytest.mark.hil, pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("staleness")]

SILENCE_MS = 25_000
BOLLARD = "tr[data-key='gw-darcy/bollard-liberte-2']"


async def stale_page(page: Page) -> None:
    """Wait until the page says that it is not live, everywhere."""
    await expect(page.locator("#connection")).to_contain_text("stale since")
    await expect(page.locator("#notice")).to_contain_text("is not live")
    await expect(page.locator(BOLLARD)).to_contain_text("was: up")
    await expect(page.locator("tr.row:not(.stale)")).to_have_count(0)
    await expect(page.locator("#figures")).to_contain_text("were up")


async def test_a_lost_gateway_makes_its_equipment_stale_with_an_age(console: Console) -> None:
    page = await console.open()
    await page.fill("#filter", "junction gw-gare")
    line = page.locator("tr.row")
    await expect(line).to_have_class("row stale")
    await expect(line.locator(".c-quality")).to_have_text("○ stale")
    await expect(line.locator(".c-age")).to_have_text("2 min")
    await line.click()
    await expect(page.locator(".sheet .status")).to_contain_text("its gateway is lost")
    await expect(page.locator(".group.stale")).to_have_count(8)
    await expect(page.locator(".points tr.stale")).to_have_count(6)


async def test_a_gateway_lost_while_the_page_is_open_makes_its_equipment_stale(
    console: Console, canned: CannedFleet
) -> None:
    page = await console.open()
    await expect(page.locator(BOLLARD)).to_have_class("row")
    canned.district["gateways"][0]["link"] = "lost"
    canned.publish("gateway", canned.district["gateways"][0])
    await expect(page.locator(BOLLARD)).to_have_class("row stale")
    await expect(page.locator("#figures")).to_contain_text("2 lost")
    canned.district["gateways"][0]["link"] = "up"
    canned.publish("gateway", canned.district["gateways"][0])
    await expect(page.locator(BOLLARD)).to_have_class("row")


async def test_a_stale_point_is_stale_although_its_gateway_is_up(console: Console, canned: CannedFleet) -> None:
    canned.district["equipment"][2]["points"]["state"]["quality"] = 2
    page = await console.open()
    await expect(page.locator(BOLLARD)).to_have_class("row stale")
    await expect(page.locator(BOLLARD)).to_contain_text("was: up")


async def test_a_point_without_quality_is_not_believed(console: Console, canned: CannedFleet) -> None:
    del canned.district["equipment"][2]["points"]["state"]["quality"]
    page = await console.open()
    await expect(page.locator(BOLLARD).locator(".c-quality")).to_have_text("✕ bad")


async def test_a_manager_that_goes_away_makes_everything_stale_until_it_is_back(
    console: Console, canned: CannedFleet
) -> None:
    console.excuse("net::ERR")
    page = await console.open()
    await canned.stop()
    await stale_page(page)
    canned.district["equipment"][2]["points"]["state"]["value"] = "lowering"
    await canned.start()
    await expect(page.locator("#connection")).to_have_text("● live", timeout=20_000)
    await expect(page.locator("#notice")).to_be_hidden()
    await expect(page.locator(BOLLARD).locator(".c-state")).to_have_text("lowering")


async def test_a_manager_that_only_falls_silent_is_noticed(console: Console, canned: CannedFleet) -> None:
    console.excuse("503")
    page = await console.new_page()
    await page.clock.install()
    await console.open(page)
    canned.is_beating = False
    await page.clock.run_for(SILENCE_MS)
    await stale_page(page)


async def test_a_quiet_district_stays_live_by_the_heartbeat_alone(console: Console, canned: CannedFleet) -> None:
    page = await console.new_page()
    await page.clock.install()
    await console.open(page)
    for _ in range(5):
        await page.clock.run_for(SILENCE_MS / 5)
        async with asyncio.timeout(5):
            for _ in range(3):
                canned.beaten.clear()
                await canned.beaten.wait()
    await expect(page.locator("#connection")).to_have_text("● live")


async def test_resync_fetches_the_district_again(console: Console, canned: CannedFleet) -> None:
    page = await console.open()
    canned.district["equipment"][2]["points"]["state"] = district.point("lowering")
    canned.district["equipment"].append(district.card("gw-darcy", "bollard", "new-one", "A new one", (47.32, 5.04)))
    canned.publish("resync", {})
    await expect(page.locator(BOLLARD).locator(".c-state")).to_have_text("lowering")
    await expect(page.locator("tr.row", has_text="A new one").locator(".c-quality")).to_contain_text("no values")


async def test_equipment_nobody_announced_makes_the_page_fetch_again(console: Console, canned: CannedFleet) -> None:
    page = await console.open()
    canned.district["equipment"].append(district.card("gw-darcy", "bollard", "new-one", "A new one", (47.32, 5.04)))
    canned.publish("points", {"gateway": "gw-darcy", "equipment": "new-one", "points": {}})
    await expect(page.locator("tr.row", has_text="A new one")).to_be_visible()


async def test_an_open_sheet_closes_when_its_equipment_is_gone(console: Console, canned: CannedFleet) -> None:
    page = await console.open()
    await page.locator(BOLLARD).click()
    await expect(page.locator(".sheet")).to_be_visible()
    del canned.district["equipment"][2]
    canned.publish("resync", {})
    await expect(page.locator(".sheet")).to_be_hidden()


async def test_nonsense_on_the_stream_does_no_harm(console: Console, canned: CannedFleet) -> None:
    page = await console.open()
    for name, message in (
        ("points", None), ("points", []), ("points", {"gateway": 7}), ("points", "x"), ("gateway", {}), ("event", {}),
        ("command", {}), ("unheard-of", {"a": 1}), ("points", {"gateway": "gw-darcy", "equipment": "darcy", "points": {"aspects": {}}}),
    ):  # fmt: skip
        canned.publish(name, message)
    news = {"state": district.point("lowering", age_ms=0)}
    canned.district["equipment"][2]["points"].update(news)
    canned.publish("points", {"gateway": "gw-darcy", "equipment": "bollard-liberte-2", "points": news})
    await expect(page.locator(BOLLARD).locator(".c-state")).to_have_text("lowering")
    await expect(page.locator("#connection")).to_have_text("● live")
