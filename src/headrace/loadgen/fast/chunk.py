"""Whether a packet is one whole HTTP chunk with one event that brings one more token.

Every byte is looked at: the chunk's frame, the event's lines, the JSON from its first brace to its
last. Yes is said only where `Stream.received` and `Exchange.brings_token` say it too. What is rare
is not decided here, but there: text that is not ASCII, numbers with exponents, several choices.
"""

from __future__ import annotations

from typing import Any

from headrace.loadgen.fast.compiling import compiled

Bytes = Any
"""A numpy array of uint8."""

QUOTE, BACKSLASH, SPACE, COMMA, COLON, MINUS, POINT = 34, 92, 32, 44, 58, 45, 46
OBJECT, OBJECT_END, LIST, LIST_END, NEWLINE, RETURN = 123, 125, 91, 93, 10, 13
DEPTH_MAX = 15
DIGITS_MAX = 16
SIZE_DIGITS_MAX = 3
NO = -1

TOP, OTHER, CHOICES, USAGE, CHOICE, TEXT, DELTA, CONTENT = range(8)
"""What a value is of the chunk."""


@compiled
def is_word(data: Bytes, at: int, end: int, word: bytes) -> bool:
    """Whether the word stands there."""
    if at + len(word) > end:
        return False
    for place in range(len(word)):  # noqa: SIM110 - compiled as it is
        if data[at + place] != word[place]:
            return False
    return True


@compiled
def brings_one_token(data: Bytes, size: int, chat: bool) -> bool:
    """Whether the packet, which meets a plain stream between two chunks, is of the usual shape."""
    at, length = 0, 0
    while at < size and at <= SIZE_DIGITS_MAX and data[at] != RETURN:
        byte = data[at]
        if 48 <= byte <= 57:
            length = 16 * length + byte - 48
        elif 97 <= byte <= 102:
            length = 16 * length + byte - 87
        else:
            return False
        at += 1
    if not 0 < at <= SIZE_DIGITS_MAX or data[0] == 48 or at + length + 4 != size or length < 8:
        return False
    return (
        is_word(data, at, size, b"\r\ndata: ")
        and is_word(data, size - 4, size, b"\n\n\r\n")
        and is_token(data, at + 8, size - 4, chat)
    )


@compiled
def after_escape(data: Bytes, at: int, end: int) -> int:
    """Where an escape ends, `at` being after its backslash; NO if it is none, or half of a pair."""
    kind = data[at]
    if kind != 117:  # u
        short = kind in (QUOTE, BACKSLASH, 47, 98, 102, 110, 114, 116)  # / b f n r t
        return at + 1 if short else NO
    if at + 5 > end or data[at + 1] | 32 == 100:  # d: it may be
        return NO
    for place in range(at + 1, at + 5):
        if not (48 <= data[place] <= 57 or 97 <= data[place] | 32 <= 102):
            return NO
    return at + 5


@compiled
def after_string(data: Bytes, at: int, end: int) -> int:
    """Where the string ends that began before `at`; NO if it is none, or a rare one."""
    while at < end:
        byte = data[at]
        if byte == QUOTE:
            return at + 1
        if byte < 32 or byte > 126:
            return NO
        at += 1
        if byte == BACKSLASH:
            at = after_escape(data, at, end) if at < end else NO
            if at == NO:
                return NO
    return NO


@compiled
def after_number(data: Bytes, at: int, end: int) -> int:
    """Where the number ends that begins at `at`; NO if it is none, or a long one."""
    if data[at] == MINUS:
        at += 1
    for part in range(2):
        first = at
        while at < end and 48 <= data[at] <= 57:
            at += 1
        digits = at - first
        if digits == 0 or digits > DIGITS_MAX or (part == 0 and digits > 1 and data[first] == 48):
            return NO
        if part == 1 or at >= end or data[at] != POINT:
            return at
        at += 1
    return at


@compiled
def after_word(data: Bytes, at: int, end: int) -> int:
    """Where true, false or null ends; NO if it is none of them."""
    if is_word(data, at, end, b"null") or is_word(data, at, end, b"true"):
        return at + 4
    return at + 5 if is_word(data, at, end, b"false") else NO


