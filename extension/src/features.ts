/** The parts of the extension, in the order in which they begin. */
import { connectionCommands } from "./connectionCommands";
import type { Feature } from "./core";
import { outputChannel } from "./run/outputChannel";
import { treeView } from "./views/treeView";
import { statusBar } from "./views/statusBar";
import { lifecycleCommands } from "./vmLifecycle";
import { vmCommands } from "./vmCommands";

export const FEATURES: readonly Feature[] = [
  connectionCommands,
  outputChannel,
  vmCommands,
  lifecycleCommands,
  treeView,
  statusBar,
];
