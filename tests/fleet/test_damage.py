"""A torn database: it is found out, nothing is acknowledged into it, and a person is told what to do."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.exc import SQLAlchemyError

from fleet import schema
from fleet.errors import FolderError, StoreError
from fleet.folder import read_trust
from fleet.store import Store
from tests.fleet.intake import Bench
from tests.fleet.standin import StandIn

PAGE = 4_096
WORDS = "nothing is stored or acknowledged, and the gateways keep their records"


def filled(path: Path, trust_folder: Path, voice: StandIn) -> None:
    bench = Bench(path, read_trust(trust_folder))
    for n in range(40):
        bench.take(voice.samples({f"a/p{k}": n + k for k in range(40)}))
    bench.store.engine.dispose()
    assert not path.with_name("fleet.db-wal").exists()


@pytest.mark.parametrize("how", ["cut off", "noise", "every third page"])
def test_a_damaged_database_takes_nothing_more_and_says_what_to_do(
    tmp_path: Path, trust_folder: Path, standin: Callable[..., StandIn], how: str
) -> None:
    path, voice = tmp_path / "fleet.db", standin()
    filled(path, trust_folder, voice)
    data = bytearray(path.read_bytes())
    dice = random.Random(3)
    if how == "cut off":
        del data[len(data) // 2 :]
    for page in range(2, len(data) // PAGE):
        if how == "noise" or (how == "every third page" and page % 3 == 0):
            data[page * PAGE : (page + 1) * PAGE] = dice.randbytes(PAGE)
    path.write_bytes(data)

    with pytest.raises((FolderError, StoreError), match=WORDS):
        store_until_it_fails(path, trust_folder, voice)
    with pytest.raises(FolderError, match=WORDS):
        Store(path)

    for each in tmp_path.glob("fleet.db*"):
        each.unlink()
    anew = Bench(path, read_trust(trust_folder))
    anew.take(*((f"armoire/1/dijon/{voice.id}/up/state", link.sealed) for link in voice.links["state"][:40]))
    assert anew.count(schema.links) == 40
    anew.store.close()


def store_until_it_fails(path: Path, trust_folder: Path, voice: StandIn) -> None:
    bench = Bench(path, read_trust(trust_folder))
    try:
        for n in range(40):
            bench.take(voice.samples({f"b/p{k}": n for k in range(40)}))
    except SQLAlchemyError as error:
        raise bench.store.failure(error) from error
    finally:
        bench.store.close()


@pytest.mark.parametrize("pragma", ["query_only=1", "max_page_count=1"])
def test_a_disk_that_is_full_or_read_only_damages_nothing(tmp_path: Path, pragma: str) -> None:
    store = Store(tmp_path / "fleet.db")
    with store.engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA {pragma}")
        with pytest.raises(SQLAlchemyError) as caught:
            connection.exec_driver_sql("INSERT INTO quarantine VALUES ('g', 'd', 'c', 0, 'w', zeroblob(100000000))")
        assert WORDS not in str(store.failure(caught.value))
    store.close()
    Store(tmp_path / "fleet.db").close()
