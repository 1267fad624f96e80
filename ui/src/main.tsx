// Airflow imports this module and renders the component that it finds under the app's name.
import { PersonalDataMap } from "./PersonalDataMap";

(globalThis as Record<string, unknown>)["Personal data"] = PersonalDataMap;
