// The shapes of /mlsec/api/map. Names, states and counts; never a value.
export type State = "none" | "anonymous" | "pseudonymous" | "identified";

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

export async function fetchMap(signal: AbortSignal): Promise<Dataset[]> {
  const base = document.querySelector("base")?.href ?? `${location.origin}/`;
  const response = await fetch(new URL("mlsec/api/map", base), { signal, credentials: "same-origin" });
  if (!response.ok) {
    const body = (await response.json().catch(() => ({}))) as { detail?: string };
    const text = body.detail ?? `The server answered ${response.status}.`;
    throw response.status === 401 || response.status === 403 ? new Refused(text) : new Error(text);
  }
  return ((await response.json()) as { datasets: Dataset[] }).datasets;
}
