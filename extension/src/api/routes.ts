/** The types of each route's question and answer, read off the generated schema. */
import type { paths } from "./schema";

export type Method = "get" | "post" | "put" | "patch" | "delete";

/** The paths that have this method. */
export type PathOf<M extends Method> = {
  [P in keyof paths]: paths[P][M] extends { responses: unknown } ? P : never;
}[keyof paths];

type Operation<M extends Method, P extends keyof paths> = NonNullable<paths[P][M]>;

/** An answer as it is sent: a field with a default is always there. */
export type Whole<T> = T extends readonly (infer I)[]
  ? Whole<I>[]
  : T extends object
    ? { [K in keyof T]-?: Whole<T[K]> }
    : T;

type JSONIn<R> = R extends { content: { "application/json": infer J } } ? Whole<J> : undefined;
type Succeeded<R> = { [S in keyof R]: S extends 200 | 201 | 202 | 204 ? JSONIn<R[S]> : never }[keyof R];

/** The JSON of a route's answer; undefined where it has none. */
export type AnswerOf<M extends Method, P extends keyof paths> =
  Operation<M, P> extends { responses: infer R } ? Succeeded<R> : never;

/** What a route takes as JSON. */
export type BodyOf<M extends Method, P extends keyof paths> =
  Operation<M, P> extends { requestBody?: infer B }
    ? NonNullable<B> extends { content: { "application/json": infer J } }
      ? J
      : undefined
    : undefined;

/** What a route takes behind the question mark. */
export type QueryOf<M extends Method, P extends keyof paths> =
  Operation<M, P> extends { parameters: { query?: infer Q } } ? Exclude<Q, undefined> : undefined;

/** The placeholders of a path, by name. */
export type PlacesOf<P> = P extends `${string}{${infer Name}}${infer Rest}`
  ? { readonly [K in Name]: string | number } & PlacesOf<Rest>
  : unknown;

/** A path with its placeholders filled in. */
export function filled(path: string, places: Readonly<Record<string, string | number>>): string {
  return path.replaceAll(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(String(places[name])));
}

/** The part of an address behind the path; what is undefined or null is left out. */
export function queryOf(values: object): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(values) as [string, Value | readonly Value[]][]) {
    for (const one of Array.isArray(value) ? (value as readonly Value[]) : [value as Value]) {
      if (one !== undefined && one !== null) query.append(name, String(one));
    }
  }
  const text = query.toString();
  return text && `?${text}`;
}

type Value = string | number | boolean | null | undefined;
