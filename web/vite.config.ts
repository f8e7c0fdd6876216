// How the page is built and tested. `npm run dev` serves it with the gateway at $MLX_GATEWAY_URL behind it.
import { fileURLToPath } from 'node:url';
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';

const gateway = process.env.MLX_GATEWAY_URL ?? 'http://127.0.0.1:10242';
const proxied = Object.fromEntries(
  ['/api', '/v1', '/mcp', '/metrics', '/docs'].map((path) => [path, { target: gateway, changeOrigin: true, headers: { origin: gateway } }]),
);

export default defineConfig({
  plugins: [svelte()],
  resolve: {
    alias: { $lib: fileURLToPath(new URL('./src/lib', import.meta.url)) },
    conditions: process.env.VITEST ? ['browser'] : undefined,
  },
  build: { target: 'es2022', assetsInlineLimit: 0, cssCodeSplit: true, reportCompressedSize: false },
  server: { port: 5199, strictPort: true, proxy: proxied },
  preview: { port: 5199, strictPort: true, proxy: proxied },
  test: {
    environment: 'jsdom',
    include: ['tests/**/*.test.ts'],
    setupFiles: ['tests/setup.ts'],
    restoreMocks: true,
  },
});
