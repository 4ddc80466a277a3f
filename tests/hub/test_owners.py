"""Owners: what nobody closes is closed by the housekeeping thread, and the end of an owner is enough to tell it."""

from __future__ import annotations

import gc
import weakref

from sse_bridge.admission.members import Owners


class Member:
    def __init__(self, owners: Owners) -> None:
        self.owner: weakref.ref[object] | None = None
        self.closed = 0
        self._owners = owners

    def close(self) -> None:
        self.closed += 1
        self._owners.disown(self)


class Owner:
    """Anything that refers to what it got."""

    def __init__(self) -> None:
        self.itself = self  # only the collector ends it


def test_the_end_of_an_owner_closes_what_it_owned() -> None:
    owners = Owners()
    owner, kept, member, other = Owner(), Owner(), Member(owners), Member(owners)
    owners.own(owner, member)
    owners.own(kept, other)
    owners.take_back()
    assert (member.closed, other.closed, len(owners)) == (0, 0, 2)
    del owner
    gc.collect()
    owners.take_back()
    assert (member.closed, other.closed, len(owners)) == (1, 0, 1)
    owners.abandon(other)
    owners.take_back()
    assert (member.closed, other.closed, len(owners)) == (1, 1, 0)


def test_what_was_closed_is_nobodys_to_close() -> None:
    owners = Owners()
    owner, member = Owner(), Member(owners)
    owners.own(owner, member)
    owners.own(None, Member(owners))
    member.close()
    del owner
    gc.collect()
    owners.take_back()
    assert member.closed == 1
