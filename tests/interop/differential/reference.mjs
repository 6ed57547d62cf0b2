// JavaScript's verdict on each frame: `reference.mjs FRAMES ANSWERS` reads the frames and the answers of
// `inspect` (both NDJSON, in the same order) and writes one verdict per line:
//
//   {id, ok, stage, path, message, same, surrogates}
//
// `stage` is the stage at which JavaScript refused: utf8, json or schema. `same`, when both accepted, is
// whether the five fields are equal as JavaScript values. `surrogates` names the strings of the envelope
// that hold a lone surrogate.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const require = createRequire(new URL('../.work/package.json', import.meta.url));
const {
    clientMessageSchema,
    serverMessageSchema,
    presenceMessageSchema,
    channelEventSchema,
    ValidationError,
} = require('@eleven-am/pondsocket-common');

const schemas = {
    client: clientMessageSchema,
    server: serverMessageSchema,
    presence: presenceMessageSchema,
    channelEvent: channelEventSchema,
};
const STRINGS = ['action', 'event', 'requestId', 'channelName'];
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

// Equal values: -0 is not 0, the order of keys does not count.
function equal(a, b) {
    if (Array.isArray(a) && Array.isArray(b)) {
        return a.length === b.length && a.every((item, i) => equal(item, b[i]));
    }
    if (isObject(a) && isObject(b)) {
        const keys = Object.keys(a);
        return (
            keys.length === Object.keys(b).length &&
            keys.every((key) => Object.hasOwn(b, key) && equal(a[key], b[key]))
        );
    }
    return Object.is(a, b);
}

// pondwire keeps a payload as it came; the packages keep two keys of a presence payload.
function asParsed(value) {
    if (value.action !== 'PRESENCE') {
        return value;
    }
    const { presence, changed } = value.payload;
    return { ...value, payload: { presence, changed } };
}

function parse(frame) {
    let stage = 'utf8';
    let data;
    try {
        const text = frame.input_utf8 ?? utf8.decode(Buffer.from(frame.input_hex, 'hex'));
        stage = 'json';
        data = JSON.parse(text);
        stage = 'schema';
        return { ok: true, data, value: schemas[frame.parse].parse(data) };
    } catch (error) {
        if (stage === 'schema' && !(error instanceof ValidationError)) {
            stage = 'crash';
        }
        return { ok: false, stage, path: error.path ?? null, message: error.message, data };
    }
}

// Not `node:readline`: it also ends lines at U+2028 and U+2029.
function* records(path) {
    const bytes = readFileSync(path);
    for (let start = 0, end; (end = bytes.indexOf(0x0a, start)) !== -1; start = end + 1) {
        yield JSON.parse(bytes.toString('utf8', start, end));
    }
}

const answers = records(process.argv[3]);
const lines = [];
for (const frame of records(process.argv[2])) {
    const answer = answers.next().value;
    const { data, value, ...verdict } = parse(frame);
    const lone = (key) =>
        Object.hasOwn(data, key) && typeof data[key] === 'string' && !data[key].isWellFormed();
    lines.push(
        JSON.stringify({
            id: frame.id,
            ...verdict,
            same: verdict.ok && answer?.ok ? equal(value, asParsed(answer.value)) : null,
            surrogates: isObject(data) ? STRINGS.filter(lone) : [],
        }),
    );
}
process.stdout.write(`${lines.join('\n')}\n`);
