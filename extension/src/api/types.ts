/** The API's own shapes, as they are answered, by the names the extension uses. */
import type { Whole } from "./routes";
import type { components } from "./schema";

type Schemas = components["schemas"];
export type VM = Whole<Schemas["VM"]>;
export type VMState = VM["status"];
export type VMStatus = Whole<Schemas["VMStatus"]>;
export type Snapshot = Whole<Schemas["Snapshot"]>;
export type Execution = Whole<Schemas["Execution"]>;
export type LogEntry = Whole<Schemas["LogEntry"]>;
export type FileInfo = Whole<Schemas["FileInfo"]>;
export type Share = Whole<Schemas["Share"]>;
export type PoolStatus = Whole<Schemas["PoolStatus"]>;
export type PoolEvent = Whole<Schemas["Event"]>;
export type Template = Whole<Schemas["Template"]>;
export type Session = Whole<Schemas["Session"]>;
export type BatchError = Whole<Schemas["BatchError"]>;
export type CodeContext = Whole<Schemas["CodeContext"]>;
export type CellResult = Whole<Schemas["CellResult"]>;
export type CellOutput = Whole<Schemas["CellOutput"]>;
/** What is asked, rather than answered. */
export type CreateVM = Schemas["CreateVM"];
export type ExecuteRequest = Schemas["ExecuteRequest"];

/** A piece of output: the data of events `stdout` and `stderr`. */
export interface OutputEvent {
  readonly offset: number;
  readonly text?: string;
  readonly base64?: string;
  readonly skipped?: number;
}
