import { Chakra, React } from "./host";
import type { State } from "./api";

const LOOK: Record<State, { palette: string; text: string; means: string }> = {
  identified: { palette: "red", text: "identified", means: "Names a person, or is next to data that does" },
  pseudonymous: {
    palette: "orange",
    text: "pseudonymous",
    means: "Linked to a person only with the key; still personal data (GDPR Art. 4(5))",
  },
  anonymous: { palette: "green", text: "anonymous", means: "A verified release that somebody takes responsibility for" },
  unknown: { palette: "purple", text: "unknown", means: "A run wrote it, and nothing says from which data" },
  none: { palette: "gray", text: "not personal", means: "No personal data is known to reach it" },
};

export function StateBadge({ state }: { state: State }) {
  const look = LOOK[state];
  return (
    <Chakra.Badge colorPalette={look.palette} title={look.means} variant="subtle">
      {look.text}
    </Chakra.Badge>
  );
}
