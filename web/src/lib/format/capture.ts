// What was captured of a request, in the ways it is looked at: as it is, laid out, as a conversation, and as a
// command that asks again. Pure.
import type { Capture } from '$lib/api/types';
import { splitThinking } from './thinking';

export interface Said {
  role: string;
  text: string;
  thinking: string;
  calls: { name: string; arguments: string }[];
  /** What is neither: `image`, `video`. */
  media: string[];
}

type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
type Fields = { [name: string]: Json };

const isFields = (value: Json | undefined): value is Fields => typeof value === 'object' && value !== null && !Array.isArray(value);
const list = (value: Json | undefined): Json[] => (Array.isArray(value) ? value : []);
const words = (value: Json | undefined): string => (typeof value === 'string' ? value : '');

function parsed(text: string | null | undefined): Json | undefined {
  try {
    return JSON.parse(text ?? '') as Json;
  } catch {
    return undefined;
  }
}

/** The data of an event stream, event by event; null: it is none. */
function events(text: string): string[] | null {
  if (!/^(data|event|:)/m.test(text)) return null;
  const all = text.split(/\r?\n\r?\n/).map((event) =>
    event
      .split(/\r?\n/)
      .filter((line) => line.startsWith('data:'))
      .map((line) => line.slice(5).trimStart())
      .join('\n'),
  );
  return all.filter((data) => data !== '');
}

/** JSON with its fields on lines of their own, also event by event; everything else as it is. */
export function pretty(text: string): string {
  const whole = parsed(text);
  if (whole !== undefined) return JSON.stringify(whole, null, 2);
  const all = events(text);
  if (!all) return text;
  return all.map((data) => ((value) => (value === undefined ? data : JSON.stringify(value, null, 2)))(parsed(data))).join('\n\n');
}

const nobody = (role: string): Said => ({ role, text: '', thinking: '', calls: [], media: [] });

/** A content as any of the dialects writes it, added to what was said. */
function add(said: Said, content: Json | undefined): Said {
  if (typeof content === 'string') {
    const { thinking, answer } = splitThinking(content);
    said.thinking += thinking;
    said.text += answer;
  }
  for (const part of list(content)) {
    if (typeof part === 'string') said.text += part;
    if (!isFields(part)) continue;
    const type = words(part.type);
    if (type === 'thinking') said.thinking += words(part.thinking);
    else if (type === 'tool_use') said.calls.push({ name: words(part.name), arguments: JSON.stringify(part.input ?? {}) });
    else if (type === 'tool_result') add(said, part.content);
    else if (typeof part.text === 'string') said.text += part.text;
    else if (type) said.media.push(type.replace(/^input_|_url$/g, ''));
  }
  return said;
}

function message(of: Json, role = 'user'): Said {
  if (!isFields(of)) return add(nobody(role), of);
  if (of.type === 'function_call') return { ...nobody('assistant'), calls: [{ name: words(of.name), arguments: words(of.arguments) }] };
  if (of.type === 'function_call_output') return add(nobody('tool'), of.output);
  const said = nobody(words(of.role) || role);
  said.thinking = words(of.reasoning_content) || words(of.reasoning);
  add(said, of.content);
  for (const call of list(of.tool_calls)) {
    const made = isFields(call) && isFields(call.function) ? call.function : {};
    said.calls.push({ name: words(made.name), arguments: words(made.arguments) });
  }
  return said;
}

/** What was asked: messages, a prompt or an input, whichever the endpoint takes. */
function asked(text: string | null | undefined): Said[] {
  const body = parsed(text);
  if (!isFields(body)) return [];
  const system = body.system ?? body.instructions;
  const all: Said[] = system ? [add(nobody('system'), system)] : [];
  const given = body.messages ?? body.input ?? body.prompt;
  if (typeof given === 'string') all.push(add(nobody('user'), given));
  for (const one of list(given)) all.push(message(one));
  return all;
}

