// What to paste somewhere else to use the endpoint. Pure.

export const CLIENTS = ['curl', 'python', 'javascript', 'opencode', 'env'] as const;
export type Client = (typeof CLIENTS)[number];
export const CLIENT_NAMES: Record<Client, string> = {
  curl: 'curl',
  python: 'Python',
  javascript: 'JavaScript',
  opencode: 'OpenCode',
  env: 'Other clients',
};

export interface Use {
  baseUrl: string;
  model: string;
  /** Null: any value will do. */
  key: string | null;
}

const ANY_KEY = 'not-needed';

export function snippet(client: Client, { baseUrl, model, key }: Use): string {
  const secret = key ?? ANY_KEY;
  const name = JSON.stringify(model);
  switch (client) {
    case 'curl': {
      const body = JSON.stringify({ model, messages: [{ role: 'user', content: 'Hello' }] });
      const auth = key ? ` \\\n  -H 'authorization: Bearer ${key}'` : '';
      return `curl ${baseUrl}/chat/completions${auth} \\\n  -H 'content-type: application/json' \\\n  -d '${body.replaceAll("'", "'\\''")}'`;
    }
    case 'python':
      return [
        'from openai import OpenAI',
        '',
        `client = OpenAI(base_url="${baseUrl}", api_key="${secret}")`,
        'answer = client.chat.completions.create(',
        `    model=${name},`,
        '    messages=[{"role": "user", "content": "Hello"}],',
        ')',
        'print(answer.choices[0].message.content)',
      ].join('\n');
    case 'javascript':
      return [
        "import OpenAI from 'openai';",
        '',
        `const client = new OpenAI({ baseURL: '${baseUrl}', apiKey: '${secret}' });`,
        'const answer = await client.chat.completions.create({',
        `  model: ${name},`,
        "  messages: [{ role: 'user', content: 'Hello' }],",
        '});',
        'console.log(answer.choices[0].message.content);',
      ].join('\n');
    case 'opencode':
      return JSON.stringify(
        {
          provider: {
            'mlx-gateway': {
              npm: '@ai-sdk/openai-compatible',
              options: { baseURL: baseUrl, apiKey: secret },
              models: { [model]: {} },
            },
          },
        },
        null,
        2,
      );
    case 'env':
      return `OPENAI_BASE_URL=${baseUrl}\nOPENAI_API_KEY=${secret}\nOPENAI_MODEL=${model}`;
  }
}
