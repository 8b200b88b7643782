"""Read the part of C++ that plain loop kernels are written in; whatever else there is becomes `Opaque`, with a reason.

Not a compiler's front end: it knows scalars, pointers, arrays, `std::vector`, loops and expressions. Code outside that
is never guessed at; the edits leave it alone.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""
    (?P<space>(?:\s|\\\n)+)
  | (?P<comment>//(?:\\\n|[^\n])*|/\*.*?\*/)
  | (?P<string>(?:u8|[uUL])?R"(?P<fence>[^()\\\s]{0,16})\(.*?\)(?P=fence)"
              |(?:u8|[uUL])?"(?:\\.|[^"\\\n])*"|(?:u8|[uUL])?'(?:\\.|[^'\\\n])+')
  | (?P<number>\.?\d(?:[eEpP][+-]|'(?=\w)|[\w.])*)
  | (?P<name>[A-Za-z_]\w*)
  | (?P<sign><<=|>>=|\.\.\.|::|->|\+\+|--|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|[{}()\[\];:,.<>?=+\-*/%&|^!~#])
    """,
    re.VERBOSE | re.DOTALL,
)
_DIRECTIVE = re.compile(r"#(?:\\\n|[^\n])*")
_CLOSERS = {"(": ")", "[": "]", "{": "}"}
_DEEPEST = 60


def words(text: str) -> frozenset[str]:
    """The words of a list written as one string."""
    return frozenset(text.split())


INTEGER_TYPES = words(
    "bool char signed unsigned short int long int8_t int16_t int32_t int64_t uint8_t uint16_t uint32_t uint64_t size_t "
    "ssize_t ptrdiff_t intptr_t uintptr_t"
)
FLOATING_TYPES = words("float double _Float16")
SCALAR_TYPES = INTEGER_TYPES | FLOATING_TYPES | {"auto", "void"}
_NARROW = words("bool char short int8_t int16_t uint8_t uint16_t")
_QUALIFIERS = words("const constexpr static inline")
_RESTRICT = words("__restrict__ __restrict restrict")
_CASTS = words("static_cast reinterpret_cast const_cast")
_ASSIGNMENTS = words("= += -= *= /= %= &= |= ^= <<= >>=")
_BINARY = {
    operator: level
    for level, operators in enumerate(["||", "&&", "|", "^", "&", "== !=", "< > <= >=", "<< >>", "+ -", "* / %"])
    for operator in operators.split()
}


class NotUnderstoodError(Exception):
    """The source uses something that this reader does not know; the text says what."""


@dataclass(frozen=True)
class Token:
    """One token and where it stands."""

    kind: str
    """`name`, `number`, `sign`, `string` or `directive`."""
    text: str
    start: int
    end: int


# Expressions


@dataclass(frozen=True)
class Number:
    """A literal, or a named constant of the standard library."""

    text: str


@dataclass(frozen=True)
class Name:
    """A variable."""

    name: str


@dataclass(frozen=True)
class Unary:
    """`-x`, `!x`, `~x`, `+x`, `*x` or `&x`."""

    sign: str
    value: Expression


@dataclass(frozen=True)
class Binary:
    """Two operands without a side effect."""

    sign: str
    left: Expression
    right: Expression


@dataclass(frozen=True)
class Ternary:
    """`condition ? yes : no`."""

    condition: Expression
    yes: Expression
    no: Expression


@dataclass(frozen=True)
class Call:
    """A call of a named function."""

    function: str
    arguments: tuple[Expression, ...]


@dataclass(frozen=True)
class Method:
    """A call of a method of a named object."""

    owner: Expression
    name: str
    arguments: tuple[Expression, ...]


@dataclass(frozen=True)
class Index:
    """`base[index]`."""

    base: Expression
    index: Expression


@dataclass(frozen=True)
class Cast:
    """A conversion."""

    type: Type
    value: Expression


@dataclass(frozen=True)
class Assign:
    """An assignment, or `++`/`--` written as `+= 1`/`-= 1`."""

    sign: str
    target: Expression
    value: Expression


Expression = Number | Name | Unary | Binary | Ternary | Call | Method | Index | Cast | Assign


