"""A node of the PyPI package `pondsocket` with its Redis extra, which does what `server/examples/server`
does: `/api/socket`, channels `/chat/:id`, the events `echo`, `track`, `update`, `untrack` and
`evict`; every other event goes to all members.

    python_node.py --redis redis://127.0.0.1:6379 [--addr 127.0.0.1:0] [--node-id a]
                   [--namespace default] [--heartbeat SECONDS]

Prints `listening on http://127.0.0.1:PORT` once it listens, as the example does; ends with SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import socket

import uvicorn
from pondsocket import ConnectionContext, EventContext, JoinContext, Options, PondSocket
from pondsocket.distributed import RedisPubSub
from pondsocket_asgi import PondASGIApp
from pondsocket_common import PondError
from redis.asyncio import Redis


async def connect(context: ConnectionContext) -> None:
    context.accept()


async def join(context: JoinContext) -> None:
    params = context.get_join_params() or {}
    if params.get("deny") not in (None, False):
        await context.decline(403, "Join declined")
        return
    # Assigns are part of the state that other nodes get of a user.
    await context.accept(params.get("assigns") or {})


async def echo(context: EventContext) -> None:
    await context.reply("echo", context.get_payload())


async def track(context: EventContext) -> None:
    try:
        await context.track(context.get_payload())
    except PondError:  # already tracked
        await context.update_presence(context.get_payload())


async def update(context: EventContext) -> None:
    await context.update_presence(context.get_payload())


async def untrack(context: EventContext) -> None:
    await context.untrack()


async def evict(context: EventContext) -> None:
    payload = context.get_payload()
    await context.evict(payload.get("reason", ""), payload.get("id", context.get_user().id))


async def assign(context: EventContext) -> None:
    await context.assign(context.get_payload())


async def to_others(context: EventContext) -> None:
    await context.broadcast_from(context.event_name, context.get_payload())


async def to_some(context: EventContext) -> None:
    payload = context.get_payload()
    await context.broadcast_to(context.event_name, payload, *payload.get("ids", []))


async def users(context: EventContext) -> None:
    """The channel's users on all nodes, as this node knows them."""
    assigns, presence = await context.get_all_assigns(), await context.get_all_presence()
    await context.reply("users", {"assigns": assigns, "presence": presence})


async def broadcast(context: EventContext) -> None:
    await context.broadcast(context.event_name, context.get_payload())


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="a PyPI pondsocket node")
    parser.add_argument("--redis", required=True)
    parser.add_argument("--addr", default="127.0.0.1:0")
    parser.add_argument("--node-id", default="")
    parser.add_argument("--namespace", default="default")
    parser.add_argument("--heartbeat", type=float, default=30.0, help="a third of the time to die")
    return parser.parse_args()


async def main() -> None:
    given = arguments()
    pond = PondSocket(
        options=Options(
            node_id=given.node_id,
            namespace=given.namespace,
            heartbeat_interval=given.heartbeat,
            heartbeat_timeout=3 * given.heartbeat,
        ),
        pubsub=RedisPubSub(Redis.from_url(given.redis), owns_client=True),
    )
    endpoint = pond.create_endpoint("/api/socket", connect)
    chat = endpoint.create_channel("/chat/:id", join)
    for handler in (echo, track, update, untrack, evict, assign, users):
        chat.on_message(handler.__name__, handler)
    chat.on_message("to-others", to_others)
    chat.on_message("to-some", to_some)
    chat.on_message("*", broadcast)

    host, port = given.addr.rsplit(":", 1)
    listener = socket.create_server((host, int(port)))
    config = uvicorn.Config(
        PondASGIApp(pond), log_level="warning", ws="websockets-sansio", lifespan="on"
    )
    print(f"listening on http://{host}:{listener.getsockname()[1]}", flush=True)
    await uvicorn.Server(config).serve(sockets=[listener])


asyncio.run(main())
