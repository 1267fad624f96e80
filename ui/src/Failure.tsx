import { Chakra, React } from "./host";
import { Refused } from "./api";

/** Why the page shows nothing. */
export function Failure({ error }: { error: Error }) {
  const { Alert } = Chakra;
  return (
    <Alert.Root status={error instanceof Refused ? "warning" : "error"} m={4} role="alert">
      <Alert.Indicator />
      <Alert.Title>{error.message}</Alert.Title>
    </Alert.Root>
  );
}
