import { Chakra, React } from "./host";
import { Refused } from "./api";

const texts = {
  en: {
    refused: "You are signed in, but no role lets you see this page",
    next: "These roles are not Airflow's own. Ask whoever administers Airflow here for one.",
  },
  de: {
    refused: "Sie sind angemeldet, aber keine Rolle erlaubt Ihnen diese Seite",
    next: "Diese Rollen sind nicht die von Airflow. Wer Airflow hier verwaltet, kann Ihnen eine geben.",
  },
};

/** Why the page shows nothing. */
export function Failure({ error }: { error: Error }) {
  const { Alert, Box, Text } = Chakra;
  const text = document.documentElement.lang.startsWith("de") ? texts.de : texts.en;
  const isRefused = error instanceof Refused;
  return (
    <Box p={4}>
      <Alert.Root status={isRefused ? "warning" : "error"} role="alert" alignItems="flex-start">
        <Alert.Indicator />
        <Box>
          <Alert.Title>{isRefused ? text.refused : error.message}</Alert.Title>
          {isRefused ? (
            <Alert.Description>
              <Text>{error.message}.</Text>
              <Text>{text.next}</Text>
            </Alert.Description>
          ) : null}
        </Box>
      </Alert.Root>
    </Box>
  );
}
