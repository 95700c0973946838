"""Files that are replaced whole or not at all."""

import os
import threading
from pathlib import Path

import pytest

from agent.wire.durablefile import replace_durably


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_a_file_is_replaced_with_the_permissions_asked_for_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "keys.sealed"
    path.write_bytes(b"old")
    replace_durably(path, b"new", 0o640)
    assert (path.read_bytes(), path.stat().st_mode & 0o777, names(tmp_path)) == (b"new", 0o640, ["keys.sealed"])


@pytest.mark.parametrize("step", ["fsync", "fchmod"])
def test_a_disk_that_refuses_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys.sealed"
    path.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="No space"):
        replace_durably(path, b"new")
    assert (path.read_bytes(), names(tmp_path)) == (b"old", ["keys.sealed"])


def test_data_is_on_disk_before_its_name_and_the_name_before_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, steps = tmp_path / "f", list[str]()
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(
        os, "fsync", lambda number: (steps.append(str(Path(f"/proc/self/fd/{number}").readlink())), fsync(number))
    )
    monkeypatch.setattr(Path, "replace", lambda part, to: (steps.append("replace"), replace(part, to))[1])
    replace_durably(path, b"new")
    assert len(steps) == 3
    assert steps[0].startswith(str(tmp_path / ".f."))
    assert steps[1:] == ["replace", str(tmp_path)]


def test_what_a_power_cut_left_is_in_nobodys_way(tmp_path: Path) -> None:
    left = tmp_path / f".f.{os.getpid()}-{threading.get_native_id()}"
    left.write_bytes(b"half")
    left.chmod(0o400)
    replace_durably(tmp_path / "f", b"new")
    assert names(tmp_path) == ["f"]


def test_many_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "f"

    def write(n: int) -> None:
        for _ in range(20):
            replace_durably(path, bytes((n,)) * 10_000)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(path.read_bytes()), len(set(path.read_bytes())), names(tmp_path)) == (10_000, 1, ["f"])
