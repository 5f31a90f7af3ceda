// Runs inside a VM: the JavaScript of one context, with the meaning of Node's own REPL.
//
// Requests are lines of JSON on standard input, as for kernel_python.py; messages go to descriptor 3, as lines
// of JSON too.  Descriptors 1 and 2 both lead to the host's standard error: what child processes write
// themselves.  After each cell a mark follows there, so that the host knows that it has had all of it.
"use strict";

const fs = require("fs");
const path = require("path");
const repl = require("repl");
const util = require("util");
const vm = require("vm");
const { createRequire } = require("module");
const { PassThrough, Writable } = require("stream");

const WIRE = 3;
const RAW = 2;
const PIECE = 32 << 10;
const LARGEST_BUNDLE = 4 << 20;
const LONGEST_TEXT = 256 << 10;
const LONGEST_NAME = 255;
const MOST_FORMS = 32;
const MARK = process.argv[2];
const OWN = /\(node:|at node:|at new Promise/;
const DISPLAY = Symbol.for("Jupyter.display");

let number = 0;
let interrupt = null;

function writeAll(descriptor, text) {
  const data = Buffer.from(text);
  for (let at = 0; at < data.length; ) {
    try {
      at += fs.writeSync(descriptor, data, at);
    } catch (error) {
      if (error.code !== "EAGAIN") throw error;
    }
  }
}

// Half a pair of surrogates is no text, and no JSON for those who look closely.
const encoded = (value) =>
  (JSON.stringify(value) ?? "").replace(/(?<!\\)((?:\\\\)*)\\ud[89a-f][0-9a-f]{2}/g, "$1\\ufffd");

const send = (message) => writeAll(WIRE, encoded(message) + "\n");

function say(stream, text) {
  for (let at = 0, end; at < text.length; at = end) {
    end = Math.min(at + PIECE, text.length);
    if (end < text.length && (text.charCodeAt(end - 1) & 0xfc00) === 0xd800) end -= 1; // within a pair
    send({ t: "text", n: number, s: stream, d: text.slice(at, end) });
  }
}

function show(kind, forms) {
  const fitting = {};
  let left = LARGEST_BUNDLE;
  for (let [mime, form] of Object.entries(forms).slice(0, MOST_FORMS)) {
    if (ArrayBuffer.isView(form)) form = Buffer.from(form).toString("base64");
    if (mime === "text/plain" && String(form).length > LONGEST_TEXT) {
      form = String(form).slice(0, LONGEST_TEXT) + "\n... (cut)";
    }
    const size = Buffer.byteLength(encoded(form));
    if (size === 0) continue; // undefined, or a function
    if (size > left) {
      say("stderr", `(${mime} of ${size} bytes is too large to be shown)\n`);
      continue;
    }
    fitting[mime.slice(0, LONGEST_NAME)] = form;
    left -= size;
  }
  send({ t: "show", n: number, k: kind, m: fitting });
}

async function formsOf(value) {
  let forms = {};
  if (value !== null && typeof value === "object" && typeof value[DISPLAY] === "function") {
    try {
      forms = { ...(await value[DISPLAY]()) };
    } catch {
      forms = {};
    }
  }
  if (!("text/plain" in forms)) {
    try {
      forms["text/plain"] = util.inspect(value, { depth: 4, maxArrayLength: 1000, maxStringLength: LONGEST_TEXT });
    } catch (error) {
      forms["text/plain"] = `<it cannot be shown: ${error}>`;
    }
  }
  return forms;
}

async function display(value, { raw = false } = {}) {
  show("display", raw ? value : await formsOf(value));
}

for (const name of ["stdout", "stderr"]) {
  process[name].write = (chunk, encoding, done) => {
    const text = typeof chunk === "string" ? chunk : Buffer.from(chunk).toString();
    say(name, text);
    const after = typeof encoding === "function" ? encoding : done;
    if (typeof after === "function") process.nextTick(after);
    return true;
  };
}

// Thrown by nobody's cell any more: the context goes on.
const late = (error) => say("stderr", `Uncaught ${problemOf(error).trace}\n`);
process.on("uncaughtException", late);
process.on("unhandledRejection", late);

const told = new Writable({
  write(chunk, encoding, done) {
    say("stderr", chunk.toString());
    done();
  },
});
const session = repl.start({
  prompt: "",
  input: new PassThrough(),
  output: told,
  terminal: false,
  useGlobal: true,
});
globalThis.display = display;
globalThis.require = createRequire(path.join(process.cwd(), "cell.js"));

// A cell in progress that waits; one that computes is stopped by the REPL itself.
process.on("SIGINT", () => {
  if (interrupt !== null) interrupt();
});

function problemOf(thrown) {
  let error = thrown instanceof repl.Recoverable ? thrown.err : thrown;
  if (error?.code === "ERR_SCRIPT_EXECUTION_INTERRUPTED") return interrupted();
  let name = "Error";
  let value = "";
  let trace = "";
  try {
    const real = util.types.isNativeError(error) || error instanceof Error;
    name = String(real ? error.name : typeof error);
    value = String(real ? error.message : util.inspect(error));
    const lines = String(real ? (error.stack ?? `${name}: ${value}`) : `Uncaught ${value}`).split("\n");
    trace = lines.filter((line) => !OWN.test(line) && !line.includes(__filename)).join("\n");
  } catch {
    trace = "<it cannot be shown>";
  }
  return { name: name.slice(0, LONGEST_NAME), value: value.slice(0, LONGEST_TEXT), trace: trace.slice(0, LONGEST_TEXT) };
}

const interrupted = () => ({ name: "Interrupted", value: "", trace: "Interrupted" });

// What the REPL does not hand to its caller: what a cell throws at once, and what is thrown later, by a timer.
let thrownAtOnce = null;
session._domain?.removeAllListeners("error");
session._domain?.on("error", (error) => {
  if (thrownAtOnce !== null) thrownAtOnce(error);
  else late(error);
});

const importModuleDynamically = vm.constants?.USE_MAIN_CONTEXT_DEFAULT_LOADER ?? ((name) => import(name));

function compiled(code) {
  const options = { filename: `<cell ${number}>`, importModuleDynamically };
  if (/^\s*\{/.test(code) && !/;\s*$/.test(code)) {
    try {
      return new vm.Script(`(${code.trim()})`, options); // an object, as the REPL takes it
    } catch {
      // a block
    }
  }
  return new vm.Script(code, options);
}

// Run here, so that a loop without end can be interrupted; by the REPL where it awaits something.
function evaluate(code) {
  return new Promise((resolve) => {
    const failed = (error) => resolve({ problem: problemOf(error) });
    interrupt = () => resolve({ problem: interrupted() });
    thrownAtOnce = failed;
    try {
      if (/\bawait\b/.test(code)) {
        session.eval(`${code}\n`, session.context, `<cell ${number}>`, (error, value) => {
          if (error === null || error === undefined) resolve({ value });
          else failed(error);
        });
      } else {
        resolve({ value: compiled(code).runInThisContext({ breakOnSigint: true }) });
      }
    } catch (error) {
      failed(error);
    } finally {
      thrownAtOnce = null;
    }
  });
}

async function run(request) {
  number = request.n;
  let problem;
  try {
    const ended = await evaluate(request.code);
    problem = ended.problem;
    if (problem === undefined && ended.value !== undefined) {
      session.last = ended.value;
      show("result", await formsOf(ended.value));
    }
  } catch (error) {
    problem = problemOf(error);
  }
  interrupt = null;
  if (problem !== undefined) send({ t: "error", n: number, ...problem });
  writeAll(RAW, `\x1e${MARK}:end:${number}:0\x1e`);
  send({ t: "end", n: number, ok: problem === undefined });
}

const waiting = [];
let busy = false;

async function serve(line) {
  waiting.push(line);
  if (busy) return;
  busy = true;
  while (waiting.length > 0) {
    let request;
    try {
      request = JSON.parse(waiting.shift());
    } catch {
      continue; // the rest of what a server could not finish
    }
    if ("sync" in request) send({ t: "sync", c: request.sync, n: number });
    else await run(request);
  }
  busy = false;
}

let rest = [];
process.stdin.on("data", (data) => {
  for (let end; (end = data.indexOf(10)) >= 0; data = data.subarray(end + 1)) {
    rest.push(data.subarray(0, end));
    const line = Buffer.concat(rest).toString();
    rest = [];
    serve(line);
  }
  if (data.length > 0) rest.push(data);
});
process.stdin.on("end", () => process.exit(0));
send({ t: "ready" });
