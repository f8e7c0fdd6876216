// What people call the accounts and keys whose ids stand in records; for administrators, who may know.
import { api, got } from '$lib/api/client';
import { Resource } from './resource.svelte';
import { session } from './session.svelte';

const SHORT = 8;

class Names {
  #known = new Resource<Map<string, string>>(async () => {
    const [users, keys] = await Promise.all([got(api.GET('/api/v1/users')), got(api.GET('/api/v1/keys'))]);
    return new Map([
      ...users.users.map(({ id, email }): [string, string] => [id, email]),
      ...keys.keys.map(({ id, name }): [string, string] => [id, name]),
    ]);
  });

  load(): void {
    if (session.admin) void this.#known.load();
  }

  /** The name, or the beginning of an id that has none. */
  of(id: string | null | undefined): string {
    return id ? (this.#known.data?.get(id) ?? (id.length > 2 * SHORT ? `${id.slice(0, SHORT)}…` : id)) : '';
  }
}

export const names = new Names();
