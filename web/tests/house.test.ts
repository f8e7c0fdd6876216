// House rules of the page's source that a reader would otherwise have to watch for.
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { en as first } from '../src/lib/i18n/en';
import { more as enMore } from '../src/lib/i18n/en.more';
import { de as erst } from '../src/lib/i18n/de';
import { more as deMore } from '../src/lib/i18n/de.more';

const en = { ...first, ...enMore };
const de = { ...erst, ...deMore };

function* files(folder: string): Generator<string> {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) yield* files(path);
    else if (/\.(ts|svelte)$/.test(name)) yield path;
  }
}
const sources = [...files('src')].map((path) => ({ path, text: readFileSync(path, 'utf8') }));
const withWord = (word: RegExp, except: string[] = []) =>
  sources.filter(({ path, text }) => !except.some((name) => path.endsWith(name)) && word.test(text)).map(({ path }) => path);

it('no debug output is left', () => {
  expect(withWord(/^\s*console\.|\bdebugger\b/m, ['snippets.ts'])).toEqual([]);
});
it('nothing is used that plain http in a LAN lacks', () => {
  expect(withWord(/navigator\.clipboard\.|crypto\.(randomUUID|subtle)/)).toEqual([]);
});
it('HTML is made from text in one place, which sanitises', () => {
  expect(withWord(/\{@html|innerHTML|insertAdjacentHTML/, ['MarkdownBlock.svelte'])).toEqual([]);
});
it('no style stands in an attribute, which the policy would refuse', () => {
  expect(withWord(/\sstyle="/)).toEqual([]);
});
it('no emoji stands in for an icon', () => {
  expect(withWord(/\p{Extended_Pictographic}/u)).toEqual([]);
});
it('lists are keyed by position, or by what is unique where it comes from', () => {
  // Svelte stops at a key that comes twice. What the gateway keeps one of under that name: rows with state of their own.
  const kept = /^(chat|request|server|model|key|user|download|entry|setting)\.(id|key)$|^(profile|plugin|tool)\.name$/;
  // What the pages make themselves: constants, sets, fields of an object, groups, ids that were given out here.
  const made =
    /^(theme|language|scope|limit|minutes|days|size|label|keys|key|option|name|status|profile|example|one|id)$|^(tab|command|screen|toast|item|one|starter|message|page)\.(id|at)$/;
  const found = sources.flatMap(({ path, text }) =>
    [...text.matchAll(/\{#each (.+?) as (.+?) \(([^()]+)\)\}/g)].flatMap(([, of, item, key]) => {
      const position = item!.match(/^(?:[\w_]+|\{.*\}|\[.*\]), (\w+)$/)?.[1];
      if (key === position || kept.test(key!)) return [];
      // A list that comes from the gateway may hold a value twice.
      const fromGateway = /\b(data|request|profile|key|plugin|granting|system|facts|schema)\b/.test(of!);
      return !fromGateway && made.test(key!) ? [] : [`${path}: ${of} (${key})`];
    }),
  );
  expect(found).toEqual([]);
});
it('every file opens by saying what it is for', () => {
  expect(sources.filter(({ text }) => !/^(\/\/|\/\*|<!--)/.test(text)).map(({ path }) => path)).toEqual([]);
});

function flat(of: object, prefix = ''): [string, unknown][] {
  return Object.entries(of).flatMap(([key, value]) =>
    typeof value === 'object' && value !== null ? flat(value, `${prefix}${key}.`) : [[`${prefix}${key}`, value] as [string, unknown]],
  );
}
it('German says everything that English says', () => {
  expect(flat(de).map(([key]) => key)).toEqual(flat(en).map(([key]) => key));
  expect(flat(de).filter(([, value]) => value === '')).toEqual([]);
});
it('the words do not shout', () => {
  const loud = [...flat(en), ...flat(de)].filter(([, value]) => typeof value === 'string' && value.includes('!'));
  expect(loud).toEqual([]);
});

/** The sources that a source brings along at once. */
function along(path: string, seen = new Map<string, string>()): Map<string, string> {
  if (seen.has(path)) return seen;
  const text = readFileSync(path, 'utf8');
  seen.set(path, text);
  for (const [, name] of text.matchAll(/^\s*import (?!type\b)[^;]*?from '([^']+)'/gm)) {
    const base = name!.startsWith('$lib/')
      ? join('src', name!.replace('$lib', 'lib'))
      : name!.startsWith('.')
        ? join(path, '..', name!)
        : null;
    const found = base && [base, `${base}.ts`, `${base}/index.ts`].find((file) => existsSync(file) && statSync(file).isFile());
    if (found) along(found, seen);
  }
  return seen;
}
it('the frame and the first screen say only what is there from the start', () => {
  const all = new Map([...along('src/App.svelte'), ...along('src/routes/Home.svelte')]);
  expect(all.size).toBeGreaterThan(30);
  const said = [...all].flatMap(([path, text]) => {
    const whole = /\bt = \$derived\(i18n\.t\)/.test(text) ? /\b(?:i18n\.t|t)\.(\w+)\.?/g : /\bi18n\.t\.(\w+)/g;
    return [...text.matchAll(whole)].map(([, section]) => `${path}: ${section}`);
  });
  expect(said.length).toBeGreaterThan(50);
  expect(said.filter((one) => !(one.split(': ')[1]! in first))).toEqual([]);
});
