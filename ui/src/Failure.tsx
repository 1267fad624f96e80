import { Chakra, React } from "./host";
import { Refused } from "./api";

const refused = {
  en: "You are signed in, but no role lets you see this page",
  de: "Sie sind angemeldet, aber keine Rolle erlaubt Ihnen diese Seite",
};

/** Why the page shows nothing. */
export function Failure({ error }: { error: Error }) {
  const { Alert, Box } = Chakra;
  if (!(error instanceof Refused)) {
    return (
      <Alert.Root status="error" m={4} role="alert">
        <Alert.Indicator />
        <Alert.Title>{error.message}</Alert.Title>
      </Alert.Root>
    );
  }
  return (
    <Alert.Root status="warning" m={4} role="alert" alignItems="flex-start">
      <Alert.Indicator />
      <Box>
        <Alert.Title>{document.documentElement.lang.startsWith("de") ? refused.de : refused.en}</Alert.Title>
        <Alert.Description>{error.message}</Alert.Description>
      </Box>
    </Alert.Root>
  );
}
