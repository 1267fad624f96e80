// The shapes of /mlsec/api/map. Names, states and counts; never a value.
export type State = "none" | "anonymous" | "unknown" | "pseudonymous" | "identified";

export type Origin = { dataset: string; column: string; via: string | null };

export type Column = {
  name: string;
  type: string | null;
  role: string | null;
  category: string | null;
  state: State;
  origins: Origin[];
};

export type Dataset = {
  id: number;
  namespace: string;
  name: string;
  short: string;
  uri: string | null;
  kind: string;
  stage: string | null;
  rows: number | null;
  state: State;
  guarantee: string | null;
  checks: { passed: number; failed: string[]; checked_at: string } | null;
  sources: { id: number; short: string }[];
  columns: Column[];
  last_seen: string;
};

export class Refused extends Error {}

// The shapes of /mlsec/api/requests. They do not say who a request is about.
export type RequestSummary = {
  id: number;
  law: string;
  kind: string;
  subject_kind: string;
  status: string;
  identity: string;
  requested_at: string;
  due: string;
  extended: boolean;
  approved_by: string | null;
  closed_at: string | null;
  overdue: boolean;
  open_places: number;
  places: Record<string, number>;
};

export type Step = {
  id: number;
  kind: string;
  name: string;
  status: string;
  rows: number | null;
  locator: string;
  detail: string;
};

export type RequestDetail = RequestSummary & {
  steps: Step[];
  history: { at: string; by: string; what: string }[];
};

async function fetchJson(path: string, signal: AbortSignal): Promise<unknown> {
  const base = document.querySelector("base")?.href ?? `${location.origin}/`;
  const response = await fetch(new URL(`mlsec/api/${path}`, base), { signal, credentials: "same-origin" });
  if (!response.ok) {
    const body = (await response.json().catch(() => ({}))) as { detail?: string };
    const text = body.detail ?? `The server answered ${response.status}.`;
    throw response.status === 401 || response.status === 403 ? new Refused(text) : new Error(text);
  }
  return response.json();
}

// What a link's name means: the ids of the datasets of that name, or of those in the folder or schema of that name.
export type PersonalData = { datasets: Dataset[]; meant: number[] | null };

export async function fetchMap(wanted: string | null, signal: AbortSignal): Promise<PersonalData> {
  const path = wanted === null ? "map" : `map?dataset=${encodeURIComponent(wanted)}`;
  return (await fetchJson(path, signal)) as PersonalData;
}

export async function fetchRequests(signal: AbortSignal): Promise<RequestSummary[]> {
  return ((await fetchJson("requests", signal)) as { requests: RequestSummary[] }).requests;
}

export async function fetchRequest(id: number, signal: AbortSignal): Promise<RequestDetail> {
  return (await fetchJson(`requests/${id}`, signal)) as RequestDetail;
}