/** One event of a stream, in any of the dialects. */
function take(said: Said, event: Fields): void {
  if (words(event.type).startsWith('response.')) {
    if (event.type === 'response.output_text.delta') said.text += words(event.delta);
    if (words(event.type).includes('reasoning') && words(event.type).endsWith('.delta')) said.thinking += words(event.delta);
    if (event.type === 'response.output_item.added' && isFields(event.item) && event.item.type === 'function_call')
      said.calls.push({ name: words(event.item.name), arguments: '' });
    if (event.type === 'response.function_call_arguments.delta' && said.calls.length) said.calls.at(-1)!.arguments += words(event.delta);
    return;
  }
  if (isFields(event.content_block) && event.content_block.type === 'tool_use')
    said.calls.push({ name: words(event.content_block.name), arguments: '' });
  const choice = list(event.choices)[0];
  const delta = isFields(choice) ? (choice.delta ?? choice) : event.delta;
  if (!isFields(delta)) return;
  said.thinking += words(delta.reasoning_content) || words(delta.reasoning) || words(delta.thinking);
  said.text += words(delta.content) || words(delta.text);
  if (delta.partial_json !== undefined && said.calls.length) said.calls.at(-1)!.arguments += words(delta.partial_json);
  for (const call of list(delta.tool_calls)) {
    if (!isFields(call)) continue;
    const made = isFields(call.function) ? call.function : {};
    const at = typeof call.index === 'number' ? call.index : said.calls.length;
    const known = (said.calls[at] ??= { name: '', arguments: '' });
    known.name += words(made.name);
    known.arguments += words(made.arguments);
  }
}

/** What came back; null: nothing that anybody said. */
function answer(text: string | null | undefined): Said | null {
  const said = nobody('assistant');
  const whole = parsed(text);
  if (isFields(whole)) {
    const choice = list(whole.choices)[0];
    if (isFields(choice)) Object.assign(said, isFields(choice.message) ? message(choice.message, 'assistant') : add(said, choice.text));
    else if (whole.content !== undefined) add(said, whole.content);
    for (const item of list(whole.output)) {
      const one = message(item, 'assistant');
      said.text += one.text;
      said.calls.push(...one.calls);
    }
  } else {
    for (const data of events(text ?? '') ?? []) {
      const event = parsed(data);
      if (isFields(event)) take(said, event);
    }
    const split = splitThinking(said.text);
    said.thinking += split.thinking;
    said.text = split.answer;
  }
  said.calls = said.calls.filter(Boolean);
  return said.text || said.thinking || said.calls.length ? said : null;
}

/** Question and answer as a conversation. */
export function conversation(capture: Pick<Capture, 'request' | 'response'>): Said[] {
  const last = answer(capture.response.body.text);
  return [...asked(capture.request.body.text), ...(last ? [last] : [])];
}

/** Headers that say how the request is to be understood; of the rest the client sends its own. */
const MEANT = ['anthropic-version', 'anthropic-beta', 'x-mlx-gateway-tools'];

export const meantHeaders = (capture: Pick<Capture, 'request'>): Record<string, string> =>
  Object.fromEntries(capture.request.headers.filter(({ name }) => MEANT.includes(name)).map(({ name, value }) => [name, value]));

/** Whether it can be asked again as it was: all of it is there, and is what was said. */
export function whole(capture: Pick<Capture, 'contents' | 'request'>): boolean {
  const { text, cut } = capture.request.body;
  return capture.contents && !cut && parsed(text) !== undefined;
}

const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;
/** What one argument of a command may have; more goes in by standard input. */
const ARGUMENT_BYTES = 100_000;
const MARK = 'MLX_GATEWAY_BODY';

/** A command that asks again. It holds no key: that comes from the environment of whoever runs it. */
export function curl(capture: Pick<Capture, 'request'>, origin: string): string {
  const body = capture.request.body.text ?? '';
  const headers = Object.entries({ 'content-type': 'application/json', ...meantHeaders(capture) });
  const lines = [
    `curl ${quoted(origin + capture.request.path)}`,
    `-H "authorization: Bearer $MLX_GATEWAY_API_KEY"`,
    ...headers.map(([name, value]) => `-H ${quoted(`${name}: ${value}`)}`),
  ];
  if (new TextEncoder().encode(body).length < ARGUMENT_BYTES) return [...lines, `--data-raw ${quoted(body)}`].join(' \\\n  ');
  return `${[...lines, `--data-binary @- <<'${MARK}'`].join(' \\\n  ')}\n${body}\n${MARK}`;
}
