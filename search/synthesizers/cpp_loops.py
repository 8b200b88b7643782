"""What the loops of a C++ kernel touch.

Nothing here is guessed: a call that is not known to be pure, or a name that is not known, is a problem of every loop
around it, with its reason; a subscript that is no polynomial in loop variables and constants is None.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from kernelevolve.search.synthesizers.affine import Polynomial, TooManyTermsError
from kernelevolve.search.synthesizers.cpp_code import (
    FLOATING_TYPES,
    INTEGER_TYPES,
    Assign,
    Binary,
    Block,
    Branch,
    Call,
    Cast,
    Declarator,
    Declare,
    Evaluate,
    Expression,
    For,
    Function,
    Index,
    Jump,
    Method,
    Name,
    NotUnderstoodError,
    Number,
    Opaque,
    Source,
    Statement,
    Ternary,
    Type,
    Unary,
    While,
    words,
)

_MATH = words(
    "abs fabs sqrt cbrt exp exp2 expm1 log log2 log10 log1p pow sin cos tan asin acos atan atan2 sinh cosh tanh asinh "
    "acosh atanh erf erfc tgamma floor ceil trunc round nearbyint rint fmod remainder copysign hypot fma fmin fmax "
    "isnan isinf isfinite signbit fdim ldexp"
)
PURE = (
    {f"std::{name}" for name in _MATH}
    | _MATH
    | {f"{name}f" for name in _MATH}
    | {"std::max", "std::min", "std::clamp", "std::isnormal"}
)
"""Functions without a side effect whose result depends on their arguments alone."""
_SEARCHES = frozenset({"std::lower_bound", "std::upper_bound", "std::binary_search"})
"""Functions that read a range of memory between two pointers, and nothing else."""
_CONSTANTS = words(
    "true false INFINITY NAN M_PI M_E M_SQRT1_2 M_SQRT2 M_2_SQRTPI FLT_MAX FLT_MIN FLT_EPSILON DBL_MAX DBL_MIN "
    "INT32_MAX INT64_MAX INT32_MIN INT64_MIN"
)
_SIZES = words("size numel ndim")
_TESTS = frozenset({"||", "&&", "==", "!=", "<", ">", "<=", ">="})
_DEDUCING = frozenset({"std::max", "std::min", "std::clamp"})
"""Templates that refuse arguments of two types."""


@dataclass(eq=False)
class Variable:
    """A variable, one for each declaration."""

    name: str
    number: int
    """Its symbol in polynomials."""
    kind: str
    """`scalar`, `pointer`, `array` (a vector too), `tensor`, `size` (of a tensor) or `other`."""
    type: Type
    fixed: bool = False
    """Whether nothing assigns to it after its declaration."""
    value: Polynomial | None = None
    """What it stands for in a subscript."""
    root: Variable | None = None
    """The memory a pointer or array refers to."""
    offset: Polynomial | None = None
    """Where in that memory a pointer starts, in elements."""
    separate: bool = False
    """Whether no other memory overlaps this one (for roots)."""
    never_negative: bool = False
    declarator: Declarator | None = None
    retypable: bool = True
    """Whether another scalar type could not break the code around it."""
    accumulates: bool = False
    """Whether something is added to it in a loop."""


@dataclass(frozen=True)
class Access:
    """One read or write of memory."""

    root: Variable
    element: tuple[str, ...]
    """The element type's words."""
    index: Polynomial | None
    """The subscript in elements, or None where it is no polynomial."""
    write: bool
    never_negative: frozenset[int]
    """Symbols that are at least 0 whenever the access happens."""


@dataclass(frozen=True)
class ScalarWrite:
    """One assignment to a scalar."""

    variable: Variable
    reduction: str | None
    """`+`, `max` or `min` where it accumulates in a way that may be reordered up to rounding."""


