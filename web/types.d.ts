// The shapes of the API's answers that the page reads; docs/openapi.json is the reference. Not served.

export type Status = "connected" | "disconnected" | "never_connected" | "unknown";

export interface Device {
  type: string;
  id: string;
  client_id: string;
  source?: string | null;
  status: Status;
  /** Only where the settings have contact policies: `met`, `overdue`, `unseen` or `none`. */
  expectation?: string | null;
  since: string | null;
  address: string | null;
  close_code: number | null;
  reason: string | null;
  cause: string | null;
  cause_class: string | null;
  session: { connect_time: string | null; protocol: string | null; secure: boolean | null } | null;
  last_event: { event: string; time: string | null; close_code: number | null } | null;
  provenance?: string | null;
  evidence?: string | null;
  confirmed_at: string | null;
  dated_ahead: boolean;
  stale: boolean;
}

export interface Change extends Device {
  previous_status: Status | null;
}

export interface DevicePage {
  devices: Device[];
  next_cursor: string | null;
}

export interface TypeTotals {
  type: string;
  total: number;
  connected: number;
  disconnected: number;
}

export interface Summary {
  total: number;
  connected: number;
  disconnected: number;
  population: string;
  broker: string;
  store: string;
  stale: boolean;
  per_minute: { connects: number; disconnects: number };
  causes: { cause_class: string; devices: number }[];
  top_close_codes: { close_code: number; cause: string | null; devices: number }[];
  types_total: number;
  types: TypeTotals[];
  sources: { source: string; total: number; connected: number; disconnected: number }[];
}

export interface GaugeSeries {
  min: (number | null)[];
  max: (number | null)[];
  last: (number | null)[];
}

export interface Series {
  from: string;
  to: string;
  step_seconds: number;
  observed_seconds: number[];
  connected: GaugeSeries;
  disconnected: GaugeSeries;
  connects: (number | null)[];
  disconnects: (number | null)[];
}

export interface Readiness {
  ready: boolean;
  broker: string;
  population: string;
  store: string;
  stale: boolean;
  missing: string[];
}

export interface Session {
  key_id: string | null;
  scopes: string[];
  /** `null`: no login is needed. */
  expires_at: string | null;
}

export interface HistoryEvent {
  sequence: number;
  event: string;
  time: string | null;
  connect_time: string | null;
  duration_s: number | null;
  close_code: number | null;
  reason: string | null;
  cause: string | null;
  address: string | null;
  read_bytes: number | null;
  read_messages: number | null;
  write_bytes: number | null;
  write_messages: number | null;
}

export interface History {
  events: HistoryEvent[];
  next: number | null;
  totals: { from: string | null; to: string | null; connects: number; connected_percent: number } | null;
}

export interface Population {
  state: string;
  evidence: string | null;
  ready_on: string;
  repairing: boolean;
  progress: { types_done: number; types_total: number; replayed: number };
  limits: number[];
  types_total: number;
  types: { type: string; known: number; replayed: number; evidence: string | null; proven: boolean }[];
}

export interface Alert {
  rule: string;
  kind: string;
  /** `null`: it is about the group. */
  device: { type: string; id: string } | null;
  group: string;
  state: string;
  since: string;
  suppressed_by: string | null;
  acknowledged_until: string | null;
}

export interface Alerts {
  evaluation: string;
  total: number;
  alerts: Alert[];
}

export interface Silence {
  /** `null`: it is in the settings. */
  id: string | null;
  types: string[];
  ids: string[];
  id_prefixes: string[];
  sources: string[];
  rules: string[];
  from: string;
  until: string;
  active: boolean;
  author: string;
  comment: string;
}

/** Those that have one of the values of each that is not empty. */
export interface Selector {
  types: string[];
  ids: string[];
  id_prefixes: string[];
  sources: string[];
}

export interface Rules {
  evaluation: string;
  rules: { name: string; kind: string; for: string; group_by: string; selector: Selector; webhooks: string[] }[];
  outputs: { name: string; format: string; works: boolean | null }[];
}

export interface MaintenanceWindow {
  name: string;
  selector: Selector;
  schedule: string;
  open: boolean;
}

export interface Silences {
  silences: Silence[];
  windows: MaintenanceWindow[];
}

export interface WebhookAttempt {
  id: string;
  type: string;
  at: string;
  duration_ms: number;
  /** `null`: there was no answer. */
  status: number | null;
  /** `null`: it was accepted. */
  failure: string | null;
  /** The beginning of what it has answered then. */
  answer: string | null;
}

export interface Webhook {
  name: string;
  address: string;
  mode: string;
  settle_seconds: number;
  state: string;
  failing_since: string | null;
  previous_secret_until: string | null;
  position: string | null;
  dead_letters_total: number;
  last_attempt: WebhookAttempt | null;
}

export interface WebhookDeadLetter {
  id: string;
  type: string;
  device: { type: string; id: string } | null;
  at: string;
  failure: string;
}

export interface WebhookDeliveries {
  attempts: WebhookAttempt[];
  dead_letters: WebhookDeadLetter[];
}

export interface WebhookOutcome {
  done: boolean;
  failure: string | null;
}

export interface WebhookSecret {
  secret: string;
  previous_secret_until: string | null;
}

/** What a list or the feed shows; the names are those of the API's parameters. */
export interface Filter {
  type: string[];
  source: string[];
  id: string[];
  id_prefix: string[];
  status: string[];
  close_code: string[];
  cause: string[];
  address: string[];
  expectation: string[];
}

/** What a tab wants to be told of the stream. */
export interface Interest {
  /** Whether the tab is looked at; a hidden one is told nothing but the state. */
  visible: boolean;
  /** Devices whose changes are wanted, as `type/id`. */
  devices: string[];
  /** Changes that match are counted, and shown as far as `FEED_ROWS_PER_SECOND` lets. */
  feed: Filter | null;
  /** Whether the devices that changed most are wanted. */
  top: boolean;
}

export type StreamState = "connecting" | "live" | "reconnecting" | "locked" | "unavailable";

export interface Second {
  at: number;
  total: number;
  connects: number;
  others: number;
  types: [string, { connects: number; others: number }][];
  causes: [string, number][];
}

export type StreamMessage =
  | { kind: "state"; state: StreamState; since: number; detail: string }
  | { kind: "changes"; changes: Change[]; forgotten: { type: string; id: string }[] }
  | { kind: "feed"; changes: Change[] }
  | { kind: "second"; second: Second }
  | { kind: "gap" }
  | { kind: "alerts"; firing: number }
  | { kind: "top"; since: number; devices: { type: string; id: string; changes: number }[] };

/** A view and the part of the address that it reads. */
export interface Route {
  view: string;
  segments: string[];
  query: URLSearchParams;
}
