"""Both host-locals on one directory of leases, in turn and at once."""

from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from tests import lab, networks
from tests.interchange import state
from tests.interchange.conflists import ptp
from tests.interchange.sides import Side

EACH, AT_ONCE = 50, 16
DIRECTORY = Path(networks.DATA_DIR, "kindnet")
# in each set as many addresses as there will be containers, and a gateway among them
SETS = (
    {
        "subnet": "10.244.0.0/24",
        "rangeStart": "10.244.0.100",
        "rangeEnd": "10.244.0.200",
        "gateway": "10.244.0.150",
    },
    {
        "subnet": "fd00:10:244::/64",
        "rangeStart": "fd00:10:244::100",
        "rangeEnd": "fd00:10:244::164",
        "gateway": "fd00:10:244::132",
    },
)
CROWDED = ptp() | {"ipam": networks.ipam() | {"ranges": [[one] for one in SETS]}}
ROOMY = ptp("10.244.0.0/24", "fd00:10:244::/64")
Job = tuple[Side, str, str]


def host_local(side: Side, verb: str, container_id: str, conf: networks.Json) -> lab.Reply:
    """Run host-local for one container; they share a namespace, where it does nothing."""
    return side.call("host-local", verb, conf, container_id, netns=lab.netns_path("outside"))


def addresses(reply: lab.Reply) -> list[str]:
    """Return the addresses that host-local has given."""
    return [ip["address"].split("/")[0] for ip in reply.ok().json["ips"]]


def work(jobs: list[Job], out: Connection) -> None:
    """Do `jobs` on the crowded network, one after the other."""
    for job in jobs:
        out.send(host_local(*job, CROWDED))


def at_once(jobs: list[Job]) -> list[lab.Reply]:
    """Do `jobs` in AT_ONCE processes; no thread helps, since a test must leave its host."""
    context = get_context("fork")
    workers = []
    for number in range(AT_ONCE):
        replies, out = context.Pipe(duplex=False)
        worker = context.Process(target=work, args=(jobs[number::AT_ONCE], out))
        worker.start()
        out.close()
        workers.append((worker, replies))
    done = []
    for number, (worker, replies) in enumerate(workers):
        with replies:
            done += [replies.recv().ok() for _ in jobs[number::AT_ONCE]]
        worker.join()
    return done


def test_at_once_they_give_each_address_to_one_container_and_take_it_back(
    ours: Side, theirs: Side
) -> None:
    """Each ends what the other began; the ranges are exactly large enough."""
    numbers = range(EACH)
    adds = [(s, "ADD", f"{name}-{n}") for n in numbers for s, name in ((ours, "a"), (theirs, "b"))]
    dels = [(s, "DEL", f"{name}-{n}") for n in numbers for s, name in ((ours, "b"), (theirs, "a"))]

    given = [address for reply in at_once(adds) for address in addresses(reply)]
    held = state.leases()
    refused = [host_local(side, "ADD", "one-too-many", CROWDED) for side in (ours, theirs)]
    after = state.leases()
    at_once(dels)

    assert len(set(given)) == 4 * EACH
    assert set(held) == set(given)
    assert sorted(held.values()) == sorted(f"{name}\r\neth0" for _, _, name in adds * 2)
    assert ([reply.exit for reply in refused], after) == ([1, 1], held)
    left = {path.name for path in DIRECTORY.iterdir()}
    assert left == {"lock", "last_reserved_ip.0", "last_reserved_ip.1"}


def test_a_lease_says_the_same_whoever_made_it(ours: Side, theirs: Side) -> None:
    found = []
    for side in (ours, theirs):
        given = addresses(host_local(side, "ADD", "pod", ROOMY))
        found.append({(DIRECTORY / address).read_bytes() for address in given})
        host_local(side, "DEL", "pod", ROOMY).ok()

    assert found == [{b"pod\r\neth0"}, {b"pod\r\neth0"}]


def test_the_round_robin_goes_on_with_the_other(ours: Side, theirs: Side) -> None:
    replies = [host_local(s, "ADD", f"pod-{n}", ROOMY) for n, s in enumerate([ours, theirs] * 2)]

    wanted = [[f"10.244.0.{n}", f"fd00:10:244::{n}"] for n in range(2, 6)]
    assert [addresses(reply) for reply in replies] == wanted


def test_neither_gives_a_second_lease_to_a_container_of_the_other(ours: Side, theirs: Side) -> None:
    for holder, other, pod in ((ours, theirs, "one"), (theirs, ours, "two")):
        given = addresses(host_local(holder, "ADD", pod, ROOMY))

        reply = host_local(other, "ADD", pod, ROOMY)

        assert reply.exit == 1
        assert "duplicate allocation is not allowed" in reply.stdout
        assert {name for name, text in state.leases().items() if pod in text} == {*given}
        host_local(other, "CHECK", pod, ROOMY).ok()


def test_our_late_del_does_not_take_what_they_have_given_to_another(
    ours: Side, theirs: Side
) -> None:
    given = addresses(host_local(ours, "ADD", "old", ROOMY))
    host_local(theirs, "DEL", "old", ROOMY).ok()
    for number in (0, 1):
        (DIRECTORY / f"last_reserved_ip.{number}").unlink()  # so that they are given again
    assert addresses(host_local(theirs, "ADD", "new", ROOMY)) == given

    host_local(ours, "DEL", "old", ROOMY).ok()

    host_local(ours, "CHECK", "new", ROOMY).ok()
    assert set(state.leases().values()) == {"new\r\neth0"}
    host_local(ours, "DEL", "new", ROOMY).ok()
    assert state.leases() == {}
