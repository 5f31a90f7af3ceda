/** The last values of a figure, and the line they make. */

/** Values that are kept: two minutes of them, one every two seconds. */
export const KEPT = 60;

/** The series with one more value.  null: not known at that time. */
export function appended(series: readonly (number | null)[], value: number | null): (number | null)[] {
  return [...series, value].slice(-KEPT);
}

/** The path of an SVG's line: the newest value at the right edge, gaps where a value is not known. */
export function line(series: readonly (number | null)[], top: number, width: number, height: number): string {
  let path = "";
  let drawing = false;
  series.forEach((value, place) => {
    if (value === null) {
      drawing = false;
      return;
    }
    const x = width - ((series.length - 1 - place) * width) / (KEPT - 1);
    const y = height - (Math.min(Math.max(value, 0), top) / (top || 1)) * height;
    path += `${drawing ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
    drawing = true;
  });
  return path;
}
