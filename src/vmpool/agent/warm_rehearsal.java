import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** What the waiting Java compiles and runs to be warm: a little of what most programs use, seen by nobody. */
public class warm_rehearsal {
  interface Step {
    int take(int x);
  }

  enum Kind {
    ONE,
    TWO
  }

  static int sum(List<Integer> numbers) {
    int total = 0;
    for (int number : numbers) {
      total += number;
    }
    return total;
  }

  public static void main(String[] args) {
    PrintStream out = new PrintStream(new ByteArrayOutputStream(), true);
    Map<String, List<Integer>> map = new HashMap<>();
    Step step = x -> x + 1;
    map.computeIfAbsent("k", k -> new ArrayList<>()).add(step.take(1));
    String text = "a" + map.size() + sum(map.get("k")) + Kind.ONE;
    try {
      out.println(text);
      out.printf("%d %s %.2f%n", 1, text, 1.5);
      switch (text) {
        case "a":
          break;
        default:
          throw new IllegalStateException(text);
      }
    } catch (RuntimeException error) {
      error.printStackTrace(out);
    }
    out.println(Stream.of(1, 2).map(x -> x * 2).map(String::valueOf).collect(Collectors.joining(",")));
  }
}
