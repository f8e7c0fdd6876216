// What people read: numbers with their units, times, lists, files.
import { expect, it } from 'vitest';
import { ago, bytes, compact, context, count, duration, matches, percent, rate } from '../src/lib/format';
import { spans } from '../src/lib/format/ansi';
import { daysOf } from '../src/lib/format/days';
import { cell, csv } from '../src/lib/format/csv';
import { CLIENTS, snippet } from '../src/lib/format/snippets';
import { phases } from '../src/lib/format/timeline';
import { seconds, toml } from '../src/lib/format/toml';
import { words } from '../src/lib/format/words';
import type { Profile, UsageReport } from '../src/lib/api/types';

it.each([
  [0, '0 B'],
  [999, '999 B'],
  [36_864, '36.9 kB'],
  [4_300_000_000, '4.3 GB'],
  [128_000_000_000, '128 GB'],
])('%d bytes are %s, as the shop prints them', (value, text) => expect(bytes(value)).toBe(text));

it.each([
  [0, '0 ms'],
  [340, '340 ms'],
  [1234, '1.2 s'],
  [42_000, '42 s'],
  [180_000, '3 min'],
  [7_500_000, '2 h 5 min'],
  [270_000_000, '3 d 3 h'],
])('%d ms are %s', (value, text) => expect(duration(value)).toBe(text));

it('what is unknown is never 0', () => {
  for (const show of [bytes, percent, count, compact, rate, duration, context]) {
    expect(show(null)).toBe('n/a');
    expect(show(undefined)).toBe('n/a');
    expect(show(Number.NaN)).toBe('n/a');
  }
});
it('a context is told in thousands', () => {
  expect([context(512), context(4096), context(131_072), context(1_048_576)]).toEqual(['512', '4k', '128k', '1M']);
});
it('a moment is told from now', () => {
  const now = Date.UTC(2026, 0, 1, 12);
  expect(ago(now - 1000, now)).toBe('just now');
  expect(ago(now - 180_000, now)).toBe('3 min. ago');
  expect(ago(now - 90_000_000, now)).toBe('yesterday');
});
it('every word of a search has to occur', () => {
  expect(matches('qwen 4bit', 'mlx-community/Qwen3-4B-4bit')).toBe(true);
  expect(matches('qwen 8bit', 'mlx-community/Qwen3-4B-4bit', null)).toBe(false);
  expect(matches('', null)).toBe(true);
});

it('a log line keeps its colours and loses what steers a terminal', () => {
  expect(spans('\x1b[31;1mbad\x1b[0m fine')).toEqual([
    { text: 'bad', tone: 'red', bold: true },
    { text: ' fine', tone: '', bold: false },
  ]);
  const shown = (line: string) =>
    spans(line)
      .map((span) => span.text)
      .join('');
  expect(shown('\x1b]0;title\x07a\x1b[2Jb\x08c')).toBe('abc');
  expect(shown('10 %\r50 %\r100 %')).toBe('100 %');
  expect(shown('done\r')).toBe('done');
});

it('a cell cannot become a formula, nor break its row', () => {
  expect([cell('=1+1'), cell('@x'), cell('a,"b"'), cell(-3), cell(null)]).toEqual(["'=1+1", "'@x", '"a,""b"""', '-3', '']);
});
it('a report is a table with a head', () => {
  const sums = { p50: 1, p95: 2 };
  const group = {
    group: 'a,b',
    requests: 2,
    by_status: { failed: 1 },
    prompt_tokens: 3,
    completion_tokens: 4,
    total_tokens: 7,
    cached_tokens: null,
    ttft_ms: sums,
    decode_tokens_per_s: sums,
  };
  const report = { group_by: 'key', groups: [group] } as unknown as UsageReport;
  expect(csv(report).split('\r\n')).toEqual([
    'key,requests,failed,prompt_tokens,completion_tokens,cached_tokens,ttft_ms_p50,ttft_ms_p95,decode_tokens_per_s_p50',
    '"a,b",2,1,3,4,,1,2,1',
    '',
  ]);
});

it('a snippet holds the base URL, the model and the key, and asks for none where none is needed', () => {
  const use = { baseUrl: 'http://mac.local:10242/v1', model: 'qwen', key: 'sk-1' };
  for (const client of CLIENTS) {
    const text = snippet(client, use);
    expect(text).toContain(use.baseUrl);
    expect(text).toContain('qwen');
    expect(text).toContain('sk-1');
  }
  expect(snippet('curl', { ...use, key: null })).not.toContain('authorization');
  expect(snippet('curl', { ...use, model: "it's" })).toContain("it'\\''s");
});

