"""Recognition of web addresses, hosts and mailboxes by spaCy's URL pattern (MIT), which the word rule keeps whole."""

# ruff: noqa: SIM110 (numba compiles plain loops and nested tests; it has no any() over a generator)

from __future__ import annotations

from numba import njit

from windtunnel.pipelines.features.kernels.classes import ALPHA, CASED_LOWER, DIGIT, MARK, NUMERIC
from windtunnel.pipelines.features.kernels.tables import ASCII
from windtunnel.pipelines.features.kernels.utf8 import class_at


@njit
def is_url(text, a, b, table):
    """Return whether all of bytes a to b matches `[protocol://][user[:password]@]host[:port][/path]`."""
    dotted = False
    for i in range(a, b):
        dotted |= text[i] == 0x2E
    if not dotted:
        return False
    if _from_host(text, a, b, table):
        return True
    after = _after_protocol(text, a, b, table)
    if after > 0 and _from_host(text, after, b, table):
        return True
    for i in range(a + 1, b):  # any text may precede an @
        if text[i] == 0x40 and _from_host(text, i + 1, b, table):
            return True
    return False


@njit
def _after_protocol(text, a, b, table):
    i, count = a, 0
    while i < b:
        c, size = class_at(text, i, table)
        byte = text[i]
        wordlike = c & (ALPHA | NUMERIC | MARK) or byte == 0x5F or byte == 0x2B or byte == 0x2D or byte == 0x2E
        if not wordlike:
            break
        i += size
        count += 1
    if count >= 2 and i + 2 < b and text[i] == 0x3A and text[i + 1] == 0x2F and text[i + 2] == 0x2F:
        return i + 3
    return -1


@njit
def _from_host(text, a, b, table):
    end, last_dot = a, -1
    while end < b:
        byte = text[end]
        if byte == 0x3A or byte == 0x2F or byte == 0x3F or byte == 0x23:
            break
        if byte == 0x2E:
            last_dot = end
        end += 1
    if last_dot < 0 or not _port_and_path(text, end, b, table):
        return False
    return _host(text, a, end, last_dot, table) or _address(text, a, end)


@njit
def _port_and_path(text, i, b, table):
    if i < b and text[i] == 0x3A:
        j = i + 1
        while j < b and text[j] < 0x80 and table[ASCII + text[j]] & DIGIT:
            j += 1
        if not 2 <= j - i - 1 <= 5:
            return False
        i = j
    return i == b or text[i] == 0x2F or text[i] == 0x3F or text[i] == 0x23


@njit
def _host(text, a, b, last_dot, table):
    """Return whether bytes a to b are dot-separated labels with 2 to 63 lower-case letters after the last dot."""
    i, count = last_dot + 1, 0
    while i < b:
        c, size = class_at(text, i, table)
        if not c & CASED_LOWER:
            return False
        i += size
        count += 1
    if not 2 <= count <= 63:
        return False
    i, count, inner = a, 0, False  # inner: the previous character must not end a label
    while i <= last_dot:
        byte = text[i]
        if byte == 0x2E:
            if count == 0 or inner or count > 64:
                return False
            count, inner = 0, False
            i += 1
            continue
        c, size = class_at(text, i, table)
        outer = _label_char(text, i, size, c)
        if not outer and not (count > 0 and (byte == 0x2D or byte == 0x5F)):
            return False
        inner = not outer
        i += size
        count += 1
    return True


@njit
def _label_char(text, i, size, c):
    byte = text[i]
    if byte < 0x80:
        return c & DIGIT or 0x41 <= byte <= 0x5A or 0x61 <= byte <= 0x7A
    return size < 4 and not (byte == 0xC2 and text[i + 1] < 0xA1)


@njit
def _address(text, a, b):
    """Return whether bytes a to b are a public IPv4 address that does not end with 0 or 255."""
    part, value, digits = 0, 0, 0
    first, second = 0, 0
    for i in range(a, b + 1):
        if i < b and 0x30 <= text[i] <= 0x39:
            value = value * 10 + (text[i] - 0x30)
            digits += 1
            if digits > 3:
                return False
            if digits == 1 and value == 0 and (part == 0 or part == 3):
                return False
            continue
        if (i < b and text[i] != 0x2E) or digits == 0 or value > 255:
            return False
        if part == 0:
            first = value
        elif part == 1:
            second = value
        part += 1
        if part == 4:
            private = first == 10 or first == 127 or (first == 169 and second == 254)
            private |= (first == 192 and second == 168) or (first == 172 and 16 <= second <= 31)
            return i == b and 1 <= first <= 223 and value <= 254 and not private
        value, digits = 0, 0
    return False
