import { Chakra, React, Router } from "./host";
import { Failure } from "./Failure";
import { Ledger } from "./Ledger";
import { RequestTable } from "./RequestTable";
import { fetchRequest, fetchRequests, type RequestDetail, type RequestSummary } from "./api";

export function Requests() {
  const { Box, Heading, Spinner, Stack, Text } = Chakra;
  const [parameters] = Router.useSearchParams();
  const [requests, setRequests] = React.useState<RequestSummary[] | null>(null);
  const [detail, setDetail] = React.useState<RequestDetail | null>(null);
  const [error, setError] = React.useState<Error | null>(null);
  const [wanted, setWanted] = React.useState(Number(parameters.get("request")) || null);

  React.useEffect(() => {
    const aborting = new AbortController();
    fetchRequests(aborting.signal).then(setRequests, failed(aborting, setError));
    return () => aborting.abort();
  }, []);

  React.useEffect(() => {
    const address = new URL(location.href);
    wanted === null ? address.searchParams.delete("request") : address.searchParams.set("request", String(wanted));
    history.replaceState(history.state, "", address);
    setDetail(null);
    if (wanted === null) {
      return undefined;
    }
    const aborting = new AbortController();
    fetchRequest(wanted, aborting.signal).then(setDetail, failed(aborting, setError));
    return () => aborting.abort();
  }, [wanted]);

  if (error !== null) {
    return <Failure error={error} />;
  }
  if (requests === null) {
    return <Spinner m={6} aria-label="Loading the requests" />;
  }
  return (
    <Box p={4} overflowY="auto" h="100%">
      <Stack gap={4}>
        <Box>
          <Heading size="lg">Data-subject requests</Heading>
          <Text color="fg.muted">{summary(requests)}</Text>
        </Box>
        {requests.length === 0 ? (
          <Text>No request has been opened yet. `mlsec subject open` opens one.</Text>
        ) : (
          <RequestTable requests={requests} selected={wanted} onSelect={setWanted} />
        )}
        {detail !== null ? <Ledger request={detail} /> : null}
      </Stack>
    </Box>
  );
}

function failed(aborting: AbortController, setError: (error: Error) => void) {
  return (error: Error) => {
    if (!aborting.signal.aborted) {
      setError(error);
    }
  };
}

function summary(requests: RequestSummary[]): string {
  const open = requests.filter((request) => request.closed_at === null);
  const overdue = open.filter((request) => request.overdue).length;
  return `${open.length} open, ${overdue} overdue, ${requests.length - open.length} closed. It is not shown who they are about.`;
}
