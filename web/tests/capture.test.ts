// What was captured of a request, in each of the ways it is looked at.
import { execFileSync } from 'node:child_process';
import { expect, it } from 'vitest';
import type { Capture } from '../src/lib/api/types';
import { conversation, curl, meantHeaders, pretty, whole } from '../src/lib/format/capture';

const text = (text: string | null, cut = false) => ({ text, cut, bytes: text?.length ?? 0 });
const capture = (asked: unknown, answered: string, path = '/v1/chat/completions'): Capture => ({
  captured_at_ms: 0,
  contents: true,
  request: {
    path,
    headers: [
      { name: 'authorization', value: '[redacted]' },
      { name: 'anthropic-version', value: '2023-06-01' },
      { name: 'user-agent', value: 'x' },
    ],
    body: text(typeof asked === 'string' ? asked : JSON.stringify(asked)),
  },
  response: { status: 200, body: text(answered) },
});
const stream = (...events: unknown[]) =>
  `${events.map((event) => `data: ${typeof event === 'string' ? event : JSON.stringify(event)}\n\n`).join('')}`;
const delta = (of: object) => ({ choices: [{ index: 0, delta: of }] });
const short = (of: Capture) =>
  conversation(of).map(({ role, text, thinking, calls, media }) => [
    role,
    text,
    ...(thinking ? [`(${thinking})`] : []),
    ...calls.map((call) => `${call.name}${call.arguments}`),
    ...media,
  ]);

it('a streamed chat is a conversation, with what was thought, called and shown', () => {
  const asked = {
    messages: [
      { role: 'system', content: 'Be brief.' },
      {
        role: 'user',
        content: [
          { type: 'image_url', image_url: {} },
          { type: 'text', text: 'Why?' },
        ],
      },
      { role: 'assistant', content: null, tool_calls: [{ function: { name: 'look', arguments: '{"a":1}' } }] },
      { role: 'tool', content: 'seen' },
    ],
  };
  const answered = `: queued 1\n\n${stream(delta({ reasoning_content: 'hm' }), delta({ content: 'Be' }), delta({ content: 'cause.' }), delta({ tool_calls: [{ index: 0, function: { name: 'go', arguments: '{' } }] }), delta({ tool_calls: [{ index: 0, function: { arguments: '}' } }] }), '[DONE]')}`;
  expect(short(capture(asked, answered))).toEqual([
    ['system', 'Be brief.'],
    ['user', 'Why?', 'image'],
    ['assistant', '', 'look{"a":1}'],
    ['tool', 'seen'],
    ['assistant', 'Because.', '(hm)', 'go{}'],
  ]);
});
it('thinking that stands in the text is told apart', () => {
  expect(short(capture({ messages: [] }, stream(delta({ content: '<think>a' }), delta({ content: 'b</think>\nc' }))))).toEqual([
    ['assistant', 'c', '(ab)'],
  ]);
});
it('an answer in one piece, a completion and a refusal', () => {
  expect(
    short(
      capture(
        { messages: [{ role: 'user', content: 'x' }] },
        JSON.stringify({ choices: [{ message: { role: 'assistant', content: 'y' } }] }),
      ),
    ),
  ).toEqual([
    ['user', 'x'],
    ['assistant', 'y'],
  ]);
  expect(short(capture({ prompt: 'Once' }, JSON.stringify({ choices: [{ text: ' upon' }] })))).toEqual([
    ['user', 'Once'],
    ['assistant', ' upon'],
  ]);
  expect(short(capture({ messages: [] }, JSON.stringify({ error: { message: 'no' } })))).toEqual([]);
});
it("Anthropic's messages and OpenAI's responses are conversations too", () => {
  const messages = stream(
    { type: 'content_block_start', content_block: { type: 'tool_use', name: 'pay' } },
    { type: 'content_block_delta', delta: { type: 'input_json_delta', partial_json: '{}' } },
    { type: 'content_block_delta', delta: { type: 'thinking_delta', thinking: 't' } },
    { type: 'content_block_delta', delta: { type: 'text_delta', text: 'ok' } },
  );
  expect(short(capture({ system: 'S', messages: [{ role: 'user', content: 'x' }] }, messages, '/v1/messages'))).toEqual([
    ['system', 'S'],
    ['user', 'x'],
    ['assistant', 'ok', '(t)', 'pay{}'],
  ]);
  const responses = stream(
    { type: 'response.output_item.added', item: { type: 'function_call', name: 'f' } },
    { type: 'response.function_call_arguments.delta', delta: '{}' },
    { type: 'response.output_text.delta', delta: 'hi' },
  );
  expect(
    short(
      capture(
        { instructions: 'I', input: [{ role: 'user', content: [{ type: 'input_text', text: 'x' }, { type: 'input_image' }] }] },
        responses,
        '/v1/responses',
      ),
    ),
  ).toEqual([
    ['system', 'I'],
    ['user', 'x', 'image'],
    ['assistant', 'hi', 'f{}'],
  ]);
});
it('what nobody can read is left alone, and breaks nothing', () => {
  for (const odd of ['', '{', 'null', '[]', '3', 'data: {', '{"messages":7}', '{"messages":[null,3,{"content":[null]}]}']) {
    expect(() => conversation(capture(odd, odd))).not.toThrow();
    expect(() => pretty(odd)).not.toThrow();
  }
});
it('JSON gets lines, an event stream an event each', () => {
  expect(pretty('{"a":1}')).toBe('{\n  "a": 1\n}');
  expect(pretty(': note\n\ndata: {"a":1}\n\ndata: [DONE]\n\n')).toBe('{\n  "a": 1\n}\n\n[DONE]');
  expect(pretty('plain')).toBe('plain');
});

