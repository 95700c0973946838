"""The test suite's own alarms work."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

INI = "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeconftest((Path(__file__).parent / "conftest.py").read_text(encoding="utf-8"))
    pytester.makeini(INI)
    return pytester


def run(suite: pytest.Pytester, body: str) -> pytest.RunResult:
    suite.makepyfile(body)
    return suite.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:cov", "-p", "no:xdist")


def test_a_forgotten_task_that_dies_fails_the_test(suite: pytest.Pytester) -> None:
    result = run(
        suite,
        """
        import asyncio

        async def die():
            raise ValueError("nobody waits for me")

        async def test_it():
            asyncio.create_task(die())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        """,
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*nobody waits for me*"])


def test_a_callback_that_raises_fails_the_test(suite: pytest.Pytester) -> None:
    result = run(
        suite,
        """
        import asyncio

        async def test_it():
            asyncio.get_running_loop().call_soon(lambda: 1 / 0)
            await asyncio.sleep(0.01)
        """,
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*ZeroDivisionError*"])


def test_a_test_may_provoke_a_failure_on_purpose(suite: pytest.Pytester) -> None:
    result = run(
        suite,
        """
        import asyncio

        async def test_it(task_failures):
            asyncio.get_running_loop().call_soon(lambda: 1 / 0)
            await asyncio.sleep(0.01)
            assert isinstance(task_failures[0]["exception"], ZeroDivisionError)
            task_failures.clear()
        """,
    )
    result.assert_outcomes(passed=1)


def test_a_missing_program_fails_the_test_and_names_its_package(suite: pytest.Pytester) -> None:
    result = run(
        suite,
        """
        def test_it(require_program, monkeypatch):
            import conftest
            monkeypatch.setattr(conftest, "PROGRAM_PATH", "/nonexistent")
            require_program("snmpget")
        """,
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*apt-get install snmp*"])
