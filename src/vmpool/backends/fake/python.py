"""A small, harmless part of Python: enough to write tests of a pool in.

Literals, arithmetic, comparisons, f-strings, `if`, `for`, `while`, `with open`, `try`, `raise`, and a
handful of built-ins and module functions.  Anything else is a SyntaxError of the fake, on standard error.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from anyio.lowlevel import checkpoint

from vmpool.backends.fake.library import BUILTINS, LIBRARY, METHODS, Handle, Module, Raised, Stdin
from vmpool.backends.fake.process import Exited, Inside

Value = Any
"""What an expression of the interpreted program has: any of the plain built-in types, or a handle."""

_MAX_BYTES = 64 << 20
_MAX_BITS = 1 << 16

_BINARY: dict[type[ast.operator], Callable[[Value, Value], Value]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
}
_UNARY: dict[type[ast.unaryop], Callable[[Value], Value]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
    ast.Invert: operator.invert,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Value, Value], Value]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
}


_ERRORS = (ArithmeticError, AttributeError, LookupError, NameError, OSError, TypeError, ValueError)


class _Unknown(Exception):
    """The program uses something this interpreter has not learnt."""


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


async def run_python(inside: Inside, source: str, filename: str) -> int:
    """Run a program; its exit status."""
    try:
        tree = ast.parse(source, filename)
    except SyntaxError as error:
        await inside.write(
            2, f'  File "{filename}", line {error.lineno}\nSyntaxError: {error.msg}\n'.encode()
        )
        return 1
    interpreter = _Interpreter(inside)
    try:
        await interpreter.block(tree.body)
    except Exited as exited:
        return exited.status
    except _Unknown as unknown:
        await inside.write(2, f"SyntaxError: the fake machine's Python has no {unknown}\n".encode())
        return 1
    except Raised as raised:
        return await _uncaught(inside, interpreter, filename, str(raised))
    except _ERRORS as error:
        return await _uncaught(inside, interpreter, filename, f"{type(error).__name__}: {error}")
    return 0


class Session:
    """Names that stay from one piece of source to the next."""

    def __init__(self, inside: Inside) -> None:
        self._interpreter = _Interpreter(inside)

    async def run(self, source: str, filename: str) -> tuple[tuple[str, str] | None, Value]:
        """Run it: what it raised, as name and message, and the value of its last line.  Exited passes."""
        try:
            tree = ast.parse(source, filename)
            end = tree.body[-1] if tree.body else None
            last = end if isinstance(end, ast.Expr) else None
            await self._interpreter.block(tree.body if last is None else tree.body[:-1])
            value = None if last is None else await self._interpreter.value(last.value)
        except Raised as raised:
            name, _, text = str(raised).partition(": ")
            return (name, text), None
        except _Unknown as unknown:
            return ("SyntaxError", f"the fake machine's Python has no {unknown}"), None
        except (SyntaxError, *_ERRORS) as error:
            return (type(error).__name__, str(error)), None
        return None, value


async def _uncaught(inside: Inside, interpreter: _Interpreter, filename: str, what: str) -> int:
    where = f'  File "{filename}", line {interpreter.line}, in <module>'
    await inside.write(2, f"Traceback (most recent call last):\n{where}\n{what}\n".encode())
    return 1


class _Interpreter:
    """Walks the tree.  Every loop turn is a checkpoint, so that an endless one can be killed."""

    def __init__(self, inside: Inside) -> None:
        self.inside = inside
        self.names: dict[str, Value] = {"__name__": "__main__"}
        self.line = 1

    async def block(self, body: Iterable[ast.stmt]) -> None:
        for statement in body:
            self.line = statement.lineno
            method = getattr(self, f"_{type(statement).__name__.lower()}", None)
            if method is None:
                raise _Unknown(type(statement).__name__)
            await method(statement)

    async def _expr(self, node: ast.Expr) -> None:
        await self.value(node.value)

    async def _pass(self, node: ast.Pass) -> None:
        pass

    async def _break(self, node: ast.Break) -> None:
        raise _Break

    async def _continue(self, node: ast.Continue) -> None:
        raise _Continue

    async def _import(self, node: ast.Import) -> None:
        for alias in node.names:
            if not any(name.startswith(alias.name + ".") for name in LIBRARY):
                raise Raised("ModuleNotFoundError", f"No module named '{alias.name}'")
            self.names[(alias.asname or alias.name).partition(".")[0]] = Module(alias.name)

    async def _importfrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            self.names[alias.asname or alias.name] = Module(f"{node.module}.{alias.name}")

    async def _assign(self, node: ast.Assign) -> None:
        value = await self.value(node.value)
        for target in node.targets:
            await self._bind(target, value)

    async def _augassign(self, node: ast.AugAssign) -> None:
        if not isinstance(node.target, ast.Name):
            raise _Unknown("augmented assignment to that")
        left = self._lookup(node.target.id)
        self.names[node.target.id] = self._apply(node.op, left, await self.value(node.value))

    async def _bind(self, target: ast.expr, value: Value) -> None:
        if isinstance(target, ast.Name):
            self.names[target.id] = value
        elif isinstance(target, ast.Tuple):
            for element, item in zip(target.elts, value, strict=True):
                await self._bind(element, item)
        elif isinstance(target, ast.Subscript):
            (await self.value(target.value))[await self.value(target.slice)] = value
        else:
            raise _Unknown(f"assignment to {type(target).__name__}")

    async def _if(self, node: ast.If) -> None:
        await self.block(node.body if await self.value(node.test) else node.orelse)

    async def _assert(self, node: ast.Assert) -> None:
        if not await self.value(node.test):
            raise Raised("AssertionError", str(await self.value(node.msg)) if node.msg else "")

    async def _while(self, node: ast.While) -> None:
        while await self.value(node.test):
            await checkpoint()
            try:
                await self.block(node.body)
            except _Continue:
                continue
            except _Break:
                return

    async def _for(self, node: ast.For) -> None:
        items = await self.value(node.iter)
        if isinstance(items, Stdin):
            items = (await items.inside.read()).decode().splitlines(keepends=True)
        for item in items:
            await checkpoint()
            await self._bind(node.target, item)
            try:
                await self.block(node.body)
            except _Continue:
                continue
            except _Break:
                return

    async def _with(self, node: ast.With) -> None:
        for item in node.items:
            handle = await self.value(item.context_expr)
            if item.optional_vars is not None:
                await self._bind(item.optional_vars, handle)
        await self.block(node.body)

    async def _try(self, node: ast.Try) -> None:
        try:
            await self.block(node.body)
        except (Raised, ArithmeticError, LookupError, NameError, OSError, TypeError, ValueError) as error:
            name = error.name if isinstance(error, Raised) else type(error).__name__
            for handler in node.handlers:
                wanted = handler.type.id if isinstance(handler.type, ast.Name) else None
                if wanted in (None, "Exception", "BaseException", name):
                    if handler.name:
                        self.names[handler.name] = error
                    await self.block(handler.body)
                    break
            else:
                raise
        finally:
            await self.block(node.finalbody)

    async def _raise(self, node: ast.Raise) -> None:
        call = node.exc
        if isinstance(call, ast.Name):
            raise Raised(call.id, "")
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
            arguments = [await self.value(argument) for argument in call.args]
            if call.func.id == "SystemExit":
                raise Exited(int(arguments[0]) if arguments else 0)
            raise Raised(call.func.id, " ".join(str(argument) for argument in arguments))
        raise _Unknown("such a raise")

    async def value(self, node: ast.expr) -> Value:
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                return self._lookup(name)
            case ast.BinOp(left=left, op=op, right=right):
                return self._apply(op, await self.value(left), await self.value(right))
            case ast.UnaryOp(op=op, operand=operand):
                return _UNARY[type(op)](await self.value(operand))
            case ast.BoolOp(op=op, values=values):
                result: Value = None
                for value in values:
                    result = await self.value(value)
                    if bool(result) is isinstance(op, ast.Or):
                        break
                return result
            case ast.Compare():
                return await self._compare(node)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return await self.value(body if await self.value(test) else orelse)
            case ast.Tuple(elts=elements):
                return tuple([await self.value(element) for element in elements])
            case ast.List(elts=elements):
                return [await self.value(element) for element in elements]
            case ast.Dict(keys=keys, values=values):
                return {
                    await self.value(key): await self.value(value)
                    for key, value in zip(keys, values, strict=True)
                    if key is not None
                }
            case ast.Subscript(value=value, slice=index):
                return (await self.value(value))[await self.value(index)]
            case ast.Slice(lower=lower, upper=upper, step=step):
                return slice(
                    *[None if part is None else await self.value(part) for part in (lower, upper, step)]
                )
            case ast.JoinedStr(values=values):
                return "".join([str(await self.value(value)) for value in values])
            case ast.FormattedValue(value=value, format_spec=spec, conversion=conversion):
                item = await self.value(value)
                text = "" if spec is None else await self.value(spec)
                return format(repr(item) if conversion == ord("r") else item, text)
            case ast.Attribute():
                return await self._attribute(node)
            case ast.Call():
                return await self._call(node)
        raise _Unknown(type(node).__name__)

    async def _compare(self, node: ast.Compare) -> bool:
        left = await self.value(node.left)
        for op, comparator in zip(node.ops, node.comparators, strict=True):
            right = await self.value(comparator)
            if not _COMPARE[type(op)](left, right):
                return False
            left = right
        return True

    def _apply(self, op: ast.operator, left: Value, right: Value) -> Value:
        function = _BINARY.get(type(op))
        if function is None:
            raise _Unknown(type(op).__name__)
        if isinstance(op, ast.Mult):
            for item, count in ((left, right), (right, left)):
                if isinstance(item, str | bytes | list) and len(item) * count > _MAX_BYTES:
                    raise Raised("MemoryError", "")
        if isinstance(op, ast.Pow | ast.Mult) and isinstance(left, int) and isinstance(right, int):
            grown = left.bit_length() * (right if isinstance(op, ast.Pow) else 1) + right.bit_length()
            if grown > _MAX_BITS:
                raise Raised("MemoryError", "")
        return function(left, right)

    def _lookup(self, name: str) -> Value:
        if name in self.names:
            return self.names[name]
        if name in BUILTINS:
            return Module(f"builtins.{name}")
        raise Raised("NameError", f"name '{name}' is not defined")

    async def _attribute(self, node: ast.Attribute) -> Value:
        owner = await self.value(node.value)
        if isinstance(owner, Module):
            name = f"{owner.name}.{node.attr}"
            if name == "os.environ":
                return dict(self.inside.env)
            if name == "sys.argv":
                return list(self.inside.argv[1:])
            if name == "sys.stdin":
                return Stdin(self.inside)
            return Module(name)
        if isinstance(owner, Stdin) and node.attr == "buffer":
            return Stdin(self.inside, binary=True)
        raise _Unknown(f"attribute {node.attr}")

    async def _call(self, node: ast.Call) -> Value:
        arguments = [await self.value(argument) for argument in node.args]
        named = {keyword.arg: await self.value(keyword.value) for keyword in node.keywords if keyword.arg}
        if isinstance(node.func, ast.Attribute):
            owner = await self.value(node.func.value)
            if isinstance(owner, Handle | Stdin):
                return await owner.call(node.func.attr, arguments)
            if not isinstance(owner, Module):
                if node.func.attr not in METHODS:
                    raise _Unknown(f"method {node.func.attr}")
                return getattr(owner, node.func.attr)(*arguments)
        function = await self.value(node.func)
        if not isinstance(function, Module):
            raise Raised("TypeError", f"'{type(function).__name__}' object is not callable")
        target: Callable[..., Awaitable[Value]] | None
        short = function.name.removeprefix("builtins.")
        target = BUILTINS.get(short) if short != function.name else LIBRARY.get(function.name)
        if target is None:
            raise _Unknown(function.name)
        return await target(self.inside, *arguments, **named)
