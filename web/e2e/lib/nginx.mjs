// nginx in front of a gateway: a process of a test's own with a folder of its own, on a free port.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { until } from './until.mjs';

/** Where `make setup-test` puts it when it is not installed. */
const TOOLS = join(resolve(process.env.CARGO_TARGET_DIR ?? '../target'), 'tools/bin');
const PATH = `${process.env.PATH}:/usr/sbin:${TOOLS}`;

/** The `location` that docs/security.md tells people to copy. */
function documented(upstream) {
  const text = readFileSync(new URL('../../../docs/security.md', import.meta.url), 'utf8');
  const location = /```nginx\n([\s\S]*?)```/.exec(text)[1];
  return location.replace(/proxy_pass [^;]+;/, `proxy_pass ${upstream};`);
}

function freePort() {
  return new Promise((done, fail) => {
    const server = createServer().on('error', fail);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });
}

export class Nginx {
  static async start(upstream) {
    const folder = mkdtempSync(join(tmpdir(), 'mlx-gateway-nginx-'));
    const port = await freePort();
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${folder}/${name};`);
    writeFileSync(
      join(folder, 'nginx.conf'),
      `daemon off;
worker_processes 1;
pid ${folder}/nginx.pid;
error_log stderr;
events {}
http {
  access_log off;
  ${temporary.join('\n  ')}
  server {
    listen 127.0.0.1:${port};
    ${documented(upstream)}
  }
}
`,
    );
    const nginx = new Nginx();
    Object.assign(nginx, { folder, base: `http://127.0.0.1:${port}`, log: '' });
    nginx.child = spawn('nginx', ['-p', folder, '-c', join(folder, 'nginx.conf'), '-e', 'stderr'], {
      env: { PATH },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    nginx.child.stderr.on('data', (piece) => (nginx.log += piece));
    nginx.child.on('error', (error) => (nginx.log += `${error.message}; run scripts/setup-test.sh`));
    const answers = () =>
      fetch(`${nginx.base}/livez`).then(
        ({ ok }) => ok,
        () => false,
      );
    await until(async () => {
      if (nginx.child.pid === undefined || nginx.child.exitCode !== null) throw new Error(`nginx did not start: ${nginx.log}`);
      return answers();
    }, 'nginx answers');
    return nginx;
  }

  /** Ends it with its workers; it is its parent's to do so on SIGTERM. */
  async stop() {
    if (this.child.exitCode === null) {
      const ended = new Promise((done) => this.child.once('exit', done));
      this.child.kill('SIGTERM');
      await ended;
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}
