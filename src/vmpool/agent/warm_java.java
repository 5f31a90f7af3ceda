import java.io.ByteArrayOutputStream;
import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.PrintStream;
import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;
import java.lang.reflect.Field;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Arrays;
import jdk.internal.vm.annotation.Hidden;
import sun.misc.Unsafe;

/**
 * The waiting Java: started before its code comes, with the modules and class path of `java FILE.java`.
 *
 * It compiles a small program, so that the compiler is loaded and warm, waits for the job at descriptor 100,
 * and then calls what `java FILE.java` is: the compiler's own launcher. This class is loaded by the boot
 * loader, whose frames may be hidden: stack traces are those of the launcher alone.
 *
 * What remains to be seen by a program that looks for it: the JVM's arguments and start time, what depends on
 * how many objects were hashed and how many lambdas were made before, and warm code.
 */
public final class warm_java {
  private static final int JOB = 100;
  private static final String LAUNCHER = "com.sun.tools.javac.launcher.Main";
  private static MethodHandles.Lookup lookup;
  private static MethodHandle launcher;
  private static String[] arguments;

  /** args: where in the job's argument vector the source is; the program to rehearse with. */
  @Hidden
  public static void main(String[] args) throws Throwable {
    prepare(Integer.parseInt(args[0]), args[1]);
    launcher.invokeExact(arguments);
  }

  @Hidden
  private static void prepare(int position, String program) throws Throwable {
    Field field = Unsafe.class.getDeclaredField("theUnsafe");
    field.setAccessible(true);
    Unsafe unsafe = (Unsafe) field.get(null);
    Field trusted = MethodHandles.Lookup.class.getDeclaredField("IMPL_LOOKUP");
    lookup = (MethodHandles.Lookup) unsafe.getObject(unsafe.staticFieldBase(trusted), unsafe.staticFieldOffset(trusted));
    MethodType takesArguments = MethodType.methodType(void.class, String[].class);
    Class<?> main = Class.forName(LAUNCHER, false, ClassLoader.getSystemClassLoader());
    launcher = lookup.findStatic(main, "main", takesArguments).asFixedArity();
    rehearse(main, program);
    String[] job = receive();
    if (job[1].equals("1")) {
      emptyInput();
    }
    int count = Integer.parseInt(job[3]);
    arguments = Arrays.copyOfRange(job, 4 + position, 4 + count);
    System.setProperty("jdk.module.main.class", LAUNCHER);
    System.setProperty("sun.java.command", "jdk.compiler/" + LAUNCHER + " " + String.join(" ", arguments));
  }

  /** Compile and run a program, twice: the compiler is loaded, and some of it compiled itself. */
  private static void rehearse(Class<?> main, String program) throws Throwable {
    Thread thread = Thread.currentThread();
    ClassLoader loader = thread.getContextClassLoader();
    MethodHandle create = lookup.findConstructor(main, MethodType.methodType(void.class, PrintStream.class));
    MethodHandle run =
        lookup.findVirtual(main, "run", MethodType.methodType(void.class, String[].class, String[].class));
    for (int i = 0; i < 2; i++) {
      run.invoke(create.invoke(new PrintStream(new ByteArrayOutputStream())), new String[0], new String[] {program});
      thread.setContextClassLoader(loader);
    }
  }

  private static String[] receive() throws Throwable {
    MethodHandle open =
        lookup.findConstructor(FileDescriptor.class, MethodType.methodType(void.class, int.class));
    FileDescriptor job = (FileDescriptor) open.invokeExact(JOB);
    new FileOutputStream(job).write('.');
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    try (FileInputStream stream = new FileInputStream(job)) {
      byte[] part = new byte[65536];
      for (int size; (size = stream.read(part)) > 0;) {
        bytes.write(part, 0, size);
      }
    }
    return bytes.toString(StandardCharsets.UTF_8).split("\0", -1);
  }

  /** The lowest free number goes to what is opened next; FileInputStream would not let go of 0. */
  private static void emptyInput() throws Throwable {
    Class<?> system = Class.forName("sun.nio.fs.UnixNativeDispatcher");
    Class<?> unixPath = Class.forName("sun.nio.fs.UnixPath");
    MethodType opens = MethodType.methodType(int.class, unixPath, int.class, int.class);
    MethodHandle close = lookup.findStatic(system, "close", MethodType.methodType(void.class, int.class));
    close.invoke(0);
    int opened = (int) lookup.findStatic(system, "open", opens).invoke(Path.of("/dev/null"), 0, 0);
    if (opened != 0) {
      Runtime.getRuntime().halt(70);
    }
  }
}
