"""Mutants: a source file with one small fault put in, each with a name that survives moved lines.

The tools there are (mutmut 3, cosmic-ray) leave out what matters most here: mutmut changes the bodies of undecorated
functions only, and neither takes a rule out of a table. The kernel's limits and rule tables stand at module level.

Not changed: annotations, docstrings, imports, asserts (they restate what the types hold), and the prose of reasons;
the numbers inside a reason are changed, and so are the ids of rules.
"""

import ast
import copy
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Statement = str
Replace = Callable[[ast.AST], None]
Told = tuple[str, str, ast.expr]
"""What is said to change into what, and the changed expression. A table is too long to say: its missing row is."""

WORDS_MAX = 100
"""Longest statement or expression in a mutant's name."""
RULE_ID = re.compile(r"(SR|LR)-\d+")
TYPES_ONLY = {"TypeVar", "NewType", "TypeGuard", "cast"}
"""Calls that say something to the type checker alone."""
OPPOSITES: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
    ast.BitXor: ast.BitOr,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
GONE = "(left out)"
TWINS = {"max": "min", "min": "max", "any": "all", "all": "any"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault in one file.

    Args:
        place: the function, ``Class.method`` or ``module`` it is in.
        statement: first line of the statement around it, as the parser writes it.
        before, after: what is changed into what.
        nth: counted from 0 among those with the same name otherwise.
        order: its number in the file; changes with the file.
    """

    path: str
    place: str
    statement: Statement
    before: str
    after: str
    nth: int
    line: int
    order: int

    @property
    def name(self) -> tuple[str, str, str, str, int]:
        """What identifies it as long as its statement is the same."""
        return (f"{self.path}:{self.place}", self.statement, self.before, self.after, self.nth)

    def __str__(self) -> str:
        nth = f" ({self.nth + 1})" if self.nth else ""
        return f"{self.path}:{self.line} {self.place}: {self.statement}: {self.before} -> {self.after}{nth}"


@dataclass(frozen=True, slots=True)
class _Change:
    place: str
    statement: Statement
    before: str
    after: str
    line: int
    apply: Callable[[], None]


def mutants_of(source: str, path: str) -> list[Mutant]:
    """Every mutant of a file, in the order of its text."""
    seen: Counter[tuple[str, str, str, str]] = Counter()
    found = []
    for order, change in enumerate(_changes(ast.parse(source))):
        key = (change.place, change.statement, change.before, change.after)
        found.append(Mutant(path, *key, seen[key], change.line, order))
        seen[key] += 1
    return found


def mutated(source: str, order: int) -> ast.Module:
    """The syntax tree with one fault."""
    tree = ast.parse(source)
    for number, change in enumerate(_changes(tree)):
        if number == order:
            change.apply()
            return ast.fix_missing_locations(tree)
    raise IndexError(order)


def _changes(tree: ast.Module) -> Iterator[_Change]:
    yield from _inside(tree, "module", "")


def _inside(node: ast.AST, place: str, statement: str) -> Iterator[_Change]:
    """Every change below a node; ``statement`` is the first line of the one around it."""
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "bases", "type_params", "type_comment", "pattern", "format_spec"}:
            continue
        if isinstance(value, list):
            for at, child in enumerate(value):
                yield from _at(node, child, place, statement, _into_list(value, at))
        elif isinstance(value, ast.AST):
            yield from _at(node, value, place, statement, _into_field(node, name))


def _into_list(values: list[ast.AST], at: int) -> Replace:
    return lambda new: values.__setitem__(at, new)


def _into_field(node: ast.AST, name: str) -> Replace:
    return lambda new: setattr(node, name, new)


def _at(parent: ast.AST, node: object, place: str, statement: str, put: Replace) -> Iterator[_Change]:
    if not isinstance(node, ast.AST) or _is_left_alone(parent, node):
        return
    line = getattr(node, "lineno", 0)
    if isinstance(node, ast.stmt):
        statement = _first(node).removesuffix(" ...")
        for after in _statements(node, place):
            yield _Change(place, statement, _first(node), _first(after), line, _putting(put, after))
    elif isinstance(node, ast.expr):
        for before, after, changed in _expressions(parent, node):
            yield _Change(place, statement, before, after, line, _putting(put, ast.copy_location(changed, node)))
    elif isinstance(node, ast.comprehension):
        for at, test in enumerate(node.ifs):
            dropped = copy.copy(node)
            dropped.ifs = node.ifs[:at] + node.ifs[at + 1 :]
            yield _Change(place, statement, f"if {_first(test)}", GONE, test.lineno, _putting(put, dropped))
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        place = node.name if place == "module" else f"{place}.{node.name}"
    yield from _inside(node, place, statement)


def _putting(put: Replace, node: ast.AST) -> Callable[[], None]:
    return lambda: put(node)


def _first(node: ast.AST) -> str:
    """What a node says, on one line."""
    lines = ast.unparse(_bare(node)).splitlines()
    words = lines[0] if len(lines[0]) <= WORDS_MAX else f"{lines[0][:WORDS_MAX]}…"
    return f"{words} ..." if len(lines) > 1 else words


def _bare(node: ast.AST) -> ast.AST:
    """A function or class without its decorators, so that its first line is its own."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        node = copy.copy(node)
        node.decorator_list = []
    return node


def _is_left_alone(parent: ast.AST, node: ast.AST) -> bool:
    match node:
        case ast.Import() | ast.ImportFrom() | ast.Assert():
            return True
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.Call(func=ast.Name(id=name)) if name in TYPES_ONLY:
            return True
        case ast.Tuple() if isinstance(parent, ast.Subscript):
            return True  # The arguments of a generic type.
        case ast.List() if isinstance(parent, ast.Tuple) and all(isinstance(each, ast.Subscript) for each in node.elts):
            return bool(node.elts)  # The arguments of a Callable.
        case ast.Assign(value=ast.Subscript(slice=ast.Tuple())):
            return True
    return False


def _statements(node: ast.stmt, place: str) -> Iterator[ast.stmt]:
    nothing = ast.copy_location(ast.Pass(), node)
    match node:
        case ast.Return(value=ast.expr() as value) if not _is_none(value):
            yield ast.copy_location(ast.Return(ast.Constant(None)), node)
        case ast.Assign() | ast.AugAssign() | ast.Expr() if place != "module":
            yield nothing
        case ast.If() | ast.For() | ast.Raise() | ast.Continue() | ast.Break() | ast.While():
            yield nothing
        case ast.Match(subject=subject, cases=cases) if len(cases) > 1:
            for at in range(len(cases)):
                yield ast.copy_location(ast.Match(subject, cases[:at] + cases[at + 1 :]), node)


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _expressions(parent: ast.AST, node: ast.expr) -> Iterator[Told]:
    made = _of_constant(node) if isinstance(node, ast.Constant) else _of_operator(node)
    yield from ((_first(node), _first(changed), changed) for changed in (*made, *_negated(parent, node)))
    yield from ((_first(gone), GONE, rest) for gone, rest in _of_container(node))


def _of_constant(node: ast.Constant) -> Iterator[ast.expr]:
    value = node.value
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int | float):
        yield ast.Constant(value + 1)
        yield ast.Constant(value - 1)
    elif isinstance(value, str) and RULE_ID.fullmatch(value):
        yield ast.Constant(f"{value[:2]}-00")


