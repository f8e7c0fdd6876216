// @vitest-environment node
// The types of the API are those that the gateway describes.
import { readFileSync } from 'node:fs';
import openapiTS, { astToString } from 'openapi-typescript';
import { expect, it } from 'vitest';

it('the types equal the description; `npm run types` makes them so', { timeout: 120_000 }, async () => {
  const described = astToString(await openapiTS(readFileSync('../docs/openapi.json', 'utf8'), { emptyObjectsUnknown: true, silent: true }));
  const kept = readFileSync('src/lib/api/generated/schema.d.ts', 'utf8');
  expect(kept.trim().endsWith(described.trim())).toBe(true);
});
