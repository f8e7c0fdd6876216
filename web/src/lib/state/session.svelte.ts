// Who looks at the page. A gateway without keys and accounts has no sessions: its one user is the
// operator.
import { api, storedKey, whenUnauthorized } from '$lib/api/client';
import { ApiError } from '$lib/api/errors';
import type { Session } from '$lib/api/types';
import { live } from './live.svelte';
import { router } from './router.svelte';

interface LoginAnswer {
  token: string;
  expires_at: string;
  user: Session | null;
}

class SessionState {
  user = $state.raw<Session | null>(null);
  /** No account or key exists, so nobody has to log in. */
  open = $state(false);
  known = $state(false);

  get admin(): boolean {
    return this.open || this.user?.role === 'admin';
  }

  async start(): Promise<void> {
    whenUnauthorized(() => this.ended());
    try {
      this.take(await api.get<MeAnswer>('/api/v1/auth/me'));
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) this.open = true;
      else if (error instanceof ApiError && error.status === 401) this.user = null;
    }
    this.known = true;
    if (this.admin || this.user) live.start(this.admin);
  }

  async login(credentials: { email: string; password: string } | { api_key: string }): Promise<void> {
    const answer = await api.post<LoginAnswer>('/api/v1/auth/login', credentials);
    // Kept so that the page can trade it again for a cookie (A AUTH-04).
    storedKey.set('api_key' in credentials ? credentials.api_key : null);
    this.user = answer.user;
    await this.start();
  }

  async logout(): Promise<void> {
    storedKey.set(null);
    await api.post('/api/v1/auth/logout');
    live.stop();
    this.user = null;
    location.assign('/login');
  }

  take(me: MeAnswer): void {
    this.open = me.open === true;
    this.user = me.user ?? (me.role ? { id: me.id, email: me.email ?? null, role: me.role, status: me.status } : null);
  }

  /** A session ended while the page was open: back to where it was after logging in. */
  ended(): void {
    if (['/login', '/setup'].includes(router.path)) return;
    live.stop();
    router.go(`/login?next=${encodeURIComponent(location.pathname + location.search)}`, { replace: true });
  }
}

interface MeAnswer extends Partial<Session> {
  user?: Session | null;
  open?: boolean;
}

export const session = new SessionState();
