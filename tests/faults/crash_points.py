"""Crash points, generated from the server's own source: every place where its code awaits.

`instrument()` compiles the server's modules so that each `await`, each entry and exit of an `async with`
and each turn of an `async for` first tells `visited` that it is about to happen.  So a new await is a new
point by itself.

A point is named by what stands in the source (`vmpool.pool.lifecycle:Lifecycle.create: await
self._make(vm)`), not by its line, so that a name means the same after an edit elsewhere."""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType, TracebackType
from typing import Any, TypeVar

T = TypeVar("T")

PARTS = ("agent", "api", "app", "backend_choice", "backends", "pool", "store")
"""What of `vmpool` runs in a server."""
LONGEST = 90
"""Characters of an expression in a point's name."""
HOOK = "__crash_points__"


@dataclass(frozen=True, slots=True)
class Function:
    """A coroutine function: its name (`module:qualified.name`) and its points, in the order of the source.

    on_failure: those of its points that stand in an `except` clause.
    """

    name: str
    points: list[str] = field(default_factory=list)
    on_failure: set[str] = field(default_factory=set)


class Points:
    """What the modules hold that were instrumented so far, and whom to tell.

    function_of: the function of each point.  visited: called with a point's name each time it is reached,
    before what is awaited begins.  entered: called with a function's name each time its body begins.
    """

    def __init__(self) -> None:
        self.function_of: dict[str, Function] = {}
        self.visited: Callable[[str], None] = lambda point: None
        self.entered: Callable[[str], None] = lambda function: None

    def wait(self, point: str, awaitable: Awaitable[T]) -> Awaitable[T]:
        """Stands around what is awaited."""
        self.visited(point)
        return awaitable

    def block(self, point: str, manager: AbstractAsyncContextManager[T]) -> _Block[T]:
        """Stands around an asynchronous context manager."""
        return _Block(self, point, manager)

    def turns(self, point: str, source: AsyncIterator[T]) -> _Turns[T]:
        """Stands around what an `async for` goes through."""
        return _Turns(self, point, source)


class _Block(AbstractAsyncContextManager[T]):
    def __init__(self, points: Points, point: str, manager: AbstractAsyncContextManager[T]) -> None:
        self._points, self._point, self._manager = points, point, manager

    async def __aenter__(self) -> T:
        self._points.visited(f"enter {self._point}")
        return await self._manager.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self._points.visited(f"leave {self._point}")
        return await self._manager.__aexit__(kind, error, trace)


class _Turns(AsyncIterator[T]):
    def __init__(self, points: Points, point: str, source: Any) -> None:
        self._points, self._point, self._iterator = points, point, aiter(source)

    async def __anext__(self) -> T:
        self._points.visited(self._point)
        return await anext(self._iterator)


class _Instrument(ast.NodeTransformer):
    """Rewrites one module and lists its points."""

    def __init__(self, module: str, points: Points) -> None:
        self._module = module
        self._points = points
        self._scope: list[str] = []
        self._functions: list[Function] = []
        self._names: Counter[str] = Counter()
        self._handlers = 0

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._inside(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._inside(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        name = f"{self._module}:{'.'.join([*self._scope, node.name])}"
        self._functions.append(Function(name))
        self._inside(node)
        self._functions.pop()
        entered = self._call("entered", ast.Constant(name))
        first = 1 if ast.get_docstring(node) is not None else 0
        node.body.insert(first, ast.Expr(entered))
        return node

    def _inside(self, node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        self._scope.append(node.name)
        self.generic_visit(node)
        self._scope.pop()
        return node

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> ast.AST:
        self._handlers += 1
        self.generic_visit(node)
        self._handlers -= 1
        return node

    def visit_Await(self, node: ast.Await) -> ast.AST:
        point = self._listed("await", node.value)
        self.generic_visit(node)
        node.value = self._call("wait", ast.Constant(point), node.value)
        return node

    def visit_AsyncWith(self, node: ast.AsyncWith) -> ast.AST:
        for item in node.items:
            point = self._name("async with", item.context_expr)
            self._note(f"enter {point}", f"leave {point}")
            item.context_expr = self._call("block", ast.Constant(point), self.visit(item.context_expr))
        node.body = [self.visit(statement) for statement in node.body]
        return node

    def visit_AsyncFor(self, node: ast.AsyncFor) -> ast.AST:
        point = self._listed("async for", node.iter)
        self.generic_visit(node)
        node.iter = self._call("turns", ast.Constant(point), node.iter)
        return node

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        point = self._listed("async for", node.iter) if node.is_async else None
        self.generic_visit(node)
        if point is not None:
            node.iter = self._call("turns", ast.Constant(point), node.iter)
        return node

    def _listed(self, kind: str, expression: ast.expr) -> str:
        point = self._name(kind, expression)
        self._note(point)
        return point

    def _note(self, *points: str) -> None:
        function = self._functions[-1]
        function.points.extend(points)
        if self._handlers:
            function.on_failure.update(points)
        self._points.function_of.update(dict.fromkeys(points, function))

    def _name(self, kind: str, expression: ast.expr) -> str:
        """The point's name, numbered where the function says the same thing twice."""
        text = " ".join(ast.unparse(expression).split())
        text = text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
        point = f"{self._functions[-1].name}: {kind} {text}"
        self._names[point] += 1
        return point if self._names[point] == 1 else f"{point} ({self._names[point]})"

    def _call(self, method: str, *arguments: ast.expr) -> ast.Call:
        hook = ast.Attribute(ast.Name(HOOK, ast.Load()), method, ast.Load())
        return ast.Call(hook, list(arguments), [])


class _Loader(SourceFileLoader):
    """Compiles from the source every time: no compiled file is read or written."""

    def __init__(self, name: str, path: str, points: Points) -> None:
        super().__init__(name, path)
        self._points = points

    def get_code(self, fullname: str) -> CodeType:
        source = Path(self.path).read_bytes()
        tree = _Instrument(fullname, self._points).visit(ast.parse(source, self.path))
        return compile(ast.fix_missing_locations(tree), self.path, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__[HOOK] = self._points
        super().exec_module(module)


class _Finder(MetaPathFinder):
    def __init__(self, points: Points) -> None:
        self._points = points

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, rest = fullname.partition(".")
        if package != "vmpool" or rest.partition(".")[0] not in PARTS:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(fullname, spec.loader.path, self._points)
        return spec


def instrument() -> Points:
    """Have every server module that is imported from now on tell its points."""
    points = Points()
    sys.meta_path.insert(0, _Finder(points))
    return points
