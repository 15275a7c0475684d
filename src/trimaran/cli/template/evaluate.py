"""A tree of nodes and data to text, by Go's rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from trimaran.cli.template.functions import Function, Misuse, kind
from trimaran.cli.template.lexer import failure
from trimaran.cli.template.parser import Action, Branch, Call, Node, Operand, Pipe, Text
from trimaran.cli.template.values import Record, Value, show, truth
from trimaran.errors import UsageError


class Evaluation:
    """One rendering. Variables live until the block ends that declares them."""

    __slots__ = ("_functions", "_out", "_text", "_variables")

    def __init__(self, text: str, functions: Mapping[str, Function], data: Value) -> None:
        self._text = text
        self._functions = functions
        self._variables: list[tuple[str, Value]] = [("$", data)]
        self._out: list[str] = []

    def run(self, nodes: Sequence[Node]) -> str:
        self._walk(nodes, self._variables[0][1])
        return "".join(self._out)

    def _walk(self, nodes: Sequence[Node], dot: Value) -> None:
        for node in nodes:
            match node:
                case Text():
                    self._out.append(node.text)
                case Action():
                    value = self._pipe(node.pipe, dot)
                    if not node.pipe.names:
                        self._out.append(show(value))
                case Branch():
                    scope = len(self._variables)
                    self._branch(node, dot)
                    del self._variables[scope:]

    def _branch(self, node: Branch, dot: Value) -> None:
        if node.word == "range":
            self._range(node, dot)
            return
        value = self._pipe(node.pipe, dot)
        if truth(value):
            self._walk(node.body, value if node.word == "with" else dot)
        else:
            self._walk(node.otherwise, dot)

    def _range(self, node: Branch, dot: Value) -> None:
        value = self._value(node.pipe, dot)
        items: Iterable[tuple[Value, Value]]
        if isinstance(value, list):
            items = enumerate(value)
        elif isinstance(value, dict):
            items = ((key, value[key]) for key in sorted(value))
        elif isinstance(value, int) and not isinstance(value, bool):
            items = ((number, number) for number in range(value))
        elif value is None:
            items = ()
        else:
            raise self._failed(node.pipe.position, f"range can't iterate over {kind(value)}")
        scope = len(self._variables)
        ran = False
        for key, item in items:
            ran = True
            for name, bound in self._bound(node.pipe.names, key, item):
                self._set(name, bound, declare=node.pipe.declares)
            self._walk(node.body, item)
            del self._variables[scope:]
        if not ran:
            self._walk(node.otherwise, dot)

    @staticmethod
    def _bound(names: tuple[str, ...], key: Value, item: Value) -> list[tuple[str, Value]]:
        if len(names) == 2:
            return [(names[0], key), (names[1], item)]
        return [(name, item) for name in names]

    def _pipe(self, pipe: Pipe, dot: Value) -> Value:
        value = self._value(pipe, dot)
        for name in pipe.names:
            self._set(name, value, declare=pipe.declares)
        return value

    def _value(self, pipe: Pipe, dot: Value) -> Value:
        final: tuple[Value, ...] = ()
        for call in pipe.calls:
            final = (self._call(call, dot, final),)
        return final[0]

    def _set(self, name: str, value: Value, *, declare: bool) -> None:
        if not declare:
            for index in range(len(self._variables) - 1, -1, -1):
                if self._variables[index][0] == name:
                    self._variables[index] = (name, value)
                    return
        self._variables.append((name, value))

    def _call(self, call: Call, dot: Value, final: tuple[Value, ...]) -> Value:
        first, *others = call.operands
        if first.kind != "function":
            if others or final:
                raise self._failed(first.position, "cannot give arguments to what is no function")
            return self._operand(first, dot)
        arguments = (*(self._operand(operand, dot) for operand in others), *final)
        try:
            return self._functions[first.name](*arguments)
        except Misuse as error:
            raise self._failed(first.position, f"{first.name}: {error}") from None
        except (TypeError, IndexError):
            raise self._failed(first.position, f"{first.name}: wrong number or type of arguments") from None

    def _operand(self, operand: Operand, dot: Value) -> Value:
        value: Value
        match operand.kind:
            case "literal":
                value = operand.literal
            case "dot":
                value = dot
            case "variable":
                value = next(value for name, value in reversed(self._variables) if name == operand.name)
            case "function":
                value = self._call(Call((operand,)), dot, ())
            case _:
                assert operand.pipe is not None
                value = self._pipe(operand.pipe, dot)
        for name in operand.path:
            value = self._field(value, name, operand.position)
        return value

    def _field(self, value: Value, name: str, position: int) -> Value:
        if isinstance(value, Record):
            if name in value.fields:
                return value.fields[name]
            from trimaran.spelling import unknown

            message, hint = unknown(f"field of {value.kind}", name, value.fields)
            raise self._failed(position, message, hint)
        if isinstance(value, dict):
            return value.get(name)
        if value is None:
            raise self._failed(position, f"nil pointer evaluating .{name}")
        raise self._failed(position, f"can't evaluate field {name} in type {kind(value)}")

    def _failed(self, position: int, message: str, hint: str = "") -> UsageError:
        return failure(self._text, position, message, hint)
