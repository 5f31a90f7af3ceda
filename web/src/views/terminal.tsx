/** A shell in a VM, in the page. */
import { useEffect, useRef, useState } from "preact/hooks";
import type { VM } from "../api/types";
import { keepStylesInSheets } from "../model/styles";
import { TerminalSession } from "../model/terminal";
import { Trouble } from "./parts";

export function TerminalPage({ vm }: { vm: VM }) {
  const [number, setNumber] = useState(1);
  if (vm.status !== "running") return <p class="note">A shell runs in a VM that is running: start it first.</p>;
  return <Shell key={number} vm={vm} again={() => setNumber(number + 1)} />;
}

function Shell({ vm, again }: { vm: VM; again: () => void }) {
  const place = useRef<HTMLDivElement>(null);
  const way = useRef<HTMLButtonElement>(null);
  const [ended, setEnded] = useState<string | null>(null);
  const [error, setError] = useState<unknown>(null);

  useEffect(() => {
    let left = false;
    let clear: () => void = () => undefined;
    async function open(element: HTMLElement): Promise<void> {
      const [{ Terminal }, { FitAddon }] = await Promise.all([
        import("@xterm/xterm"),
        import("@xterm/addon-fit"),
        import("@xterm/xterm/css/xterm.css"),
      ]);
      if (left) return;
      keepStylesInSheets();
      const terminal = new Terminal({
        fontFamily: getComputedStyle(element).fontFamily,
        fontSize: 14,
        screenReaderMode: true,
        scrollback: 5_000,
        theme: { background: "#0b100f", foreground: "#e6edeb" },
      });
      const fit = new FitAddon();
      terminal.loadAddon(fit);
      terminal.open(element);
      fit.fit();
      // Tab belongs to the shell, so another key must lead on
      terminal.attachCustomKeyEventHandler((event) => {
        if (event.key !== "F6") return true;
        event.preventDefault();
        way.current?.focus();
        return false;
      });
      const watching = new ResizeObserver(() => fit.fit());
      watching.observe(element);
      clear = () => {
        watching.disconnect();
        terminal.dispose();
      };
      const size = () => ({ columns: terminal.cols, rows: terminal.rows });
      const session = await TerminalSession.begin(vm.id, size(), {
        wrote: (data) => terminal.write(data),
        ended: (execution) => setEnded(`The shell has ended with ${execution.exit_code ?? execution.failure ?? "nothing said"}.`),
        trouble: setError,
      });
      clear = () => {
        session.end();
        watching.disconnect();
        terminal.dispose();
      };
      if (isLeft()) {
        clear();
        return;
      }
      terminal.onData((text) => session.type(text));
      terminal.onResize(() => session.resize(size()));
      terminal.focus();
    }
    const isLeft = () => left;
    if (place.current) {
      open(place.current).catch((failure: unknown) => {
        if (!left) setError(failure);
      });
    }
    return () => {
      left = true;
      clear();
    };
  }, [vm.id]);

  return (
    <section aria-label="Terminal" class="stack">
      <div class="title">
        <p class="fine">
          All keys go to the shell; <kbd>F6</kbd> leads out of it. It ends when you leave this page.
        </p>
        <button ref={way} onClick={again}>
          New shell
        </button>
      </div>
      <Trouble error={error} />
      <p role="status">{ended}</p>
      <div class="screen" ref={place} />
    </section>
  );
}
