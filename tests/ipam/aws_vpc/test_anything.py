"""Whatever happens in whatever order: the pool keeps its promises (checked by hypothesis)."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cni.attachment import Attachment
from cni.errors import CniError
from ipam.aws_vpc import pool
from ipam.aws_vpc.imagined import SUBNET, Ec2, settle
from ipam.aws_vpc.limits import find, limits_of
from ipam.aws_vpc.plan import plan
from ipam.aws_vpc.settings import Settings
from ipam.aws_vpc.state import Action, FreeEni, State, Unassign, begin, hold
from ipam.aws_vpc.target import Target, target_of
from ipam.aws_vpc.usage import Totals, look, sum_up
from tests.ipam.aws_vpc.nodes import NOW, pod

PODS = st.integers(0, 25).map(pod)
TYPES = st.sampled_from(["t3.micro", "t3.small", "t3.medium", "m5.large"])
SETTINGS = st.builds(
    Settings,
    warm_eni=st.integers(0, 3),
    warm_ip=st.integers(0, 6),
    minimum_ip=st.integers(0, 12),
    warm_prefix=st.integers(1, 3),
    max_eni=st.integers(0, 4),
    prefixes=st.booleans(),
    cooldown=st.sampled_from([0, 30, 90]),
)


class Pool(RuleBasedStateMachine):
    """A node with EC2 beneath and pods above; `given` is what the pods were told."""

    @initialize(settings=SETTINGS, name=TYPES, max_pods=st.none() | st.integers(3, 25))
    def start(self, settings: Settings, name: str, max_pods: int | None) -> None:
        self.ec2, self.now = Ec2(), NOW
        self.settings, self.instance, self.max_pods = settings, find(name), max_pods
        self.limits = limits_of(self.instance, settings, max_pods)
        self.state = self.ec2.node(self.now)
        self.primary = self.state.enis[0].name
        self.given: dict[Attachment, IPv4Address] = {}
        self.freed: dict[IPv4Address, float] = {}

    @rule(owner=PODS)
    def add(self, owner: Attachment) -> None:
        told = (owner, self.settings, self.limits, self.now)
        if owner not in self.given and not pool.next_address(self.state, self.limits, self.now):
            with pytest.raises(CniError, match="cannot give the pod an address"):
                pool.assign(self.state, *told)
            self.state = replace(self.state, waiting=self.state.waiting + 1)
            return
        self.state, choice = pool.assign(self.state, *told)
        if owner in self.given:
            assert choice.address == self.given[owner]
            return
        assert choice.address not in self.given.values()
        assert self.now >= self.freed.get(choice.address, 0) + self.settings.cooldown
        assert not self.being_given_back(choice.address)
        assert choice.address in {
            address for eni in self.state.enis for block in eni.blocks for address in block
        }
        self.given[owner] = choice.address

    def being_given_back(self, address: IPv4Address) -> bool:
        for one in self.state.releasing:
            blocks = self.state.eni(one.eni).blocks if isinstance(one, FreeEni) else one.blocks
            if any(address in block for block in blocks):
                return True
        return False

    @rule(owner=PODS)
    def delete(self, owner: Attachment) -> None:
        self.state = pool.release(self.state, owner, self.settings, self.now)
        if owner in self.given:
            self.freed[self.given.pop(owner)] = self.now

    @rule(seconds=st.sampled_from([1.0, 10.0, 31.0, 700.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.state = pool.tidy(self.state, self.settings, self.now)

    @rule(done=st.integers(0, 4), answered=st.booleans())
    def some_of_the_plan_is_done(self, done: int, *, answered: bool) -> None:
        """The agent ends in the middle; what it asked for last may still be under way."""
        actions = self.planned()
        for action in actions[:done]:
            self.do(action)
        rest = actions[done : done + 1]
        if rest and not answered and isinstance(rest[0], Unassign | FreeEni):
            self.state = begin(self.state, rest[0])

    @rule(prefixes=st.booleans())
    def the_subnet_is_empty(self, *, prefixes: bool) -> None:
        self.state = hold(self.state, SUBNET, self.now, prefixes=prefixes)

    @rule(settings=SETTINGS)
    def the_agent_is_started_with_other_settings(self, settings: Settings) -> None:
        self.settings = replace(settings, cooldown=self.settings.cooldown)
        self.limits = limits_of(self.instance, self.settings, self.max_pods)
        self.state = replace(self.state, waiting=0)

    @precondition(lambda self: self.state.releasing)
    @rule()
    def ec2_answers_late(self) -> None:
        action = self.state.releasing[0]
        self.state = replace(self.state, releasing=self.state.releasing[1:])
        self.state = self.ec2.do(self.state, action, self.now)

    def planned(self) -> tuple[Action, ...]:
        actions = plan(self.state, self.settings, self.limits, self.now).actions
        for action in actions:
            self.look_at(action)
        return actions

    def look_at(self, action: Action) -> None:
        """Nothing that somebody has or just had is given back."""
        if not isinstance(action, Unassign | FreeEni):
            assert action.count > 0
            assert not self.state.held(SUBNET, self.now, prefixes=action.prefixes)
            return
        eni = self.state.eni(action.eni)
        blocks = eni.blocks if isinstance(action, FreeEni) else action.blocks
        assert not (isinstance(action, FreeEni) and eni.primary)
        cooling = {one.address for one in self.state.cooling if one.until > self.now}
        for address in (*self.given.values(), *cooling):
            assert not any(address in block for block in blocks)
        assert set(blocks) <= set(eni.blocks)

    def do(self, action: Action) -> None:
        many = len(self.state.enis)
        self.state = self.ec2.do(self.state, action, self.now)
        assert len(self.state.enis) <= max(many, self.limits.enis)

    @precondition(lambda self: not self.state.releasing and not self.state.holds)
    @rule()
    def nothing_happens_for_long(self) -> None:
        """It comes to the target and stays there."""
        self.state = replace(self.state, waiting=0)
        for _ in range(3):  # and with every cooldown over
            self.state = settle(self.ec2, self.state, self.settings, self.limits, self.now)
            self.assert_on_target(self.state)
            self.now += 1000
            self.state = pool.tidy(self.state, self.settings, self.now)

    def assert_on_target(self, state: State) -> None:
        planned = plan(state, self.settings, self.limits, self.now)
        assert not planned.actions
        totals = sum_up(look(state, self.now), 0)
        room = len(state.enis) < self.limits.enis or any(
            len(eni.blocks) < self.limits.slots for eni in state.enis
        )
        target = target_of(self.settings, self.limits)
        assert not (room and target.short(totals))
        if not target.whole_enis:
            self.assert_nothing_is_superfluous(state, totals, target)

    def assert_nothing_is_superfluous(self, state: State, totals: Totals, target: Target) -> None:
        for use in look(state, self.now):
            for one in use.blocks:
                left = totals.without([one])
                assert not one.idle or target.short(left) or left.unused < target.unused

    @invariant()
    def no_two_pods_have_one_address(self) -> None:
        if not hasattr(self, "state"):
            return
        addresses = [one.address for one in self.state.assignments]
        assert len(set(addresses)) == len(addresses)
        assert {one.owner: one.address for one in self.state.assignments} == self.given

    @invariant()
    def limits_are_kept(self) -> None:
        if not hasattr(self, "state"):
            return
        assert self.primary in {eni.name for eni in self.state.enis}
        assert len(self.state.enis) <= self.instance.enis
        for eni in self.state.enis:
            assert len(eni.blocks) <= self.limits.slots
            own = [block for block in eni.blocks if eni.address in block]
            assert not own


TestPool = Pool.TestCase
TestPool.settings = hypothesis_settings(max_examples=150, stateful_step_count=30)
