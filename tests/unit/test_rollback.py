"""ADD ends whole or leaves nothing; DEL tries every step."""

import logging
from functools import partial

import pytest

from cni.errors import CniError, Code
from cni.rollback import Step, rollback, try_all


class StepError(Exception):
    """What a step of the test fails with."""


def fail(text: str) -> None:
    raise StepError(text)


def stopped_by(stop: BaseException, *undos: Step) -> None:
    """Run a block with these undos, in which `stop` is raised at last."""
    with rollback() as undo:
        for step in undos:
            undo(step)
        raise stop


def test_nothing_is_undone_after_success() -> None:
    undone: list[str] = []

    with rollback() as undo:
        undo(partial(undone.append, "first"))

    assert undone == []


def test_steps_are_undone_last_first() -> None:
    undone: list[str] = []

    with pytest.raises(StepError):
        stopped_by(StepError(), partial(undone.append, "first"), partial(undone.append, "second"))

    assert undone == ["second", "first"]


@pytest.mark.parametrize(
    "stop", [SystemExit(143), KeyboardInterrupt(), CniError(Code.TRY_AGAIN, "later"), MemoryError()]
)
def test_whatever_stops_the_block_everything_is_undone(stop: BaseException) -> None:
    undone: list[str] = []

    with pytest.raises(type(stop)) as caught:
        stopped_by(stop, partial(undone.append, "step"))

    assert undone == ["step"]
    assert caught.value is stop


def test_an_undo_that_fails_is_logged_and_hides_neither_the_error_nor_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    undone: list[str] = []

    with pytest.raises(StepError, match=r"^the cause$"):
        stopped_by(
            StepError("the cause"),
            partial(undone.append, "first"),
            partial(fail, "the undo"),
            partial(undone.append, "third"),
        )

    assert undone == ["third", "first"]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "the undo" in caplog.text


def test_inner_blocks_are_undone_before_outer_ones() -> None:
    undone: list[str] = []

    def block() -> None:
        with rollback() as outer:
            outer(partial(undone.append, "outer"))
            stopped_by(StepError(), partial(undone.append, "inner"))

    with pytest.raises(StepError):
        block()

    assert undone == ["inner", "outer"]


def test_what_an_inner_block_has_finished_stays_its_own() -> None:
    undone: list[str] = []

    def block() -> None:
        with rollback() as outer:
            with rollback() as inner:
                inner(partial(undone.append, "inner"))
            outer(partial(undone.append, "outer"))
            fail("later")

    with pytest.raises(StepError):
        block()

    assert undone == ["outer"]


def test_every_step_of_del_is_tried_and_the_first_error_raised(
    caplog: pytest.LogCaptureFixture,
) -> None:
    done: list[str] = []

    with pytest.raises(StepError, match=r"^one$"):
        try_all(
            (
                partial(fail, "one"),
                partial(done.append, "two"),
                partial(fail, "three"),
                partial(done.append, "four"),
            )
        )

    assert done == ["two", "four"]
    assert "three" in caplog.text
    assert "one" not in caplog.text


def test_steps_that_all_succeed_raise_nothing() -> None:
    done: list[str] = []

    try_all(partial(done.append, text) for text in ("one", "two"))

    assert done == ["one", "two"]


def test_a_signal_ends_del_at_once() -> None:
    done: list[str] = []

    def stop() -> None:
        raise SystemExit(143)

    with pytest.raises(SystemExit):
        try_all((stop, partial(done.append, "later")))

    assert done == []
