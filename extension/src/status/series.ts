/** Figures over time: what is kept of them, and how they become a line and words. */

export interface Sample {
  /** Milliseconds since 1970. */
  readonly at: number;
  /** Per cent of one core; null: not known. */
  readonly cpu: number | null;
  /** Bytes. */
  readonly memory: number | null;
}

/** Three minutes of looks three seconds apart. */
export const MOST_SAMPLES = 60;

/** With one more, and without what is too old. */
export function extended(samples: readonly Sample[], sample: Sample): readonly Sample[] {
  return [...samples, sample].slice(-MOST_SAMPLES);
}

/** Samples of several VMs added up: each of the last looks, at which all that were known then stand together. */
export function summed(at: number, samples: readonly (Sample | undefined)[]): Sample {
  const known = samples.filter((one) => one !== undefined);
  return { at, cpu: sum(known.map((one) => one.cpu)), memory: sum(known.map((one) => one.memory)) };
}

function sum(values: readonly (number | null)[]): number | null {
  const known = values.filter((value) => value !== null);
  return known.length === 0 ? null : known.reduce((total, value) => total + value, 0);
}

export interface Box {
  readonly width: number;
  readonly height: number;
}

/** The `d` of a line through these values, the last one at the right; a value that is not known is a gap. */
export function lineOf(values: readonly (number | null)[], most: number, { width, height }: Box): string {
  const step = width / (MOST_SAMPLES - 1);
  const first = width - (values.length - 1) * step;
  let drawing = false;
  return values
    .map((value, at) => {
      if (value === null) {
        drawing = false;
        return "";
      }
      const x = first + at * step;
      const y = height - (most > 0 ? Math.min(1, Math.max(0, value / most)) : 0) * height;
      const point = `${drawing ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
      drawing = true;
      return point;
    })
    .join("");
}

/** What a chart shows, for who does not see it. */
export function spoken(name: string, values: readonly (number | null)[], write: (value: number) => string): string {
  const known = values.filter((value) => value !== null);
  const last = values[values.length - 1] ?? null;
  if (last === null || known.length === 0) return `${name}: not known`;
  return `${name}: ${write(last)} now, at most ${write(Math.max(...known))} since this is looked at`;
}