@dataclass(frozen=True)
class Type:
    """A scalar type, a pointer to one, or a `std::vector` or `std::array` of one."""

    words: tuple[str, ...]
    pointers: int = 0
    constant: bool = False
    restrict: bool = False
    container: bool = False

    @property
    def is_index(self) -> bool:
        """Whether a value of this type can hold an index without being cut off."""
        return (
            not self.pointers
            and not self.container
            and (self.words == ("auto",) or (INTEGER_TYPES.issuperset(self.words) and not _NARROW & {*self.words}))
        )


# Statements


@dataclass(frozen=True)
class Declarator:
    """One declared variable."""

    type: Type
    name: str
    extents: tuple[Expression, ...] = ()
    """Array extents; empty for a scalar."""
    values: tuple[Expression, ...] = ()
    """What it is initialised with."""
    braces: bool = False
    """Whether it is initialised as `{…}`, which refuses narrowing."""
    word: Token | None = None
    """The type's only word, where it has one and the statement declares nothing else: what a change of type edits."""


@dataclass(frozen=True)
class Declare:
    """A declaration."""

    variables: tuple[Declarator, ...]


@dataclass(frozen=True)
class Evaluate:
    """An expression statement."""

    value: Expression


@dataclass(frozen=True)
class Jump:
    """`break`, `continue` or `return`."""

    word: str
    value: Expression | None = None


@dataclass(frozen=True)
class Block:
    """`{ … }`."""

    statements: tuple[Statement, ...]


@dataclass(frozen=True)
class Branch:
    """`if`."""

    condition: Expression
    yes: Statement
    no: Statement | None


@dataclass(frozen=True)
class While:
    """`while`."""

    condition: Expression
    body: Statement


@dataclass(frozen=True, eq=False)
class For:
    """`for (first; condition; step) body`; identity, not content, distinguishes two of them."""

    first: Declare | Evaluate | None
    condition: Expression | None
    step: Expression | None
    body: Statement
    keyword: Token
    header: str
    """The header's tokens, joined by blanks."""
    after_header: int
    """Offset just after the header's `)`."""
    end: int
    """Offset just after the body."""
    pragma: Token | None
    """The `#pragma` line that belongs to it."""


@dataclass(frozen=True)
class Opaque:
    """Code that was not understood."""

    reason: str
    names: frozenset[str] = frozenset()
    """Every name in it: each may be written."""


Statement = Declare | Evaluate | Jump | Block | Branch | While | For | Opaque


@dataclass(frozen=True)
class Parameter:
    """One parameter of a function."""

    name: str
    kind: str
    """`tensor`, `pointer`, `scalar` or `other`."""
    type: Type = field(default_factory=lambda: Type(("void",)))


@dataclass(frozen=True)
class Function:
    """A function definition that is no template and no member."""

    name: str
    parameters: tuple[Parameter, ...]
    body: Block
    loose_pragma: bool
    """Whether an OpenMP line stands anywhere but right before a `for`."""


@dataclass(frozen=True)
class Source:
    """A source text, read."""

    text: str
    tokens: tuple[Token, ...]
    comments: tuple[Token, ...]
    macros: frozenset[str]
    constants: tuple[Declarator, ...]
    """`const` and `constexpr` scalars at file scope."""
    functions: tuple[Function, ...]

    def comment_on_line(self, offset: int) -> str:
        """The `//` comment on the line of an offset, or nothing."""
        end = self.text.find("\n", offset)
        end = len(self.text) if end < 0 else end
        return next((note.text for note in self.comments if offset <= note.start < end), "")


def tokenize(text: str) -> tuple[tuple[Token, ...], tuple[Token, ...]]:
    """Split a source into tokens and comments.

    Raises:
        NotUnderstoodError: a character starts no token.
    """
    tokens: list[Token] = []
    comments: list[Token] = []
    position, line_start = 0, True
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise NotUnderstoodError(f"{text[position]!r} at offset {position}")
        kind = next(name for name in ("space", "comment", "string", "number", "name", "sign") if match[name])
        if kind == "sign" and match[0] == "#" and line_start:
            match = _DIRECTIVE.match(text, position)
            assert match is not None
            line = re.split(r"//|/\*", match[0])[0].rstrip()
            tokens.append(Token("directive", line, position, position + len(line)))
            position += len(line)
            line_start = False
            continue
        if kind == "space":
            line_start = line_start or "\n" in match[0]
        elif kind == "comment":
            comments.append(Token(kind, match[0], match.start(), match.end()))
        else:
            tokens.append(Token(kind, match[0], match.start(), match.end()))
            line_start = False
        position = match.end()
    return tuple(tokens), tuple(comments)


