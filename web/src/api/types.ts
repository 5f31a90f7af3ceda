/** The API's own shapes, by the names the pages use. */
import type { components } from "./schema";

type Schemas = components["schemas"];
export type VM = Schemas["VM"];
export type VMStatus = Schemas["VMStatus"];
export type Template = Schemas["Template"];
export type Snapshot = Schemas["Snapshot"];
export type LogEntry = Schemas["LogEntry"];
export type FileInfo = Schemas["FileInfo"];
export type Network = Schemas["Network"];
export type NetworkLogEntry = Schemas["NetworkLogEntry"];
export type NetworkPolicy = Schemas["NetworkPolicy"];
export type Share = Schemas["Share"];
export type APIKey = Schemas["APIKey"];
export type NewAPIKey = Schemas["NewAPIKey"];
export type AuditEntry = Schemas["AuditEntry"];
export type BatchError = Schemas["BatchError"];
export type Use = Schemas["Use"];
export type Scope = Schemas["Scope"];
export type VMState = VM["status"];
export type PoolStatus = Schemas["PoolStatus"];
export type Session = Schemas["Session"];
export type Execution = Schemas["Execution"];
export type Problem = Schemas["Problem"];
export type CreateVM = Pick<
  Schemas["CreateVM"],
  "name" | "language" | "template" | "cpu_limit" | "memory_limit"
>;
export type PoolEvent = Schemas["Event"];

/** A piece of output: the data of events `stdout` and `stderr`. */
export interface OutputEvent {
  readonly offset: number;
  readonly text?: string;
  readonly base64?: string;
  readonly skipped?: number;
}
