"""The note of which conflists are ours."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cni.agent import conflist, written

pytestmark = pytest.mark.usefixtures("host")
PLACE = "/run/net.d/10-x.conflist"


def test_a_conflist_is_ours_until_others_write_it() -> None:
    assert written.put(PLACE, "one")
    assert not written.put(PLACE, "one")
    assert list(written.ours()) == [PLACE]

    Path(PLACE).write_text("theirs")

    assert list(written.ours()) == []


def test_all_places_are_kept_in_mind() -> None:
    written.put(PLACE, "one")
    written.put(f"{PLACE}list", "two")

    assert list(written.ours()) == [PLACE, f"{PLACE}list"]


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a writer end between note and conflist."""

    def stop(path: str, text: str) -> bool:
        raise KeyboardInterrupt(path, text)

    with monkeypatch.context() as patch:
        patch.setattr(conflist, "write", stop)
        yield


def test_a_writer_that_is_stopped_between_forgets_nothing(
    request: pytest.FixtureRequest,
) -> None:
    written.put(PLACE, "one")
    request.getfixturevalue("stopped")
    for text in ("two", "three"):
        with pytest.raises(KeyboardInterrupt):
            written.put(PLACE, text)

    assert list(written.ours()) == [PLACE]


def test_a_note_that_is_no_good_is_made_anew() -> None:
    Path(written.PATH).parent.mkdir()
    Path(written.PATH).write_text("[")

    written.put(PLACE, "one")

    assert list(written.ours()) == [PLACE]