def _pairs(tokens: tuple[Token, ...]) -> dict[int, int]:
    pairs: dict[int, int] = {}
    open_ones: list[int] = []
    for index, token in enumerate(tokens):
        if token.kind != "sign":
            continue
        if token.text in _CLOSERS:
            open_ones.append(index)
        elif token.text in _CLOSERS.values():
            if not open_ones or _CLOSERS[tokens[open_ones[-1]].text] != token.text:
                raise NotUnderstoodError(f"unbalanced {token.text!r} at offset {token.start}")
            pairs[open_ones.pop()] = index
    if open_ones:
        raise NotUnderstoodError(f"{tokens[open_ones[-1]].text!r} is never closed")
    return pairs


class _Reader:
    """A recursive-descent reader over one token list."""

    def __init__(self, tokens: tuple[Token, ...], pairs: dict[int, int]) -> None:
        self.tokens = tokens
        self.pairs = pairs
        self.at = 0
        self.depth = 0
        self.loose_pragma = False

    # Token access

    def text(self, ahead: int = 0) -> str:
        index = self.at + ahead
        return self.tokens[index].text if index < len(self.tokens) else ""

    def kind(self, ahead: int = 0) -> str:
        index = self.at + ahead
        return self.tokens[index].kind if index < len(self.tokens) else ""

    def accept(self, text: str) -> bool:
        if self.text() == text and self.kind() != "string":
            self.at += 1
            return True
        return False

    def expect(self, text: str) -> None:
        if not self.accept(text):
            raise NotUnderstoodError(f"expected {text!r} before {self.text()!r}")

    # Types

    def type_words(self) -> tuple[str, ...]:
        words: list[str] = []
        while self.kind() == "name":
            if self.text() == "std" and self.text(1) == "::" and self.text(2) in SCALAR_TYPES:
                self.at += 2
            if self.text() not in SCALAR_TYPES:
                break
            words.append(self.text())
            self.at += 1
        return tuple(words)

    def type(self) -> Type | None:
        """Read a type; None, with nothing consumed, where there is none."""
        start = self.at
        constant = False
        while self.text() in _QUALIFIERS:
            constant = constant or self.text() in ("const", "constexpr")
            self.at += 1
        words: tuple[str, ...] = self.type_words()
        container = False
        if not words:
            if self.text() == "std" and self.text(1) == "::" and self.text(2) in ("vector", "array"):
                self.at += 3
                self.expect("<")
                words = self.type_words()
                if self.accept(","):
                    self.expression(_BINARY["<<"])
                self.expect(">")
                container = True
            if not words:
                self.at = start
                return None
        pointers, restrict = 0, False
        while True:
            if self.accept("const"):
                constant = constant or not pointers
            elif self.accept("*"):
                pointers += 1
            elif self.text() in _RESTRICT:
                restrict = True
                self.at += 1
            else:
                return Type(words, pointers, constant, restrict, container)

    # Expressions

    def expression(self, level: int = 0) -> Expression:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise NotUnderstoodError("an expression nested too deeply")
        left = self.unary()
        while self.kind() == "sign" and _BINARY.get(self.text(), -1) >= level:
            sign = self.text()
            self.at += 1
            left = Binary(sign, left, self.expression(_BINARY[sign] + 1))
        if level == 0 and self.accept("?"):
            yes = self.expression()
            self.expect(":")
            left = Ternary(left, yes, self.expression())
        self.depth -= 1
        return left

    def assignment(self) -> Expression:
        """Read an expression that may be an assignment at its top."""
        for sign, text in (("+=", "++"), ("-=", "--")):
            if self.accept(text):
                return Assign(sign, self.unary(), Number("1"))
        target = self.expression()
        if self.kind() == "sign" and self.text() in _ASSIGNMENTS:
            sign = self.text()
            self.at += 1
            return Assign(sign, target, self.expression())
        for sign, text in (("+=", "++"), ("-=", "--")):
            if self.accept(text):
                return Assign(sign, target, Number("1"))
        return target

    def arguments(self, closer: str) -> tuple[Expression, ...]:
        values: list[Expression] = []
        if self.accept(closer):
            return ()
        while True:
            values.append(self.expression())
            if self.accept(closer):
                return tuple(values)
            self.expect(",")

    def unary(self) -> Expression:
        if self.kind() == "sign" and self.text() in ("-", "+", "!", "~", "*", "&"):
            sign = self.text()
            self.at += 1
            self.depth += 1
            if self.depth > _DEEPEST:
                raise NotUnderstoodError("an expression nested too deeply")
            value = self.unary()
            self.depth -= 1
            return Unary(sign, value)
        return self.postfix(self.primary())

    def primary(self) -> Expression:
        if self.kind() == "number":
            self.at += 1
            return Number(self.tokens[self.at - 1].text)
        if self.accept("("):
            start = self.at
            cast = self.type()
            if cast is not None and self.accept(")"):
                return Cast(cast, self.unary())
            self.at = start
            value = self.expression()
            self.expect(")")
            return value
        if self.kind() != "name":
            raise NotUnderstoodError(f"{self.text()!r} in an expression")
        if self.text() in _CASTS:
            self.at += 1
            self.expect("<")
            cast = self.type()
            if cast is None:
                raise NotUnderstoodError(f"a cast to {self.text()!r}")
            self.expect(">")
            self.expect("(")
            value = self.expression()
            self.expect(")")
            return Cast(cast, value)
        start = self.at
        words = self.type_words()
        if words:
            closer = _CLOSERS.get(self.text(), "")
            if closer not in (")", "}"):
                raise NotUnderstoodError(f"the type {' '.join(words)!r} in an expression")
            self.at += 1
            value = self.expression()
            self.expect(closer)
            return Cast(Type(words), value)
        self.at = start
        return self.named()

    def named(self) -> Expression:
        name = self.text()
        self.at += 1
        while self.text() == "::" and self.kind(1) == "name":
            name = f"{name}::{self.text(1)}"
            self.at += 2
        if name == "std::numeric_limits":
            self.expect("<")
            if not self.type_words():
                raise NotUnderstoodError("numeric_limits of an unknown type")
            self.expect(">")
            self.expect("::")
            constant = self.text()
            self.at += 1
            self.expect("(")
            self.expect(")")
            return Number(f"{name}::{constant}")
        if name in ("std::max", "std::min") and self.accept("<"):
            if not self.type_words():
                raise NotUnderstoodError(f"{name} of an unknown type")
            self.expect(">")
            if self.text() != "(":
                raise NotUnderstoodError(f"{name} without a call")
        if self.accept("("):
            return Call(name, self.arguments(")"))
        return Name(name)

    def postfix(self, value: Expression) -> Expression:
        while True:
            if self.accept("["):
                index = self.expression()
                self.expect("]")
                value = Index(value, index)
            elif self.text() == "." and self.kind(1) == "name" and self.text(2) == "(":
                name = self.text(1)
                self.at += 3
                value = Method(value, name, self.arguments(")"))
            elif self.text() in (".", "->"):
                raise NotUnderstoodError("access to a member")
            else:
                return value

    # Statements

    def declaration(self) -> Declare | None:
        """Read a declaration up to, not including, its `;`; None, with nothing consumed, where there is none."""
        start = self.at
        while self.text() in _QUALIFIERS:
            self.at += 1
        shared = "static" in {token.text for token in self.tokens[start : self.at]}
        word = self.tokens[self.at] if self.at < len(self.tokens) else None
        self.at = start
        base = self.type()
        if base is None or (self.kind() != "name" and self.text() != "&"):
            self.at = start
            return None
        if self.text() == "&":
            raise NotUnderstoodError("a reference")
        if shared and not base.constant:
            raise NotUnderstoodError("a static variable")
        found: list[Declarator] = []
        while True:
            if self.kind() != "name":
                raise NotUnderstoodError(f"{self.text()!r} in a declaration")
            name = self.text()
            self.at += 1
            extents: list[Expression] = []
            while self.accept("["):
                extents.append(self.expression())
                self.expect("]")
            values: tuple[Expression, ...] = ()
            braces = False
            if self.accept("="):
                if self.accept("{"):
                    values, braces = self.arguments("}"), True
                else:
                    values = (self.expression(),)
            elif self.accept("("):
                values = self.arguments(")")
            elif self.accept("{"):
                values, braces = self.arguments("}"), True
            found.append(Declarator(base, name, tuple(extents), values, braces))
            if not self.accept(","):
                break
            # In `float *a, b` the star belongs to the first alone.
            if base.pointers or self.text() in ("*", "&"):
                raise NotUnderstoodError("several declarators with pointers")
        if len(found) == 1 and len(base.words) == 1 and word is not None and word.text == base.words[0]:
            only = found[0]
            found = [Declarator(only.type, only.name, only.extents, only.values, only.braces, word)]
        return Declare(tuple(found))

    def simple(self) -> Declare | Evaluate:
        return self.declaration() or Evaluate(self.assignment())

    def block(self) -> Block:
        end = self.pairs[self.at]
        self.at += 1
        statements: list[Statement] = []
        while self.at < end:
            statements.append(self.statement(end))
        self.at = end + 1
        return Block(tuple(statements))

    def statement(self, limit: int) -> Statement:
        """Read one statement; what is not understood is skipped to its end."""
        start, depth = self.at, self.depth
        try:
            self.depth += 1
            if self.depth > _DEEPEST:
                raise NotUnderstoodError("statements nested too deeply")
            found = self.known_statement(limit)
            if self.at > limit:
                raise NotUnderstoodError("a statement that runs out of its block")
        except NotUnderstoodError as reason:
            self.at = start
            self.skip(limit)
            names = frozenset(token.text for token in self.tokens[start : self.at] if token.kind == "name")
            pragmas = [token for token in self.tokens[start : self.at] if token.kind == "directive"]
            self.loose_pragma = self.loose_pragma or bool(pragmas)
            found = Opaque(str(reason), names)
        self.depth = depth
        return found

    def skip(self, limit: int) -> None:
        """Move past the statement at the cursor: to just after its `;`, or after a block that ends it."""
        if self.kind() == "directive":
            self.at += 1
            return
        compound = self.text() in ("if", "for", "while", "switch", "try", "do", "else")
        while self.at < limit:
            if self.text() == "{" and compound:
                self.at = self.pairs[self.at] + 1
                if self.text() not in ("else", "catch", "while"):
                    return
                continue
            if self.kind() == "sign" and self.at in self.pairs:
                self.at = self.pairs[self.at]
            elif self.kind() == "sign" and self.text() == ";":
                self.at += 1
                return
            self.at += 1

    def known_statement(self, limit: int) -> Statement:
        if self.kind() == "directive":
            pragma = self.tokens[self.at]
            if self.text(1) != "for" or not re.match(r"#\s*pragma\b", pragma.text):
                raise NotUnderstoodError(f"`{pragma.text}` where no loop follows")
            self.at += 1
            return self.loop(limit, pragma)
        if self.accept(";"):
            return Block(())
        match self.text() if self.kind() != "string" else "":
            case "{":
                return self.block()
            case "for":
                return self.loop(limit, None)
            case "if":
                self.at += 1
                self.accept("constexpr")
                condition = self.parenthesised()
                yes = self.statement(limit)
                no = self.statement(limit) if self.accept("else") else None
                return Branch(condition, yes, no)
            case "while":
                self.at += 1
                condition = self.parenthesised()
                return While(condition, self.statement(limit))
            case "break" | "continue" as word:
                self.at += 1
                self.expect(";")
                return Jump(word)
            case "return":
                self.at += 1
                value = None if self.text() == ";" else self.expression()
                self.expect(";")
                return Jump("return", value)
            case "do" | "switch" | "goto" | "try" | "throw" | "case" | "default" | "using" | "typedef" | "else" as word:
                raise NotUnderstoodError(f"`{word}`")
        found = self.simple()
        self.expect(";")
        return found

    def parenthesised(self) -> Expression:
        self.expect("(")
        value = self.expression()
        self.expect(")")
        return value

    def loop(self, limit: int, pragma: Token | None) -> For:
        keyword = self.tokens[self.at]
        if self.text(1) != "(":
            raise NotUnderstoodError("`for` without a header")
        opener = self.at + 1
        closer = self.pairs[opener]
        self.at = opener + 1
        first = None if self.text() == ";" else self.simple()
        self.expect(";")
        condition = None if self.text() == ";" else self.expression()
        self.expect(";")
        step = None if self.at == closer else self.assignment()
        if self.at != closer:
            raise NotUnderstoodError("a loop header with commas")
        self.at += 1
        if self.at >= limit:
            raise NotUnderstoodError("a loop without a body")
        body = self.statement(limit)
        header = " ".join(token.text for token in self.tokens[opener : closer + 1])
        after = self.tokens[closer].end
        return For(first, condition, step, body, keyword, header, after, self.tokens[self.at - 1].end, pragma)


