// A model hub of a test's own: a process that serves the folders it is given as models.
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const PROGRAM = join(resolve(process.env.CARGO_TARGET_DIR ?? '../target'), 'debug/examples/fake_hub');
const START_MS = 90_000;

const layers = (of) => ({
  hidden_size: 2560,
  num_attention_heads: 32,
  num_key_value_heads: 8,
  head_dim: 128,
  max_position_embeddings: 40_960,
  quantization: { bits: 4, group_size: 64 },
  ...of,
});
const THINKING = "{%- if tools %}{{ '<tool_call>' }}{% endif %}{%- if enable_thinking %}<think>{% endif %}";
/** The weights are small here; what a model would weigh does not matter to the pages. */
const MODELS = {
  'Qwen3-4B-4bit': {
    config: layers({ model_type: 'qwen3', architectures: ['Qwen3ForCausalLM'], num_hidden_layers: 36 }),
    template: THINKING,
    downloads: 184_000,
    bytes: 600_000,
  },
  'Qwen3-8B-4bit': {
    config: layers({ model_type: 'qwen3', architectures: ['Qwen3ForCausalLM'], num_hidden_layers: 36, hidden_size: 4096 }),
    template: THINKING,
    downloads: 96_000,
    bytes: 1_500_000,
  },
  'Qwen3-30B-A3B-4bit': {
    config: layers({
      model_type: 'qwen3_moe',
      architectures: ['Qwen3MoeForCausalLM'],
      num_hidden_layers: 48,
      num_experts: 128,
      num_experts_per_tok: 8,
    }),
    template: THINKING,
    downloads: 61_000,
    bytes: 900_000,
  },
  'gemma-3-4b-it-4bit': {
    config: layers({ model_type: 'gemma3', architectures: ['Gemma3ForConditionalGeneration'], num_hidden_layers: 34, vision_config: {} }),
    template: '',
    downloads: 120_000,
    bytes: 500_000,
  },
};

/** A file of weights whose header says what it holds. */
function safetensors(bytes) {
  const header = JSON.stringify({ w: { dtype: 'U8', shape: [bytes], data_offsets: [0, bytes] } });
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([size, Buffer.from(header), Buffer.alloc(bytes, 7)]);
}

const readme = (name) => `---
license: apache-2.0
tags: [mlx]
---
# ${name}

Converted for **MLX**. See [the paper](https://example.com/paper).

| bits | group |
|---|---|
| 4 | 64 |

![a picture](https://evil.example.com/pixel.png)
<script>window.owned = 1</script>
<img src=x onerror="window.owned = 1">
`;

export class Hub {
  static async start() {
    const folder = mkdtempSync(join(tmpdir(), 'mlx-gateway-hub-'));
    for (const [name, model] of Object.entries(MODELS)) {
      const at = join(folder, 'mlx-community', name);
      mkdirSync(at, { recursive: true });
      writeFileSync(join(at, 'config.json'), JSON.stringify(model.config));
      writeFileSync(join(at, 'tokenizer_config.json'), JSON.stringify({ chat_template: model.template }));
      writeFileSync(join(at, 'model.safetensors'), safetensors(model.bytes));
      writeFileSync(join(at, 'README.md'), readme(name));
      writeFileSync(
        join(at, '.hub.json'),
        JSON.stringify({
          downloads: model.downloads,
          likes: 12,
          tags: ['mlx', 'text-generation'],
          library_name: 'mlx',
          pipeline_tag: 'text-generation',
        }),
      );
    }
    const child = spawn(PROGRAM, ['--root', folder], { stdio: ['pipe', 'pipe', 'inherit'] });
    const base = await new Promise((done, fail) => {
      const timer = setTimeout(() => fail(new Error('the hub did not start')), START_MS);
      child.on('exit', (code) => fail(new Error(`the hub ended with ${code}`)));
      let said = '';
      child.stdout.on('data', (piece) => {
        said += piece;
        const found = /listening on (http:\/\/[\d.:]+)/i.exec(said);
        if (!found) return;
        clearTimeout(timer);
        done(found[1]);
      });
    });
    return new Hub(child, folder, base);
  }

  constructor(child, folder, base) {
    Object.assign(this, { child, folder, base });
  }

  faults(faults) {
    return fetch(`${this.base}/__faults`, { method: 'POST', body: JSON.stringify(faults) });
  }

  /** Files whose path holds `part` come that slowly. */
  slow(_model, bytesPerSecond) {
    return this.faults([{ path: '/cdn/', times: 100, bytes_per_s: bytesPerSecond }]);
  }

  async stop() {
    this.child.removeAllListeners('exit');
    const ended = new Promise((done) => this.child.once('exit', done));
    this.child.kill('SIGKILL');
    await ended;
    rmSync(this.folder, { recursive: true, force: true });
  }
}
