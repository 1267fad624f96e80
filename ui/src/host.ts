// What Airflow's page gives to the bundles that it loads.
import type * as ReactTypes from "react";

type Component = ReactTypes.ComponentType<Record<string, unknown>>;
type Compound = Component & Record<string, Component>;

type Host = {
  React: typeof ReactTypes;
  ChakraUI: Record<string, Compound>;
  ReactRouterDOM: {
    useSearchParams: () => [URLSearchParams, unknown];
  };
};

const host = globalThis as unknown as Host;

export const React = host.React;
export const Router = host.ReactRouterDOM;

/** A component of Airflow's Chakra by name; loud if a later Airflow drops it. */
function chakra<Names extends string>(...names: Names[]): Record<Names, Compound> {
  const missing = names.filter((name) => host.ChakraUI[name] === undefined);
  if (missing.length > 0) {
    throw new Error(`Airflow's page gives no Chakra component ${missing.join(", ")}`);
  }
  return host.ChakraUI as Record<Names, Compound>;
}

export const Chakra = chakra(
  "Alert", "Badge", "Box", "Button", "Code", "Flex", "Heading", "Input", "Spinner", "Stack", "Table", "Text",
);