def _of_operator(node: ast.expr) -> Iterator[ast.expr]:
    match node:
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            for at, op in enumerate(ops):
                for other in OPPOSITES[type(op)]:
                    yield ast.Compare(left, [*ops[:at], other(), *ops[at + 1 :]], comparators)
        case ast.BoolOp(op=op, values=values):
            yield ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
            for at in range(len(values)):
                rest = values[:at] + values[at + 1 :]
                yield rest[0] if len(rest) == 1 else ast.BoolOp(op, rest)
        case ast.UnaryOp(operand=operand):
            yield operand
        case ast.BinOp(left=left, op=op, right=right):
            yield ast.BinOp(left, ARITHMETIC[type(op)](), right)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords) if name in TWINS:
            yield ast.Call(ast.Name(TWINS[name], ast.Load()), args, keywords)


def _of_container(node: ast.expr) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Each of its elements, and the rest without it: a rule out of its table, a bit out of a set."""
    match node:
        case ast.Tuple(elts=elements, ctx=ast.Load()) | ast.List(elts=elements, ctx=ast.Load()):
            for at, gone in enumerate(elements):
                yield gone, type(node)(elements[:at] + elements[at + 1 :], ast.Load())
        case ast.Set(elts=elements) if len(elements) > 1:
            for at, gone in enumerate(elements):
                yield gone, ast.Set(elements[:at] + elements[at + 1 :])
        case ast.Dict(keys=keys, values=values):
            for at, key in enumerate(keys):
                yield key or values[at], ast.Dict(keys[:at] + keys[at + 1 :], values[:at] + values[at + 1 :])
        case ast.Call(func=func, args=args, keywords=keywords):
            for at, keyword in enumerate(keywords):
                if not isinstance(keyword.value, ast.Constant):  # Those are changed themselves.
                    yield keyword.value, ast.Call(func, args, keywords[:at] + keywords[at + 1 :])


def _negated(parent: ast.AST, node: ast.expr) -> Iterator[ast.expr]:
    """The opposite of a condition, where no other change says so already."""
    if isinstance(parent, ast.If | ast.IfExp | ast.While) and parent.test is node:
        if isinstance(node, ast.UnaryOp) or (isinstance(node, ast.Compare) and len(node.ops) == 1):
            return
        yield ast.UnaryOp(ast.Not(), node)
