// What a browser has and Node 20 has not: `EventSource`, by the HTML standard, section 9.2, but for
// its reconnecting, ids and events with a name (which do not go to `onmessage`).

class EventSource {
    static CONNECTING = 0;
    static OPEN = 1;
    static CLOSED = 2;

    readyState = EventSource.CONNECTING;
    #ending = new AbortController();

    constructor(url) {
        this.url = String(url);
        void this.#read();
    }

    close() {
        this.readyState = EventSource.CLOSED;
        this.#ending.abort();
    }

    async #read() {
        try {
            const headers = { accept: 'text/event-stream', 'cache-control': 'no-store' };
            const response = await fetch(this.url, { headers, signal: this.#ending.signal });
            const type = response.headers.get('content-type') ?? '';
            if (response.status !== 200 || !type.startsWith('text/event-stream')) {
                throw new Error(`${response.status} ${type}`);
            }
            this.readyState = EventSource.OPEN;
            this.onopen?.({ type: 'open' });
            await this.#dispatch(response.body.pipeThrough(new TextDecoderStream()));
        } catch {
            // Said below, as the end of the stream is.
        }
        if (this.readyState !== EventSource.CLOSED) {
            this.readyState = EventSource.CLOSED;
            this.onerror?.({ type: 'error' });
        }
    }

    async #dispatch(chunks) {
        let rest = '';
        let data = [];
        let named = false;
        for await (const chunk of chunks) {
            const lines = (rest + chunk).split('\n');
            rest = lines.pop();
            for (const line of lines) {
                if (line.startsWith('data:')) {
                    data.push(line.slice(5).replace(/^ /, ''));
                } else if (line.startsWith('event:')) {
                    named = true;
                } else if (line === '') {
                    if (data.length > 0 && !named) {
                        this.onmessage?.({ type: 'message', data: data.join('\n') });
                    }
                    data = [];
                    named = false;
                }
            }
        }
    }
}

globalThis.EventSource = EventSource;

// The client posts without waiting for the answer to the last post. On connections of their own
// these may overtake one another, which no server could mend: so one after another here.
const { fetch } = globalThis;
let last = Promise.resolve();
globalThis.fetch = (url, options) => {
    if (options?.method !== 'POST') {
        return fetch(url, options);
    }
    const done = last.then(() => fetch(url, options));
    last = done.then((response) => response.arrayBuffer()).catch(() => undefined);
    return done;
};
