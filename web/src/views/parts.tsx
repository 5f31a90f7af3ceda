/** Small parts that every page uses. */
import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";
import { Refused } from "../api/client";
import type { VMState } from "../api/types";
import { tone } from "../model/format";

/** A state, told by word and colour. */
export function State({ of }: { of: VMState }) {
  return <span class={`state ${tone(of)}`}>{of}</span>;
}

/** What went wrong, in the server's words, and how to find it in its log. */
export function Trouble({ error }: { error: unknown }) {
  if (error === null || error === undefined) return null;
  const text = typeof error === "string" ? error : error instanceof Error ? error.message : JSON.stringify(error);
  return (
    <div class="trouble" role="alert">
      <p>{text}</p>
      {error instanceof Refused && error.requestId !== "" && (
        <p class="fine">In the server’s log as {error.requestId}</p>
      )}
    </div>
  );
}

interface DialogProps {
  readonly title: string;
  readonly close: () => void;
  readonly children: ComponentChildren;
}

/** A dialog over the page: Escape closes it, and the focus stays in it and comes back. */
export function Dialog({ title, close, children }: DialogProps) {
  const element = useRef<HTMLDialogElement>(null);
  const heading = useId();
  useEffect(() => {
    element.current?.showModal();
  }, []);
  return (
    <dialog ref={element} aria-labelledby={heading} onClose={close}>
      <h2 id={heading}>{title}</h2>
      {children}
    </dialog>
  );
}

interface MeterProps {
  readonly label: string;
  readonly value: number;
  readonly limit: number;
  readonly text: string;
}

/** Use against a limit. */
export function Meter({ label, value, limit, text }: MeterProps) {
  const id = useId();
  const share = limit > 0 ? Math.min(1, value / limit) : 0;
  return (
    <div class="meter">
      <span id={id} class="label">
        {label}
      </span>
      <span class="figure">{text}</span>
      <div
        class="track"
        role="meter"
        aria-labelledby={id}
        aria-valuemin={0}
        aria-valuemax={limit}
        aria-valuenow={Math.min(value, limit)}
        aria-valuetext={text}
      >
        <div class={share > 0.9 ? "fill full" : "fill"} style={{ width: `${share * 100}%` }} />
      </div>
    </div>
  );
}
