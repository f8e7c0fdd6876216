// Whether the page is just being left or loaded anew: the browser breaks off what is under way then.

/** A page that is left is gone sooner. */
const LEAVING_MS = 10_000;

let since = -Infinity;
for (const event of ['beforeunload', 'pagehide']) addEventListener(event, () => (since = performance.now()));

export const isLeaving = () => performance.now() - since < LEAVING_MS;
