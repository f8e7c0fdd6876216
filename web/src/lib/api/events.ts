// One stream of events, read by fetch so that an API key works as well as the cookie. It comes back by
// itself where it broke off, and says so when it missed more than the gateway kept.
import { createParser } from 'eventsource-parser';
import { send } from './client';
import { ApiError } from './errors';

export type Link = 'connecting' | 'open' | 'waiting' | 'closed';

export interface GatewayEvent {
  id: string | null;
  name: string;
  data: unknown;
}

interface Handlers {
  event: (event: GatewayEvent) => void;
  /** Whatever was loaded before may be old. */
  stale: () => void;
  link: (link: Link) => void;
}

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;
/** The gateway says something at least every 15 s; longer silence is a dead line. */
const SILENCE_MS = 45_000;

/** How long to wait before the next try; pure, for the tests. */
export function waitBefore(attempt: number, random = Math.random()): number {
  const full = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** attempt);
  return full / 2 + (full / 2) * random;
}

export class EventStream {
  #stop = new AbortController();
  #last: string | null = null;
  #wake: () => void = () => {};

  constructor(
    private readonly url: string,
    private readonly on: Handlers,
  ) {}

  start(): void {
    void this.#run();
  }

  stop(): void {
    this.#stop.abort();
    this.#wake();
    this.on.link('closed');
  }

  /** Tries at once instead of waiting on, for example because the network is back. */
  retry(): void {
    this.#wake();
  }

  async #run(): Promise<void> {
    let attempt = 0;
    let first = true;
    while (!this.#stop.signal.aborted) {
      if (first) this.on.link('connecting');
      const resumed = this.#last !== null;
      try {
        await this.#read(() => {
          attempt = 0;
          this.on.link('open');
          if (!resumed) this.on.stale();
          first = false;
        });
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        if (error instanceof ApiError && [401, 403, 404].includes(error.status)) {
          this.on.link('closed');
          return;
        }
      }
      if (this.#stop.signal.aborted) return;
      this.on.link('waiting');
      await this.#pause(waitBefore(attempt++));
    }
  }

  async #read(opened: () => void): Promise<void> {
    const line = new AbortController();
    const stop = () => line.abort();
    this.#stop.signal.addEventListener('abort', stop, { once: true });
    let silence = setTimeout(stop, SILENCE_MS);
    try {
      const headers: Record<string, string> = this.#last === null ? {} : { 'last-event-id': this.#last };
      const response = await send('GET', this.url, { headers, signal: line.signal });
      opened();
      const reader = response.body!.getReader();
      const text = new TextDecoder();
      const parser = createParser({ onEvent: (event) => this.#take(event) });
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        clearTimeout(silence);
        silence = setTimeout(stop, SILENCE_MS);
        parser.feed(text.decode(value, { stream: true }));
      }
    } finally {
      clearTimeout(silence);
      this.#stop.signal.removeEventListener('abort', stop);
      line.abort();
    }
  }

  #take({ id, event, data }: { id?: string; event?: string; data: string }): void {
    if (id) this.#last = id;
    const name = event ?? 'message';
    if (name === 'stream.opened') return;
    if (name === 'stream.reset') {
      this.on.stale();
      return;
    }
    try {
      this.on.event({ id: id ?? null, name, data: JSON.parse(data) });
    } catch {
      // Not JSON: not one of ours.
      this.on.stale();
    }
  }

  #pause(ms: number): Promise<void> {
    return new Promise((done) => {
      const timer = setTimeout(done, ms);
      this.#wake = () => {
        clearTimeout(timer);
        done();
      };
    });
  }
}
