"""One broker or some, in the order they are tried."""

import pytest

from agent.model.site_file import read_cabinet
from tests.model.test_site_file import changed, problems

ONE = '"mqtt://127.0.0.1:1883"'
EXPECTED = (
    "site.toml: fleet.broker: expected mqtt://host:port or mqtts://host:port, or a list of 1..4 different ones, found "
)


def test_some_brokers_are_tried_in_their_order() -> None:
    cabinet = read_cabinet(changed(ONE, '["mqtts://b:1", "mqtts://a:2"]'), "site.toml")
    assert (cabinet.broker, cabinet.brokers) == ("mqtts://b:1", ("mqtts://b:1", "mqtts://a:2"))


def test_one_broker_needs_no_list() -> None:
    assert read_cabinet(changed(ONE, ONE), "site.toml").brokers == ("mqtt://127.0.0.1:1883",)


@pytest.mark.parametrize(
    "found",
    [
        "[]", '["mqtt://a:1", "mqtt://a:1"]', '["mqtt://a:1", 7]', '["mqtt://a:1", "http://b:1"]', "true",
        '["mqtt://a:1", "mqtt://b:1", "mqtt://c:1", "mqtt://d:1", "mqtt://e:1"]', '[["mqtt://a:1"]]', "{ a = 1 }",
    ],
)  # fmt: skip
def test_what_is_no_list_of_brokers_is_told(found: str) -> None:
    (line,) = problems(changed(ONE, found))
    assert line.startswith(EXPECTED)
