// The driver's commands for `@eleven-am/pondsocket-client`, in Node and in a browser alike; peers.py
// describes them.

// `connectTo(url)` makes a client; `write` sends results back to the test.
export function driver(connectTo, write) {
    const saw = (what, fields) => write({ saw: what, ...fields });
    const channels = new Map();
    let client;

    function watch(channel, name) {
        channel.onChannelStateChange((state) => saw('channel', { channel: name, state }));
        channel.onMessage((event, payload) => saw('message', { channel: name, event, payload }));
        channel.onJoin((user) => saw('joined', { channel: name, user }));
        channel.onLeave((user) => saw('left', { channel: name, user }));
        channel.onPresenceChange(({ changed }) => saw('changed', { channel: name, user: changed }));
        channel.onUsersChange((users) => saw('users', { channel: name, users }));
    }

    const commands = {
        connect({ url }) {
            client = connectTo(url);
            client.onConnectionChange((state) => saw('connection', { state: state.toLowerCase() }));
            client.onError((error) => saw('error', { message: String(error?.message ?? error) }));
            client.connect();
        },
        join({ channel: name, params }) {
            const channel = client.createChannel(name, params);
            channels.set(name, channel);
            if (params?.resume) {
                // As the documentation of `ChannelHandlers::history` says.
                channel.onMessage((event, { id, resume }) => Object.assign(params.resume, id ? { after: id } : resume));
            }
            watch(channel, name);
            channel.join();
        },
        leave: ({ channel }) => channels.get(channel).leave(),
        send: ({ channel, event, payload }) => channels.get(channel).sendMessage(event, payload),
        burst({ channel, event, count }) {
            for (let n = 0; n < count; n += 1) {
                channels.get(channel).sendMessage(event, { n });
            }
        },
        request: ({ channel, event, payload }) =>
            channels.get(channel).sendForResponse(event, payload),
        // A method in the typings, a property in the published code.
        presence: ({ channel }) => channels.get(channel).presence,
        disconnect: () => client.disconnect(),
    };

    return {
        // An error thrown in a client's handler must not end the run: a check must see it.
        threw: (error) => saw('uncaught', { message: String(error?.stack ?? error) }),
        async answer({ id, do: command, ...rest }) {
            try {
                write({ id, ok: true, value: (await commands[command](rest)) ?? null });
            } catch (error) {
                write({ id, ok: false, error: String(error?.stack ?? error) });
            }
        },
    };
}
