import { Chakra, React } from "./host";
import { StateBadge } from "./StateBadge";
import type { Column, Dataset } from "./api";

export function ColumnTable({ dataset }: { dataset: Dataset }) {
  const { Box, Code, Heading, Table, Text } = Chakra;
  return (
    <Box as="section" aria-label={`Columns of ${dataset.short}`}>
      <Heading size="md">{dataset.short}</Heading>
      <Text color="fg.muted" fontSize="sm" mb={2}>
        {dataset.namespace} <Code>{dataset.name}</Code>
      </Text>
      {dataset.columns.length === 0 ? (
        <Text>
          It has no columns. What is known about it follows from {dataset.sources.map((s) => s.short).join(", ") || "nothing yet"}.
        </Text>
      ) : (
        <Table.ScrollArea borderWidth="1px" borderRadius="md">
          <Table.Root size="sm" aria-label="Columns">
            <Table.Header>
              <Table.Row>
                <Table.ColumnHeader>Column</Table.ColumnHeader>
                <Table.ColumnHeader>State</Table.ColumnHeader>
                <Table.ColumnHeader>Role</Table.ColumnHeader>
                <Table.ColumnHeader>Category</Table.ColumnHeader>
                <Table.ColumnHeader>Type</Table.ColumnHeader>
                <Table.ColumnHeader>Where it comes from</Table.ColumnHeader>
              </Table.Row>
            </Table.Header>
            <Table.Body>
              {dataset.columns.map((column) => (
                <Table.Row key={column.name}>
                  <Table.Cell fontWeight="medium">{column.name}</Table.Cell>
                  <Table.Cell>
                    <StateBadge state={column.state} />
                  </Table.Cell>
                  <Table.Cell>{column.role ?? ""}</Table.Cell>
                  <Table.Cell>{column.category ?? ""}</Table.Cell>
                  <Table.Cell>{column.type ?? ""}</Table.Cell>
                  <Table.Cell>
                    <Origins column={column} />
                  </Table.Cell>
                </Table.Row>
              ))}
            </Table.Body>
          </Table.Root>
        </Table.ScrollArea>
      )}
    </Box>
  );
}

function Origins({ column }: { column: Column }) {
  return (
    <>
      {column.origins.map((origin) => (
        <div key={`${origin.dataset}#${origin.column}`}>
          {origin.dataset}#{origin.column}
          {origin.via && origin.via !== "IDENTITY" ? `: ${origin.via}` : ""}
        </div>
      ))}
    </>
  );
}