@compiled
def role_of(data: Bytes, at: int, end: int, inside: int, chat: bool) -> int:
    """What the value is whose key lies there, between its quotes, in that kind of object."""
    size = end - at
    if inside == TOP:
        if size == 7 and is_word(data, at, end, b"choices"):
            return CHOICES
        return USAGE if size == 5 and is_word(data, at, end, b"usage") else OTHER
    if inside == CHOICE:
        if not chat:
            return TEXT if size == 4 and is_word(data, at, end, b"text") else OTHER
        return DELTA if size == 5 and is_word(data, at, end, b"delta") else OTHER
    if inside == DELTA:
        return CONTENT if size == 7 and is_word(data, at, end, b"content") else OTHER
    return OTHER


@compiled
def fits(role: int, seen: int, byte: int, next_byte: int) -> bool:
    """Whether a value that begins so may play that role in a chunk with a token, once."""
    if role == OTHER:
        return True
    if seen >> role & 1:
        return False
    if role == CHOICES:
        return byte == LIST
    if role == USAGE:
        return byte == 110  # null
    if role == TEXT:
        return byte in (QUOTE, 110)
    if role == CONTENT:
        return byte == QUOTE and next_byte != QUOTE
    return byte == OBJECT


@compiled
def after_spaces(data: Bytes, at: int, end: int) -> int:
    """Where something else stands."""
    while at < end and data[at] == SPACE:
        at += 1
    return at


@compiled
def key_end(data: Bytes, at: int, end: int) -> int:
    """Where the key's closing quote is that begins at `at`; NO if it is none, or a rare one."""
    while at < end and data[at] != QUOTE:
        if data[at] < 32 or data[at] > 126 or data[at] == BACKSLASH:
            return NO
        at += 1
    return at if at < end else NO


@compiled
def after_scalar(data: Bytes, at: int, end: int) -> int:
    """Where the value ends, which is no object and no list; NO if it is none, or a rare one."""
    byte = data[at]
    if byte == QUOTE:
        return after_string(data, at + 1, end)
    if byte == MINUS or 48 <= byte <= 57:
        return after_number(data, at, end)
    return after_word(data, at, end)


@compiled
def next_value(
    data: Bytes, at: int, end: int, in_object: int, inside: int, chat: bool
) -> tuple[int, int]:
    """Where the next value within an open bracket begins, after its key, and its role."""
    at = after_spaces(data, at, end)
    if not in_object:
        return at, CHOICE if inside == CHOICES else OTHER
    if at >= end or data[at] != QUOTE:
        return NO, OTHER
    first = at + 1
    at = key_end(data, first, end)
    if at == NO:
        return NO, OTHER
    role = role_of(data, first, at, inside, chat)
    at = after_spaces(data, at + 1, end)
    if at >= end or data[at] != COLON:
        return NO, OTHER
    return after_spaces(data, at + 1, end), role


@compiled
def is_token(data: Bytes, at: int, end: int, chat: bool) -> bool:
    """Whether the bytes are a JSON object with one choice that brings a token, and no usage.

    Of each open bracket the role is kept in four bits, and in one whether it is an object's.
    """
    depth, objects, roles, seen, role = 0, 0, 0, 0, TOP
    while 0 <= at < end - 1 and fits(role, seen, data[at], data[at + 1]):
        seen |= 1 << role
        opened = data[at] == OBJECT or data[at] == LIST
        if opened:
            depth += 1
            objects = objects << 1 | (data[at] == OBJECT)
            roles = roles << 4 | role
            at += 1
        else:
            at = after_scalar(data, at, end)
        if at == NO or depth > DEPTH_MAX:
            return False
        at = after_spaces(data, at, end)
        while at < end and data[at] == (OBJECT_END if objects & 1 else LIST_END):
            opened = False
            depth, objects, roles = depth - 1, objects >> 1, roles >> 4
            at = after_spaces(data, at + 1, end)
            if depth == 0:
                return at == end and seen >> (CONTENT if chat else CHOICE) & 1 == 1
        if not opened:
            if at >= end or data[at] != COMMA:
                return False
            at += 1
        at, role = next_value(data, at, end, objects & 1, roles & 15, chat)
    return False
