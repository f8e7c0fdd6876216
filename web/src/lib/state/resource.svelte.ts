// Something loaded from the gateway: its data, whether it loads, and why it did not. What is there
// stays on the screen while it is loaded again, so that nothing jumps.
import { untrack } from 'svelte';
import { ApiError } from '$lib/api/errors';

export class Resource<T> {
  data = $state.raw<T | undefined>(undefined);
  error = $state.raw<unknown>(undefined);
  loading = $state(false);
  #run = 0;

  constructor(private readonly fetcher: () => Promise<T>) {}

  get forbidden(): boolean {
    return this.error instanceof ApiError && this.error.status === 403;
  }

  /** Not there in this gateway. */
  get missing(): boolean {
    return this.error instanceof ApiError && this.error.status === 404;
  }

  /** When a load began, for `settle`. */
  protected begin(): number {
    return 0;
  }

  /** What is kept of what was loaded since `begun`. */
  protected settle(data: T, _begun: number): T {
    return data;
  }

  load = async (): Promise<void> => {
    const run = ++this.#run;
    const begun = this.begin();
    untrack(() => (this.loading = true));
    try {
      const data = await this.fetcher();
      if (run !== this.#run) return;
      this.data = this.settle(data, begun);
      this.error = undefined;
    } catch (error) {
      if (run === this.#run && !(error instanceof DOMException)) this.error = error;
    } finally {
      if (run === this.#run) this.loading = false;
    }
  };
}
