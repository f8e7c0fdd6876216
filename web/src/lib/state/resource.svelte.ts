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

  load = async (): Promise<void> => {
    const run = ++this.#run;
    untrack(() => (this.loading = true));
    try {
      const data = await this.fetcher();
      if (run !== this.#run) return;
      this.data = data;
      this.error = undefined;
    } catch (error) {
      if (run === this.#run && !(error instanceof DOMException)) this.error = error;
    } finally {
      if (run === this.#run) this.loading = false;
    }
  };
}