def _parameters(tokens: tuple[Token, ...], first: int, last: int, pairs: dict[int, int]) -> tuple[Parameter, ...]:
    found: list[Parameter] = []
    start = first
    for index in range(first, last + 1):
        if index < last and tokens[index].text != ",":
            continue
        words = tokens[start:index]
        start = index + 1
        if not words:
            continue
        texts = [word.text for word in words]
        reader = _Reader(words, {})
        declared: Type | None = None
        if "&" not in texts and "&&" not in texts:
            try:
                declared = reader.type()
            except NotUnderstoodError:
                declared = None
        plain = declared is not None and reader.at == len(words) - 1 and words[-1].kind == "name"
        if declared is not None and plain and not declared.container and declared.pointers < 2:
            found.append(Parameter(texts[-1], "pointer" if declared.pointers else "scalar", declared))
        elif "TensorView" in texts[:-1] and "<" not in texts and "*" not in texts:
            found.append(Parameter(texts[-1], "tensor"))
        else:
            found.append(Parameter(texts[-1], "other"))
    return tuple(found)


def _file_scope(reader: _Reader, first: int, last: int) -> Iterator[Function | Declarator]:
    tokens, pairs = reader.tokens, reader.pairs
    index = start = first
    while index < last:
        token = tokens[index]
        if token.kind == "directive" or (token.kind == "sign" and token.text in (";", "}")):
            index += 1
            start = index
            continue
        if token.kind == "sign" and token.text == "{":
            before = [word.text for word in tokens[start:index]]
            closer = pairs[index]
            if "namespace" in before or before[-2:] == ["extern", '"C"']:
                yield from _file_scope(reader, index + 1, closer)
            elif before and before[-1] == ")" and "template" not in before and "class" not in before:
                opener = next(key for key, value in pairs.items() if value == index - 1)
                if opener > start and tokens[opener - 1].kind == "name":
                    reader.at, reader.depth, reader.loose_pragma = index, 0, False
                    body = reader.block()
                    parameters = _parameters(tokens, opener + 1, index - 1, pairs)
                    yield Function(tokens[opener - 1].text, parameters, body, reader.loose_pragma)
            elif "=" in before or "constexpr" in before or "const" in before:
                index = closer + 1  # a braced initialiser: the declaration goes on to its `;`
                continue
            index = closer + 1
            start = index
            continue
        if index == start and token.text in _QUALIFIERS:
            reader.at, reader.depth = index, 0
            try:
                declared = reader.declaration()
            except NotUnderstoodError:
                declared = None
            if declared is not None and reader.text() == ";":
                yield from (variable for variable in declared.variables if variable.type.constant)
                index = reader.at
                continue
        if token.kind == "sign" and token.text in ("(", "["):
            index = pairs[index]
        index += 1


