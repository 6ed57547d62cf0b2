"""uWebSockets under Python: each message is published to one topic, and C++ does the rest."""

from socketify import App, AppListenOptions, OpCode

TOPIC = "race"

app = App()


def publish(_socket, message, _opcode):
    # By the application, not by the socket: who sent it is to get it too.
    app.publish(TOPIC, message, OpCode.TEXT)


app.ws(
    "/*",
    {
        "max_payload_length": 1 << 20,
        # Nothing is dropped for who is a little late: not sending is no way to win.
        "max_backpressure": 16 << 20,
        "idle_timeout": 0,
        "open": lambda socket: socket.subscribe(TOPIC),
        "message": publish,
    },
)
app.listen(
    AppListenOptions(port=0, host="127.0.0.1"),
    lambda config: print(f"listening on http://127.0.0.1:{config.port}", flush=True),
)
# libuv's loop alone, which sleeps when there is nothing to do: `app.run()` polls it between turns of
# asyncio's without a pause, and that time would count as uWebSockets'.
app.loop.uv_loop.run()
