/** The day of a time in UTC, as the register writes it. */
export function day(time: string): string {
  return time.slice(0, 10);
}

/** The minute of a time in UTC. */
export function minute(time: string): string {
  return `${time.slice(0, 10)} ${time.slice(11, 16)} UTC`;
}
