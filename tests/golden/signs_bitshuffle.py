"""Chunks as HDF5's bitshuffle-LZ4 filter (number 32008) stores them, without that filter.

The LZ4 blocks hold literals only, which every decoder takes.
"""
import struct

import numpy as np

FILTER = 32008
BLOCK_BYTES = 8192


def lz4_literals(data):
    """An LZ4 block that says `data` word for word."""
    length = len(data)
    if length < 15:
        return bytes([length << 4]) + data
    rest = length - 15
    return b"\xf0" + b"\xff" * (rest // 255) + bytes([rest % 255]) + data


def shuffled(elements):
    """Bit k of every element, then bit k + 1 of every element, and so on."""
    raw = elements.view(np.uint8).reshape(len(elements), elements.itemsize)
    bits = np.unpackbits(raw, axis=1, bitorder="little")
    return np.packbits(bits.T, axis=1, bitorder="little").tobytes()


def encode(array):
    """The stored bytes of one chunk; its elements must fill whole blocks."""
    flat = np.ascontiguousarray(array).ravel()
    per_block = BLOCK_BYTES // flat.itemsize
    assert flat.size % per_block == 0
    out = struct.pack(">QI", flat.nbytes, BLOCK_BYTES)
    for start in range(0, flat.size, per_block):
        block = lz4_literals(shuffled(flat[start : start + per_block]))
        out += struct.pack(">I", len(block)) + block
    return out
