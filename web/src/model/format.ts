/** Figures as people read them. */
import type { VMState } from "../api/types";

/** Megabytes, as the largest unit in which they are at least one. */
export function megabytes(value: number): string {
  return value >= 1024 ? `${trimmed(value / 1024)} GB` : `${trimmed(value)} MB`;
}

/** Bytes, as the largest unit in which they are at least one. */
export function bytes(value: number): string {
  if (value < 1024) return `${value} B`;
  return value < 2 ** 20 ? `${trimmed(value / 1024)} kB` : megabytes(value / 2 ** 20);
}

/** Seconds; below one, thousandths of it. */
export function duration(seconds: number): string {
  return seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(1)} s`;
}

/** How long ago, roughly. */
export function ago(iso: string, now: number): string {
  const seconds = Math.max(0, Math.round((now - Date.parse(iso)) / 1000));
  if (seconds < 10) return "just now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86_400)} d ago`;
}

function trimmed(value: number): string {
  return String(Math.round(value * 10) / 10);
}

export type Tone = "good" | "quiet" | "busy" | "bad";

/** How a state looks. */
export function tone(state: VMState): Tone {
  switch (state) {
    case "running":
      return "good";
    case "error":
      return "bad";
    case "paused":
    case "stopped":
    case "deleted":
      return "quiet";
    case "creating":
    case "starting":
    case "stopping":
    case "restoring":
    case "deleting":
      return "busy";
  }
}
