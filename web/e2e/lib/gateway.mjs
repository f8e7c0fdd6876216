// The real gateway as a process of a test's own: a folder of its own, a free port, ended with it.
import { spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const TARGET = resolve(process.env.CARGO_TARGET_DIR ?? '../target');
export const PROGRAM = join(TARGET, 'debug/mlx-gateway');
/** Where the real engine stays once it was installed; shared with tests/real_engine.rs. */
const REAL = join(TARGET, 'tmp/real-engine');
export const FAKE = join(TARGET, 'debug/examples/fake_mlx_server');
const START_MS = 90_000;
const STOP_MS = 30_000;

/** Model folders as the engine reads them; the names are what tiles show. */
const MODELS = {
  'Qwen3-4B-4bit': {
    model_type: 'qwen3',
    architectures: ['Qwen3ForCausalLM'],
    max_position_embeddings: 40_960,
    num_hidden_layers: 36,
    num_key_value_heads: 8,
    num_attention_heads: 32,
    hidden_size: 2560,
    head_dim: 128,
    quantization: { bits: 4, group_size: 64 },
  },
  'gemma-3-12b-it-4bit': { model_type: 'gemma3', architectures: ['Gemma3ForConditionalGeneration'] },
  'gpt-oss-20b-MXFP4-Q8': { model_type: 'gpt_oss', architectures: ['GptOssForCausalLM'] },
};

const profile = (name, model, more = '') => `[[profile]]\nname = ${JSON.stringify(name)}\nmodel = ${JSON.stringify(model)}\n${more}\n`;

function shareEngine(data) {
  mkdirSync(data, { recursive: true });
  for (const kept of ['engines', 'models']) {
    mkdirSync(join(REAL, kept), { recursive: true });
    symlinkSync(join(REAL, kept), join(data, kept));
  }
}

/** Copies the demo model, which the engine has made on its first use, to where a hub serves it. */
export function copyDemoModel(to) {
  const made = readdirSync(join(REAL, 'models')).find((name) => name.startsWith('demo-'));
  cpSync(join(REAL, 'models', made), to, { recursive: true });
}

export class Gateway {
  /** `real`: with the real engine instead of the scripted one; `server`: more lines of that section. */
  static async start({ profiles = true, real = false, env = {}, sections = '', server = '', listen = '127.0.0.1:0' } = {}) {
    const folder = mkdtempSync(join(tmpdir(), 'mlx-gateway-web-'));
    const model = (name) => {
      const at = join(folder, 'models', name);
      mkdirSync(at, { recursive: true });
      writeFileSync(join(at, 'config.json'), JSON.stringify(MODELS[name]));
      return at;
    };
    const config = [
      `[server]\nlisten = "${listen}"\nshutdown_grace = "2s"\n${server}\n`,
      real ? '' : `[engine.mlx-openai-server]\nmanaged = false\ncommand = [${JSON.stringify(FAKE)}]\n`,
      sections,
    ];
    if (real) shareEngine(join(folder, 'data'));
    if (profiles) {
      config.push(
        profile(
          'qwen',
          model('Qwen3-4B-4bit'),
          'aliases = ["gpt-4o-mini", "claude-*"]\ndescription = "Everyday answers, short and correct"\nsystem_prompt = "You answer briefly."\ncontext_length = 32768\ndefaults = { temperature = 0.7, max_tokens = 4096 }',
        ),
        profile(
          'qwen-terse',
          model('Qwen3-4B-4bit'),
          'description = "The same model with one-line answers"\nsystem_prompt = "One line."\ncontext_length = 32768',
        ),
        profile(
          'gemma',
          model('gemma-3-12b-it-4bit'),
          'description = "Longer texts"\ncontext_length = 131072\nextra_args = ["--ready-after-ms", "300"]',
        ),
        profile('gpt-oss', model('gpt-oss-20b-MXFP4-Q8'), 'description = "Does not load"\nextra_args = ["--fail-load"]'),
        profile(
          'slow',
          model('gemma-3-12b-it-4bit'),
          'description = "Takes its time"\nextra_args = ["--never-ready"]\ntimeouts = { start = "10m" }',
        ),
      );
    }
    writeFileSync(join(folder, 'config.toml'), config.join('\n'));
    const gateway = new Gateway(folder, env);
    await gateway.#serve();
    return gateway;
  }

  constructor(folder, env) {
    this.folder = folder;
    this.env = env;
  }

  #serve(more = []) {
    this.log = '';
    this.child = spawn(PROGRAM, ['serve', '--config', join(this.folder, 'config.toml'), '--data-dir', join(this.folder, 'data'), ...more], {
      env: { PATH: process.env.PATH, HOME: this.folder, ...this.env },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    return this.#listening();
  }

  /** Ends it as a crash would. */
  async crash() {
    this.child.removeAllListeners('exit');
    const ended = new Promise((done) => this.child.once('exit', done));
    this.child.kill('SIGKILL');
    await ended;
  }

  /** Serves again at the same address, with all that was there before. */
  again() {
    return this.#serve(['--listen', new URL(this.base).host]);
  }

  #listening() {
    return new Promise((done, fail) => {
      const timer = setTimeout(() => fail(new Error(`the gateway did not start:\n${this.log}`)), START_MS);
      this.child.on('exit', (code) => fail(new Error(`the gateway ended with ${code}:\n${this.log}`)));
      this.child.stderr.on('data', (piece) => {
        this.log += piece;
        const found = /listening on (http:\/\/[\d.:]+)/.exec(this.log);
        if (!found) return;
        clearTimeout(timer);
        this.base = found[1];
        done();
      });
    });
  }

  async api(method, path, body, headers = {}) {
    const response = await fetch(this.base + path, {
      method,
      headers: { ...(body !== undefined && { 'content-type': 'application/json' }), ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return text ? JSON.parse(text) : null;
  }

  /** Asks the scripted model; `words` are its own, such as `#chunks=20`. */
  ask(model, words, signal) {
    return this.askAs(null, model, words, signal);
  }

  askAs(token, model, words, signal) {
    return fetch(`${this.base}/v1/chat/completions`, {
      method: 'POST',
      signal,
      headers: { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) },
      body: JSON.stringify({ model, stream: true, messages: [{ role: 'user', content: words }] }),
    }).then((response) => response.text());
  }

  /** Hears every event of a topic until `end` is called. */
  async hear(topic, heard) {
    const line = new AbortController();
    const response = await fetch(`${this.base}/api/v1/events?topics=${topic}`, { signal: line.signal });
    const done = (async () => {
      const text = new TextDecoder();
      let rest = '';
      for await (const piece of response.body) {
        const events = (rest + text.decode(piece, { stream: true })).split('\n\n');
        rest = events.pop();
        for (const event of events) heard(event);
      }
    })().catch((error) => {
      if (error.name !== 'AbortError') throw error;
    });
    return {
      end: () => {
        line.abort();
        return done;
      },
    };
  }

  async stop() {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      this.child.removeAllListeners('exit');
      const ended = new Promise((done) => this.child.once('exit', done));
      const timer = setTimeout(() => this.child.kill('SIGKILL'), STOP_MS);
      this.child.kill('SIGTERM');
      await ended;
      clearTimeout(timer);
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}
