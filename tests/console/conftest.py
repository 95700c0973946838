"""A browser over a manager, real or canned; any error in the page or request elsewhere fails the test."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Request, async_playwright

from tests.console.canned import CannedFleet

VIEW = {"width": 1440, "height": 900}
NOT_FETCHED = ("data:", "blob:")


class Console:
    """Pages under watch."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.context = context
        self.address = address
        self.errors: list[str] = []
        self.elsewhere: list[str] = []
        self.excused = ""

    async def new_page(self) -> Page:
        page = await self.context.new_page()
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._asked)
        return page

    async def open(self, page: Page | None = None) -> Page:
        """The page, once the district is on the map."""
        page = page or await self.new_page()
        await page.goto(f"{self.address}/")
        await page.wait_for_selector("#map[data-drawn]")
        return page

    def excuse(self, text: str) -> None:
        """Expect the browser to complain of a connection that a test breaks on purpose."""
        self.excused = text

    def complaints(self) -> list[str]:
        return [error for error in self.errors if not self.excused or self.excused not in error]

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(f"{message.type}: {message.text}")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((f"{self.address}/", *NOT_FETCHED)):
            self.elsewhere.append(request.url)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(require_program: Callable[[str], Path]) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(
            executable_path=str(require_program("chromium")), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield chromium
        await chromium.close()


@asynccontextmanager
async def watched(browser: Browser, address: str, color_scheme: str = "dark") -> AsyncIterator[Console]:
    """A console at an address; at the end it must have been quiet."""
    context = await browser.new_context(
        viewport=VIEW,  # type: ignore[arg-type]
        color_scheme=color_scheme,  # type: ignore[arg-type]
        locale="fr-FR",
        timezone_id="Europe/Paris",
    )
    context.set_default_timeout(10_000)
    console = Console(context, address)
    try:
        yield console
    finally:
        await context.close()
    assert console.complaints() == []
    assert console.elsewhere == []


@pytest_asyncio.fixture(loop_scope="module")
async def canned() -> AsyncIterator[CannedFleet]:
    async with CannedFleet() as fleet:
        yield fleet


@pytest_asyncio.fixture(loop_scope="module")
async def console(browser: Browser, canned: CannedFleet) -> AsyncIterator[Console]:
    async with watched(browser, canned.address) as watching:
        yield watching
