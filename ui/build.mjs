// Bundles the page into one module that Airflow imports. React, Chakra and the router are those
// of Airflow's own page (see src/host.ts), so nothing but our code is in the bundle.
import { build } from "esbuild";

await build({
  entryPoints: ["src/main.tsx"],
  outfile: "../airflow_mlsec/plugin/static/main.js",
  bundle: true,
  format: "esm",
  target: "es2022",
  jsx: "transform",
  minify: true,
  charset: "utf8",
  legalComments: "none",
});
