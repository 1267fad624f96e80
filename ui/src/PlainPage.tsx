import { React } from "./host";

const texts = {
  en: {
    why: "This page needs Airflow 3.2 or later: Airflow 3.1 does not give plugins the components that it is made of.",
    instead: "The same can be read at the command line, where Airflow runs:",
  },
  de: {
    why: "Diese Seite braucht Airflow 3.2 oder neuer: Airflow 3.1 stellt Plugins die Bausteine nicht zur Verfügung, aus denen sie besteht.",
    instead: "Dasselbe lässt sich auf der Kommandozeile lesen, dort wo Airflow läuft:",
  },
};

/** What stands in the place of a page where Airflow gives plugins no Chakra (Airflow 3.1). */
export function plainPage(title: string, commands: [string, ...string[]]) {
  return function PlainPage() {
    const text = document.documentElement.lang.startsWith("de") ? texts.de : texts.en;
    return (
      <div style={{ padding: "1rem", maxWidth: "42rem", lineHeight: 1.5 }}>
        <h1 style={{ fontSize: "1.25rem", fontWeight: 600 }}>{title}</h1>
        <p style={{ margin: "0.75rem 0" }}>{text.why}</p>
        <p style={{ margin: "0.75rem 0" }}>{text.instead}</p>
        <ul style={{ paddingLeft: "1.25rem" }}>
          {commands.map((command) => (
            <li key={command}>
              <code style={{ fontFamily: "monospace", overflowWrap: "anywhere" }}>{command}</code>
            </li>
          ))}
        </ul>
      </div>
    );
  };
}
