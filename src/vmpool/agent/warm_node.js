// The waiting Node.js: `NODE_OPTIONS=--require=THIS node /.vmpool/source.js`, started before its code comes.
//
// A required file runs when Node.js has started and is about to load its main module.  Here it waits for the
// job at descriptor 100 and then returns, so that Node.js itself goes on to load and run the source: stack
// traces, `require.main`, ES modules and the end are its own.  The name of the main module is fixed by then;
// that name is made to mean the source for as long as Node.js asks.
//
// What remains to be seen by a program that looks for it: the command line in /proc, and the time it has
// waited in `performance`.
'use strict';

const Module = require('module');
const fs = require('fs');
const path = require('path');

const STANDS_FOR_SOURCE = '/.vmpool/source.js';
const JOB = 100;

function forgetThisFile() {
  delete require.cache[__filename];
  for (const key of Object.keys(Module._pathCache)) {
    if (Module._pathCache[key] === __filename) {
      delete Module._pathCache[key];
    }
  }
}

function receive() {
  fs.writeSync(JOB, '.');
  const parts = [];
  const part = Buffer.allocUnsafeSlow(65536);
  for (let size; (size = fs.readSync(JOB, part)) !== 0;) {
    parts.push(Buffer.from(part.subarray(0, size)));
  }
  fs.closeSync(JOB);
  const words = Buffer.concat(parts).toString().split('\0');
  words.pop();
  const [, noInput, directory, count] = words.splice(0, 4);
  return { noInput: noInput === '1', directory, argv: words.splice(0, Number(count)), env: words };
}

function emptyInput() {
  fs.closeSync(0);
  if (fs.openSync('/dev/null', 'r') !== 0) {
    process.reallyExit(70);
  }
}

// In the order of the list, and touching only what differs: a variable like TZ is looked at when it is set.
function setEnvironment(entries) {
  delete process.env.NODE_OPTIONS;
  const wanted = entries.map((entry) => {
    const end = entry.indexOf('=');
    return [entry.slice(0, end), entry.slice(end + 1)];
  });
  const old = Object.keys(process.env);
  if (!old.every((name, i) => i < wanted.length && wanted[i][0] === name)) {
    old.forEach((name) => delete process.env[name]);
  }
  for (const [name, value] of wanted) {
    if (process.env[name] !== value) {
      process.env[name] = value;
    }
  }
}

function startClock() {
  const { uptime } = process;
  const waited = uptime() - 0.02;
  process.uptime = { uptime() { return uptime() - waited; } }.uptime;
}

// Node.js looks its main module's name up twice if it is CommonJS, once if it is an ES module.
function standFor(source) {
  const file = Module._findPath(source, null, true);
  const key = `${STANDS_FOR_SOURCE}\0`;
  let left = 2;
  Object.defineProperty(Module._pathCache, key, {
    configurable: true,
    get() {
      if (--left === 0) {
        delete Module._pathCache[key];
      }
      return file;
    },
  });
}

forgetThisFile();
if (process.argv[1] === STANDS_FOR_SOURCE) { // else a worker thread, which inherits the option
  const job = receive();
  if (job.noInput) {
    emptyInput();
  }
  process.chdir(job.directory);
  setEnvironment(job.env);
  startClock();
  const source = path.resolve(job.argv[1]);
  process.argv.splice(1, process.argv.length, source, ...job.argv.slice(2));
  standFor(source);
}
