// The tree of a conversation, what is sent of it, and how an answer is put together.
import { expect, it, vi } from 'vitest';
import {
  pages,
  asMarkdown,
  branch,
  forModel,
  newestLeaf,
  newMessage,
  siblings,
  titleOf,
  withDescendants,
  type Message,
} from '../src/lib/state/chat/message';
import { Conversation } from '../src/lib/state/chat/conversation.svelte';
import { ANSWER_CHARS_MAX, ask, Collector } from '../src/lib/state/chat/stream';
import { session } from '../src/lib/state/session.svelte';
import type { Piece } from '../src/lib/format/bounds';
import { blocks, grouped, markdown, withoutFrontMatter } from '../src/lib/format/markdown';

const said = (id: string, parent: string | null, role: Message['role'], text: string, more: Partial<Message> = {}) =>
  newMessage({ id, parent, role, profile: 'p', text, state: 'done', ...more });
const TREE = [
  said('a', null, 'user', 'one'),
  said('b', 'a', 'assistant', 'first'),
  said('c', 'a', 'assistant', 'second'),
  said('d', 'c', 'user', 'two'),
  said('e', 'd', 'assistant', 'third'),
];
const ids = (all: readonly Message[]) => all.map(({ id }) => id).join('');

it('a branch goes from its end to the beginning, and others stand beside it', () => {
  expect(ids(branch(TREE, 'e'))).toBe('acde');
  expect(ids(branch(TREE, 'b'))).toBe('ab');
  expect(ids(siblings(TREE, TREE[1]!))).toBe('bc');
  expect([newestLeaf(TREE, 'a'), newestLeaf(TREE, 'b'), newestLeaf(TREE, 'c')]).toEqual(['e', 'b', 'e']);
  expect([...withDescendants(TREE, 'c')].join('')).toBe('cde');
});
it('a tree that is broken or turns in itself still ends', () => {
  expect(ids(branch([said('x', 'y', 'user', ''), said('y', 'x', 'user', '')], 'x'))).toBe('yx');
  expect(branch(TREE, 'nowhere')).toEqual([]);
});

it('B CHAT-02, B CHAT-03: pictures and videos go with their question, in every later request too', () => {
  const picture = said('a', null, 'user', 'what is it?', {
    attachments: [{ kind: 'image', name: 'x.png', urls: ['data:image/png;base64,AA'] }],
  });
  const film = said('c', 'b', 'user', '', { attachments: [{ kind: 'video', name: 'x.mp4', urls: ['data:video/mp4;base64,AA'] }] });
  const frames = said('d', 'c', 'user', 'and?', { attachments: [{ kind: 'frames', name: 'x.mp4', urls: ['data:1', 'data:2'] }] });
  expect(forModel([picture, said('b', 'a', 'assistant', 'a dot'), film, frames])).toEqual([
    {
      role: 'user',
      content: [
        { type: 'image_url', image_url: { url: 'data:image/png;base64,AA' } },
        { type: 'text', text: 'what is it?' },
      ],
    },
    { role: 'assistant', content: 'a dot' },
    { role: 'user', content: [{ type: 'video_url', video_url: { url: 'data:video/mp4;base64,AA' } }] },
    {
      role: 'user',
      content: [
        { type: 'image_url', image_url: { url: 'data:1' } },
        { type: 'image_url', image_url: { url: 'data:2' } },
        { type: 'text', text: 'and?' },
      ],
    },
  ]);
});
it('calls go with their results, also those that were not allowed', () => {
  const call = { id: '1', name: 'calculator', arguments: '{}', decision: 'allowed' as const, result: '42', isError: false, durationMs: 1 };
  const message = said('b', 'a', 'assistant', '', { calls: [call, { ...call, id: '2', result: null }] });
  expect(forModel([message]).slice(1)).toEqual([
    { role: 'tool', tool_call_id: '1', content: '42' },
    { role: 'tool', tool_call_id: '2', content: 'This call was not made.' },
  ]);
  expect(forModel([said('c', null, 'assistant', 'broken', { state: 'failed' }), said('d', null, 'assistant', '')])).toEqual([]);
});
it('a conversation is named by its first line and written as a document', () => {
  expect(titleOf('  How do trains\nstop? ')).toBe('How do trains');
  expect(titleOf('x'.repeat(80))).toHaveLength(60);
  expect(asMarkdown('Trains', branch(TREE, 'b'), 'You')).toBe('# Trains\n\n## You\n\none\n\n## p\n\nfirst\n');
});

it('CHAT-01: thinking in fields of its own, calls in pieces, and figures are put together', () => {
  let now = 0;
  const collector = new Collector(() => now);
  const delta = (fields: object) => collector.take({ choices: [{ delta: fields }] });
  delta({ role: 'assistant' });
  now = 10;
  delta({ reasoning_content: 'hm' });
  now = 30;
  delta({ content: '<thi' });
  delta({ content: 'nk>more</think>so' });
  delta({ tool_calls: [{ index: 0, id: 'c1', function: { name: 'calculator', arguments: '{"a"' } }] });
  delta({ tool_calls: [{ index: 0, function: { arguments: ':1}' } }] });
  collector.take({ usage: { prompt_tokens: 7, completion_tokens: 5 } });
  collector.end();
  expect(collector.answer).toEqual({
    thinking: 'hmmore',
    text: 'so',
    calls: [{ id: 'c1', name: 'calculator', arguments: '{"a":1}' }],
    note: '',
    tokens: 5,
    promptTokens: 7,
    ttftMs: 10,
    thoughtMs: 30,
    problem: null,
  });
  collector.take({ error: { message: 'gone' } });
  expect(collector.answer.problem).toBe('gone');
});

