// The shapes of the admin API under the names that the page uses, out of the gateway's own description
// (generated/schema.d.ts). Narrowed where that says `string` of a word from a known list.
import type { components } from './generated/schema';

type Schemas = components['schemas'];
/** A shape of the description, with some of its fields told more exactly. */
type Told<
  Name extends keyof Schemas,
  Exact extends { [Field in keyof Exact]: Field extends keyof Schemas[Name] ? unknown : never } = object,
> = Omit<Schemas[Name], keyof Exact> & Exact;

export type ServerState = 'stopped' | 'preparing' | 'loading' | 'ready' | 'draining' | 'stopping' | 'failed';
/** What an event says of something that is gone. */
export interface Removable {
  removed?: boolean;
}

export type Server = Told<'Server', { state: ServerState }> & Removable;
export type Profile = Told<'Profile', { keep_alive_s: number | 'forever' }> & Removable;
/** A profile as those see it who may use it. */
export type UsableModel = Told<'Model', { state: ServerState }> & Removable;
export type Download = Schemas['DownloadView'] & Removable;
export type RequestStatus = 'running' | 'completed' | 'failed' | 'refused' | 'cancelled' | 'interrupted';
export type RequestRecord = Told<'RequestView', { status: RequestStatus }>;
export type Attempt = Schemas['AttemptView'];
export type Capture = Schemas['Capture'];
export type CaptureState = Schemas['CapturesView'];
export type UsageGroup = Schemas['UsageGroup'];
export type UsageReport = Schemas['UsageReport'];
export type System = Schemas['System'];
export type Engine = Schemas['EngineView'];
export type EngineStep = Schemas['EngineStep'];
export type Session = Schemas['UserSummary'];
export type User = Schemas['UserView'];
export type Facts = Schemas['Facts'];
export type Fit = Schemas['Fit'];
/** A model on this machine, or one of the Hub: what both have, and what only one of them tells. */
export type Model = { id: string; facts?: Facts | null; fit?: Fit | null } & Partial<
  Omit<Schemas['ModelView'], 'facts' | 'fit'> & Omit<Schemas['SearchHit'], 'facts' | 'fit'>
>;
export type ApiKey = Schemas['KeyView'];
export type HubSettings = Schemas['HubSettings'];
export type NewKey = Schemas['NewKey'];
export type AuditEntry = Schemas['AuditEntry'];
export type Permissions = Schemas['Permissions'];
export type Plugin = Told<'PluginView', { state: 'ready' | 'needs_grant' | 'failed' }>;
/** The part of a JSON schema that a form is made from. */
export interface InputSchema {
  properties?: Record<string, { type?: string; description?: string; enum?: string[] }>;
  required?: string[];
}
export type Tool = Told<'ToolView', { input_schema: InputSchema }>;
export type ToolResult = Told<'CallResult', { content: { type: string; text?: string }[] }>;
export type ChatSummary = Schemas['ChatSummary'];
export type AuthStatus = Schemas['Auth'];
export type Finding = Schemas['Finding'];
export type Setting = Schemas['Setting'];
export type ServiceStatus = Schemas['Service'];
