import { Chakra, React, Router } from "./host";
import { ColumnTable } from "./ColumnTable";
import { DatasetTable } from "./DatasetTable";
import { Failure } from "./Failure";
import { fetchMap, type Dataset, type PersonalData } from "./api";

type Loaded = { status: "loading" } | { status: "failed"; error: Error } | { status: "done"; map: PersonalData };

export function PersonalDataMap() {
  const { Alert, Box, Button, Flex, Heading, Input, Spinner, Stack, Text } = Chakra;
  const [loaded, setLoaded] = React.useState<Loaded>({ status: "loading" });
  const [parameters] = Router.useSearchParams();
  const [filter, setFilter] = React.useState(parameters.get("filter") ?? "");
  // Tasks link to datasets, folders and schemas by name, people to datasets by number.
  const [wanted, setWanted] = React.useState(parameters.get("dataset") || null);
  const [asked] = React.useState(wanted);

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
    fetchMap(asked, aborting.signal)
      .then((map) => setLoaded({ status: "done", map }))
      .catch((error: Error) => {
        if (!aborting.signal.aborted) {
          setLoaded({ status: "failed", error });
        }
      });
    return () => aborting.abort();
  }, [asked]);

  if (loaded.status === "loading") {
    return <Spinner m={6} aria-label="Loading the personal-data map" />;
  }
  if (loaded.status === "failed") {
    return <Failure error={loaded.error} />;
  }

  const { datasets } = loaded.map;
  const meant = wanted === null ? [] : findMeant(loaded.map, wanted);
  const selected = meant.length === 1 ? meant[0] : undefined;
  const shown = (meant.length > 1 ? meant : datasets).filter((dataset) => matches(dataset, filter));

  return (
    <Box p={4} overflowY="auto" h="100%">
      <Stack gap={4}>
        <Flex justify="space-between" align="end" gap={4} wrap="wrap">
          <Box>
            <Heading size="lg">Personal data</Heading>
            <Text color="fg.muted">{summary(datasets)}</Text>
          </Box>
          <Input
            aria-label="Filter datasets"
            placeholder="Filter by dataset, column or category"
            maxW="22rem"
            value={filter}
            onChange={(event: { target: { value: string } }) => setFilter(event.target.value)}
          />
        </Flex>
        {wanted !== null && selected === undefined ? (
          <Alert.Root status={meant.length > 0 ? "info" : "warning"}>
            <Alert.Indicator />
            <Alert.Title>
              {meant.length > 0
                ? `${meant.length} datasets are called ${wanted} or are in it.`
                : `The register knows no dataset called ${wanted}, and none in it.`}
            </Alert.Title>
            {meant.length > 0 ? (
              <Button size="xs" variant="outline" onClick={() => setWanted(null)}>
                Show all datasets
              </Button>
            ) : null}
          </Alert.Root>
        ) : null}
        {datasets.length === 0 ? (
          <Text>The register does not know any dataset yet. Run a DAG that uses ComplianceCheckOperator or AnonymizeOperator.</Text>
        ) : (
          <DatasetTable
            datasets={shown}
            selected={selected?.id ?? null}
            onSelect={(id) => setWanted(String(id))}
          />
        )}
        {datasets.length > 0 && shown.length === 0 ? <Text>Nothing matches “{filter}”.</Text> : null}
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

// The datasets that a number, or the name in the link, means.
function findMeant({ datasets, meant }: PersonalData, wanted: string): Dataset[] {
  const numbered = datasets.filter((dataset) => String(dataset.id) === wanted);
  return numbered.length > 0 ? numbered : datasets.filter((dataset) => meant?.includes(dataset.id));
}

function summary(datasets: Dataset[]): string {
  const count = (state: string) => datasets.filter((dataset) => dataset.state === state).length;
  return `${datasets.length} datasets, models and artifacts: ${count("identified")} identified, ${count("pseudonymous")} pseudonymous, ${count("anonymous")} anonymous, ${count("unknown")} unknown`;
}
