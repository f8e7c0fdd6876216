// Reading one answer: the endpoint's events, told apart into thinking, text, calls and figures.
import { createParser } from 'eventsource-parser';
import { send } from '$lib/api/client';
import { offlineError } from '$lib/api/errors';
import { splitThinking } from '$lib/format/thinking';

/** What an answer has been so far. */
export interface Answer {
  thinking: string;
  text: string;
  calls: { id: string; name: string; arguments: string }[];
  note: string;
  tokens: number | null;
  promptTokens: number | null;
  /** Milliseconds since it was asked for. */
  ttftMs: number | null;
  thoughtMs: number | null;
  problem: string | null;
}

/** Characters of one answer. A model that goes on without end is stopped there: a page that draws much more freezes. */
export const ANSWER_CHARS_MAX = 1_000_000;
/** After that long without a pause the page gets its turn to draw and to hear a click. */
const TURN_MS = 30;

interface Delta {
  content?: string | null;
  reasoning_content?: string | null;
  reasoning?: string | null;
  tool_calls?: { index?: number; id?: string; function?: { name?: string; arguments?: string } }[];
}

interface Chunk {
  choices?: { delta?: Delta }[];
  usage?: { completion_tokens?: number; prompt_tokens?: number } | null;
  error?: { message?: string };
}

/** Collects deltas; `now` is the time since the answer was asked for. */
export class Collector {
  readonly #answer: Answer = {
    thinking: '',
    text: '',
    calls: [],
    note: '',
    tokens: null,
    promptTokens: null,
    ttftMs: null,
    thoughtMs: null,
    problem: null,
  };
  #raw = '';
  #reasoning = '';
  #deltas = 0;
  #calls = 0;
  #isSplit = true;

  constructor(private readonly now: () => number) {}

  /** What it has been so far. Split when it is read, since that takes as long as the whole text is. */
  get answer(): Answer {
    const answer = this.#answer;
    if (this.#isSplit) return answer;
    this.#isSplit = true;
    const split = splitThinking(this.#raw);
    answer.thinking = this.#reasoning + split.thinking;
    answer.text = split.answer;
    if (answer.thinking && split.answer) answer.thoughtMs ??= this.now();
    return answer;
  }

  get isFull(): boolean {
    return this.#raw.length + this.#reasoning.length + this.#calls > ANSWER_CHARS_MAX;
  }

  take(chunk: Chunk): void {
    const answer = this.#answer;
    if (chunk.error) {
      answer.problem = chunk.error.message ?? '';
      return;
    }
    if (chunk.usage) {
      answer.tokens = chunk.usage.completion_tokens ?? answer.tokens;
      answer.promptTokens = chunk.usage.prompt_tokens ?? answer.promptTokens;
    }
    const delta = chunk.choices?.[0]?.delta;
    if (!delta) return;
    for (const call of delta.tool_calls ?? []) this.#call(call);
    const thought = delta.reasoning_content ?? delta.reasoning ?? '';
    const text = delta.content ?? '';
    if (!thought && !text && !delta.tool_calls?.length) return;
    answer.ttftMs ??= this.now();
    answer.note = '';
    this.#deltas += 1;
    this.#reasoning += thought;
    this.#raw += text;
    this.#isSplit = false;
    // How long it thought is known only now.
    if (answer.thoughtMs === null && answer.thinking && text) void this.answer;
  }

  /** Without usage from the backend a delta counts as a token. */
  end(): void {
    if (this.#answer.tokens === null && this.#deltas > 0) this.#answer.tokens = this.#deltas;
  }

  #call({ index, id, function: made }: NonNullable<Delta['tool_calls']>[number]): void {
    const { calls } = this.#answer;
    const at = index ?? calls.length;
    const call = (calls[at] ??= { id: id ?? `call-${at}`, name: '', arguments: '' });
    if (id) call.id = id;
    call.name += made?.name ?? '';
    call.arguments += made?.arguments ?? '';
    this.#calls += made?.arguments?.length ?? 0;
  }
}

/** Asks, and calls `changed` with what reads the answer, until it has ended or is longer than a page shows. */
export async function ask(
  body: object,
  signal: AbortSignal,
  changed: (read: () => Answer, requestId: string | null) => void,
): Promise<{ answer: Answer; isCut: boolean }> {
  const began = performance.now();
  const collector = new Collector(() => performance.now() - began);
  // Tools take part only through this page, so that each call can be consented to.
  const response = await send('POST', '/v1/chat/completions', { body, signal, headers: { 'x-mlx-gateway-tools': 'none' } });
  const requestId = response.headers.get('x-request-id');
  const read = () => collector.answer;
  const parser = createParser({
    onComment: (comment) => {
      collector.answer.note = comment.trim();
      changed(read, requestId);
    },
    onEvent: ({ data }) => {
      if (data === '[DONE]' || collector.isFull) return;
      collector.take(JSON.parse(data) as Chunk);
      changed(read, requestId);
    },
  });
  const reader = response.body!.getReader();
  const decoder = new TextDecoder();
  let turn = performance.now();
  for (;;) {
    // A gateway that went away in the middle says nothing more.
    const { value, done } = await reader.read().catch((error) => {
      throw signal.aborted ? error : offlineError();
    });
    if (done) break;
    parser.feed(decoder.decode(value, { stream: true }));
    if (collector.isFull) {
      // The gateway ends its request with the connection.
      void reader.cancel().catch(() => undefined);
      break;
    }
    if (performance.now() - turn > TURN_MS) {
      await new Promise((done) => setTimeout(done));
      turn = performance.now();
    }
  }
  collector.end();
  changed(read, requestId);
  return { answer: collector.answer, isCut: collector.isFull };
}