const written = (pieces: Piece[]) => pieces.map(({ text }) => text).join('');
const drawn = (pieces: Piece[]) => pieces.map(({ text, plain }) => (plain ? text : markdown(text))).join('');

it('a text is drawn in blocks that say the same as the whole', () => {
  const text = '# Head\n\none\n\n- a\n- b\n\n```js\nlet a;\n\nlet b;\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nend';
  expect(blocks(text)).toHaveLength(6);
  expect(written(blocks(text))).toBe(text);
  expect(drawn(blocks(text))).toBe(markdown(text));
  expect(blocks('see [a]\n\n[a]: https://example.com')).toHaveLength(1);
  expect(blocks('```\nopen\n\nstill')).toHaveLength(1);
});

it('short blocks are drawn together, and what is drawn stays while the text grows', () => {
  const paragraph = (i: number) => `Paragraph ${i}: ${'some words '.repeat(30)}\n\n`;
  const text = Array.from({ length: 20 }, (_, i) => paragraph(i)).join('');
  const all = grouped(blocks(text));
  expect(all.length).toBeLessThan(8);
  expect(written(all)).toBe(text);
  const less = grouped(blocks(text.slice(0, text.indexOf('Paragraph 11'))));
  expect(less.slice(0, -1)).toEqual(all.slice(0, less.length - 1));
  expect(drawn(all)).toBe(markdown(text));
});
it('the metadata of a model card is not part of what it says', () => {
  expect(withoutFrontMatter('---\nlicense: mit\n---\n# M\n---\n')).toBe('# M\n---\n');
  expect(withoutFrontMatter('# M\n---\nx\n---\n')).toBe('# M\n---\nx\n---\n');
});

it('a long conversation is drawn in pages that keep their places while its beginning comes', () => {
  const path = Array.from({ length: 100 }, (_, i) => newMessage({ id: `m${i}`, role: 'user', parent: null, profile: 'p' }));
  const of = (skipped: number) => pages(path, skipped);
  expect(of(0).flatMap((page) => page.messages)).toEqual(path);
  expect(of(98).map((page) => [page.at, page.messages.length])).toEqual([[6, 2]]);
  expect(of(70).map((page) => [page.at, page.messages.length])).toEqual([
    [4, 10],
    [5, 16],
    [6, 4],
  ]);
  expect(of(70).some((page) => page.far)).toBe(false);
  expect(
    of(0)
      .filter((page) => page.far)
      .map((page) => page.at),
  ).toEqual([2, 3, 4]);
  expect(pages([], 0)).toEqual([]);
});

it('a conversation that is refused keeps what was said and is saved with the next change', async () => {
  vi.useFakeTimers();
  vi.spyOn(session, 'may').mockReturnValue(true);
  const answers = [
    [507, { error: { message: 'the conversations of an account hold at most 512 MiB', code: 'conversations_full' } }],
    [201, { id: 'c1' }],
  ] as const;
  const bodies: string[] = [];
  vi.stubGlobal('fetch', async (request: Request) => {
    bodies.push(await request.text());
    const [status, body] = answers[Math.min(bodies.length, answers.length) - 1]!;
    return new Response(JSON.stringify(body), { status });
  });
  const conversation = new Conversation(() => {});
  const saved = () => vi.waitFor(() => expect(conversation.isOurs()).toBe(true));
  conversation.messages = TREE;
  conversation.remove(TREE[0]!);
  conversation.messages = TREE;
  await vi.waitFor(() => expect(conversation.refusal?.code).toBe('conversations_full'));
  expect([conversation.unsaved, conversation.messages.length]).toEqual([true, TREE.length]);
  // The same would be refused again: nothing is sent until something changes.
  await vi.advanceTimersByTimeAsync(60_000);
  expect(bodies).toHaveLength(1);
  conversation.rename('Shorter');
  await vi.waitFor(() => expect(conversation.id).toBe('c1'));
  await saved();
  expect([conversation.unsaved, conversation.refusal]).toEqual([false, null]);
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

it('an answer without end is stopped at its bound, and others get their turn meanwhile', async () => {
  const chunk = new TextEncoder().encode(`data: ${JSON.stringify({ choices: [{ delta: { content: 'x'.repeat(10_000) } }] })}\n\n`);
  let cancelled = false;
  const endless = new ReadableStream({
    pull: (controller) => controller.enqueue(chunk),
    cancel: () => void (cancelled = true),
  });
  vi.stubGlobal('fetch', async () => new Response(endless, { headers: { 'content-type': 'text/event-stream' } }));
  let [turns, reads] = [0, 0];
  const timer = setInterval(() => (turns += 1), 1);
  const clock = vi.spyOn(performance, 'now').mockImplementation(() => (reads += 1) * 10);
  const { answer, isCut } = await ask({}, new AbortController().signal, () => undefined);
  clock.mockRestore();
  clearInterval(timer);
  vi.unstubAllGlobals();
  expect([isCut, cancelled]).toEqual([true, true]);
  expect(answer.text.length).toBeLessThanOrEqual(ANSWER_CHARS_MAX + 10_000);
  expect(turns).toBeGreaterThan(0);
});
it('a growing answer is split when it is read and not with every chunk', () => {
  const collector = new Collector(() => 0);
  const began = performance.now();
  for (let n = 0; n < 90_000; n += 1) collector.take({ choices: [{ delta: { content: 'word word\n' } }] });
  expect(collector.answer.text.length).toBe(900_000);
  expect(performance.now() - began).toBeLessThan(2_000);
});
