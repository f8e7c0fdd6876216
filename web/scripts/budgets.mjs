// What the pages may weigh. Counts what a browser loads for a first visit: the page, its scripts and
// styles, and what those import at once.
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

const FIRST_KB = 70;
const CHAT_KB = 80;
const ALL_KB = 900;
const DIST = process.argv[2] ?? 'dist';

const text = (path) => readFileSync(join(DIST, path), 'utf8');
const weight = (path) => gzipSync(readFileSync(join(DIST, path)), { level: 9 }).length;

/** What a script imports at once: not what it only fetches later. */
function imports(path, seen = new Set()) {
  if (seen.has(path)) return seen;
  seen.add(path);
  for (const [, name] of text(path).matchAll(/(?:from|import)\s*["']\.\/([\w.-]+\.js)["']/g)) imports(`assets/${name}`, seen);
  return seen;
}

/** A screen's script with the styles that Vite loads beside it, which the entry lists. */
function screen(name, assets) {
  const script = assets.find((file) => new RegExp(`^${name}-.*\\.js$`).test(file));
  const all = imports(`assets/${script}`);
  for (const file of [...all]) {
    const stem = file.replace(/^assets\/(.*)-[^-]+\.js$/, '$1');
    for (const css of assets.filter((asset) => asset.endsWith('.css') && asset.startsWith(`${stem}-`))) all.add(`assets/${css}`);
  }
  return all;
}

const assets = readdirSync(join(DIST, 'assets')).filter((file) => /\.(js|css)$/.test(file));
const html = text('index.html');
const entry = [...html.matchAll(/(?:src|href)="\/([^"]+\.(?:js|css))"/g)].map(([, path]) => path);
const first = new Set(['index.html', ...entry]);
for (const path of entry.filter((file) => file.endsWith('.js') && file.startsWith('assets/')))
  for (const file of imports(path)) first.add(file);
for (const file of screen('Home', assets)) first.add(file);
const chat = [...screen('Chat', assets)].filter((file) => !first.has(file));

const sum = (files, of) => [...files].filter((file) => existsSync(join(DIST, file))).reduce((all, file) => all + of(file), 0) / 1000;
const raw = (folder) =>
  readdirSync(folder).reduce((all, name) => {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) return all + raw(path);
    return /\.(br|gz)$|^\.sources$/.test(name) ? all : all + statSync(path).size;
  }, 0);

const rows = [
  ['shell and first screen, gzipped', sum(first, weight), FIRST_KB],
  ['chat beyond that, gzipped', sum(chat, weight), CHAT_KB],
  ['everything, as it is', raw(DIST) / 1000, ALL_KB],
];
let over = false;
for (const [what, have, may] of rows) {
  over ||= have > may;
  process.stdout.write(`   ${what}: ${have.toFixed(1)} kB of ${may} kB${have > may ? '  TOO MUCH' : ''}\n`);
}
process.exitCode = over ? 1 : 0;
