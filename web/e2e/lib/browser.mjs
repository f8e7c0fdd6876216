// A page in Debian's (or any installed) Chromium, watched: whatever it writes to the console, every
// failed load and every request to another origin is kept.
import { existsSync } from 'node:fs';
import { chromium } from 'playwright-core';

const PLACES = [
  process.env.CHROMIUM,
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
  '/Applications/Chromium.app/Contents/MacOS/Chromium',
];

export async function launch() {
  const executablePath = PLACES.find((place) => place && existsSync(place));
  if (!executablePath) throw new Error('no Chromium found; run scripts/setup-test.sh, or name one: CHROMIUM=/path make test');
  const browser = await chromium.launch({
    executablePath,
    args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--font-render-hinting=none'],
  });
  closeInTime(browser);
  return browser;
}

/** Longer than anything takes on a machine that is slow and busy. */
const PATIENCE_MS = Number(process.env.PATIENCE_MS ?? 90_000);
/** Closing takes a moment; the end of the test's process ends what did not. */
const CLOSE_MS = 10_000;
/** `SLOWDOWN=8 make test-web`: as on a machine that much slower. */
const SLOWDOWN = Number(process.env.SLOWDOWN ?? 1);

/** Chromium never says that a context is closed when a page of it is just leaving for another address, nor that itself is then. */
function closeInTime(what) {
  const close = what.close.bind(what);
  what.close = async () => {
    let timer;
    const late = new Promise((done) => (timer = setTimeout(done, CLOSE_MS)));
    await Promise.race([close(), late]).finally(() => clearTimeout(timer));
  };
}

/** A fresh page of its own; `said` holds what it should not have said. */
export async function open(browser, base, options = {}) {
  const { width = 1280, height = 800, theme = 'light', language = 'en', ...rest } = options;
  const context = await browser.newContext({
    viewport: { width, height },
    colorScheme: theme,
    locale: language === 'de' ? 'de-DE' : 'en-US',
    timezoneId: 'UTC',
    reducedMotion: 'reduce',
    ...rest,
  });
  context.setDefaultTimeout(PATIENCE_MS);
  closeInTime(context);
  const page = await context.newPage();
  if (SLOWDOWN > 1) await (await context.newCDPSession(page)).send('Emulation.setCPUThrottlingRate', { rate: SLOWDOWN });
  const said = [];
  // A refusal that a test provokes is told by the browser too: those are listed by the test.
  page.on('console', (message) => {
    if (!/^Failed to load resource/.test(message.text())) said.push(`${message.type()}: ${message.text()}`);
  });
  page.on('pageerror', (error) => said.push(`error: ${error.message}`));
  page.on('request', (request) => {
    const { origin, protocol } = new URL(request.url());
    if (protocol.startsWith('http') && origin !== new URL(base).origin) said.push(`foreign request: ${request.url()}`);
  });
  return { context, page, said };
}
