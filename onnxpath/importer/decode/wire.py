"""The protobuf wire format, as far as it takes to leave the weights of a model out of the parse.

A ModelProto is a sequence of fields `tag payload`, tag = (number << 3) | type; type 2 is a length and that
many bytes. The graph is field 7 of the model, an initializer field 5 of the graph, its `raw_data` field 9 of
the tensor. `strip` returns the same message without the large `raw_data` fields, and where in the file they
are: what is parsed stays small, and every weight is read once, straight into the array that holds it.
`spliced` is the way back: the message with those fields in it, as a stream, so that a file is written without
its weights going through protobuf.
"""

from collections.abc import Iterator, Mapping
from mmap import mmap

_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9
_SMALL = 256

Buffer = bytes | mmap
Span = tuple[int, int]


def _varint(buffer: Buffer, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = buffer[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError(f"no varint at byte {at}")


def _encoded(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _fields(buffer: Buffer, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """(field number of a length-delimited field else 0, where its tag starts, where its payload starts, where
    it ends)."""
    while at < end:
        start = at
        tag, at = _varint(buffer, at, end)
        kind = tag & 7
        if kind == 0:
            _, stop = _varint(buffer, at, end)
        elif kind == 1:
            stop = at + 8
        elif kind == 2:
            length, at = _varint(buffer, at, end)
            stop = at + length
        elif kind == 5:
            stop = at + 4
        else:
            raise ValueError(f"wire type {kind} at byte {start}")
        if stop > end:
            raise ValueError(f"a field of {stop - at} bytes starts at byte {at}, beyond the end")
        yield (tag >> 3 if kind == 2 else 0), start, at, stop
        at = stop


def _header(number: int, length: int) -> bytes:
    return _encoded(number << 3 | 2) + _encoded(length)


def _message(number: int, parts: list[bytes]) -> list[bytes]:
    return [_header(number, sum(map(len, parts))), *parts]


def _graph(buffer: Buffer, at: int, end: int, spans: dict[int, Span], index: int) -> tuple[list[bytes], int]:
    parts: list[bytes] = []
    copied = at
    for number, start, payload, stop in _fields(buffer, at, end):
        if number != _INITIALIZER:
            continue
        if stop - payload > _SMALL:
            tensor: list[bytes] = []
            span = None
            for field, first, data, last in _fields(buffer, payload, stop):
                if field == _RAW_DATA:
                    span = (data, last - data)
                else:
                    tensor.append(buffer[first:last])
            if span is not None:
                spans[index] = span
                parts += [buffer[copied:start], *_message(_INITIALIZER, tensor)]
                copied = stop
        index += 1
    parts.append(buffer[copied:end])
    return parts, index


def strip(buffer: Buffer, size: int) -> tuple[bytes, dict[int, Span]]:
    """The message without large raw_data, and {index of the initializer: (offset, length)} of what was left
    out.

    Raises ValueError when the bytes are not a sequence of protobuf fields.
    """
    spans: dict[int, Span] = {}
    parts: list[bytes] = []
    index = 0
    for number, start, payload, stop in _fields(buffer, 0, size):
        if number == _GRAPH:
            inner, index = _graph(buffer, payload, stop, spans, index)
            parts += _message(_GRAPH, inner)
        else:
            parts.append(buffer[start:stop])
    return b"".join(parts), spans


def spliced(message: bytes, lengths: Mapping[int, int]) -> Iterator[bytes | int]:
    """The message with `raw_data` of those lengths added to its initializers, by index.

    Yields the bytes of the result in order; an int k stands for the `lengths[k]` bytes of initializer k.
    """
    for number, start, payload, stop in _fields(message, 0, len(message)):
        if number != _GRAPH:
            yield message[start:stop]
            continue
        parts: list[bytes | int] = []
        size = index = 0
        for field, first, data, last in _fields(message, payload, stop):
            length = lengths.get(index) if field == _INITIALIZER else None
            index += field == _INITIALIZER
            if length is None:
                parts.append(message[first:last])
                size += last - first
                continue
            raw = _header(_RAW_DATA, length)
            whole = last - data + len(raw) + length
            header = _header(_INITIALIZER, whole)
            parts += [header, message[data:last], raw, index - 1]
            size += len(header) + whole
        yield _header(_GRAPH, size)
        yield from parts
