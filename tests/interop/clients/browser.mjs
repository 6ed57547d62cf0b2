// Drives `@eleven-am/pondsocket-client` in headless Chromium; the commands are described in
// peers.py.
//
//   node browser.mjs websocket|sse CHROMIUM PAGE_URL
//
// The page is one of the server's own, so that everything has the same origin. In addition to the
// driver's commands there is `evaluate`, which runs a function's source in the page with one argument.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const work = new URL('../.work/', import.meta.url);
const require = createRequire(new URL('package.json', work));
const { chromium } = require('playwright-core');

const [transport, executablePath, url] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
const page = await browser.newPage();
await page.exposeFunction('toTest', (line) => void process.stdout.write(`${line}\n`));
await page.goto(url);
await page.addScriptTag({ content: readFileSync(new URL('page.bundle.js', work), 'utf8') });
await page.evaluate((transport) => globalThis.startDriver(transport), transport);

async function evaluate({ id, source, argument }) {
    // As text, because in a literal `__proto__` would not be an ordinary key.
    const text = JSON.stringify(JSON.stringify(argument ?? null));
    const expression = `(${source})(JSON.parse(${text}))`;
    const answer = await page.evaluate(expression).then(
        (value) => ({ id, ok: true, value: value ?? null }),
        (error) => ({ id, ok: false, error: String(error) }),
    );
    process.stdout.write(`${JSON.stringify(answer)}\n`);
}

const lines = createInterface({ input: process.stdin });
lines.on('line', (line) => {
    const command = JSON.parse(line);
    if (command.do === 'evaluate') {
        void evaluate(command);
    } else {
        void page.evaluate((line) => void globalThis.answer(JSON.parse(line)), line);
    }
});
lines.on('close', () => void browser.close().then(() => process.exit(0)));
