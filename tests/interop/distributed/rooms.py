"""Scenarios for a room on two nodes of any kind. Every scenario has its own nodes, in its own
namespace.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from nodes import HEARTBEAT, Client, Node, PondwireNode, until

Kind = type[Node]


def namespace() -> str:
    return f"test-{uuid.uuid4().hex[:8]}"


@asynccontextmanager
async def room(redis: str, *kinds: Kind) -> AsyncIterator[tuple[str, list[Node], list[Client]]]:
    """Starts nodes `a`, `b`, … with a member on each; returns once all know each other."""
    space = namespace()
    async with contextlib.AsyncExitStack() as stack:
        nodes, members = [], []
        for kind, name in zip(kinds, "abcdef", strict=False):
            nodes.append(await stack.enter_async_context(kind(redis, name, space)))
            members.append(await stack.enter_async_context(Client(nodes[-1])))
            await members[-1].join(assigns={"name": name})
        for member in members:
            await member.knows(*(each.id for each in members))
        yield space, nodes, members


async def descriptors(redis: str, *kinds: Kind) -> None:
    """to all, to all but the sender, to some by id"""
    async with room(redis, *kinds) as (_, nodes, (ann, bob)), Client(nodes[1]) as bea:
        await bea.join()
        await ann.knows(ann.id, bob.id, bea.id)
        for sender, near, far in [(bob, [bea], [ann]), (ann, [], [bob, bea])]:
            others = [*near, *far]
            await sender.say("say", text="é\n\"", n=12345678901234567890)
            for member in [sender, *others]:
                heard = await member.see("say")
                assert heard["action"] == "BROADCAST", heard
                assert heard["payload"] == {"text": "é\n\"", "n": 12345678901234567890}, heard
            await sender.say("to-others", text="not me")
            for member in others:
                assert (await member.see("to-others"))["payload"] == {"text": "not me"}
            await sender.say("to-some", ids=[far[0].id, "nobody"], text="you alone")
            assert (await far[0].see("to-some"))["payload"]["text"] == "you alone"
            # A misdirected message would have arrived before this one.
            await sender.say("end", of=sender.id)
            for member, not_for in [(sender, ["to-others", "to-some"])] + [
                (member, ["to-some"]) for member in others if member is not far[0]
            ]:
                start = member._next
                await member.see("end", of=sender.id)
                passed = [message["event"] for _, message in member.seen[start : member._next]]
                assert not set(not_for) & set(passed), (sender.id, passed)


async def presence(redis: str, *kinds: Kind) -> None:
    """presence joins, updates and leaves; assigns"""
    async with room(redis, *kinds) as (_, _, (ann, bob)):
        await ann.say("track", status="here")
        await ann.see("JOIN")
        await bob.say("track", status="too")
        joined = await ann.see("JOIN")
        assert joined["action"] == "PRESENCE", joined
        assert joined["payload"]["changed"] == {"status": "too"}, joined
        assert sorted(each["status"] for each in joined["payload"]["presence"]) == ["here", "too"]
        for one, other in [(ann, bob), (bob, ann)]:
            await one.say("update", status=one.id)
            updated = await other.see("UPDATE", changed={"status": one.id})
            assert len(updated["payload"]["presence"]) == 2, updated
        await bob.say("assign", name="b", role="admin")

        async def assigned() -> bool:
            users = await ann.users()
            return users["assigns"].get(bob.id) == {"name": "b", "role": "admin"}

        await until("assigns of bob at ann", assigned)
        users = await ann.users()
        assert users["assigns"][ann.id] == {"name": "a"}, users
        assert users["presence"] == {ann.id: {"status": ann.id}, bob.id: {"status": bob.id}}, users
        await bob.say("untrack")
        left = await ann.see("LEAVE")
        assert left["payload"]["presence"] == [{"status": ann.id}], left
        await bob.say("track", status="again")
        await ann.see("JOIN", changed={"status": "again"})
        await ann.leave()
        left = await bob.see("LEAVE")
        assert left["payload"]["presence"] == [{"status": "again"}], left
        await bob.knows(bob.id)


async def eviction(redis: str, *kinds: Kind) -> None:
    """eviction across nodes, both ways"""
    async with (
        room(redis, *kinds) as (_, (a, b), (ann, bob)),
        Client(a) as near_ann,
        Client(b) as near_bob,
    ):
        # They show when a message that the evicted member must not get has reached its node.
        await near_ann.join()
        await near_bob.join()
        stay = [near_ann.id, near_bob.id]
        for one, other, witness in [(ann, bob, near_bob), (bob, ann, near_ann)]:
            await one.knows(ann.id, bob.id, *stay)
            await one.say("evict", id=other.id, reason="enough")
            evicted = await other.see("EVICTED")
            assert evicted["payload"] == {"reason": "enough"}, evicted
            await one.knows(one.id, *stay)
            await one.say("say", to=other.id)
            await witness.see("say", to=other.id)
            await other.join(assigns={"back": True})
            for member in (one, other):
                await member.knows(ann.id, bob.id, *stay)
            heard = [message["payload"] for _, message in other.seen if message["event"] == "say"]
            assert {"to": other.id} not in heard, heard


async def late(redis: str, *kinds: Kind) -> None:
    """a late node receives the state"""
    async with room(redis, *kinds[:1]) as (space, _, (ann,)):
        await ann.say("track", status="here")
        await ann.see("JOIN")
        async with kinds[1](redis, "b", space) as b, Client(b) as bob:
            await bob.join(assigns={"name": "b"})
            users = await bob.knows(ann.id, bob.id)
            assert users["assigns"] == {ann.id: {"name": "a"}, bob.id: {"name": "b"}}, users
            assert users["presence"] == {ann.id: {"status": "here"}}, users
            await bob.say("track", status="late")
            joined = await bob.see("JOIN")
            statuses = sorted(each["status"] for each in joined["payload"]["presence"])
            assert statuses == ["here", "late"], joined
            await ann.see("JOIN", changed={"status": "late"})
        await ann.see("LEAVE")
        await ann.knows(ann.id)


async def goodbye(redis: str, *kinds: Kind) -> None:
    """the users of a node that shuts down leave at once"""
    async with room(redis, *kinds) as (_, (_, b), (ann, bob)):
        await ann.say("track", status="here")
        # Of two within 100 ms one frame tells the last only.
        await ann.see("JOIN")
        await bob.say("track", status="there")
        await ann.see("JOIN", changed={"status": "there"})
        start = asyncio.get_running_loop().time()
        end = asyncio.create_task(b.stop())
        # `changed` differs between the kinds of nodes.
        left = await ann.see("LEAVE")
        assert left["payload"]["presence"] == [{"status": "here"}], left
        await ann.knows(ann.id)
        took = asyncio.get_running_loop().time() - start
        assert took < 3 * HEARTBEAT, f"after {took:.2f} s"
        await end


async def death(redis: str, *kinds: Kind) -> None:
    """the users of a dead node vanish"""
    async with room(redis, *kinds) as (_, (a, b), (ann, bob)):
        await ann.say("track", status="here")
        # Of two within 100 ms one frame tells the last only.
        await ann.see("JOIN")
        await bob.say("track", status="there")
        await ann.see("JOIN", changed={"status": "there"})
        start = asyncio.get_running_loop().time()
        await b.kill()
        await ann.knows(ann.id)
        took = asyncio.get_running_loop().time() - start
        # Death takes three missed heartbeats, and one may have been in flight.
        assert took > 1.5 * HEARTBEAT, f"after {took:.2f} s"
        if isinstance(a, PondwireNode):
            (left,) = [message for _, message in ann.seen if message["event"] == "LEAVE"]
            assert left["payload"]["changed"] == {"status": "there"}, left
            assert left["payload"]["presence"] == [{"status": "here"}], left
            metrics = await a.metrics()
            assert metrics["remote_nodes"] == metrics["remote_users"] == 0, metrics
            assert metrics["remote_nodes_expired_total"] == 1, metrics


SCENARIOS = [descriptors, presence, eviction, late, goodbye, death]
