// The shapes of the admin API that the page uses. What the gateway does not (yet) tell is optional,
// and shown as unknown.

export type ServerState = 'stopped' | 'preparing' | 'loading' | 'ready' | 'draining' | 'stopping' | 'failed';

export interface Server {
  id: string;
  profiles: string[];
  engine: string;
  model: string | null;
  state: ServerState;
  detail?: string | null;
  since_ms?: number;
  uptime_s?: number | null;
  pid?: number | null;
  port?: number | null;
  in_flight: number;
  queued: number;
  tokens_per_s: number;
  total_tokens: number;
  error?: string | null;
  log_tail: string[];
  command: string[];
  memory_bytes?: number | null;
  cpu_percent?: number | null;
  idle_stop_in_s?: number | null;
  pinned?: boolean;
  removed?: boolean;
}

export interface Profile {
  name: string;
  aliases: string[];
  description: string | null;
  engine: string;
  model: string | null;
  model_type: string | null;
  url?: string | null;
  api_key_from?: string | null;
  context_length: number | null;
  structured: boolean;
  extra_args: string[];
  env: string[];
  trust_remote_code: boolean;
  memory_bytes: number | null;
  system_prompt: string | null;
  defaults: Record<string, unknown>;
  keep_alive_s: number | 'forever';
  pinned: boolean;
  preload: boolean;
  max_concurrent: number | null;
  queue: { size: number; timeout_s: number };
  timeouts_s: { start: number; first_token: number; idle: number; total: number };
  tools?: string[];
  backend: string;
  origin?: string;
  removed?: boolean;
}

export interface RequestRecord {
  id: string;
  client_request_id: string | null;
  status: 'running' | 'completed' | 'failed' | 'refused' | 'cancelled' | 'interrupted';
  profile: string | null;
  model: string | null;
  requested_model: string | null;
  endpoint: string;
  streamed: boolean;
  started_at: string;
  started_at_ms: number;
  prompt_tokens: number | null;
  completion_tokens: number | null;
  total_tokens: number | null;
  cached_tokens: number | null;
  reasoning_tokens: number | null;
  estimated: boolean;
  queue_ms: number | null;
  start_ms: number | null;
  ttft_ms: number | null;
  duration_ms: number | null;
  decode_tokens_per_s: number | null;
  http_status: number | null;
  error_code: string | null;
  error_message: string | null;
  finish_reason: string | null;
  warnings: string[];
  attempts: Attempt[];
  key: string | null;
  user: string | null;
}

export interface Attempt {
  number: number;
  backend: string;
  status: string;
  started_at_ms: number;
  duration_ms: number;
  upstream_status: number | null;
  error: string | null;
}

export interface UsageGroup {
  group: string | null;
  requests: number;
  by_status: Record<RequestRecord['status'], number>;
  prompt_tokens: number | null;
  completion_tokens: number | null;
  total_tokens: number | null;
  cached_tokens: number | null;
  ttft_ms: { p50: number | null; p95: number | null };
  decode_tokens_per_s: { p50: number | null; p95: number | null };
}

export interface UsageReport {
  from: string | null;
  to: string | null;
  tz: string;
  group_by: string;
  total: UsageGroup;
  groups: UsageGroup[];
}

export interface System {
  version: string;
  pid: number;
  uptime_s: number;
  started_at_ms: number;
  data_dir: string;
  config_file: string | null;
  listen: string[];
  auth: string;
  draining: boolean;
  processors: number | null;
  gpu: { percent?: number | null };
  backends: Record<string, number>;
  memory: { budget_bytes: number; total_bytes: number | null; used_bytes?: number | null; available_bytes?: number | null };
  records_lost: number;
}

export interface Engine {
  name: string;
  set?: string | null;
  managed: boolean;
  state: string;
  version: string | null;
  current: string | null;
  previous: string | null;
  latest: string | null;
  path: string | null;
  command?: string[] | null;
}

export interface Session {
  id?: string;
  email: string | null;
  role: 'admin' | 'user';
  status?: string;
}

