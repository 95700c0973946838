"""What fits a reply: a text no client refuses, and as many log entries or links as one frame holds."""

from agent.ledger.tables import Page
from agent.wire.local import LogEntry, PageIs
from agent.wire.messages import encode

TEXT_LENGTH_MAX = 500  # agent.wire.messages.Text: what is longer, no client would take for a reply
REPLY_BYTES_MAX = 200_000  # leaves room in a frame for what is around the entries


def fitting_text(text: str) -> str:
    """The text, cut where it is too long."""
    return text if len(text) <= TEXT_LENGTH_MAX else f"{text[: TEXT_LENGTH_MAX - 3]}..."


def newest_that_fit(entries: list[LogEntry]) -> list[LogEntry]:
    """What is asked for may be more than a frame holds; the newest are what matters. Newest last."""
    total = 0
    for kept, entry in enumerate(reversed(entries)):
        total += len(encode(entry))
        if total > REPLY_BYTES_MAX:
            return entries[len(entries) - kept :]
    return entries


def page_that_fits(page: Page) -> PageIs:
    """As many links of a page as one frame holds, the oldest; whoever asks goes on behind them."""
    total, links = 0, []
    for row in page.rows:
        total += len(row[2])
        if total > REPLY_BYTES_MAX:
            break
        links.append(row)
    return PageIs(page.newest, page.kept_bytes, links)
