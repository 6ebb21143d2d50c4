"""The instance metadata service, when it is late, slow or refuses."""

import pytest

from tests.cloud.node import Node


@pytest.mark.parametrize("status", [401, 403, 404, 500, 503])
@pytest.mark.parametrize(
    "path", ["/latest/api/token", "/latest/meta-data/mac", "/latest/meta-data/network"]
)
def test_a_refusal_at_the_start_is_waited_out(small: Node, path: str, status: int) -> None:
    small.cloud.wishes.refuse[path] = status
    for _ in range(4):
        small.clock.sleep(small.keeper.turn())

    refused = small.add("pod")

    assert refused["code"] == 11
    small.cloud.wishes.refuse.clear()
    small.settle()
    assert "address" in small.add("pod")
    small.settle()
    small.assert_whole()


def test_a_token_that_expires_is_renewed(small: Node) -> None:
    small.settle()
    small.cloud.wishes.tokens.clear()

    small.pass_time(100)

    assert small.ledger.trouble is None
    assert small.cloud.wishes.tokens


def test_a_metadata_service_that_is_down_frees_nothing_and_stops_nothing(small: Node) -> None:
    small.settle()
    small.add_all(2)
    small.cloud.wishes.refuse["/"] = 503

    small.add_all(4, first=2)
    small.pass_time(900)

    assert len(small.pods) == 6
    small.cloud.wishes.refuse.clear()
    small.settle()
    small.assert_whole()


def test_a_slow_metadata_service_delays_no_warm_add(small: Node) -> None:
    small.settle()
    small.cloud.wishes.delay = 5.0

    assert "address" in small.add("pod")