@dataclass(eq=False)
class Loop:
    """A loop and everything that happens in it, inner loops included."""

    function: str
    syntax: For | None
    """None for a `while`."""
    ordinal: int = 0
    """Position among the loops of the file, from 1."""
    variable: Variable | None = None
    """The loop variable, where the header is `for (type i = a; i < b; i += constant)` and the body leaves `i` alone."""
    lower: Polynomial | None = None
    uppers: tuple[Polynomial, ...] = ()
    """Exclusive upper bounds, each of them valid; empty where no polynomial is known."""
    step: int = 1
    header: frozenset[str] | None = None
    """Names that the bounds are computed from, where that is arithmetic on numbers that stay the same during the loop
    and could be done at any other time; else None."""
    parent: Loop | None = None
    accesses: list[Access] = field(default_factory=list)
    scalar_writes: list[ScalarWrite] = field(default_factory=list)
    scalar_reads: list[Variable] = field(default_factory=list)
    """Reads, less an accumulation's read of itself."""
    declared: set[int] = field(default_factory=set)
    """Symbols of variables declared inside, inner loop variables included."""
    inner: list[Loop] = field(default_factory=list)
    """Loops inside, at any depth."""
    problems: list[str] = field(default_factory=list)
    """Why its iterations cannot be understood."""
    continues: bool = False
    """Whether `continue` skips the rest of this loop's own body."""

    @property
    def pragma(self) -> str:
        """The words of its `#pragma` line, or nothing."""
        token = self.syntax.pragma if self.syntax else None
        return " ".join(token.text.lstrip("# \t").split()[1:]) if token else ""

    @property
    def label(self) -> str:
        """How descriptions call it; no edit but a fusion or an interchange changes it."""
        return f"loop {self.ordinal}" + (f" over {self.variable.name}" if self.variable else "")


@dataclass(frozen=True)
class Model:
    """All loops of a source."""

    source: Source
    loops: tuple[Loop, ...]
    """In the order of the text."""
    accumulators: tuple[Variable, ...]
    """Scalars of type float or double that could be of the other type."""
    neighbours: tuple[tuple[Loop, Loop], ...]
    """Loops that follow each other directly in one block."""
    loose_pragmas: frozenset[str]
    """Functions with OpenMP lines that were not understood."""


