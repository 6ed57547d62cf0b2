// The part of the browser driver that runs in the page, bundled with the client by esbuild.

import { PondClient, SSEClient } from '@eleven-am/pondsocket-client';

import { driver } from './commands.mjs';

// `toTest` passes results out of the page; see browser.mjs.
globalThis.startDriver = (transport) => {
    const options = { connectionTimeout: 5000, maxReconnectDelay: 500 };
    const connectTo = (url) =>
        transport === 'sse'
            ? new SSEClient(url.replace('ws:', 'http:'), {}, options)
            : new PondClient(url, {}, options);
    const { answer, threw } = driver(connectTo, (line) => globalThis.toTest(JSON.stringify(line)));
    addEventListener('error', (event) => threw(event.error ?? event.message));
    addEventListener('unhandledrejection', (event) => threw(event.reason));
    globalThis.answer = answer;
};
