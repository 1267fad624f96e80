import { Chakra, React } from "./host";
import { StateBadge } from "./StateBadge";
import type { Dataset } from "./api";

const KINDS: Record<string, string> = { table: "dataset", model: "model", artifact: "artifact" };

type Props = { datasets: Dataset[]; selected: number | null; onSelect: (id: number) => void };

export function DatasetTable({ datasets, selected, onSelect }: Props) {
  const { Button, Table, Text } = Chakra;
  return (
    <Table.ScrollArea borderWidth="1px" borderRadius="md">
      <Table.Root size="sm" aria-label="Datasets" interactive>
        <Table.Header>
          <Table.Row>
            <Table.ColumnHeader>Dataset</Table.ColumnHeader>
            <Table.ColumnHeader>Kind</Table.ColumnHeader>
            <Table.ColumnHeader>State</Table.ColumnHeader>
            <Table.ColumnHeader textAlign="end">Rows</Table.ColumnHeader>
            <Table.ColumnHeader>Guarantee</Table.ColumnHeader>
            <Table.ColumnHeader>Checks</Table.ColumnHeader>
            <Table.ColumnHeader>Comes from</Table.ColumnHeader>
          </Table.Row>
        </Table.Header>
        <Table.Body>
          {datasets.map((dataset) => (
            <Table.Row key={dataset.id} aria-selected={dataset.id === selected} bg={dataset.id === selected ? "bg.muted" : undefined}>
              <Table.Cell>
                <Button variant="plain" size="sm" px={0} onClick={() => onSelect(dataset.id)} title={dataset.name}>
                  {dataset.short}
                </Button>
              </Table.Cell>
              <Table.Cell>{KINDS[dataset.kind] ?? dataset.kind}</Table.Cell>
              <Table.Cell>
                <StateBadge state={dataset.state} />
              </Table.Cell>
              <Table.Cell textAlign="end">{dataset.rows?.toLocaleString() ?? ""}</Table.Cell>
              <Table.Cell>{dataset.guarantee ?? ""}</Table.Cell>
              <Table.Cell>
                <Checks dataset={dataset} />
              </Table.Cell>
              <Table.Cell>
                <Text truncate maxW="18rem" title={dataset.sources.map((s) => s.short).join(", ")}>
                  {dataset.sources.map((source) => source.short).join(", ")}
                </Text>
              </Table.Cell>
            </Table.Row>
          ))}
        </Table.Body>
      </Table.Root>
    </Table.ScrollArea>
  );
}

function Checks({ dataset }: { dataset: Dataset }) {
  const { Badge } = Chakra;
  if (dataset.checks === null) {
    return null;
  }
  const { passed, failed } = dataset.checks;
  return failed.length > 0 ? (
    <Badge colorPalette="red" title={failed.join(", ")}>
      {failed.length} failed
    </Badge>
  ) : (
    <Badge colorPalette="green">{passed} passed</Badge>
  );
}
