/** One VM of the panel. */
import { bytes, cores, megabytes } from "../../views/labels";
import type { Action, VMView } from "../messages";
import { Chart, button, element, setText } from "./dom";

export class Card {
  readonly element: HTMLElement;
  private readonly cpu = new Chart("CPU", "cpu");
  private readonly memory = new Chart("Memory", "memory");
  private readonly choice: HTMLButtonElement;
  private readonly state = element("span", "state");
  private readonly facts = element("p", "facts");
  private readonly buttons: Readonly<Record<Exclude<Action, "create">, HTMLButtonElement>>;

  constructor(vm: VMView, choose: () => void, act: (action: Action) => void) {
    this.choice = button(vm.name, `${vm.name}: show executions and output`, choose);
    this.choice.className = "choice";
    this.buttons = {
      start: button("Start", `Start ${vm.name}`, () => act("start")),
      terminal: button("Terminal", `Open a terminal in ${vm.name}`, () => act("terminal")),
      stop: button("Stop", `Stop ${vm.name}`, () => act("stop")),
      delete: button("Delete…", `Delete ${vm.name}`, () => act("delete")),
    };
    const head = element("div", "head", element("h3", "", this.choice), this.state);
    const actions = element("div", "actions", ...Object.values(this.buttons));
    this.element = element("li", "card", head, this.cpu.element, this.memory.element, this.facts, actions);
    this.set(vm, false);
  }

  set(vm: VMView, chosen: boolean): void {
    const runs = vm.state === "running" || vm.state === "paused";
    this.element.classList.toggle("chosen", chosen);
    this.choice.ariaPressed = String(chosen);
    setText(this.state, vm.error ?? vm.state);
    this.state.className = `state ${vm.state}`;
    const percent = (value: number) => `${Math.round(value)} %`;
    this.cpu.set(vm.samples.map((sample) => sample.cpu), vm.cpuLimit * 100, ` of ${cores(vm.cpuLimit)}`, percent);
    const limit = vm.memoryLimit * 2 ** 20;
    this.memory.set(vm.samples.map((sample) => sample.memory), limit, ` of ${megabytes(vm.memoryLimit)}`, bytes);
    const facts = [vm.language, `disk ${vm.diskBytes === null ? "" : `${bytes(vm.diskBytes)} of `}${megabytes(vm.diskLimit)}`];
    if (vm.processes !== null) facts.push(`${vm.processes} ${vm.processes === 1 ? "process" : "processes"}`);
    if (vm.executions > 0) facts.push(`runs ${vm.executions}`);
    setText(this.facts, facts.join(" · "));
    this.buttons.start.hidden = runs || !(vm.state === "stopped" || vm.state === "error");
    this.buttons.stop.hidden = this.buttons.terminal.hidden = !runs;
  }
}
