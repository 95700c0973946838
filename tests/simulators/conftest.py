"""A reference junction without sockets, in the hands of the referee."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from simulators.signal_controller.signal_cabinet import SignalCabinet
from tests.referee import Verdict, judged
from tests.simulators.junction import unjudged_cabinet


@pytest.fixture
def cabinet_by_hand() -> Iterator[Callable[..., SignalCabinet]]:
    """Make cabinets on a ManualClock, judged to the end of the test; ``verdict`` says what is to be seen."""
    with ExitStack() as stack:

        def make(verdict: Verdict = "clear", **how: Any) -> SignalCabinet:
            cabinet = unjudged_cabinet(**how)
            stack.enter_context(judged(cabinet, verdict))
            return cabinet

        yield make
