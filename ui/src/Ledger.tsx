import { Chakra, React } from "./host";
import { minute } from "./time";
import type { RequestDetail } from "./api";

const PALETTE: Record<string, string> = {
  failed: "red", unknown: "red", erasing: "orange", found: "orange", retained: "purple", manual: "purple",
};

/** What became of the person's data in each place, and who did what. */
export function Ledger({ request }: { request: RequestDetail }) {
  const { Badge, Box, Heading, Stack, Table, Text } = Chakra;
  return (
    <Stack gap={3}>
      <Heading size="md">Request {request.id}: coverage ledger</Heading>
      {request.steps.length === 0 ? (
        <Text>Nobody has searched for the person's data yet.</Text>
      ) : (
        <Table.ScrollArea borderWidth="1px" borderRadius="md">
          <Table.Root size="sm" aria-label="Coverage ledger">
            <Table.Header>
              <Table.Row>
                <Table.ColumnHeader>Place</Table.ColumnHeader>
                <Table.ColumnHeader>State</Table.ColumnHeader>
                <Table.ColumnHeader textAlign="end">Rows</Table.ColumnHeader>
                <Table.ColumnHeader>Found by</Table.ColumnHeader>
                <Table.ColumnHeader>How this is known</Table.ColumnHeader>
              </Table.Row>
            </Table.Header>
            <Table.Body>
              {request.steps.map((step) => (
                <Table.Row key={step.id}>
                  <Table.Cell title={step.name}>{short(step.name)}</Table.Cell>
                  <Table.Cell>
                    <Badge colorPalette={PALETTE[step.status] ?? "green"}>{step.status}</Badge>
                  </Table.Cell>
                  <Table.Cell textAlign="end">{step.rows?.toLocaleString() ?? ""}</Table.Cell>
                  <Table.Cell>{step.locator}</Table.Cell>
                  <Table.Cell>{step.detail}</Table.Cell>
                </Table.Row>
              ))}
            </Table.Body>
          </Table.Root>
        </Table.ScrollArea>
      )}
      <Box as="ol" listStyleType="none" aria-label="History">
        {request.history.map((entry, index) => (
          <Text as="li" key={index} fontSize="sm" color="fg.muted">
            {minute(entry.at)} {entry.by}: {entry.what}
          </Text>
        ))}
      </Box>
    </Stack>
  );
}

function short(name: string): string {
  return name.split("/").slice(-2).join("/");
}