def read_source(text: str) -> Source:
    """Read a whole source.

    Raises:
        NotUnderstoodError: it cannot even be split into tokens and balanced brackets.
    """
    tokens, comments = tokenize(text)
    pairs = _pairs(tokens)
    macros = frozenset(
        match[1]
        for token in tokens
        if token.kind == "directive" and (match := re.match(r"#\s*define\s+(\w+)", token.text))
    )
    found = list(_file_scope(_Reader(tokens, pairs), 0, len(tokens)))
    return Source(
        text,
        tokens,
        comments,
        macros,
        tuple(entry for entry in found if isinstance(entry, Declarator)),
        tuple(entry for entry in found if isinstance(entry, Function)),
    )


def line_start(text: str, offset: int) -> int:
    """Offset at which the line of an offset starts."""
    return text.rfind("\n", 0, offset) + 1


def enclosing_pairs(source: Source) -> list[tuple[int, int, str]]:
    """Every bracket pair as (start offset, end offset, opening sign), in order of their start."""
    pairs = _pairs(source.tokens)
    return [
        (source.tokens[first].start, source.tokens[last].end, source.tokens[first].text)
        for first, last in sorted(pairs.items())
    ]


def index_at(tokens: tuple[Token, ...], offset: int) -> int:
    """Index of the token that starts at or before an offset."""
    return bisect_right([token.start for token in tokens], offset) - 1
