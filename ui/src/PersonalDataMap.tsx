import { Chakra, React, Router } from "./host";
import { ColumnTable } from "./ColumnTable";
import { DatasetTable } from "./DatasetTable";
import { Failure } from "./Failure";
import { fetchMap, type Dataset } from "./api";

type Loaded = { status: "loading" } | { status: "failed"; error: Error } | { status: "done"; datasets: Dataset[] };

export function PersonalDataMap() {
  const { Box, Flex, Heading, Input, Spinner, Stack, Text } = Chakra;
  const [loaded, setLoaded] = React.useState<Loaded>({ status: "loading" });
  const [parameters] = Router.useSearchParams();
  const [filter, setFilter] = React.useState(parameters.get("filter") ?? "");
  const [wanted, setWanted] = React.useState(parameters.get("dataset"));

  // The address is updated, so that it can be shared; doing so through the router would reload the page.
  React.useEffect(() => {
    const address = new URL(location.href);
    for (const [name, value] of [["filter", filter], ["dataset", wanted ?? ""]] as const) {
      value === "" ? address.searchParams.delete(name) : address.searchParams.set(name, value);
    }
    history.replaceState(history.state, "", address);
  }, [filter, wanted]);

  React.useEffect(() => {
    const aborting = new AbortController();
    fetchMap(aborting.signal)
      .then((datasets) => setLoaded({ status: "done", datasets }))
      .catch((error: Error) => {
        if (!aborting.signal.aborted) {
          setLoaded({ status: "failed", error });
        }
      });
    return () => aborting.abort();
  }, []);

  if (loaded.status === "loading") {
    return <Spinner m={6} aria-label="Loading the personal-data map" />;
  }
  if (loaded.status === "failed") {
    return <Failure error={loaded.error} />;
  }

  const shown = loaded.datasets.filter((dataset) => matches(dataset, filter));
  const selected = findSelected(loaded.datasets, wanted);

  return (
    <Box p={4} overflowY="auto" h="100%">
      <Stack gap={4}>
        <Flex justify="space-between" align="end" gap={4} wrap="wrap">
          <Box>
            <Heading size="lg">Personal data</Heading>
            <Text color="fg.muted">{summary(loaded.datasets)}</Text>
          </Box>
          <Input
            aria-label="Filter datasets"
            placeholder="Filter by dataset, column or category"
            maxW="22rem"
            value={filter}
            onChange={(event: { target: { value: string } }) => setFilter(event.target.value)}
          />
        </Flex>
        {loaded.datasets.length === 0 ? (
          <Text>The register does not know any dataset yet. Run a DAG that uses ComplianceCheckOperator or AnonymizeOperator.</Text>
        ) : (
          <DatasetTable
            datasets={shown}
            selected={selected?.id ?? null}
            onSelect={(id) => setWanted(String(id))}
          />
        )}
        {loaded.datasets.length > 0 && shown.length === 0 ? <Text>Nothing matches “{filter}”.</Text> : null}
        {selected ? <ColumnTable dataset={selected} /> : null}
      </Stack>
    </Box>
  );
}

function matches(dataset: Dataset, filter: string): boolean {
  const wanted = filter.toLowerCase();
  const texts = [dataset.name, ...dataset.columns.flatMap((c) => [c.name, c.category ?? "", c.role ?? ""])];
  return texts.some((text) => text.toLowerCase().includes(wanted));
}

// Our operators link to datasets by URI or path, people by number.
function findSelected(datasets: Dataset[], wanted: string | null): Dataset | undefined {
  if (wanted === null) {
    return undefined;
  }
  return datasets.find((d) => String(d.id) === wanted || d.uri === wanted || d.name === wanted.replace("file://", ""));
}

function summary(datasets: Dataset[]): string {
  const count = (state: string) => datasets.filter((dataset) => dataset.state === state).length;
  return `${datasets.length} datasets, models and artifacts: ${count("identified")} identified, ${count("pseudonymous")} pseudonymous, ${count("anonymous")} anonymous, ${count("unknown")} unknown`;
}
