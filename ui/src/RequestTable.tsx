import { Chakra, React } from "./host";
import { day } from "./time";
import type { RequestSummary } from "./api";

type Props = { requests: RequestSummary[]; selected: number | null; onSelect: (id: number) => void };

export function RequestTable({ requests, selected, onSelect }: Props) {
  const { Badge, Button, Table } = Chakra;
  return (
    <Table.ScrollArea borderWidth="1px" borderRadius="md">
      <Table.Root size="sm" aria-label="Requests" interactive>
        <Table.Header>
          <Table.Row>
            <Table.ColumnHeader>Request</Table.ColumnHeader>
            <Table.ColumnHeader>Asks for</Table.ColumnHeader>
            <Table.ColumnHeader>State</Table.ColumnHeader>
            <Table.ColumnHeader>Identity</Table.ColumnHeader>
            <Table.ColumnHeader>Received</Table.ColumnHeader>
            <Table.ColumnHeader>Due</Table.ColumnHeader>
            <Table.ColumnHeader>Places</Table.ColumnHeader>
          </Table.Row>
        </Table.Header>
        <Table.Body>
          {requests.map((request) => (
            <Table.Row key={request.id} aria-selected={request.id === selected} bg={request.id === selected ? "bg.muted" : undefined}>
              <Table.Cell>
                <Button variant="plain" size="sm" px={0} onClick={() => onSelect(request.id)}>
                  {request.id}
                </Button>
              </Table.Cell>
              <Table.Cell>
                {request.kind} ({request.law.toUpperCase()}, {request.subject_kind})
              </Table.Cell>
              <Table.Cell>
                <Badge colorPalette={request.closed_at ? "green" : "gray"}>{request.status}</Badge>
              </Table.Cell>
              <Table.Cell>{request.identity}</Table.Cell>
              <Table.Cell>{day(request.requested_at)}</Table.Cell>
              <Table.Cell>
                {request.due}
                {request.overdue ? (
                  <Badge colorPalette="red" ml={2}>
                    overdue
                  </Badge>
                ) : null}
                {request.extended ? <Badge ml={2}>extended</Badge> : null}
              </Table.Cell>
              <Table.Cell>{places(request)}</Table.Cell>
            </Table.Row>
          ))}
        </Table.Body>
      </Table.Root>
    </Table.ScrollArea>
  );
}

function places(request: RequestSummary): string {
  const total = Object.values(request.places).reduce((sum, count) => sum + count, 0);
  if (total === 0) {
    return "not searched yet";
  }
  return request.open_places > 0 ? `${request.open_places} of ${total} not settled` : `all ${total} settled`;
}
