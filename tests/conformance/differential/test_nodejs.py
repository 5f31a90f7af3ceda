"""A prestarted Node.js does what `node FILE` does."""

# ruff: noqa: E501 - the programs below are tables, not text to be read

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.conformance.backends import Candidate, Power
from tests.conformance.differential.both_ways import BothWays, Program, open_both_ways

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(120),
    pytest.mark.requires(Power.REAL_PROGRAMS, Power.ALL_LANGUAGES),
]

PID = (r"\b\d{2,7}\b",)

PROGRAMS = {
    "plain": Program("console.log(1 + 1)"),
    "arguments": Program(
        "console.log(process.argv, process.argv0, process.execPath, process.execArgv, process.title)",
        arguments=("one", "--two", "", "drei vier"),
    ),
    "module": Program(
        "console.log(require.main === module, __filename, __dirname, module.id, module.filename, module.loaded, module.paths,"
        " module.children, module.parent, Object.keys(require.cache), process.mainModule === module, module)"
    ),
    "module-internals": Program(
        "const M = require('module'); console.log(M._pathCache, M.globalPaths, Object.keys(M._cache), Object.getOwnPropertyNames(M._pathCache))"
    ),
    "globals": Program("console.log(Object.getOwnPropertyNames(globalThis).sort(), Object.keys(globalThis))"),
    "process": Program("console.log(Object.getOwnPropertyNames(process).sort())"),
    "process-shape": Program(
        "for (const k of ['uptime', 'hrtime', 'cwd', 'umask', 'chdir']) console.log(k, Object.getOwnPropertyDescriptor(process, k)?.enumerable, typeof process[k], process[k].length, process[k].name);"
        "console.log(process.umask(), process.features, process.release.name, process.exitCode, process.connected, process.debugPort)"
    ),
    "environment": Program(
        "console.log(process.env, Object.keys(process.env)); console.log(require('child_process').execSync('env').toString())",
        env={"MINE": "1", "LATER": "zwei ü", "EMPTY": ""},
    ),
    "environment-changed": Program(
        "process.env.A = 1; delete process.env.USER; process.env.TZ = 'Asia/Tokyo'; console.log(process.env, new Date(0).toString());"
        "console.log(require('child_process').execSync('env').toString())"
    ),
    "environment-replaced": Program(
        "console.log(process.env.USER, Object.keys(process.env))", env={"USER": "me", "B": "2"}
    ),
    "directory": Program(
        "console.log(process.cwd(), require('fs').readdirSync('.').includes('main.js')); process.chdir('/'); console.log(process.cwd())"
    ),
    "no-stdin": Program(
        "const fs = require('fs'); const s = fs.fstatSync(0); console.log(s.isCharacterDevice(), s.isFIFO(), s.rdev, process.stdin.constructor.name, process.stdin.isTTY);"
        "console.log(JSON.stringify(fs.readFileSync(0, 'utf8'))); process.stdin.on('end', () => console.log('end')).resume()"
    ),
    "no-stdin-child": Program(
        "console.log(require('child_process').execSync('readlink /proc/self/fd/0; cat', {stdio: ['inherit', 'pipe', 'inherit']}).toString())"
    ),
    "stdin": Program(
        "const fs = require('fs'); console.log(fs.fstatSync(0).isFIFO(), fs.readFileSync(0, 'utf8').toUpperCase())",
        stdin=b"some words\nmore\n",
    ),
    "stdin-stream": Program(
        "console.log(process.stdin.constructor.name); let n = 0; process.stdin.on('data', (d) => n += d.length).on('end', () => console.log(n))",
        stdin=b"x" * 300_000,
    ),
    "readline": Program(
        "const rl = require('readline').createInterface({input: process.stdin}); rl.on('line', (l) => console.log('>', l)).on('close', () => console.log('closed'))",
        stdin=b"a\nb\nc",
    ),
    "streams": Program(
        "for (const s of [process.stdout, process.stderr]) console.log(s.constructor.name, s.fd, s.isTTY, s.writable, s._type, s._isStdio, s.writableHighWaterMark, s.columns, s.hasColors?.())"
    ),
    "exit-code": Program("process.exitCode = 7; console.log('x')"),
    "exit": Program("process.on('exit', (c) => console.log('exit', c)); process.exit(300)"),
    "exit-event": Program(
        "process.on('exit', () => { process.exitCode = 9 }); process.on('beforeExit', () => console.log('before'))"
    ),
    "abort": Program("process.abort()", varies=(r"(?s).+",)),
    "throw": Program("function f(x) { return x.y.z }\nf({})"),
    "throw-deep": Program("function f(n) { if (n === 0) throw new RangeError('deep'); f(n - 1) }\nf(4)"),
    "throw-limit": Program(
        "Error.stackTraceLimit = 100; console.log(new Error('here').stack); console.trace('there')"
    ),
    "throw-text": Program("throw 'just text'"),
    "throw-null": Program("throw null"),
    "throw-cause": Program("throw new Error('outer', {cause: new TypeError('inner')})"),
    "throw-later": Program("setTimeout(() => { throw new Error('later') }, 5)"),
    "throw-tick": Program("process.nextTick(() => { throw new Error('tick') })"),
    "reject": Program("Promise.reject(new Error('nobody cares'))"),
    "reject-value": Program("Promise.reject(42)"),
    "uncaught-handler": Program(
        "process.on('uncaughtException', (e, o) => console.log(e.message, o)); setTimeout(() => console.log('on'), 1); null.x"
    ),
    "unhandled-handler": Program(
        "process.on('unhandledRejection', (e) => { console.log('h', e); process.exit(4) }); Promise.reject(1)"
    ),
    "syntax": Program("let x = ;\n"),
    "syntax-late": Program("console.log(1)\nfunction f( {\n"),
    "missing-module": Program("require('./no-such-module')"),
    "prepare-stack": Program(
        "Error.prepareStackTrace = (e, s) => s.map((c) => [c.getFileName(), c.getLineNumber(), c.getFunctionName(), c.isToplevel()]); console.log(new Error().stack)"
    ),
    "beside": Program(
        "console.log(require('./beside'), require('./data.json'), require.resolve('./beside'))",
        files={
            "beside.js": "module.exports = [__filename, module.parent.filename, require.main.filename]",
            "data.json": '{"a": 1}',
        },
    ),
    "packages": Program(
        "console.log(require('mine').name)", files={"node_modules/mine/index.js": "exports.name = __filename"}
    ),
    "cycle": Program(
        "exports.a = 1; console.log(require('./cycle').seen)",
        files={"cycle.js": "exports.seen = require('./main.js').a"},
    ),
    "import": Program(
        "import('./lib.mjs').then((m) => console.log(m.default, m))",
        files={"lib.mjs": "export default import.meta.url; export const a = 1"},
    ),
    "esm": Program(
        "import fs from 'node:fs'; import {x} from './x.mjs'; const y = await Promise.resolve(3); console.log(x, y, import.meta.url, typeof require, process.argv, fs.existsSync(process.argv[1]), this)",
        source="main.mjs",
        files={"x.mjs": "export const x = 1"},
    ),
    "esm-throw": Program("await null; throw new Error('from a module')", source="main.mjs"),
    "esm-syntax": Program("import {no} from 'node:fs'", source="main.mjs"),
    "esm-never": Program("await new Promise(() => {})", source="main.mjs"),
    "esm-in-js": Program("import fs from 'node:fs'; console.log(typeof fs)"),
    "cjs": Program("console.log(typeof require, __filename)", source="main.cjs"),
    "no-extension": Program("console.log(typeof require, __filename)", source="main"),
    "strict": Program("'use strict'; console.log(this === module.exports, (function () { return this })())"),
    "shebang": Program("#!/usr/bin/env node\nconsole.log('ran')"),
    "bom": Program("\ufeffconsole.log('bom', 'ü')"),
    "timers": Program(
        "console.log('a'); setTimeout(() => console.log('t'), 20); setImmediate(() => console.log('i')); process.nextTick(() => console.log('n')); Promise.resolve().then(() => console.log('p'))"
    ),
    "timer-takes-its-time": Program(
        "const t = Date.now(); setTimeout(() => console.log(Date.now() - t >= 149 && Date.now() - t < 5000), 150)"
    ),
    "clock": Program(
        "console.log(process.uptime() < 2, process.uptime() > 0, String(process.uptime).length > 0, Math.abs(performance.timeOrigin + performance.now() - Date.now()) < 50)"
    ),
    "async-hooks": Program(
        "const h = require('async_hooks'); console.log(h.executionAsyncId(), h.triggerAsyncId())"
    ),
    "handles": Program(
        "console.log(process._getActiveHandles().length, process._getActiveRequests().length, process.getActiveResourcesInfo())"
    ),
    "descriptors": Program(
        "const fs = require('fs'); console.log(fs.openSync('/dev/null'), fs.readdirSync('/proc/self/fd').map(Number).sort((a, b) => a - b))"
    ),
    "child-descriptors": Program(
        "console.log(require('child_process').execFileSync('ls', ['/proc/self/fd']).toString())"
    ),
    "limits": Program(
        "console.log(require('fs').readFileSync('/proc/self/limits', 'utf8')); console.log(require('child_process').execSync('ulimit -n; ulimit -Hn; umask').toString())",
        varies=(r"Max locked.*", r"Max pending.*", r"Max processes.*"),
    ),
    "signals": Program(
        "process.on('SIGTERM', () => { console.log('term'); process.exit(5) }); process.kill(process.pid, 'SIGTERM'); setTimeout(() => {}, 1000)"
    ),
    "killed": Program("process.kill(process.pid, 'SIGKILL'); setTimeout(() => {}, 1000)"),
    "sigint": Program("process.kill(process.pid, 'SIGINT'); setTimeout(() => {}, 1000)"),
    "signal-state": Program(
        "console.log(require('fs').readFileSync('/proc/self/status', 'utf8').match(/Sig(Blk|Ign|Cgt).*/g), process.listenerCount('SIGINT'))"
    ),
    "session": Program(
        "const s = require('fs').readFileSync('/proc/self/stat', 'utf8').split(' '); console.log(+s[0] === process.pid, +s[4] === process.pid, +s[5] === process.pid, s[1])"
    ),
    "spawn": Program(
        "const {spawnSync} = require('child_process'); const r = spawnSync(process.execPath, ['-e', 'console.log(process.argv, process.execArgv, process.env.NODE_OPTIONS); process.exit(3)']); console.log(r.status, r.stdout + '', r.stderr + '')"
    ),
    "fork": Program(
        "const c = require('child_process'); if (process.send) { process.send(process.argv) ; process.disconnect() } else c.fork(__filename, ['kid']).on('message', (m) => console.log(m)).on('exit', (x) => console.log('exit', x))"
    ),
    "worker": Program(
        "const w = require('worker_threads'); if (w.isMainThread) { new w.Worker(__filename, {argv: ['a'], workerData: 5}).on('message', (m) => console.log(m)).on('exit', (c) => console.log('exit', c)) } else w.parentPort.postMessage([w.workerData, process.argv, process.execArgv, process.env.NODE_OPTIONS, Object.keys(require.cache), require.main === module, new Error('in').stack])"
    ),
    "worker-eval": Program(
        "const w = require('worker_threads'); new w.Worker('throw new Error(\"inside\")', {eval: true}).on('error', (e) => console.log(e.message, e.stack)).on('exit', (c) => console.log(c))"
    ),
    "cluster": Program(
        "const c = require('cluster'); if (c.isPrimary) { c.fork().on('exit', (x) => { console.log('exit', x) }) } else { console.log(process.argv, process.execArgv); process.exit(6) }"
    ),
    "server": Program(
        "require('http').createServer((q, r) => r.end('hi ' + q.url)).listen(0, '127.0.0.1', function () { require('http').get({port: this.address().port, path: '/x'}, (r) => r.on('data', (d) => console.log(d + '')).on('end', () => this.close())) })"
    ),
    "crypto": Program(
        "const c = require('crypto'); console.log(c.createHash('sha256').update('x').digest('hex'), c.randomBytes(8).length); c.pbkdf2('a', 'b', 1000, 16, 'sha1', (e, k) => console.log(k.toString('hex')))"
    ),
    "big-output": Program(
        "process.stdout.write('x'.repeat(1 << 20)); console.error('y'.repeat(1 << 18)); process.exitCode = 1"
    ),
    "wasm": Program(
        "console.log(new WebAssembly.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0])) instanceof WebAssembly.Module)"
    ),
    "vm": Program(
        "console.log(require('vm').runInNewContext('a + 1', {a: 2})); eval('console.log(new Error().stack)')"
    ),
    "intl": Program(
        "console.log(new Intl.DateTimeFormat('de', {dateStyle: 'full'}).format(0), (1234.5).toLocaleString('de'), new Date(0).toString(), Intl.DateTimeFormat().resolvedOptions())"
    ),
    "heap": Program(
        "console.log(require('v8').getHeapStatistics().heap_size_limit, process.constrainedMemory?.(), process.config.variables.napi_build_version)"
    ),
    "stack-depth": Program("let n = 0; (function f() { n++; f() })()"),
    "warning": Program("process.emitWarning('careful', 'Mine', 'M1'); new Buffer(1)", varies=(r"node:\d+",)),
    "source-removed": Program(
        "require('fs').unlinkSync(__filename); console.log(require('fs').existsSync(__filename))"
    ),
    "empty": Program(""),
    "json-source": Program('{"a": 1}', source="main.json"),
    "title": Program("process.title = 'other'; console.log(process.title)"),
    "inspect-main": Program(
        "console.log(require.main.children.length, require.extensions['.js'].length, require('module').builtinModules.length)"
    ),
    "report-options": Program(
        "console.log(process.allowedNodeEnvironmentFlags.size, process.report?.directory, process.noDeprecation, process.throwDeprecation)"
    ),
    "unref": Program("setInterval(() => {}, 1000).unref(); console.log('done')"),
    "test-runner": Program(
        "require('node:test')('adds', () => require('assert').strictEqual(1 + 1, 2))",
        varies=(r"duration_ms:? [\d.]+",),
    ),
}


@pytest.fixture(scope="module")
async def both(candidate: Candidate, anyio_backend: str) -> AsyncIterator[BothWays]:
    async with candidate.open_world() as world, open_both_ways(world, "nodejs") as opened:
        yield opened


@pytest.mark.parametrize("name", PROGRAMS)
async def test_warm_is_plain(both: BothWays, name: str) -> None:
    warm, plain = await both.run(PROGRAMS[name])
    assert warm == plain


@pytest.mark.parametrize(
    "name", ["NODE_OPTIONS", "NODE_PATH", "TZ", "LANG", "LD_LIBRARY_PATH", "HOME", "UV_THREADPOOL_SIZE"]
)
async def test_what_is_read_at_the_start_starts_afresh(both: BothWays, name: str) -> None:
    assert not await both.is_warm(Program("", env={name: ""}))