class _Function:
    """Walks one function's syntax tree and fills in its loops."""

    def __init__(self, model: _Reader, function: Function) -> None:
        self.model = model
        self.function = function
        self.assigned = frozenset(_assigned([function.body]))
        self.scopes: list[dict[str, Variable]] = [dict(model.constants)]
        self.sizes: dict[tuple[int, str, str], Variable] = {}
        self.stack: list[Loop] = []
        self.problems: list[str] = []
        self.accumulators: list[Variable] = []
        self.neighbours: list[tuple[Loop, Loop]] = []
        self.loops: list[Loop] = []
        for parameter in function.parameters:
            self.declare_parameter(parameter.name, parameter.kind, parameter.type)

    # Names

    def new(self, name: str, kind: str, type_: Type) -> Variable:
        return Variable(name, next(self.model.numbers), kind, type_, fixed=name not in self.assigned)

    def put(self, variable: Variable) -> None:
        self.scopes[-1][variable.name] = variable
        for loop in self.stack:
            loop.declared.add(variable.number)

    def declare_parameter(self, name: str, kind: str, type_: Type) -> None:
        variable = self.new(name, kind, type_)
        if kind in ("tensor", "pointer"):
            variable.root = variable
            # The judge hands out memory of its own for every tensor, and refuses kernels that write into inputs.
            variable.separate = kind == "tensor" or type_.restrict
            variable.offset = Polynomial()
        if kind == "scalar" and type_.is_index and variable.fixed:
            variable.value = Polynomial.symbol(variable.number)
        self.put(variable)

    def find(self, name: str) -> Variable:
        if name in self.model.source.macros:
            raise NotUnderstoodError(f"the macro `{name}`")
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        raise NotUnderstoodError(f"the name `{name}`")

    def problem(self, text: str) -> None:
        self.problems.append(text)
        for loop in self.stack:
            loop.problems.append(text)

    # Polynomials

    def polynomial(self, expression: Expression) -> Polynomial | None:
        """What an index expression stands for, or None."""
        try:
            return self.sum_of(expression)
        except (NotUnderstoodError, TooManyTermsError):
            return None

    def sum_of(self, expression: Expression) -> Polynomial:
        match expression:
            case Number(text):
                return Polynomial.constant(_integer(text))
            case Name(name):
                value = self.find(name).value
                if value is None:
                    raise NotUnderstoodError(f"`{name}` in a subscript")
                return value
            case Cast(type=type_, value=value) if type_.is_index:
                return self.sum_of(value)
            case Unary("-", value):
                return -self.sum_of(value)
            case Unary("+", value):
                return self.sum_of(value)
            case Binary("+", left, right):
                return self.sum_of(left) + self.sum_of(right)
            case Binary("-", left, right):
                return self.sum_of(left) - self.sum_of(right)
            case Binary("*", left, right):
                return self.sum_of(left) * self.sum_of(right)
            case Method(Name(name), method, arguments) if self.find(name).kind == "tensor":
                return Polynomial.symbol(self.size_of(self.find(name), method, arguments).number)
        raise NotUnderstoodError("a subscript that is no polynomial")

    def size_of(self, tensor: Variable, method: str, arguments: tuple[Expression, ...]) -> Variable:
        if method not in _SIZES | {"stride"} or not all(isinstance(value, Number) for value in arguments):
            raise NotUnderstoodError(f"the method `{method}`")
        key = (tensor.number, method, str(arguments))
        if key not in self.sizes:
            found = Variable(method, next(self.model.numbers), "size", Type(("int64_t",)), fixed=True)
            found.never_negative = method in _SIZES
            self.sizes[key] = found
            if found.never_negative:
                self.model.never_negative.add(found.number)
        return self.sizes[key]

    # Expressions

    def read(self, expression: Expression) -> None:
        """Record everything an expression reads.

        Raises:
            NotUnderstoodError: it may do more than read.
        """
        match expression:
            case Number():
                return
            case Name(name):
                self.read_name(name)
            case Unary(sign, value):
                if sign in ("*", "&"):
                    raise NotUnderstoodError(f"unary `{sign}`")
                self.read(value)
            case Binary(_, left, right):
                self.read(left)
                self.read(right)
            case Ternary(condition, yes, no):
                self.read(condition)
                self.read(yes)
                self.read(no)
            case Cast(type=type_, value=value):
                if type_.pointers:
                    raise NotUnderstoodError("a cast to a pointer")
                self.read(value)
            case Call(function, arguments):
                self.read_call(function, arguments)
            case Method(Name(name), method, arguments):
                variable = self.find(name)
                if variable.kind == "tensor":
                    self.size_of(variable, method, arguments)
                elif not (variable.kind == "array" and method == "size" and not arguments):
                    raise NotUnderstoodError(f"the method `{method}`")
            case Index():
                self.access(expression, write=False)
            case _:
                raise NotUnderstoodError("an assignment inside an expression")

    def is_constant(self, name: str) -> bool:
        """Whether a name is one of the standard library's constants."""
        return name in _CONSTANTS and all(name not in scope for scope in self.scopes)

    def read_name(self, name: str) -> None:
        if self.is_constant(name):
            return
        variable = self.find(name)
        if variable.kind == "pointer" and variable.fixed:
            return  # the address alone; memory is only reached through a subscript
        if variable.kind != "scalar":
            raise NotUnderstoodError(f"`{name}` as a value")
        for loop in self.stack:
            loop.scalar_reads.append(variable)

    def read_call(self, function: str, arguments: tuple[Expression, ...]) -> None:
        if function in _SEARCHES:
            for argument in arguments:
                if self.is_pointer(argument):
                    root, _, element = self.pointed(argument)
                    self.touch(Access(root, element, None, False, frozenset()))
                else:
                    self.read(argument)
            return
        if not self.model.is_pure(function):
            raise NotUnderstoodError(f"a call of `{function}`")
        for argument in arguments:
            self.read(argument)
            if function in _DEDUCING and isinstance(argument, Name):
                self.find(argument.name).retypable = False

    def access(self, expression: Index, write: bool) -> None:
        self.read(expression.index)
        base = expression.base
        index = self.polynomial(expression.index)
        nested = False
        while isinstance(base, Index):
            self.read(base.index)
            base, nested = base.base, True
        if not isinstance(base, Name):
            raise NotUnderstoodError("a subscript of an expression")
        variable = self.find(base.name)
        if variable.root is None or variable.kind not in ("array", "pointer"):
            raise NotUnderstoodError(f"a subscript of `{base.name}`")
        where: Polynomial | None = None
        moves = variable.kind == "pointer" and not variable.fixed
        if index is not None and variable.offset is not None and not nested and not moves:
            where = index + variable.offset
        facts = set(self.model.never_negative)
        for loop in self.stack:
            facts |= _facts(loop, facts)
        self.touch(Access(variable.root, variable.type.words, where, write, frozenset(facts)))

    def touch(self, access: Access) -> None:
        for loop in self.stack:
            loop.accesses.append(access)

    # Statements

    def assign(self, statement: Assign) -> None:
        target = statement.target
        if isinstance(target, Index):
            self.read(statement.value)
            self.access(target, write=True)
            if statement.sign != "=":
                self.access(target, write=False)
            return
        if not isinstance(target, Name):
            raise NotUnderstoodError("an assignment to an expression")
        variable = self.find(target.name)
        if variable.kind == "pointer":
            raise NotUnderstoodError("a pointer that moves")
        if variable.kind != "scalar":
            raise NotUnderstoodError(f"an assignment to `{target.name}`")
        reduction, value = _reduction(statement)
        if reduction is not None and target.name in _names(value):
            reduction, value = None, statement.value
        if reduction == "+" and not self.adds_up(variable, value):
            reduction = None
        if reduction == "+" and self.stack:
            variable.accumulates = True
        if reduction in ("max", "min"):
            variable.retypable = False
        self.read(value)
        if reduction is None and statement.sign != "=":
            self.read(target)
        for loop in self.stack:
            loop.scalar_writes.append(ScalarWrite(variable, reduction))

    def adds_up(self, variable: Variable, value: Expression) -> bool:
        """Whether a sum depends on the order of its terms by rounding at most.

        An integer that adds up fractions is cut off after each of them.
        """
        if not FLOATING_TYPES.isdisjoint(variable.type.words):
            return True
        return "bool" not in variable.type.words and self.is_whole(value)

    def is_whole(self, expression: Expression) -> bool:
        """Whether an expression is certainly an integer."""
        match expression:
            case Number():
                return self.polynomial(expression) is not None
            case Name(name):
                if self.is_constant(name):
                    return name.startswith("INT")
                return self.find(name).kind == "scalar" and INTEGER_TYPES.issuperset(self.find(name).type.words)
            case Index():
                base = _base_name(expression)
                return base is not None and INTEGER_TYPES.issuperset(self.find(base).type.words)
            case Cast(type=type_):
                return not type_.pointers and INTEGER_TYPES.issuperset(type_.words)
            case Unary(_, value):
                return self.is_whole(value)
            case Binary(sign, left, right):
                return sign in _TESTS or (self.is_whole(left) and self.is_whole(right))
            case Ternary(_, yes, no):
                return self.is_whole(yes) and self.is_whole(no)
            case Method(_, method):
                return method in _SIZES
        return False

    def declare(self, declared: Declarator) -> None:
        for extent in declared.extents:
            self.read(extent)
        type_ = declared.type
        kind = "array" if declared.extents or type_.container else "pointer" if type_.pointers else "scalar"
        variable = self.new(declared.name, kind, type_)
        variable.declarator = declared
        if type_.words == ("auto",) and len(declared.values) == 1 and self.is_pointer(declared.values[0]):
            variable.kind = kind = "pointer"
        if kind == "array":
            if type_.pointers:
                raise NotUnderstoodError("an array of pointers")
            if type_.container and type_.words == ("bool",):
                raise NotUnderstoodError("a vector of bits, of which two may share a byte")
            if type_.container and any(isinstance(value, Name) and self.find(value.name).kind == "array"
                                       for value in declared.values):  # fmt: skip
                raise NotUnderstoodError("a copied container")
            variable.root, variable.separate, variable.offset = variable, True, Polynomial()
        if kind == "pointer":
            self.point(variable, declared)
        else:
            for value in declared.values:
                self.read(value)
                if declared.braces and isinstance(value, Name):
                    self.find(value.name).retypable = False
        if kind == "scalar" and type_.is_index and variable.fixed:
            variable.value = self.stands_for(variable, declared)
        if kind == "scalar" and declared.word is not None and type_.words[0] in ("float", "double"):
            self.accumulators.append(variable)
        self.put(variable)

    def stands_for(self, variable: Variable, declared: Declarator) -> Polynomial:
        """What a fixed integer is in a subscript: its definition, or a symbol of its own.

        A definition such as `length - taps + 1` stays hidden: nothing shows that it is positive, whereas a loop that
        runs up to the variable does.
        """
        own = Polynomial.symbol(variable.number)
        value = self.polynomial(declared.values[0]) if len(declared.values) == 1 else None
        if value is None:
            return own
        # Inside a loop the definition must show: the variable may be another one in each iteration.
        return value if self.stack or value.never_negative(self.model.never_negative) else own

    def is_pointer(self, expression: Expression) -> bool:
        match expression:
            case Cast(type=type_):
                return type_.pointers > 0
            case Name(name):
                return self.find(name).kind in ("pointer", "array")
            case Binary("+" | "-", left, right):
                return self.is_pointer(left) or self.is_pointer(right)
            case Unary("&"):
                return True
            case Method(_, "data" | "data_ptr"):
                return True
        return False

    def point(self, variable: Variable, declared: Declarator) -> None:
        if not variable.fixed or len(declared.values) != 1 or variable.type.pointers > 1:
            raise NotUnderstoodError(f"the pointer `{declared.name}`, which moves or has no start")
        root, offset, words = self.pointed(declared.values[0])
        if variable.type.words == ("auto",):
            variable.type = Type(words, 1, variable.type.constant)
        elif variable.type.words != words and words != ("void",):
            raise NotUnderstoodError(f"the pointer `{declared.name}`, which changes the element type")
        variable.root, variable.offset = root, offset

    def pointed(self, expression: Expression) -> tuple[Variable, Polynomial | None, tuple[str, ...]]:
        """The memory, the offset in elements and the element type of a pointer's value."""
        match expression:
            case Cast(type=type_, value=value) if type_.pointers == 1:
                root, offset, words = self.pointed(value)
                if words not in (("void",), type_.words):
                    raise NotUnderstoodError("a cast that changes the element type")
                return root, offset, type_.words
            case Method(Name(name), "data_ptr", ()) if self.find(name).kind == "tensor":
                return self.find(name), Polynomial(), ("void",)
            case Method(Name(name), "data", ()) if self.find(name).kind == "array":
                return self.find(name), Polynomial(), self.find(name).type.words
            case Name(name):
                variable = self.find(name)
                if variable.root is not None and variable.fixed and variable.kind in ("pointer", "array"):
                    return variable.root, variable.offset, variable.type.words
            case Binary("+", left, right) if self.is_pointer(left):
                root, offset, words = self.pointed(left)
                return root, self.shifted(offset, right), words
            case Binary("+", left, right) if self.is_pointer(right):
                root, offset, words = self.pointed(right)
                return root, self.shifted(offset, left), words
            case Unary("&", Index(Name() as base, index)):
                root, offset, words = self.pointed(base)
                return root, self.shifted(offset, index), words
        raise NotUnderstoodError("a pointer of unknown origin")

    def shifted(self, offset: Polynomial | None, expression: Expression) -> Polynomial | None:
        self.read(expression)
        distance = self.polynomial(expression)
        return None if offset is None or distance is None else offset + distance

    def walk(self, statement: Statement) -> Loop | None:
        """Record what a statement does; return its loop, if it is one."""
        try:
            return self.known(statement)
        except (NotUnderstoodError, TooManyTermsError) as reason:
            self.problem(str(reason))
            for name in _declared_names(statement):
                self.put(Variable(name, next(self.model.numbers), "other", Type(("void",))))
        return None

    def known(self, statement: Statement) -> Loop | None:
        match statement:
            case Declare(variables):
                for declared in variables:
                    self.declare(declared)
            case Evaluate(Assign() as assign):
                self.assign(assign)
            case Evaluate(Cast(type=Type(words=("void",)), value=value)) | Evaluate(value):
                self.read(value)
            case Jump("return", value):
                self.problem("`return` inside the loop")
                if value is not None:
                    self.read(value)
            case Jump("continue"):
                if self.stack:
                    self.stack[-1].continues = True
            case Jump():
                if self.stack:
                    self.stack[-1].problems.append("`break`")
            case Branch(condition, yes, no):
                self.read(condition)
                self.scoped([yes])
                if no is not None:
                    self.scoped([no])
            case While(condition, body):
                self.loop(None, lambda: self.read(condition), body)
            case Block(statements):
                self.scoped(statements)
            case For():
                return self.for_loop(statement)
            case Opaque(reason):
                raise NotUnderstoodError(reason)
        return None

    def scoped(self, statements: Sequence[Statement]) -> None:
        self.scopes.append({})
        before: Loop | None = None
        for statement in statements:
            loop = self.walk(statement)
            if before is not None and loop is not None:
                self.neighbours.append((before, loop))
            before = loop
        self.scopes.pop()

    def loop(self, syntax: For | None, header: Callable[[], None], body: Statement) -> Loop:
        loop = Loop(self.function.name, syntax, parent=self.stack[-1] if self.stack else None)
        if syntax is not None:
            self.loops.append(loop)
        for outer in self.stack:
            outer.inner.append(loop)
        self.stack.append(loop)
        self.scopes.append({})
        try:
            header()
        except (NotUnderstoodError, TooManyTermsError) as reason:
            self.problem(str(reason))
        self.scoped([body])
        self.scopes.pop()
        self.stack.pop()
        return loop

    def for_loop(self, syntax: For) -> Loop:
        def header() -> None:
            loop = self.stack[-1]
            if not self.canonical(loop, syntax):
                for part in (syntax.first, Evaluate(syntax.condition) if syntax.condition else None):
                    if part is not None:
                        self.known(part)
                if syntax.step is not None:
                    self.known(Evaluate(syntax.step))

        return self.loop(syntax, header, syntax.body)

    def canonical(self, loop: Loop, syntax: For) -> bool:
        """Recognise a counting loop and record its bounds; False, with nothing recorded, for any other."""
        match syntax.first, syntax.condition, syntax.step:
            case (
                Declare((Declarator(type=type_, name=name, extents=(), values=(first,)),)),
                Binary("<" | "<=" as sign, Name(compared), bound),
                Assign("+=", Name(stepped), width),
            ) if type_.is_index and type_.words != ("auto",) and name == compared == stepped:
                pass
            case _:
                return False
        if name in _assigned([syntax.body]) or name in _names(bound) or name in _names(width):
            return False
        if not self.invariant(bound, syntax.body):
            return False
        step = self.polynomial(width)
        count = step.number if step is not None else None
        if count is None or count < 1:
            return False
        lower = self.polynomial(first)
        self.read(first)
        self.read(bound)
        loop.lower, loop.step = lower, count
        if self.invariant(first, syntax.body) and not self.may_fail(first) and not self.may_fail(bound):
            loop.header = frozenset(_names(first) | _names(bound) | _names(width))
        one = Polynomial.constant(1 if sign == "<=" else 0)
        options = [self.polynomial(option) for option in _smallest_of(bound)]
        loop.uppers = tuple(option + one for option in options if option is not None)
        variable = self.new(name, "scalar", type_)
        variable.value = Polynomial.symbol(variable.number)
        loop.variable = variable
        self.put(variable)
        # `put` counts it among the loop's own variables; it is the one symbol that differs between iterations by
        # a known amount, so it is not one of those that are unknown.
        loop.declared.discard(variable.number)
        return True

    def invariant(self, expression: Expression, body: Statement) -> bool:
        """Whether an expression cannot change while a loop runs."""
        match expression:
            case Number():
                return True
            case Name(name):
                return self.is_constant(name) or (self.find(name).kind == "scalar" and name not in _assigned([body]))
            case Unary("-" | "+", value) | Cast(value=value):
                return self.invariant(value, body)
            case Binary("+" | "-" | "*" | "/" | "%", left, right):
                return self.invariant(left, body) and self.invariant(right, body)
            case Call("std::min" | "std::max", arguments):
                return all(self.invariant(argument, body) for argument in arguments)
            case Method(Name(name), method):
                return self.find(name).kind == "tensor" and method in _SIZES
        return False

    def may_fail(self, expression: Expression) -> bool:
        """Whether an expression divides by something that may be zero."""
        return any(
            isinstance(part, Binary)
            and part.sign in ("/", "%")
            and not ((divisor := self.polynomial(part.right)) is not None and divisor.number)
            for part in _every(expression)
        )


