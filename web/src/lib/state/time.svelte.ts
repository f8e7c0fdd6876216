// The passing of time for what is shown as "3 min ago": one timer for the whole page, resting while
// nobody looks.

class Now {
  /** Milliseconds since 1970, each second anew. */
  ms = $state(Date.now());

  constructor() {
    setInterval(() => {
      if (!document.hidden) this.ms = Date.now();
    }, 1000);
    document.addEventListener('visibilitychange', () => (this.ms = Date.now()));
  }
}

export const now = new Now();
