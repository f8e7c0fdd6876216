// Looks until something holds that another process brings about; never sleeps to wait.
const PATIENCE_MS = Number(process.env.PATIENCE_MS ?? 90_000);
const EVERY_MS = 50;

export async function until(holds, what) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    if (await holds()) return;
    if (Date.now() > end) throw new Error(`in vain: ${what}`);
    await new Promise((done) => setTimeout(done, EVERY_MS));
  }
}