class _Reader:
    """Builds the model of one source."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.numbers = itertools.count(1)
        self.never_negative: set[int] = set()
        self.constants: dict[str, Variable] = {}
        self.purity: dict[str, bool] = {}
        for declared in source.constants:
            if declared.type.pointers or declared.type.container or declared.extents:
                continue
            variable = Variable(declared.name, next(self.numbers), "scalar", declared.type, fixed=True)
            variable.retypable = False
            if declared.type.is_index:
                variable.value = Polynomial.symbol(variable.number)
                if len(declared.values) == 1 and isinstance(declared.values[0], Number):
                    try:
                        variable.value = Polynomial.constant(_integer(declared.values[0].text))
                    except NotUnderstoodError:
                        continue
            self.constants[declared.name] = variable

    def is_pure(self, name: str) -> bool:
        """Whether a function of this file, or of the standard library, only computes its result from its arguments."""
        if name in self.source.macros:
            return False
        own = [function for function in self.source.functions if function.name == name]
        if not own:
            return name in PURE
        if name not in self.purity:
            self.purity[name] = False  # recursion
            self.purity[name] = all(self.only_computes(function) for function in own)
        return self.purity[name]

    def only_computes(self, function: Function) -> bool:
        if function.loose_pragma or any(parameter.kind != "scalar" for parameter in function.parameters):
            return False
        walker = _Function(self, function)
        walker.scoped(function.body.statements)
        return all(problem.startswith("`return`") for problem in walker.problems)

    def model(self) -> Model:
        loops: list[Loop] = []
        accumulators: list[Variable] = []
        neighbours: list[tuple[Loop, Loop]] = []
        for function in self.source.functions:
            walker = _Function(self, function)
            walker.scoped(function.body.statements)
            loops += walker.loops
            neighbours += walker.neighbours
            accumulators += [
                variable
                for variable in walker.accumulators
                if variable.accumulates and variable.retypable and not variable.fixed
            ]
        for ordinal, loop in enumerate(loops, 1):
            loop.ordinal = ordinal
        loose = frozenset(function.name for function in self.source.functions if function.loose_pragma)
        return Model(self.source, tuple(loops), tuple(accumulators), tuple(neighbours), loose)


def read_loops(source: Source) -> Model:
    """Find the loops of a source and what they touch."""
    return _Reader(source).model()


def _integer(text: str) -> int:
    digits = text.replace("'", "").rstrip("uUlL")
    try:
        # In C++ a leading 0 alone means octal.
        return int(digits, 8) if digits.startswith("0") and digits.isdigit() else int(digits, 0)
    except ValueError as error:
        raise NotUnderstoodError(f"the number {text}") from error


def _children(expression: Expression) -> tuple[Expression, ...]:
    match expression:
        case Unary(_, value) | Cast(value=value):
            return (value,)
        case Binary(_, left, right):
            return (left, right)
        case Ternary(condition, yes, no):
            return (condition, yes, no)
        case Call(_, arguments):
            return arguments
        case Method(owner, _, arguments):
            return (owner, *arguments)
        case Index(base, index):
            return (base, index)
        case Assign(_, target, value):
            return (target, value)
    return ()


def _every(expression: Expression) -> Iterator[Expression]:
    yield expression
    for child in _children(expression):
        yield from _every(child)


def _names(expression: Expression) -> set[str]:
    return {found.name for found in _every(expression) if isinstance(found, Name)}


def _base_name(expression: Expression) -> str | None:
    while isinstance(expression, Index | Unary):
        expression = expression.base if isinstance(expression, Index) else expression.value
    return expression.name if isinstance(expression, Name) else None


def _parts(statement: Statement) -> tuple[list[Statement], list[Expression]]:
    """Statements and expressions directly inside a statement."""
    match statement:
        case Declare(variables):
            return [], [part for variable in variables for part in (*variable.extents, *variable.values)]
        case Evaluate(value):
            return [], [value]
        case Jump(value=result) if result is not None:
            return [], [result]
        case Block(statements):
            return list(statements), []
        case Branch(condition, yes, no):
            return [yes] if no is None else [yes, no], [condition]
        case While(condition, body):
            return [body], [condition]
        case For(first=first, condition=test, step=step, body=body):
            inside: list[Statement] = [body] if first is None else [first, body]
            return inside, [part for part in (test, step) if part is not None]
    return [], []


def _assigned(statements: Sequence[Statement]) -> Iterator[str]:
    """Names that something may write to after their declaration, or whose address is taken."""
    for statement in statements:
        if isinstance(statement, Opaque):
            yield from statement.names
        inside, expressions = _parts(statement)
        for expression in expressions:
            for part in _every(expression):
                target = part.target if isinstance(part, Assign) else None
                if isinstance(part, Unary) and part.sign == "&" and not isinstance(part.value, Index):
                    target = part.value
                if isinstance(target, Name):
                    yield target.name
                elif target is not None and (name := _base_name(target)) is not None and not isinstance(target, Index):
                    yield name
        yield from _assigned(inside)


def _declared_names(statement: Statement) -> Iterator[str]:
    if isinstance(statement, Declare):
        yield from (variable.name for variable in statement.variables)
    if isinstance(statement, Opaque):
        yield from statement.names


def _smallest_of(bound: Expression) -> Iterator[Expression]:
    """Expressions that are each at least the bound: the arguments of `std::min`, else the bound itself."""
    if isinstance(bound, Call) and bound.function == "std::min":
        for argument in bound.arguments:
            yield from _smallest_of(argument)
    elif isinstance(bound, Cast) and bound.type.is_index:
        yield from _smallest_of(bound.value)
    else:
        yield bound


def _reduction(statement: Assign) -> tuple[str | None, Expression]:
    """The reduction an assignment to a scalar performs, and the value it folds in."""
    match statement:
        case Assign("+=" | "-=", _, value):
            return "+", value
        case Assign("=", Name(name), Call("std::max" | "std::min" as function, (Name(first), value))) if first == name:
            return function.removeprefix("std::"), value
    return None, statement.value


def _facts(loop: Loop, known: set[int]) -> set[int]:
    """Symbols that are at least 0 inside a loop's body, given those known outside."""
    found: set[int] = set()
    if loop.variable is None or loop.lower is None or not loop.lower.never_negative(known):
        return found
    found.add(loop.variable.number)
    for upper in loop.uppers:
        # 0 ≤ lower ≤ i < upper, so an upper bound that is one symbol is positive.
        if len(upper.terms) == 1 and next(iter(upper.terms.items()))[1] == 1 and len(upper.symbols) == 1:
            product = next(iter(upper.terms))
            found |= set(product) if len(product) == 1 else set()
    return found
