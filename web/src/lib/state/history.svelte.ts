// The last two minutes of each backend's tokens per second, for the small lines on the tiles.
import { live } from './live.svelte';

const KEPT = 60;
const EVERY_MS = 2000;

class History {
  #series = $state.raw<Record<string, number[]>>({});

  constructor() {
    setInterval(() => {
      if (!document.hidden) this.note();
    }, EVERY_MS);
  }

  of(id: string): number[] {
    return this.#series[id] ?? [];
  }

  note(): void {
    const next: Record<string, number[]> = {};
    for (const server of live.servers.data ?? []) {
      if (server.state === 'ready') next[server.id] = [...this.of(server.id), server.tokens_per_s].slice(-KEPT);
    }
    this.#series = next;
  }
}

export const history = new History();