const timed = (
  queue: number | null,
  start: number | null,
  ttft: number | null,
  all: number | null,
  attempts: [string, string, number, number][] = [],
) =>
  phases({
    started_at_ms: 1000,
    queue_ms: queue,
    start_ms: start,
    ttft_ms: ttft,
    duration_ms: all,
    attempts: attempts.map(([backend, status, from, ms]) => ({ backend, status, started_at_ms: 1000 + from, duration_ms: ms })),
  });
const lines = (of: ReturnType<typeof phases>) => of.map(({ id, from, ms, name }) => `${id}${name ? ` ${name}` : ''} ${from}+${ms}`);

it('the time of a request is shared out, and no more than it took', () => {
  expect(lines(timed(100, 900, 1500, 4000))).toEqual(['queue 0+100', 'startup 100+900', 'prefill 1000+500', 'decode 1500+2500']);
  expect(lines(timed(null, null, null, 30))).toEqual(['prefill 0+30']);
  expect(lines(timed(null, null, 40, 90, [['qwen', 'completed', 0, 90]]))).toEqual(['prefill 0+40', 'decode 40+50']);
  expect(timed(null, null, null, null)).toEqual([]);
});
it('calls of tools stand between the answers that asked for them and came of them', () => {
  const calls: [string, string, number, number][] = [
    ['qwen', 'completed', 10, 490],
    ['tool:calculator', 'completed', 500, 20],
    ['tool:get_weather', 'failed', 520, 80],
    ['qwen', 'completed', 600, 400],
  ];
  const shown = timed(10, null, 200, 1000, calls);
  expect(lines(shown)).toEqual([
    'queue 0+10',
    'prefill 10+190',
    'decode 200+300',
    'tool calculator 500+20',
    'tool get_weather 520+80',
    'decode 600+400',
  ]);
  expect(shown.map((phase) => phase.failed ?? false)).toEqual([false, false, false, false, true, false]);
  // A call that took less than a millisecond was made all the same.
  const quick = timed(0, null, 200, 1000, [
    ['qwen', 'completed', 0, 500],
    ['tool:calculator', 'completed', 500, 0],
    ['qwen', 'completed', 500, 500],
  ]);
  expect(lines(quick)).toEqual(['prefill 0+200', 'decode 200+300', 'tool calculator 500+0', 'decode 500+500']);
});
it('a try that came to nothing is told apart from the one after it', () => {
  expect(
    lines(
      timed(null, null, 300, 700, [
        ['qwen', 'failed', 0, 100],
        ['qwen', 'completed', 150, 550],
      ]),
    ),
  ).toEqual(['again 0+100', 'prefill 150+150', 'decode 300+400']);
});

it('a profile is written as the configuration takes it', () => {
  const profile = {
    name: 'qwen',
    aliases: ['a'],
    description: null,
    model: 'm/x',
    engine: 'mlx-lm',
    model_type: null,
    context_length: 4096,
    structured: false,
    extra_args: [],
    trust_remote_code: false,
    system_prompt: 'One\nTwo',
    defaults: { temperature: 0.7 },
    keep_alive_s: 600,
    pinned: true,
    preload: false,
    max_concurrent: 8,
  } as unknown as Profile;
  expect(toml(profile)).toBe(
    '[[profile]]\nname = "qwen"\naliases = ["a"]\nmodel = "m/x"\nengine = "mlx-lm"\nsystem_prompt = \'\'\'\nOne\nTwo\'\'\'\ncontext_length = 4096\ndefaults = { temperature = 0.7 }\nkeep_alive = "10m"\npinned = true\nmax_concurrent = 8\n',
  );
  expect([seconds(0), seconds(90), seconds(7200), seconds('forever')]).toEqual(['0s', '90s', '2h', 'forever']);
});
it('a list is what stands between commas', () => expect(words(' a, b ,,\nc')).toEqual(['a', 'b', 'c']));

it('a chart of days has those without a request too', () => {
  const report = {
    groups: [
      { group: '2026-02-28', prompt_tokens: 5, completion_tokens: 2 },
      { group: '2026-03-02', prompt_tokens: null, completion_tokens: 1 },
    ],
  } as UsageReport;
  expect(daysOf(report, 4, '2026-03-02')).toEqual([
    { day: '2026-02-27', input: 0, output: 0 },
    { day: '2026-02-28', input: 5, output: 2 },
    { day: '2026-03-01', input: 0, output: 0 },
    { day: '2026-03-02', input: 0, output: 1 },
  ]);
});
