#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets, corpus/<target>/*. Needs NumPy only: the classes that PyTorch's
pickles name are stood in for by empty ones of the same name.

    python3 tests/fuzz/make_corpus.py
"""
import collections
import io
import json
import os
import pathlib
import pickle
import struct
import sys
import types
import zipfile

import numpy as np

CORPUS = pathlib.Path(__file__).parent / "corpus"


def write(target, name, content):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def npy(array, version=(1, 0)):
    out = io.BytesIO()
    np.lib.format.write_array(out, array, version=version, allow_pickle=True)
    return out.getvalue()


def npy_header(text, data=b"", version=1):
    text = text.encode() + b"\n"
    size = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + size + text + data


def npy_seeds():
    for kind in "?bBhHiIqQefdFD":
        array = np.arange(6).reshape(3, 2).astype(kind)
        write("npy", f"dtype_{array.dtype.name}", npy(array))
    write("npy", "big_endian", npy(np.arange(6, dtype=">f8").reshape(2, 3)))
    write("npy", "fortran", npy(np.asfortranarray(np.arange(24, dtype="<u2").reshape(2, 3, 4))))
    write("npy", "version_2", npy(np.arange(4.0), (2, 0)))
    write("npy", "version_3", npy(np.arange(4.0), (3, 0)))
    write("npy", "scalar", npy(np.array(3.0)))
    write("npy", "empty", npy(np.zeros((0, 4))))
    write("npy", "objects", npy(np.array([{}], dtype=object)))
    write("npy", "structure", npy(np.zeros(2, dtype=[("a", "<f4"), ("b", "<i4")])))
    write("npy", "truncated", npy(np.arange(100.0))[:-300])
    write("npy", "int64_overflow", npy(np.array([2**40, -1])))
    write("npy", "claims_2_60", npy_header(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1152921504606846976,), }", b"\0" * 16))
    write("npy", "overflowing_shape", npy_header(
        "{'descr': '<f8', 'fortran_order': True, 'shape': (4294967296, 4294967296, 4294967296), }"))
    write("npy", "negative_extent", npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}"))
    write("npy", "python_2", npy_header("{'shape': (2L,), 'fortran_order': False, 'descr': \"<f4\"}", b"\0" * 8))


def torch_stand_in():
    """Modules and names as in PyTorch's pickles."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    sys.modules["torch"], sys.modules["torch._utils"] = torch, utils
    for name in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool"):
        setattr(torch, name + "Storage", type(name + "Storage", (), {"__module__": "torch"}))

    def stand_in(name):
        def function(*arguments):
            raise NotImplementedError
        function.__module__, function.__name__, function.__qualname__ = "torch._utils", name, name
        setattr(utils, name, function)
        return function

    return torch, stand_in("_rebuild_tensor_v2"), stand_in("_rebuild_parameter")


torch, rebuild_tensor, rebuild_parameter = torch_stand_in()


class Storage:
    def __init__(self, kind, key, elements):
        self.identifier = ("storage", getattr(torch, kind + "Storage"), key, "cpu", elements)


class Reduced:
    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


class Pickler(pickle.Pickler):
    def persistent_id(self, value):
        return value.identifier if isinstance(value, Storage) else None


def pickled(value, protocol=2):
    out = io.BytesIO()
    Pickler(out, protocol).dump(value)
    return out.getvalue()


SIZES = {"Float": 4, "Double": 8, "Half": 2, "BFloat16": 2, "Long": 8, "Int": 4, "Short": 2, "Char": 1,
         "Byte": 1, "Bool": 1}


def tensor(kind="Float", key="0", shape=(2, 3), strides=(3, 1), offset=0, elements=None):
    elements = 256 // SIZES[kind] if elements is None else elements
    return Reduced(rebuild_tensor, Storage(kind, key, elements), offset, shape, strides, False,
                   collections.OrderedDict())


def pickle_seeds():
    state = collections.OrderedDict((f"layer.{kind}", tensor(kind)) for kind in SIZES)
    for protocol in (2, 3, 4, 5):
        write("pickle", f"state_dict_protocol_{protocol}", pickled(state, protocol))
    state._metadata = collections.OrderedDict({"": {"version": 1}})
    write("pickle", "metadata", pickled(state))
    for key in ("state_dict", "model_state_dict", "model"):
        write("pickle", "under_" + key, pickled(
            {key: {"module.a": tensor(), "module.b": tensor("Long", shape=(), strides=())}, "epoch": 3}))
    write("pickle", "parameter", pickled(
        {"w": Reduced(rebuild_parameter, tensor(), True, collections.OrderedDict())}))
    write("pickle", "transposed", pickled({"w": tensor(shape=(3, 2), strides=(1, 3), offset=5)}))
    write("pickle", "expanded", pickled({"w": tensor(shape=(1 << 40, 2), strides=(0, 1))}))
    write("pickle", "outside", pickled({"w": tensor(shape=(9, 9), strides=(9, 1))}))
    write("pickle", "overflow", pickled({"w": tensor(shape=(1 << 62, 1 << 62), strides=(1 << 62, 1))}))
    write("pickle", "missing_storage", pickled({"w": tensor(key="missing")}))
    write("pickle", "wrong_count", pickled({"w": tensor(elements=1 << 60)}))
    plain = {"a": [1, -2, 1 << 20, 1 << 40, -(1 << 63), 1 << 80, 0.5, True, False, None],
             "b": ("x" * 300, "é", (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)), 7: {}}
    for protocol in range(6):
        write("pickle", f"plain_protocol_{protocol}", pickled(plain, protocol))
    circle = []
    circle.append(circle)
    write("pickle", "circle", pickled({"state_dict": circle}))
    write("pickle", "os_system", pickled(Reduced(os.system, "true")))
    write("pickle", "os_system_protocol_4", pickled(Reduced(os.system, "true"), 4))
    write("pickle", "instance", b"(S'true'\nios\nsystem\n.")
    write("pickle", "ordered_dict_of_pairs", b"ccollections\nOrderedDict\n((lp0\n(I1\nI2\ntp1\natR.")
    write("pickle", "deep", b"(" * 500 + b"t" * 500 + b".")


