// Numbers as people read them, each with its unit. Unknown is "n/a", never 0.
import { i18n } from '$lib/i18n/index.svelte';

export const UNKNOWN = 'n/a';
type Maybe = number | null | undefined;

function known(value: Maybe): value is number {
  return typeof value === 'number' && Number.isFinite(value);
}

/** Making one takes longer than all that is done with it on a screen. */
const made = new Map<string, unknown>();
function kept<T>(name: string, make: (locale: string) => T): T {
  const key = `${i18n.locale} ${name}`;
  if (!made.has(key)) made.set(key, make(i18n.locale));
  return made.get(key) as T;
}

function number(value: number, digits: number): string {
  return kept(
    `digits ${digits}`,
    (locale) => new Intl.NumberFormat(locale, { maximumFractionDigits: digits, minimumFractionDigits: digits }),
  ).format(value);
}

/** 48.0 GB: decimal, as the shop prints it. */
export function bytes(value: Maybe): string {
  if (!known(value)) return UNKNOWN;
  for (const [unit, size] of [
    ['TB', 1e12],
    ['GB', 1e9],
    ['MB', 1e6],
    ['kB', 1e3],
  ] as const) {
    if (Math.abs(value) >= size) return `${number(value / size, value / size >= 100 ? 0 : 1)} ${unit}`;
  }
  return `${number(value, 0)} B`;
}

export function percent(value: Maybe): string {
  return known(value) ? `${number(value, 0)} %` : UNKNOWN;
}

export function count(value: Maybe): string {
  return known(value) ? number(value, 0) : UNKNOWN;
}

/** 1.2 M, 34 k: for figures that only have to be grasped. */
export function compact(value: Maybe): string {
  if (!known(value)) return UNKNOWN;
  return kept('compact', (locale) => new Intl.NumberFormat(locale, { notation: 'compact', maximumFractionDigits: 1 })).format(value);
}

export function rate(value: Maybe): string {
  return known(value) ? number(value, value < 100 ? 1 : 0) : UNKNOWN;
}

/** 340 ms, 1.2 s, 3 min, 2 h 5 min, 4 d 3 h. */
export function duration(ms: Maybe): string {
  if (!known(ms)) return UNKNOWN;
  if (ms < 1000) return `${number(ms, 0)} ms`;
  const s = ms / 1000;
  if (s < 10) return `${number(s, 1)} s`;
  if (s < 60) return `${number(s, 0)} s`;
  const min = Math.floor(s / 60);
  if (min < 60) return `${min} min`;
  const h = Math.floor(min / 60);
  if (h < 24) return min % 60 ? `${h} h ${min % 60} min` : `${h} h`;
  const d = Math.floor(h / 24);
  return h % 24 ? `${d} d ${h % 24} h` : `${d} d`;
}

/** 4k, 32k, 128k: tokens of a context window. */
export function context(tokens: Maybe): string {
  if (!known(tokens)) return UNKNOWN;
  if (tokens >= 1_000_000) return `${Math.round(tokens / 1_000_000)}M`;
  return tokens >= 1024 ? `${Math.round(tokens / 1024)}k` : String(tokens);
}

const STEPS: [Intl.RelativeTimeFormatUnit, number][] = [
  ['day', 86_400],
  ['hour', 3600],
  ['minute', 60],
];

/** "3 minutes ago", seen from `now`. */
export function ago(at: number, now: number): string {
  const seconds = Math.round((at - now) / 1000);
  const words = kept('ago', (locale) => new Intl.RelativeTimeFormat(locale, { numeric: 'auto', style: 'short' }));
  for (const [unit, size] of STEPS) {
    if (Math.abs(seconds) >= size) return words.format(Math.trunc(seconds / size), unit);
  }
  return Math.abs(seconds) < 5 ? i18n.t.time.now : words.format(seconds, 'second');
}

export function exact(at: number): string {
  return kept('exact', (locale) => new Intl.DateTimeFormat(locale, { dateStyle: 'medium', timeStyle: 'medium' })).format(at);
}

/** What a person types to find something: every word has to occur. */
export function matches(search: string, ...texts: (string | null | undefined)[]): boolean {
  const hay = texts.filter(Boolean).join(' ').toLowerCase();
  return search
    .toLowerCase()
    .split(/\s+/)
    .every((word) => hay.includes(word));
}
