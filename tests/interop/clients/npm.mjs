// Drives `@eleven-am/pondsocket-client` from npm; the commands are described in peers.py. With the
// argument `sse` it speaks over an event stream.

import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const require = createRequire(new URL('../.work/package.json', import.meta.url));
const { PondClient, SSEClient } = require('@eleven-am/pondsocket-client');
const overEvents = process.argv[2] === 'sse';
if (overEvents) {
    await import('./event_source.mjs');
}

const write = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const saw = (what, fields) => write({ saw: what, ...fields });

let client;
const channels = new Map();

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
        const options = { connectionTimeout: 5000, maxReconnectDelay: 500 };
        client = overEvents
            ? new SSEClient(url.replace('ws:', 'http:'), {}, options)
            : new PondClient(url, {}, options);
        client.onConnectionChange((state) => saw('connection', { state: state.toLowerCase() }));
        client.onError((error) => saw('error', { message: String(error?.message ?? error) }));
        client.connect();
    },
    join({ channel: name, params }) {
        const channel = client.createChannel(name, params);
        channels.set(name, channel);
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
    request: ({ channel, event, payload }) => channels.get(channel).sendForResponse(event, payload),
    // A method in the typings, a property in the published code.
    presence: ({ channel }) => channels.get(channel).presence,
    disconnect: () => client.disconnect(),
};

async function answer({ id, do: command, ...rest }) {
    try {
        write({ id, ok: true, value: (await commands[command](rest)) ?? null });
    } catch (error) {
        write({ id, ok: false, error: String(error?.stack ?? error) });
    }
}

// A handler of the client that throws must not end the run: it is what a check has to see.
process.on('uncaughtException', (error) => saw('uncaught', { message: String(error?.stack) }));

const lines = createInterface({ input: process.stdin });
lines.on('line', (line) => void answer(JSON.parse(line)));
lines.on('close', () => process.exit(0));
