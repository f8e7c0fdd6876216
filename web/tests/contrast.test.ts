// The colours of both themes can be read: WCAG 2.2 AA.
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

const css = readFileSync('src/styles/tokens.css', 'utf8');

function tokens(selector: string): Record<string, string> {
  const at = css.indexOf(`${selector} {`);
  const block = css.slice(at, css.indexOf('}', at));
  return Object.fromEntries([...block.matchAll(/--([\w-]+):\s*(#[0-9a-f]{6})\b/g)].map(([, name, colour]) => [name!, colour!]));
}

const luminance = (hex: string) => {
  const [r, g, b] = [1, 3, 5].map((at) => {
    const part = parseInt(hex.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r! + 0.7152 * g! + 0.0722 * b!;
};
const contrast = (a: string, b: string) => {
  const [high, low] = [luminance(a), luminance(b)].sort((x, y) => y - x);
  return (high! + 0.05) / (low! + 0.05);
};

const TEXT: [string, string[]][] = [
  ['text', ['bg', 'surface', 'inset', 'hover', 'accent-soft']],
  ['text-2', ['bg', 'surface', 'inset', 'hover', 'accent-soft']],
  ['text-3', ['bg', 'surface', 'inset', 'hover']],
  ['accent', ['bg', 'surface', 'inset', 'accent-soft']],
  ['on-accent', ['accent', 'accent-hover']],
  ...(['ready', 'working', 'waiting', 'failed'] as const).map((name): [string, string[]] => [
    name,
    ['bg', 'surface', 'inset', `${name}-soft`],
  ]),
];
/** What draws controls, and what gauges are made of. */
const SHAPES: [string, string[]][] = [
  ['line-strong', ['bg', 'surface']],
  ['accent', ['hover', 'surface']],
  ['waiting', ['hover']],
];

describe.each([
  ['light', ":root,\n:root[data-theme='light']"],
  ['dark', ":root[data-theme='dark']"],
])('%s theme', (_, selector) => {
  const colours = tokens(selector);
  const pairs = (list: [string, string[]][]) => list.flatMap(([on, below]) => below.map((under) => [on, under] as const));

  it.each(pairs(TEXT))('text in %s on %s has 4.5:1', (on, under) => {
    expect(contrast(colours[on]!, colours[under]!)).toBeGreaterThanOrEqual(4.5);
  });
  it.each(pairs(SHAPES))('shapes in %s on %s have 3:1', (on, under) => {
    expect(contrast(colours[on]!, colours[under]!)).toBeGreaterThanOrEqual(3);
  });
});

it('the system theme is the dark one where the system is dark', () => {
  expect(tokens(':root:not([data-theme])')).toEqual(tokens(":root[data-theme='dark']"));
});