export interface User {
  id: string;
  email: string;
  role: 'admin' | 'user';
  status: 'pending' | 'active' | 'disabled';
  created_at?: string | null;
  last_login_at?: string | null;
}

export interface Download {
  id: string;
  model: string;
  status: 'queued' | 'running' | 'paused' | 'completed' | 'failed' | 'cancelled';
  reason: string | null;
  note: string | null;
  created_at_ms: number;
  done_bytes: number;
  total_bytes: number | null;
  bytes_per_s: number | null;
  eta_s: number | null;
  removed?: boolean;
}

/** A fact and where it was found. */
export interface Known<T> {
  value: T;
  source: string;
}

export interface Facts {
  kind: string;
  model_type: string;
  architectures: string[];
  parameters: Known<number> | null;
  quantization: Known<{ label: string; bits: number | null }> | null;
  context_length: Known<number> | null;
  kv_cache: Known<{ bytes_per_token: number }> | null;
  input: Known<string[]> | null;
  output: Known<string[]> | null;
  tool_use: Known<boolean> | null;
  thinking: Known<'no' | 'switchable' | 'always'> | null;
  mcp_ready: Known<boolean> | null;
  license: Known<string> | null;
  weights_bytes: Known<number> | null;
  size_bytes: Known<number> | null;
}

export interface Verdict {
  fit: 'yes' | 'tight' | 'no';
  needed_bytes: number;
  budget_bytes: number;
  in_use_bytes: number;
}

/** A model on this machine, or one of the Hub. */
export interface Model {
  id: string;
  source?: 'cache' | 'folder';
  path?: string;
  complete?: boolean;
  size_bytes?: number | null;
  modified_at_ms?: number | null;
  /** Of a hit: whether it is on this machine too. */
  local?: boolean;
  downloads?: number | null;
  likes?: number | null;
  facts: Facts | null;
  fit?: Verdict | null;
  problem?: string | null;
  readme?: string | null;
  profiles?: string[];
}

export interface ApiKey {
  id: string;
  name: string;
  prefix: string;
  scopes: string[];
  profiles: string[] | null;
  tools?: string[] | null;
  created_at?: string | null;
  expires_at?: string | null;
  last_used_at?: string | null;
  status: 'active' | 'expired' | 'revoked';
  user_email: string | null;
}

export interface AuditEntry {
  id: string;
  at: string;
  actor: string;
  actor_name: string;
  via: string;
  action: string;
  target: string | null;
  status: number;
  address: string | null;
}

export interface Permissions {
  http: string[];
  allow_private: string[];
  secrets: string[];
}

export interface Plugin {
  name: string;
  version: string;
  description: string;
  state: 'ready' | 'needs_grant' | 'failed';
  reason: string | null;
  bundled: boolean;
  path: string | null;
  tools: string[];
  size_bytes: number;
  permissions: Permissions;
  granted: Permissions;
  asks: Permissions;
  limits: { memory_bytes: number; cpu_ms: number; wall_ms: number; output_bytes: number; concurrent: number } | null;
  calls: number;
  failures: number;
  errors: Record<string, number>;
  mean_ms: number | null;
}

export interface Tool {
  name: string;
  title: string | null;
  description: string;
  input_schema: { properties?: Record<string, { type?: string; description?: string; enum?: string[] }>; required?: string[] };
  plugin: string;
  available: boolean;
  reason: string | null;
}

export interface ToolResult {
  content: { type: string; text?: string }[];
  structured: unknown;
  is_error: boolean;
  duration_ms: number;
}

export interface Finding {
  id: string;
  title: string;
  level: 'ok' | 'warning' | 'failed' | 'unknown';
  message: string;
  mend: string | null;
}

export interface Setting {
  key: string;
  value: unknown;
  origin: string;
  /** The line of the file, the variable or the flag. */
  detail: string | null;
}

export interface ServiceStatus {
  kind: string;
  installed: boolean;
  running: boolean | null;
  path: string;
}
