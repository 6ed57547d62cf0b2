// Drives `@eleven-am/pondsocket-client` from npm in Node; the commands are described in peers.py.

import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

import { driver } from './commands.mjs';

const require = createRequire(new URL('../.work/package.json', import.meta.url));
const { PondClient } = require('@eleven-am/pondsocket-client');

const write = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const options = { connectionTimeout: 5000, maxReconnectDelay: 500 };
const { answer, threw } = driver((url) => new PondClient(url, {}, options), write);

process.on('uncaughtException', threw);

const lines = createInterface({ input: process.stdin });
lines.on('line', (line) => void answer(JSON.parse(line)));
lines.on('close', () => process.exit(0));
