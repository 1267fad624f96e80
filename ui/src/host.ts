// What Airflow's page gives to the bundles that it loads.
import type * as ReactTypes from "react";

type Component = ReactTypes.ComponentType<Record<string, unknown>>;
type Compound = Component & Record<string, Component>;

type Host = {
  React: typeof ReactTypes;
  // Since Airflow 3.2.
  ChakraUI?: Record<string, Compound>;
  ReactRouterDOM: {
    useSearchParams: () => [URLSearchParams, unknown];
  };
};

const host = globalThis as unknown as Host;

export const React = host.React;
export const Router = host.ReactRouterDOM;

/** Whether Airflow gives plugins its Chakra at all. */
export const hasChakra = host.ChakraUI !== undefined;

/** Components of Airflow's Chakra by name; fails with an error if a later Airflow drops one. */
function chakra<Names extends string>(...names: Names[]): Record<Names, Compound> {
  const given = host.ChakraUI ?? {};
  const missing = hasChakra ? names.filter((name) => given[name] === undefined) : [];
  if (missing.length > 0) {
    throw new Error(`Airflow's page does not provide the Chakra component ${missing.join(", ")}`);
  }
  return given as Record<Names, Compound>;
}

export const Chakra = chakra(
  "Alert", "Badge", "Box", "Button", "Code", "Flex", "Heading", "Input", "Spinner", "Stack", "Table", "Text",
);
