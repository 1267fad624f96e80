// Airflow imports this module and renders the component that it finds under the app's name.
import { hasChakra } from "./host";
import { PersonalDataMap } from "./PersonalDataMap";
import { plainPage } from "./PlainPage";
import { Requests } from "./Requests";

const apps = globalThis as Record<string, unknown>;
if (hasChakra) {
  apps["Personal data"] = PersonalDataMap;
  apps["Data-subject requests"] = Requests;
} else {
  apps["Personal data"] = plainPage("Personal data", ["mlsec lineage list", "mlsec lineage trace DATASET"]);
  apps["Data-subject requests"] = plainPage("Data-subject requests", ["mlsec subject list", "mlsec subject status REQUEST"]);
}
