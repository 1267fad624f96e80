// Airflow imports this module and renders the component that it finds under the app's name.
import { PersonalDataMap } from "./PersonalDataMap";
import { Requests } from "./Requests";

const apps = globalThis as Record<string, unknown>;
apps["Personal data"] = PersonalDataMap;
apps["Data-subject requests"] = Requests;
