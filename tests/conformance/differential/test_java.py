"""A prestarted Java does what `java FILE.java` does."""

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


def main(body: str, more: str = "", imports: str = "", **fields: object) -> Program:
    """A class with this body in its main."""
    return Program(
        f"import java.util.*; {imports}\npublic class Main {{ {more}\n  public static void main(String[] args) throws Throwable {{\n    {body}\n  }}\n}}\n",
        **fields,  # type: ignore[arg-type]
    )


HASH = (r"@[0-9a-f]{5,8}", r"memoryclassloader\d+")
"""How many objects were hashed before shows in the next one's hash."""

PROGRAMS = {
    "plain": main("System.out.println(1 + 1);"),
    "arguments": main(
        "System.out.println(Arrays.toString(args));", arguments=("one", "--two", "", "drei vier")
    ),
    "environment": main(
        'System.out.println(System.getenv()); System.out.println(new String(new ProcessBuilder("env").start().getInputStream().readAllBytes()));'
    ),
    "properties": main(
        'var p = System.getProperties(); for (var k : new TreeSet<>(p.stringPropertyNames())) System.out.println(k + "=" + p.get(k));'
    ),
    "modules": main(
        "System.out.println(new TreeSet<>(ModuleLayer.boot().modules().stream().map(Module::getName).toList()));"
        'System.out.println(Main.class.getModule() + " " + Main.class.getClassLoader().getClass() + " " + Thread.currentThread().getContextClassLoader().getClass());'
        "System.out.println(Main.class.getProtectionDomain().getCodeSource());",
        varies=HASH,
    ),
    "directory": main(
        'System.out.println(new java.io.File(".").getCanonicalPath() + Arrays.toString(new java.io.File("/tmp/.vmpool-program").list()));'
    ),
    "class-path": main('Class.forName("Beside");', files={"Beside.class": "no class"}),
    "no-stdin": main(
        'System.out.println(System.in.read() + " " + System.in.available() + " " + System.in.skip(5)); System.out.println(java.nio.file.Path.of("/proc/self/fd/0").toRealPath());'
    ),
    "no-stdin-child": main(
        'System.exit(new ProcessBuilder("sh", "-c", "readlink /proc/self/fd/0; cat").inheritIO().start().waitFor());'
    ),
    "stdin": main(
        "var s = new Scanner(System.in); while (s.hasNextInt()) System.out.println(s.nextInt() * 2);",
        stdin=b"1 2 3\n",
    ),
    "readline": main(
        "System.out.println(new java.io.BufferedReader(new java.io.InputStreamReader(System.in)).lines().toList());",
        stdin="eins\nzwei ü\n".encode(),
    ),
    "streams": main(
        'System.out.println(System.console() + " " + java.nio.charset.Charset.defaultCharset() + " ü"); System.err.println("ü");'
    ),
    "exit": main(
        'Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println("hook"))); System.exit(3);'
    ),
    "halt": main("Runtime.getRuntime().halt(300);"),
    "throw": main(
        "f(3);", 'static void f(int n) { if (n == 0) throw new IllegalStateException("deep"); f(n - 1); }'
    ),
    "throw-cause": main(
        'try { Object o = null; o.hashCode(); } catch (Exception e) { throw new RuntimeException("outer", e); }'
    ),
    "throw-error": main("throw new StackOverflowError();"),
    "throw-checked": main('throw new java.io.IOException("io");'),
    "throw-in-initializer": Program(
        "public class Main { static int x = 1 / 0; public static void main(String[] a) {} }"
    ),
    "print-trace": main(
        'new Exception("here").printStackTrace(); Thread.dumpStack(); StackWalker.getInstance().forEach(System.out::println);'
    ),
    "caught": main(
        'try { Integer.parseInt("x"); } catch (NumberFormatException e) { e.printStackTrace(System.out); }'
    ),
    "recursion": main("f(0);", "static int f(int n) { return f(n + 1) + 1; }"),
    "other-thread": main(
        'var t = new Thread(() -> { throw new RuntimeException("in thread"); }); t.start(); t.join(); System.out.println(t.getName());'
    ),
    "threads": main(
        'System.out.println(Thread.currentThread() + " " + Thread.currentThread().getId() + " " + Thread.activeCount()); var t = new Thread(); System.out.println(t.getId() + " " + t.getName());'
        "System.out.println(new TreeSet<>(Thread.getAllStackTraces().keySet().stream().map(Thread::getName).toList()));"
    ),
    "handler": main(
        'Thread.setDefaultUncaughtExceptionHandler((t, e) -> System.out.println(t.getName() + e)); throw new Error("x");'
    ),
    "daemon": main(
        'var t = new Thread(() -> { try { Thread.sleep(10000); } catch (InterruptedException e) {} }); t.setDaemon(true); t.start(); System.out.println("main");'
    ),
    "late-thread": main(
        'new Thread(() -> { try { Thread.sleep(100); } catch (InterruptedException e) {} System.out.println("late"); }).start();'
    ),
    "syntax": Program("public class Main {\n  public static void main(String[] a) { int x = ; }\n"),
    "types": main("String s = 1; undefined();"),
    "warnings": main("List l = new ArrayList(); l.add(1); new Date(1, 1, 1); System.out.println(l);"),
    "no-main": Program("public class Main { }"),
    "no-class": Program("interface Nothing {}"),
    "empty": Program(""),
    "two-classes": Program(
        'public class First { public static void main(String[] a) { System.out.println(Second.x()); } }\nclass Second { static String x() { return First.class.getName() + Second.class.getResource("Second.class"); } }',
        varies=HASH,
    ),
    "package": Program(
        "package a.b; public class Main { public static void main(String[] a) { System.out.println(Main.class); throw new Error(); } }"
    ),
    "records": main(
        'System.out.println(new P(1, "x")); Object o = 5; if (o instanceof Integer i && i > 3) System.out.println(i); System.out.println(switch (args.length) { case 0 -> "none"; default -> "some"; });',
        "record P(int a, String b) {}",
    ),
    "streams-api": main(
        "System.out.println(java.util.stream.IntStream.range(0, 1000).parallel().filter(x -> x % 7 == 0).boxed().toList());"
    ),
    "lambda": main(
        'Runnable r = () -> System.out.println("ran"); r.run(); System.out.println(r.getClass().isSynthetic() + " " + r.getClass().isHidden());'
    ),
    "collections": main(
        'var m = new HashMap<String, Integer>(); for (String s : "a b c a".split(" ")) m.merge(s, 1, Integer::sum); System.out.println(m); System.out.println(String.format(Locale.ROOT, "%5.2f|%-5s|%05d", 1.5, "x", 42));'
    ),
    "locale": main(
        'System.out.println(Locale.getDefault() + " " + TimeZone.getDefault().getID() + " " + new Date(0) + " " + String.format("%,d", 1234567));'
    ),
    "memory": main(
        'System.out.println(Runtime.getRuntime().maxMemory() + " " + Runtime.getRuntime().availableProcessors());'
    ),
    "limits": main(
        'System.out.println(new String(new ProcessBuilder("sh", "-c", "ulimit -n; ulimit -Hn; umask").start().getInputStream().readAllBytes()));'
    ),
    "descriptors": main(
        'System.out.println(new String(new ProcessBuilder("ls", "/proc/self/fd").start().getInputStream().readAllBytes()));'
    ),
    "children": main(
        'var p = new ProcessBuilder("sh", "-c", "echo out; echo err >&2; exit 4").inheritIO().start(); System.out.println(p.waitFor());'
    ),
    "files": main(
        'var p = java.nio.file.Files.createTempFile("x", "y"); java.nio.file.Files.writeString(p, "ü"); System.out.println(java.nio.file.Files.readString(p) + java.nio.file.Files.size(p)); java.nio.file.Files.delete(p);'
    ),
    "reflection": main(
        'System.out.println(Arrays.toString(Main.class.getDeclaredMethods())); Main.class.getMethod("fails").invoke(null);',
        'public static void fails() { throw new RuntimeException("reflected"); }',
    ),
    "compiler-inside": main(
        "var c = javax.tools.ToolProvider.getSystemJavaCompiler(); System.out.println(c.getSourceVersions().contains(javax.lang.model.SourceVersion.latest()));"
    ),
    "killed": main(
        'new ProcessBuilder("kill", "-9", "" + ProcessHandle.current().pid()).start(); Thread.sleep(5000);'
    ),
    "terminated": main(
        'Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println("hook"))); new ProcessBuilder("kill", "" + ProcessHandle.current().pid()).start(); Thread.sleep(5000);'
    ),
    "big-output": main('for (int i = 0; i < 20000; i++) System.out.println("line " + i);'),
    "assertions": main('assert false : "not checked"; System.out.println("on");'),
    "random": main(
        'System.out.println(new Random(42).nextInt() + " " + Objects.hash(1, 2, "x") + " " + "text".hashCode());'
    ),
    "http": main(
        'var s = com.sun.net.httpserver.HttpServer.create(new java.net.InetSocketAddress("127.0.0.1", 0), 0); s.createContext("/", e -> { e.sendResponseHeaders(200, 2); e.getResponseBody().write("hi".getBytes()); e.close(); }); s.start();'
        'System.out.println(new String(new java.net.URL("http://127.0.0.1:" + s.getAddress().getPort()).openStream().readAllBytes())); s.stop(0);'
    ),
}


@pytest.fixture(scope="module")
async def both(candidate: Candidate, anyio_backend: str) -> AsyncIterator[BothWays]:
    async with candidate.open_world() as world, open_both_ways(world, "java") as opened:
        yield opened


@pytest.mark.parametrize("name", PROGRAMS)
async def test_warm_is_plain(both: BothWays, name: str) -> None:
    warm, plain = await both.run(PROGRAMS[name])
    assert warm == plain


@pytest.mark.parametrize("name", ["MINE", "JAVA_TOOL_OPTIONS", "LANG"])
async def test_a_variable_of_its_own_starts_afresh(both: BothWays, name: str) -> None:
    assert not await both.is_warm(
        Program("class A { public static void main(String[] a) {} }", env={name: ""})
    )
