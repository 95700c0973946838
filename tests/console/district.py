"""A small district in Dijon as the manager would describe it; every state the console must tell apart occurs in it."""

import time
from typing import Any

Json = dict[str, Any]

HOSTILE = """<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>"""
GATEWAYS = (("gw-darcy", "Place Darcy"), ("gw-republique", "Place de la République"), ("gw-gare", "Gare Foch"))
BOLLARD_POINTS: Json = {
    "state": "down", "position_percent": 0, "at_top": False, "at_bottom": True, "loop_a": False, "loop_b": False,
    "loop_fault": False, "pressure_trip": False, "mains_ok": True, "local_key": False, "door_open": False,
    "fault_latched": False, "red_on": False, "green_on": True, "reversals": 0,
}  # fmt: skip


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def point(value: object, quality: int = 0, age_ms: int = 2_000) -> Json:
    return {"value": value, "quality": quality, "t_ms": now_ms() - age_ms, "age_ms": age_ms}


def points(values: Json, quality: int = 0) -> Json:
    return {name: point(value, quality, 1_000 + 700 * index) for index, (name, value) in enumerate(values.items())}


def card(gateway: str, kind: str, id_: str, name: str, place: tuple[float, float], **more: Any) -> Json:
    verbs = {
        "junction": ["select-plan", "flash", "release", "reset"],
        "bollard": ["lower", "raise", "reset"],
        "segment": ["set-level", "release-level"],
    }
    executor = {"junction": "guard", "bollard": "guard", "segment": "agent"}
    return {
        "id": id_, "gateway": gateway, "kind": kind, "name": name, "latitude": place[0], "longitude": place[1],
        "parent": "", "executor": executor.get(kind, ""), "verbs": verbs.get(kind, []), "mode": "supervised",
        "latch": None, "points": {}, **more,
    }  # fmt: skip


def junction_points(aspects: str, pattern: int = 2, flash: str = "not-flash") -> Json:
    groups = " ".join(str(number + 1) for number in range(len(aspects)))
    return points(
        {"aspects": aspects, "groups": groups, "control": "system-control", "flash": flash, "pattern": pattern,
         "backup_time_s": 60}
    )  # fmt: skip


def street(gateway: str, id_: str, name: str, place: tuple[float, float], level: int, lamps: int) -> list[Json]:
    """A segment and its lamps, east of it."""
    on = level > 0
    state = {"commanded_on": on, "contactor_on": on, "level_percent": level, "dark": True, "local_override": False,
             "breaker_tripped": False}  # fmt: skip
    segment = card(gateway, "segment", id_, name, place, points=points(state))
    return [segment] + [
        card(
            gateway, "lamp", f"{id_}-lamp-{n:02}", f"{name} {n}", (place[0] + 0.00012 * (n % 2), place[1] + 0.0005 * n),
            parent=id_,
        )
        for n in range(1, lamps + 1)
    ]  # fmt: skip


def equipment() -> list[Json]:
    latch = {"rule": "SR-02", "reason": "groups 1 and 3 conflict: green and green", "since_ms": now_ms() - 95_000}
    meter = {"power_w": 1843.25, "voltage_v": 231.4, "current_a": 8.12, "frequency_hz": 50.01, "energy_kwh": 48213.7}
    moving = {**BOLLARD_POINTS, "state": "rising", "at_bottom": False, "green_on": False, "red_on": True}
    up = {**moving, "state": "up", "at_top": True, "position_percent": 100}
    return [
        card("gw-darcy", "junction", "darcy", "Place Darcy", (47.3233, 5.0331), points=junction_points("GRRYGRR-")),
        card("gw-darcy", "bollard", "bollard-liberte-1", "Rue de la Liberté 1", (47.3229, 5.0345),
             points=points({**BOLLARD_POINTS, "loop_a": True})),
        card("gw-darcy", "bollard", "bollard-liberte-2", "Rue de la Liberté 2", (47.3226, 5.0356), points=points(up)),
        card("gw-darcy", "bollard", "bollard-liberte-3", "Rue de la Liberté 3", (47.3223, 5.0367), points=points(moving)),
        *street("gw-darcy", "segment-devosges", "Rue Devosges", (47.3252, 5.0335), 60, 14),
        *street("gw-darcy", "segment-foch", "Avenue Foch", (47.3241, 5.0280), 0, 8),
        card("gw-darcy", "meter", "meter-darcy", "Cabinet Darcy meter", (47.3238, 5.0322), points=points(meter)),
        card("gw-republique", "junction", "republique", "Place de la République", (47.3269, 5.0440), mode="held",
             mode_cause="SR-02 latched", cleared_by="reset on site", latch=latch, points=junction_points("GRGRRRRR")),
        card("gw-republique", "junction", "clemenceau", "Boulevard Clemenceau", (47.3300, 5.0470),
             points=junction_points("YYYY----", 255, "automatic")),
        *street("gw-republique", "segment-hugo", "Boulevard de la Trémouille", (47.3262, 5.0380), 100, 9),
        card("gw-republique", "points", "cabinet-republique", HOSTILE, (47.3274, 5.0449),
             points=points({"door_open": False, "temperature_c": 31.5})),
        card("gw-gare", "junction", "gare", "Gare Foch", (47.3236, 5.0270), points=junction_points("RGRGRRRR")),
        card("gw-gare", "meter", "meter-gare", "Cabinet Gare meter", (47.3230, 5.0262), points=points(meter)),
    ]  # fmt: skip


def gateways() -> list[Json]:
    lost_ms = 127_000
    return [
        {"id": id_, "name": name, "link": "lost" if id_ == "gw-gare" else "up",
         "last_seen_ms": now_ms() - (lost_ms if id_ == "gw-gare" else 3_000), "software": "armoire 0.1.0",
         "mode": "supervised", "rejected": 0}
        for id_, name in GATEWAYS
    ]  # fmt: skip


def district() -> Json:
    return {
        "city": "dijon",
        "fleet": "centre",
        "term": 4,
        "t_ms": now_ms(),
        "gateways": gateways(),
        "equipment": equipment(),
    }


def events() -> list[Json]:
    told = [
        ("gw-republique", "republique", "trip", "SR-02", "groups 1 and 3 conflict: green and green; control released"),
        ("gw-republique", "republique", "latch.set", "SR-02", "latched until a reset on site"),
        ("gw-gare", "", "link.lost", "", "no heartbeat for 30 s"),
        ("gw-darcy", "bollard-liberte-1", "command.refused", "SR-19", "loop A is occupied"),
        ("gw-darcy", "segment-devosges", "mode", "", "supervised"),
    ]
    return [
        {"id": number, "gateway": gateway, "stream": "safety", "seq": number, "t_ms": now_ms() - 100_000 + 9_000 * number, "kind": kind,
         "equipment": where, "rule": rule, "text": text, "detail": {}}
        for number, (gateway, where, kind, rule, text) in enumerate(told, start=1)
    ]  # fmt: skip
