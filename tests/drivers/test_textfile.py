"""Files a person wrote: whatever a mistyped path leads to, reading ends with a text or a sentence."""

import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import TextFileError
from drivers.textfile import TEXT_BYTES_MAX, read_text

pytestmark = pytest.mark.timeout(10)


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


def a_huge_file(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)  # Holes only: it takes no room on the disk.


MAKE: dict[str, Callable[[Path], object]] = {
    "expected a file, found a pipe": os.mkfifo,
    "expected a file, found a folder": Path.mkdir,
    "expected a file, found a device": lambda path: path.symlink_to("/dev/zero"),
    "expected a file, found a socket": a_socket,
    "expected at most 1048576 bytes, found more": a_huge_file,
    "expected UTF-8 text, found something else at byte 2": lambda path: path.write_bytes(b"# \xff"),
    "expected a file, but it cannot be read: No such file or directory": lambda path: None,
    "expected a file, but it cannot be read: Too many levels of symbolic links": lambda path: path.symlink_to(path),
}


@pytest.mark.parametrize("complaint", MAKE)
def test_what_is_no_text_file_is_told_by_name_and_not_waited_for(
    complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # A socket's path has 107 bytes.
    path = Path("site.toml")
    MAKE[complaint](path)
    with pytest.raises(TextFileError) as caught:
        read_text(path)
    assert str(caught.value) == f"site.toml: {complaint}"


def test_a_path_with_a_null_byte_is_a_sentence() -> None:
    with pytest.raises(TextFileError, match="null"):
        read_text(Path("site\0.toml"))


def test_a_file_that_just_fits_is_read_and_one_byte_more_is_not(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_bytes(b"#" * TEXT_BYTES_MAX)
    assert len(read_text(path)) == TEXT_BYTES_MAX
    path.write_bytes(b"#" * (TEXT_BYTES_MAX + 1))
    with pytest.raises(TextFileError):
        read_text(path)


@given(text=st.text(max_size=200))
def test_any_text_is_read_as_it_is(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "text.toml"
    path.write_bytes(text.encode())
    assert read_text(path) == text


@given(noise=st.binary(max_size=200))
def test_any_bytes_are_a_text_or_a_sentence(noise: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.toml"
    path.write_bytes(noise)
    with contextlib.suppress(TextFileError):
        assert read_text(path).encode() == noise
