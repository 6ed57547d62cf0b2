// Drives `@eleven-am/pondsocket-client` in headless Chromium; the commands are described in
// peers.py.
//
//   node browser.mjs websocket|sse CHROMIUM PAGE_URL
//
// The page is one of the server's own, so that everything has the same origin. In addition to the
// driver's commands there are `evaluate`, which runs a function's source in the page with one argument,
// `press` (keys), `emulate` (a colour scheme and a width), `outline` (the page as a screen reader has it)
// and `axe` (the violations of WCAG 2 A and AA that axe-core finds).

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const work = new URL('../.work/', import.meta.url);
const require = createRequire(new URL('package.json', work));
const { chromium } = require('playwright-core');

const [transport, executablePath, url] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
const page = await browser.newPage();
const write = (line) => void process.stdout.write(`${line}\n`);
const threw = (message) => write(JSON.stringify({ saw: 'uncaught', message }));
page.on('pageerror', (error) => threw(String(error)));
page.on('console', (line) => line.text().includes('Content Security Policy') && threw(line.text()));
page.on('request', (request) => {
    const { protocol, host } = new URL(request.url());
    if (protocol !== 'data:' && host !== new URL(url).host) threw(`a request to ${request.url()}`);
});
await page.exposeFunction('toTest', write);
await page.goto(url);
// Evaluated, because the page's policy allows no script but its own.
await page.evaluate(readFileSync(new URL('page.bundle.js', work), 'utf8'));
await page.evaluate(readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8'));
await page.evaluate((transport) => globalThis.startDriver(transport), transport);

const commands = {
    evaluate({ source, argument }) {
        // As text, because in a literal `__proto__` would not be an ordinary key.
        const text = JSON.stringify(JSON.stringify(argument ?? null));
        return page.evaluate(`(${source})(JSON.parse(${text}))`);
    },
    async press({ keys }) {
        for (const key of keys) await page.keyboard.press(key);
    },
    async emulate({ scheme, width }) {
        await page.emulateMedia({ colorScheme: scheme });
        await page.setViewportSize({ width, height: 844 });
    },
    outline: () => page.locator('body').ariaSnapshot(),
    async axe() {
        const runOnly = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'];
        const { violations, incomplete } = await page.evaluate((runOnly) => globalThis.axe.run({ runOnly }), runOnly);
        return [...violations, ...incomplete].flatMap(({ id, nodes }) =>
            nodes.map(({ target, failureSummary }) => `${id} at ${target}: ${failureSummary}`));
    },
};

async function carryOut({ id, do: command, ...rest }) {
    const answer = await commands[command](rest).then(
        (value) => ({ id, ok: true, value: value ?? null }),
        (error) => ({ id, ok: false, error: String(error) }),
    );
    write(JSON.stringify(answer));
}

const lines = createInterface({ input: process.stdin });
lines.on('line', (line) => {
    const command = JSON.parse(line);
    if (command.do in commands) {
        void carryOut(command);
    } else {
        void page.evaluate((line) => void globalThis.answer(JSON.parse(line)), line);
    }
});
lines.on('close', () => void browser.close().then(() => process.exit(0)));
