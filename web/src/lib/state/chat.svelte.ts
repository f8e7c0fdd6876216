// One conversation, streamed from /v1/chat/completions: what was said, what is being said, and the
// figures of each answer.
import { createParser } from 'eventsource-parser';
import { send } from '$lib/api/client';
import { told } from './toasts.svelte';

export interface Message {
  id: number;
  role: 'user' | 'assistant';
  text: string;
  thinking: string;
  /** From asking to the first answer token, when the model thought before it. */
  thoughtMs: number | null;
  state: 'streaming' | 'done' | 'stopped' | 'failed';
  problem: string | null;
  problemDetail: string | null;
  /** What the gateway says while there is no token yet: queued, loading. */
  note: string;
  profile: string;
  requestId: string | null;
  ttftMs: number | null;
  durationMs: number | null;
  tokens: number | null;
}

interface Chunk {
  choices?: { delta?: { content?: string | null; reasoning_content?: string | null; reasoning?: string | null } }[];
  usage?: { completion_tokens?: number } | null;
  error?: { message?: string };
}

/** Splits `<think>` text off a growing answer; a tag may be cut anywhere between chunks. */
export function splitThinking(text: string): { thinking: string; answer: string; open: boolean } {
  const start = /^\s*<think>/.exec(text);
  if (!start) return { thinking: '', answer: /^\s*<(t(h(i(n(k)?)?)?)?)?$/.test(text) ? '' : text, open: false };
  const inside = text.slice(start[0].length);
  const end = inside.indexOf('</think>');
  if (end < 0) return { thinking: inside.replace(/<(\/(t(h(i(n(k)?)?)?)?)?)?$/, ''), answer: '', open: true };
  return { thinking: inside.slice(0, end), answer: inside.slice(end + 8).replace(/^\s+/, ''), open: false };
}

class Chat {
  messages = $state<Message[]>([]);
  #next = 1;
  #stop: AbortController | null = null;

  get busy(): boolean {
    return this.messages.at(-1)?.state === 'streaming';
  }

  async ask(profile: string, text: string): Promise<void> {
    this.messages.push(this.#message('user', profile, text));
    await this.#answer(profile);
  }

  /** Answers the last question once more. */
  async again(profile: string): Promise<void> {
    while (this.messages.at(-1)?.role === 'assistant') this.messages.pop();
    if (this.messages.length) await this.#answer(profile);
  }

  stop(): void {
    this.#stop?.abort();
  }

  clear(): void {
    this.stop();
    this.messages = [];
  }

  #message(role: Message['role'], profile: string, text = ''): Message {
    return {
      id: this.#next++,
      role,
      text,
      thinking: '',
      thoughtMs: null,
      state: role === 'user' ? 'done' : 'streaming',
      problem: null,
      problemDetail: null,
      note: '',
      profile,
      requestId: null,
      ttftMs: null,
      durationMs: null,
      tokens: null,
    };
  }

  async #answer(profile: string): Promise<void> {
    const said = this.messages.filter((message) => message.text && message.state !== 'failed').map(({ role, text }) => ({ role, content: text }));
    this.messages.push(this.#message('assistant', profile));
    const message = this.messages.at(-1)!;
    const stop = (this.#stop = new AbortController());
    const began = performance.now();
    try {
      await this.#stream(message, { model: profile, messages: said, stream: true, stream_options: { include_usage: true } }, stop.signal, began);
      if (message.state === 'streaming') message.state = 'done';
    } catch (error) {
      if (stop.signal.aborted) message.state = 'stopped';
      else {
        const words = told(error);
        [message.state, message.problem, message.problemDetail] = ['failed', words.text, words.detail ?? null];
      }
    }
    message.durationMs = performance.now() - began;
    message.note = '';
  }

  async #stream(message: Message, body: object, signal: AbortSignal, began: number): Promise<void> {
    const response = await send('POST', '/v1/chat/completions', { body, signal });
    message.requestId = response.headers.get('x-request-id');
    let raw = '';
    let reasoning = '';
    let deltas = 0;
    const parser = createParser({
      onComment: (comment) => (message.note = comment.trim()),
      onEvent: ({ data }) => {
        if (data === '[DONE]') return;
        const chunk = JSON.parse(data) as Chunk;
        if (chunk.error) {
          [message.state, message.problem] = ['failed', chunk.error.message ?? ''];
          return;
        }
        if (chunk.usage?.completion_tokens) message.tokens = chunk.usage.completion_tokens;
        const delta = chunk.choices?.[0]?.delta;
        const thought = delta?.reasoning_content ?? delta?.reasoning ?? '';
        const text = delta?.content ?? '';
        if (!thought && !text) return;
        message.ttftMs ??= performance.now() - began;
        reasoning += thought;
        raw += text;
        deltas += 1;
        message.tokens ??= null;
        const split = splitThinking(raw);
        message.thinking = reasoning + split.thinking;
        message.text = split.answer;
        message.note = '';
        if (message.thinking && split.answer && message.thoughtMs === null) message.thoughtMs = performance.now() - began;
      },
    });
    const reader = response.body!.getReader();
    const decoder = new TextDecoder();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      parser.feed(decoder.decode(value, { stream: true }));
    }
    if (message.tokens === null && deltas > 0) message.tokens = deltas;
  }
}

export const chat = new Chat();
