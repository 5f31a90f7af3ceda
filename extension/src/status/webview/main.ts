/** The page of the VM status panel. */
import "./status.css";
import { bytes } from "../../views/labels";
import { unhandled, type FromPanel, type PoolView, type ToPanel, type VMView } from "../messages";
import { Card } from "./card";
import { Detail } from "./detail";
import { Chart, button, element, setText } from "./dom";

declare function acquireVsCodeApi(): { postMessage(message: FromPanel): void };

const editor = acquireVsCodeApi();
const tell = (message: FromPanel) => editor.postMessage(message);

const trouble = element("p", "trouble");
trouble.role = "status";
const use = element("p", "use", "Looking at the pool…");
const cpu = new Chart("CPU of your VMs", "cpu");
const memory = new Chart("Memory of your VMs", "memory");
const create = button("Create VM", "Create VM", () => tell({ type: "act", action: "create", vm: null }));
const cards = element("ul", "cards");
cards.ariaLabel = "Your VMs";
const detail = new Detail(tell);
detail.element.hidden = true;
const header = element("header", "", element("h1", "", "VM Status"), create);
(document.getElementById("root") as HTMLElement).append(
  header,
  trouble,
  use,
  element("div", "poolCharts", cpu.element, memory.element),
  cards,
  detail.element,
);

const known = new Map<number, Card>();
let vms: readonly VMView[] = [];
let chosen: number | null = null;

window.addEventListener("message", (event: MessageEvent<ToPanel>) => hear(event.data));
tell({ type: "ready" });

function hear(message: ToPanel): void {
  switch (message.type) {
    case "pool":
      vms = message.vms;
      setText(trouble, message.trouble === null ? "" : `${message.trouble} What is shown may be old.`);
      if (message.pool) drawPool(message.pool);
      drawCards();
      break;
    case "chosen":
      chosen = message.vm;
      detail.element.hidden = chosen === null;
      detail.begin(vms.find((vm) => vm.id === chosen)?.name ?? "");
      drawCards();
      break;
    case "executions":
      if (message.vm === chosen) detail.setExecutions(message.vm, message.executions);
      break;
    case "logs":
      if (message.vm === chosen) detail.addLog(message.begin, message.lines);
      break;
    default:
      unhandled(message);
  }
}

function drawPool(pool: PoolView): void {
  setText(
    use,
    `${pool.vms} of ${pool.mostVMs} VMs · ${pool.executions} ${pool.executions === 1 ? "execution" : "executions"} in flight · ` +
      `pool: ${pool.totalVMs} of ${pool.mostTotalVMs} VMs · ${pool.backend}, vmpool ${pool.version}`,
  );
  const running = vms.filter((vm) => vm.state === "running");
  const most = running.reduce((sum, vm) => sum + vm.cpuLimit, 0) * 100;
  cpu.set(pool.samples.map((sample) => sample.cpu), most, "", (value) => `${Math.round(value)} %`);
  const limit = running.reduce((sum, vm) => sum + vm.memoryLimit, 0) * 2 ** 20;
  memory.set(pool.samples.map((sample) => sample.memory), limit, ` of ${bytes(limit)}`, bytes);
}

function drawCards(): void {
  const ids = new Set(vms.map((vm) => vm.id));
  for (const [id, card] of known) {
    if (ids.has(id)) continue;
    card.element.remove();
    known.delete(id);
  }
  vms.forEach((vm, at) => {
    let card = known.get(vm.id);
    if (!card) {
      card = new Card(
        vm,
        () => tell({ type: "choose", vm: chosen === vm.id ? null : vm.id }),
        (action) => tell({ type: "act", action, vm: vm.id }),
      );
      known.set(vm.id, card);
    }
    card.set(vm, vm.id === chosen);
    if (cards.children[at] !== card.element) cards.insertBefore(card.element, cards.children[at] ?? null);
  });
}