it('a command asks for the same, holds no key, and survives the shell whatever stands in it', () => {
  const odd = { messages: [{ role: 'user', content: 'it\'s $HOME `x` \\ "q"\n!' }] };
  const command = curl(capture(odd, '', '/v1/messages'), 'http://127.0.0.1:10242');
  expect(command).toContain("-H 'anthropic-version: 2023-06-01'");
  expect(command).not.toContain('redacted');
  const arguments_ = execFileSync('bash', ['-c', command.replace(/^curl/, 'printf "%s\\0"')], {
    env: { PATH: process.env.PATH, MLX_GATEWAY_API_KEY: 'sk-1' },
  })
    .toString()
    .split('\0');
  expect(arguments_[0]).toBe('http://127.0.0.1:10242/v1/messages');
  expect(arguments_).toContain('authorization: Bearer sk-1');
  expect(JSON.parse(arguments_[arguments_.indexOf('--data-raw') + 1]!)).toEqual(odd);
});
it('a body that is too long for an argument goes in by standard input', () => {
  const long = { messages: [{ role: 'user', content: "it's ".repeat(30_000) }] };
  const command = curl(capture(long, ''), 'http://h');
  const read = execFileSync('bash', ['-s'], {
    input: command.replace(/^curl/, 'f() { cat; }; f'),
    env: { PATH: process.env.PATH },
    maxBuffer: 1 << 24,
  }).toString();
  expect(JSON.parse(read)).toEqual(long);
});
it('only a whole request can be asked again, with the headers that mean something', () => {
  const fine = capture({ messages: [] }, '');
  expect(whole(fine)).toBe(true);
  expect(whole({ ...fine, contents: false })).toBe(false);
  expect(whole({ ...fine, request: { ...fine.request, body: text('{"messages":[]}', true) } })).toBe(false);
  expect(whole({ ...fine, request: { ...fine.request, body: text(null) } })).toBe(false);
  expect(meantHeaders(fine)).toEqual({ 'anthropic-version': '2023-06-01' });
});
