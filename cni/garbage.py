"""GC: what belongs to no valid attachment goes (SPEC 1.1.0, section 4, GC)."""

from collections.abc import Callable, Iterable
from functools import partial

from cni.request import Request
from cni.rollback import Step, try_all

# Removes what a network has for others than the valid owners (`Attachment.owner`)
Collector = Callable[[str, frozenset[str]], object]


def collect(request: Request, collectors: Iterable[Collector], *then: Step) -> None:
    """Let every collector do its part, then the other steps; raise the first error at the end.

    Without a list of valid attachments nothing is touched.
    """
    network, valid = request.attachment.network, request.valid_owners()
    if valid is not None:
        try_all((*(partial(each, network, valid) for each in collectors), *then))
