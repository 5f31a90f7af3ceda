/** The parts of the extension, in the order in which they begin. */
import { connectionCommands } from "./connectionCommands";
import type { Feature } from "./core";
import { execution } from "./execution";
import { files } from "./files";
import { ports } from "./ports";
import { outputChannel } from "./run/outputChannel";
import { terminals } from "./terminal";
import { testing } from "./testing";
import { treeView } from "./views/treeView";
import { statusBar } from "./views/statusBar";
import { lifecycleCommands } from "./vmLifecycle";
import { vmCommands } from "./vmCommands";
import { templateCommands } from "./vmTemplates";

export const FEATURES: readonly Feature[] = [
  connectionCommands,
  outputChannel,
  vmCommands,
  lifecycleCommands,
  templateCommands,
  treeView,
  statusBar,
  terminals,
  execution,
  files,
  ports,
  testing,
];
