// The tasks of a page's main thread, from the browser's own trace.

const TASK = 'ThreadControllerImpl::RunTask';
/** By it the page's thread is found among those of the browser's other pages. */
const MARK = 'mlx-gateway-measured';

/** Milliseconds of each task: `clock` from begin to end, `ran` what its thread was running of that. */
function tasksOf({ traceEvents }) {
  const marked = traceEvents.find(({ name }) => name === MARK);
  if (!marked) throw new Error(`the trace of this Chromium has no mark of the page`);
  const tasks = traceEvents.filter(({ name, ph, pid, tid }) => name === TASK && ph === 'X' && pid === marked.pid && tid === marked.tid);
  if (!tasks.some(({ tdur }) => tdur)) throw new Error(`the trace of this Chromium has no ${TASK} with its thread's time`);
  // The shortest have no time of their thread.
  return tasks.map(({ dur, tdur = dur }) => ({ clock: dur / 1000, ran: tdur / 1000 }));
}

/** The page that `work` gives back, and the tasks of its main thread meanwhile. */
export async function trace(browser, work) {
  await browser.startTracing(undefined, { categories: ['toplevel', 'blink.user_timing'] });
  const page = await work();
  await page.evaluate((mark) => performance.mark(mark), MARK);
  return { page, tasks: tasksOf(JSON.parse((await browser.stopTracing()).toString())) };
}