def safetensors(header, data=b""):
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def safetensors_seeds():
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for dtype, size in (("F64", 8), ("F32", 4), ("F16", 2), ("BF16", 2), ("I64", 8), ("I32", 4), ("I16", 2),
                        ("I8", 1), ("U64", 8), ("U32", 4), ("U16", 2), ("U8", 1), ("BOOL", 1), ("C64", 8)):
        header["t." + dtype] = entry(dtype, [2, 3], offset, offset + 6 * size)
        offset += 6 * size
    write("safetensors", "all_types", safetensors(header, bytes(offset)))
    write("safetensors", "truncated", safetensors(header, bytes(offset - 5)))
    write("safetensors", "scalar", safetensors({"s": entry("F32", [], 0, 4)}, bytes(4)))
    write("safetensors", "empty", safetensors({}))
    write("safetensors", "zero_extent", safetensors({"z": entry("F32", [0, 5], 0, 0)}))
    write("safetensors", "overlap", safetensors(
        {"a": entry("F32", [2], 0, 8), "b": entry("F32", [2], 4, 12)}, bytes(12)))
    write("safetensors", "gap", safetensors(
        {"a": entry("F32", [1], 0, 4), "b": entry("F32", [1], 8, 12)}, bytes(12)))
    write("safetensors", "overflow", safetensors({"a": entry("F32", [1 << 62, 1 << 62], 0, 16)}, bytes(16)))
    write("safetensors", "beyond", safetensors({"a": entry("F32", [1 << 60], 0, 1 << 62)}, bytes(16)))
    write("safetensors", "backwards", safetensors({"a": entry("F32", [1], 8, 4)}, bytes(8)))
    write("safetensors", "negative", safetensors({"a": entry("F32", [-1], 0, 4)}, bytes(4)))
    write("safetensors", "float8", safetensors({"a": entry("F8_E4M3", [4], 0, 4)}, bytes(4)))
    write("safetensors", "deep", safetensors("[" * 2000))
    write("safetensors", "not_json", safetensors("{'a': 1}"))
    write("safetensors", "long_header", struct.pack("<Q", 1 << 60) + b"{}")
    write("safetensors", "nan", safetensors({"a": entry("F32", [1], 0, 4)}, b"\x00\x00\xc0\x7f"))


def archive(members, method=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as target:
        for name, content in members.items():
            target.writestr(zipfile.ZipInfo(name), content, method)
    return out.getvalue()


def zip_seeds():
    members = {"m/data.pkl": pickled({"w": tensor(elements=6)}), "m/data/0": bytes(24), "m/version": b"3\n",
               "m/byteorder": b"little"}
    stored, deflated = archive(members), archive(members, zipfile.ZIP_DEFLATED)
    write("zip", "stored", stored)
    write("zip", "deflated", deflated)
    write("zip", "big_endian", archive({**members, "m/byteorder": b"big"}))
    write("zip", "truncated", stored[:-30])
    directory = stored.index(b"PK\x01\x02")
    broken = bytearray(stored)
    struct.pack_into("<I", broken, directory + 24, 1 << 30)
    write("zip", "wrong_size", bytes(broken))
    broken = bytearray(deflated)
    struct.pack_into("<I", broken, deflated.index(b"PK\x01\x02") + 24, 5)
    write("zip", "wrong_deflated_size", bytes(broken))
    broken = bytearray(stored)
    broken[stored.index(b"m/data.pkl") + 40] ^= 1
    write("zip", "wrong_checksum", bytes(broken))
    write("zip", "bomb", archive({"m/data.pkl": bytes(1 << 20)}, zipfile.ZIP_DEFLATED))
    write("zip", "empty", archive({}))
    write("zip", "torchscript", archive({"m/constants.pkl": b".", "m/data.pkl": b"N."}))


if __name__ == "__main__":
    npy_seeds()
    pickle_seeds()
    safetensors_seeds()
    zip_seeds()
