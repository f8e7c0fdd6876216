// House rules of the page's source that a reader would otherwise have to watch for.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { en } from '../src/lib/i18n/en';
import { de } from '../src/lib/i18n/de';

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
it('every file opens by saying what it is for', () => {
  expect(sources.filter(({ text }) => !/^(\/\/|\/\*|<!--)/.test(text)).map(({ path }) => path)).toEqual([]);
});

function flat(of: object, prefix = ''): [string, unknown][] {
  return Object.entries(of).flatMap(([key, value]) => (typeof value === 'object' && value !== null ? flat(value, `${prefix}${key}.`) : [[`${prefix}${key}`, value] as [string, unknown]]));
}
it('German says everything that English says', () => {
  expect(flat(de).map(([key]) => key)).toEqual(flat(en).map(([key]) => key));
  expect(flat(de).filter(([, value]) => value === '')).toEqual([]);
});
it('the words do not shout', () => {
  const loud = [...flat(en), ...flat(de)].filter(([, value]) => typeof value === 'string' && value.includes('!'));
  expect(loud).toEqual([]);
});
