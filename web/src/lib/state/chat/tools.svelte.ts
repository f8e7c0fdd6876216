// Which tools a conversation may use, and which of them need not be asked for again on this machine.
import { api, got } from '$lib/api/client';
import type { Tool } from '$lib/api/types';
import { Resource } from '../resource.svelte';
import type { Call } from './message';

const ALWAYS = 'mlx-gateway.tools.always';
const CHOSEN = 'mlx-gateway.tools.chosen';

function read(key: string): string[] | null {
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(key) ?? 'null');
    return Array.isArray(kept) ? kept.filter((name) => typeof name === 'string') : null;
  } catch {
    return null;
  }
}

function write(key: string, names: string[]): void {
  try {
    localStorage.setItem(key, JSON.stringify(names));
  } catch {
    // Storage is closed: it holds until the page is left.
  }
}

class ChatTools {
  list = new Resource<Tool[]>(async () => (await got(api.GET('/api/v1/tools'))).tools as Tool[]);
  #always = $state.raw(read(ALWAYS) ?? []);
  #chosen = $state.raw(read(CHOSEN));

  get available(): Tool[] {
    return (this.list.data ?? []).filter((tool) => tool.available);
  }

  /** Those that a model is told of; without a choice those of its profile. */
  enabled(ofProfile: readonly string[]): Tool[] {
    const names = this.#chosen ?? ofProfile;
    return this.available.filter((tool) => names.includes(tool.name));
  }

  toggle(name: string, ofProfile: readonly string[]): void {
    const now = this.enabled(ofProfile).map((tool) => tool.name);
    this.#chosen = now.includes(name) ? now.filter((one) => one !== name) : [...now, name];
    write(CHOSEN, this.#chosen);
  }

  isAllowed(name: string): boolean {
    return this.#always.includes(name);
  }

  allowAlways(name: string): void {
    if (!this.isAllowed(name)) this.#always = [...this.#always, name];
    write(ALWAYS, this.#always);
  }

  /** As a request declares them. */
  declared(ofProfile: readonly string[]): object[] {
    return this.enabled(ofProfile).map(({ name, description, input_schema }) => ({
      type: 'function',
      function: { name, description, parameters: input_schema },
    }));
  }

  /** Makes a call that was consented to; what goes wrong is its result, so that the model can go on. */
  async run(call: Call): Promise<void> {
    try {
      const args = call.arguments.trim() ? (JSON.parse(call.arguments) as Record<string, unknown>) : {};
      const answer = await got(api.POST('/api/v1/tools/{name}/call', { params: { path: { name: call.name } }, body: { arguments: args } }));
      const parts = answer.content as { text?: string; type?: string }[];
      call.result = parts.map((part) => part.text ?? `[${part.type}]`).join('\n');
      call.isError = answer.is_error;
      call.durationMs = answer.duration_ms;
    } catch (error) {
      call.result = error instanceof Error ? error.message : String(error);
      call.isError = true;
    }
  }
}

export const chatTools = new ChatTools();
