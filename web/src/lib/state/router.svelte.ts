// Where in the page somebody is: the path and the query, kept in the address bar.

class Router {
  path = $state(location.pathname);
  query = $state.raw(new URLSearchParams(location.search));

  constructor() {
    addEventListener('popstate', () => this.#read());
  }

  go(to: string, { replace = false } = {}): void {
    if (to === location.pathname + location.search) return;
    history[replace ? 'replaceState' : 'pushState'](null, '', to);
    const before = this.path;
    this.#read();
    if (this.path !== before) scrollTo(0, 0);
  }

  /** Changes single parameters of the query in place, for filters; an empty value takes one away. */
  set(changes: Record<string, string | null>): void {
    const query = new URLSearchParams(this.query);
    for (const [name, value] of Object.entries(changes)) {
      if (value) query.set(name, value);
      else query.delete(name);
    }
    const text = query.toString();
    this.go(this.path + (text ? `?${text}` : ''), { replace: true });
  }

  get(name: string): string {
    return this.query.get(name) ?? '';
  }

  #read(): void {
    this.path = location.pathname;
    this.query = new URLSearchParams(location.search);
  }
}

export const router = new Router();

/** Keeps plain clicks on links to own pages inside the page. */
export function interceptLinks(event: MouseEvent): void {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = (event.target as Element | null)?.closest?.('a');
  if (!link || link.target || link.hasAttribute('download') || link.origin !== location.origin) return;
  if (!isOwnPage(link.pathname)) return;
  event.preventDefault();
  router.go(link.pathname + link.search);
}

/** Pages as opposed to the API and its documents. */
export function isOwnPage(path: string): boolean {
  return !/^\/(v1|api|mcp|metrics|docs)(\/|$)/.test(path) && !/\.[a-z0-9]+$/i.test(path);
}

/** Only own paths may follow a log-in; anything else leads home. */
export function safeNext(next: string | null): string {
  if (!next || !next.startsWith('/') || next.startsWith('//') || next.includes('\\')) return '/';
  return isOwnPage(next.split('?')[0]!) && !next.startsWith('/login') ? next : '/';
}
