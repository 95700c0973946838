"""What happens in the city during a storm: a counted point moves, people command, and each word of an answer is kept."""

import asyncio
import random
import re
from collections import Counter
from typing import Any

from tests.chaos.http import ask
from tests.chaos.plant import JUNCTION, LIGHTING, OPERATORS, Plant

STEP_S = 0.15
COMMAND_PAUSE_S = (0.2, 1.0)
POST_S = 4.0
LUX_FIRST, LUX_LAST = 1_000, 60_000
SEGMENTS = ("seg-darcy-1", "seg-darcy-2", "seg-darcy-3")
LEVELS = range(31, 100)
"""Above every floor. Each command on a segment gets the next one, so that the device's writes tell them apart."""
LEASE_S = 600


async def move_the_point(plant: Plant) -> None:
    """Count the photocell up, for as long as the storm lasts."""
    for lux in range(LUX_FIRST, LUX_LAST):
        plant.lux.append(lux)
        plant.cabinet.set(lux=lux)
        await asyncio.sleep(STEP_S)
    raise AssertionError("the photocell has come to its end")


class People:
    """Operators who command all the time, whatever the manager answers."""

    def __init__(self, plant: Plant, dice: random.Random) -> None:
        self._plant = plant
        self._dice = dice
        self._levels = dict.fromkeys(SEGMENTS, 0)
        self.answers: list[dict[str, Any]] = []
        """Answers that name a command: from then on the manager must know it."""
        self.refusals: Counter[str] = Counter()
        """Why nothing was done, by what the manager said."""

    async def command(self) -> None:
        """Ask for something again and again, until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:  # As long as the storm.
                group.create_task(self._ask(self._body()))
                await asyncio.sleep(self._dice.uniform(*COMMAND_PAUSE_S))

    def _body(self) -> dict[str, object]:
        operator = self._dice.choice(OPERATORS)
        if self._dice.random() < 0.5:
            plan = self._dice.choice((1, 2))
            verb, args = self._dice.choice([("select-plan", {"plan": plan, "lease_s": LEASE_S}), ("release", {})])
            return {"gateway": JUNCTION, "equipment": "j-republique", "verb": verb, "args": args, "operator": operator}
        segment = self._dice.choice(SEGMENTS)
        level = LEVELS[self._levels[segment] % len(LEVELS)]
        self._levels[segment] += 1
        args = {"level_percent": level, "lease_s": LEASE_S}
        return {"gateway": LIGHTING, "equipment": segment, "verb": "set-level", "args": args, "operator": operator}

    async def _ask(self, body: dict[str, object]) -> None:
        url = f"http://127.0.0.1:{self._plant.http}/api/commands"
        answer = await asyncio.to_thread(ask, url, body | {"wait_s": 0.0}, POST_S)
        if isinstance(answer, dict) and "command_id" in answer:
            self.answers.append(answer)
        else:
            detail = answer.get("detail", "") if isinstance(answer, dict) else ""
            self.refusals[re.sub(r"[0-9]+", "n", str(detail))[:100] or "no answer"] += 1
