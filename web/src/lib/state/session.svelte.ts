// Who looks at the page, and what they may do. A gateway without keys and accounts has no sessions: its one user is
// the operator.
import { api, storedKey, whenUnauthorized, got } from '$lib/api/client';
import type { Session } from '$lib/api/types';
import { live } from './live.svelte';
import { router } from './router.svelte';

const SCOPES = ['inference', 'mcp', 'tools', 'admin-read', 'admin'];

/** What a screen or a request needs: a scope, or conversations, requests and keys of one's own. */
export type Permission = 'inference' | 'tools' | 'admin-read' | 'admin' | 'read-own' | 'change-own';

class SessionState {
  user = $state.raw<Session | null>(null);
  /** No account or key exists, so nobody has to log in. */
  open = $state(false);
  /** Accounts can be asked for. */
  registration = $state(true);
  /** No account exists: the next one is the administrator's. */
  firstAccount = $state(false);
  /** The first account needs the link that the gateway printed. */
  setupTokenNeeded = $state(false);
  known = $state(false);
  #scopes = $state.raw<readonly string[]>([]);
  #personal = $state(false);

  /** Whether everything may be changed. */
  get admin(): boolean {
    return this.may('admin');
  }

  /** Whether the gateway grants this; without it its requests would be refused. */
  may(permission: Permission | undefined): boolean {
    if (permission === undefined) return true;
    if (permission === 'change-own') return this.#personal;
    if (permission === 'read-own') return this.#personal || this.may('admin-read');
    const implied = permission === 'admin-read' || permission === 'tools';
    return this.#scopes.includes(permission) || (implied && this.#scopes.includes('admin'));
  }

  async start(): Promise<void> {
    whenUnauthorized(() => this.ended());
    try {
      const state = await got(api.GET('/api/v1/auth/state'));
      this.open = state.open;
      this.user = state.user ?? null;
      this.registration = state.registration;
      this.firstAccount = state.first_account;
      this.setupTokenNeeded = state.setup_token_needed;
      [this.#scopes, this.#personal] = [state.scopes, state.personal];
    } catch {
      // The gateway does not answer: each screen says so, with a way to try again.
      this.open = true;
      [this.#scopes, this.#personal] = [SCOPES, true];
    }
    this.known = true;
    if (this.open || this.user) live.start(this.may('admin-read'));
    else this.ended();
  }

  async login(credentials: { email: string; password: string } | { api_key: string }): Promise<void> {
    await got(api.POST('/api/v1/auth/login', { body: credentials }));
    // Kept so that the page can trade it again for a cookie (A AUTH-04).
    storedKey.set('api_key' in credentials ? credentials.api_key : null);
    await this.start();
  }

  async logout(): Promise<void> {
    await got(api.POST('/api/v1/auth/logout'));
    storedKey.set(null);
    live.stop();
    this.user = null;
    location.assign('/login');
  }

  /** Nobody is logged in: back to where it was after logging in. */
  ended(): void {
    if (['/login', '/reset', '/setup'].includes(router.path)) return;
    live.stop();
    const login = `/login?next=${encodeURIComponent(location.pathname + location.search)}`;
    // What a session has left in the page is not for whoever logs in next, and what it has under way ends.
    if (this.user) location.replace(login);
    else router.go(login, { replace: true });
  }
}

export const session = new SessionState();
