// Every screen, as the page's own list names them, so that a new one is tested by itself.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { until } from './until.mjs';

const LIST = readFileSync(new URL('../../src/lib/state/screens.ts', import.meta.url), 'utf8');
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const RULES = ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa', 'best-practice'];

/** What the navigation can lead to. */
export const NAVIGATION = [...LIST.matchAll(/\bpath: '([^']+)'/g)].map(([, path]) => path);
if (NAVIGATION.length < 12) throw new Error('the list of screens is not where it was');

/** The navigation, and the screens that are named after something or stand alone. */
export const SCREENS = [...NAVIGATION, '/profiles/qwen', '/profiles/new', '/login', '/setup'];

/** Waits until the screen has all that it will show. */
export async function loaded(page, path) {
  await page.locator('h1').first().waitFor();
  await until(async () => (await page.locator('.bone').count()) === 0, `${path} is loaded`);
}

/** What axe finds on the page, and whether it is too wide for its window. */
export async function faults(page, path) {
  const width = page.viewportSize().width;
  // Through the debugger: the page's policy would refuse an injected script.
  await page.evaluate(AXE);
  const { violations } = await page.evaluate((rules) => axe.run(document, { runOnly: rules }), RULES);
  const found = violations.map(({ id, nodes }) => {
    const where = nodes.slice(0, 3).map((node) => node.target.join(' '));
    return `${path} at ${width}: ${id} ${where.join(', ')}`;
  });
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  if (overflow > 0) found.push(`${path} at ${width}: ${overflow} px too wide`);
  return found;
}
