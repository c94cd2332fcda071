"""Files that a reader of snapshots must refuse: name -> (the kind of refusal, the file's bytes or what makes them)."""

from __future__ import annotations

import dataclasses
import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
from stylegan2_files import (
    Call,
    Name,
    Raw,
    array,
    dtype,
    dumps,
    easy,
    load,
    module,
    network,
    parameter,
    record,
    scalar,
    snapshot,
    state_of,
    storage,
    stream,
    stylegan3,
    tensor,
    tensorflow,
    view,
)

Content = bytes | Callable[[], bytes]
CASES: dict[str, tuple[str, Content]] = {}
TRAP = "gansynth-trap"  # what attacks would make in the current folder
_COMMAND = f"touch {TRAP}"
_ONES = np.ones((2, 3), np.float32)


def _text(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def _global(module_name: str, name: str) -> bytes:
    return _text(module_name) + _text(name) + b"\x93"


def _add(kind: str, **cases: Content) -> None:
    for name, content in cases.items():
        assert name not in CASES
        CASES[name] = (kind, content)


def _p4(*instructions: bytes) -> bytes:
    return b"\x80\x04" + b"".join(instructions) + b"."


def _in_ema(value: Any, protocol: int = 4) -> bytes:
    return dumps({"G_ema": value}, protocol)


class _Attack:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


# Code

_CALL = _text(_COMMAND) + b"\x85R"
_EXEC = f"open({TRAP!r}, 'w')"
_add(
    "Unsafe",
    os_system=b"\x80\x03cos\nsystem\n" + _CALL + b".",
    posix_system=_p4(_global("posix", "system"), _CALL),
    python_pickler=pickle.dumps({"G_ema": _Attack(os.system, _COMMAND)}, 4),
    python_pickler_2=pickle.dumps({"G_ema": _Attack(os.system, _COMMAND)}, 2),
    builtins_exec=pickle.dumps(_Attack(exec, _EXEC), 4),
    builtins_eval=pickle.dumps(_Attack(eval, _EXEC), 4),
    builtins_open=pickle.dumps(_Attack(open, TRAP, "w"), 4),
    getattr_chain=pickle.dumps(_Attack(getattr, _Attack(__import__, "os"), "system"), 4),
    getattr_of_allowed=_p4(_global("builtins", "getattr"), _global("collections", "OrderedDict"), _text("x"), b"\x86R"),
    subprocess_popen=_p4(_global("subprocess", "Popen"), _CALL),
    importlib_import=_p4(_global("importlib", "import_module"), _text("antigravity"), b"\x85R"),
    torch_load=_p4(_global("torch", "load"), _CALL),
    torch_storage_sibling=_p4(_global("torch.storage", "torch"), _CALL),
    numpy_load=_p4(_global("numpy", "load"), _CALL),
    numpy_testing_run=_p4(_global("numpy.testing._private.utils", "runstring"), _CALL),
    codecs_encode=_p4(_global("_codecs", "encode"), _text("a"), _text("latin1"), b"\x86R"),
    copyreg_reconstructor=_p4(_global("copyreg", "_reconstructor"), b"N\x85R"),
    dotted_name=_p4(_global("collections", "OrderedDict.fromkeys"), _CALL),
    dotted_globals=_p4(_global("collections", "OrderedDict.__init__.__globals__")),
    dotted_module=_p4(_global("torch.storage.torch", "_load_from_bytes"), _CALL),
    dotted_by_global=b"\x80\x03ccollections\nOrderedDict.fromkeys\n)R.",
    name_with_space=_p4(_global("collections ", "OrderedDict"), b")R"),
    name_no_text=_p4(b"K\x01K\x02\x93"),
    other_class_of_persistence=_p4(_global("torch_utils.persistence", "persistent_class"), b")R"),
    inst=b"\x80\x03(" + _text(_COMMAND) + b"ios\nsystem\n.",
    obj=b"\x80\x03(" + b"cos\nsystem\n" + _text(_COMMAND) + b"o.",
    obj_of_allowed=b"\x80\x03(ccollections\nOrderedDict\no.",
    newobj_ex=_p4(_global("collections", "OrderedDict"), b")}\x92"),
    newobj_of_allowed_call=_p4(_global("collections", "OrderedDict"), b")\x81"),
    newobj_of_text=_p4(_text("os"), b")\x81"),
    newobj_with_arguments=_p4(_global("dnnlib.util", "EasyDict"), b"}\x85\x81"),
    reduce_of_class=_p4(_global("dnnlib.util", "EasyDict"), b")R"),
    reduce_of_text=_p4(_text("os.system"), _CALL),
    reduce_of_record=_p4(b"}", b")R"),
    reduce_of_ndarray=_p4(_global("numpy", "ndarray"), b")R"),
    reduce_with_list=_p4(_global("collections", "OrderedDict"), b"]R"),
    ordered_dict_of_pairs=_in_ema(Call(Name("collections", "OrderedDict"), ([("a", 1)],))),
    ext1=_p4(b"\x82\x01"),
    ext2=_p4(b"\x83\x01\x00"),
    ext4=_p4(b"\x84\x01\x00\x00\x00"),
    persid=b"\x80\x03Pthing\n.",
    binpersid=_p4(_text("thing"), b"Q"),
)

# Instructions that snapshots do not have

_add(
    "Unsafe",
    string=b"\x80\x03S'a'\n.",
    binstring=b"\x80\x03T\x01\x00\x00\x00a.",
    short_binstring=b"\x80\x03U\x01a.",
    unicode_text=b"\x80\x03Va\n.",
    int_text=b"\x80\x03I1\n.",
    long_text=b"\x80\x03L1L\n.",
    float_text=b"\x80\x03F1\n.",
    get_text=b"\x80\x03Nq\x00g0\n.",
    put_text=b"\x80\x03Np0\n.",
    long4=b"\x80\x03\x8b\x01\x00\x00\x00\x01.",
    pop=_p4(b"NN0"),
    pop_mark=_p4(b"N(N1"),
    dup=_p4(b"N2"),
    list_of_mark=_p4(b"(l"),
    dict_of_mark=_p4(b"(d"),
    frozenset_of_mark=_p4(b"(\x91"),
    next_buffer=b"\x80\x05\x97.",
    readonly_buffer=b"\x80\x05N\x98.",
    proto_again=_p4(b"\x80\x04N"),
    setitem_on_list=_p4(b"]", _text("a"), b"Ns"),
    setitems_on_record=_in_ema(Raw(dumps(record("Generator", {}))[2:-1] + b"(" + _text("a") + b"Nu")),
    setitems_on_tensor=_in_ema(Raw(dumps(tensor(_ONES))[2:-1] + b"(" + _text("a") + b"Nu")),
    setitem_on_class=_p4(_global("collections", "OrderedDict"), _text("a"), b"Ns"),
    append_on_dict=_p4(b"}Na"),
    appends_on_tuple=_p4(b")(Ne"),
    append_on_record=_in_ema(Raw(dumps(record("Generator", {}))[2:-1] + b"Na")),
    append_on_network=_in_ema(Raw(dumps(network({}))[2:-1] + b"Na")),
    additems_on_list=_p4(b"](", _text("a"), b"\x90"),
    additems_of_list=_p4(b"\x8f(]\x90"),
    build_on_class=_p4(_global("numpy", "ndarray"), b"}", _text("x"), b"Nsb"),
    build_on_function=_p4(_global("numpy", "dtype"), b"}b"),
    build_on_dict=_p4(b"}}b"),
    build_on_record=_in_ema(Raw(dumps(record("Generator", {}))[2:-1] + b"}b")),
    build_on_tensor=_in_ema(Raw(dumps(tensor(_ONES))[2:-1] + b"}b")),
    build_on_easydict=_in_ema(Raw(dumps(easy({}))[2:-1] + b"}" + _text("pop") + b"Nsb")),
    build_network_twice=_in_ema(Raw(dumps(network({}))[2:-1] + b"}b")),
    build_network_with_pair=_in_ema(network((None, {"__class__": 1}))),
    build_dtype_twice=_in_ema(Raw(dumps(dtype("f4"))[2:-1] + dumps(dtype("f4").state)[2:-1] + b"b")),
    build_array_twice=_in_ema(Raw(dumps(array(_ONES))[2:-1] + dumps(array(_ONES).state)[2:-1] + b"b")),
    key_of_tuple=_p4(b"})Ns"),
    key_of_number=_p4(b"}K\x01Ns"),
    key_twice=_p4(b"}", (_text("a") + b"Ns") * 2),
    key_long=_p4(b"}", _text("a" * 300), b"Ns"),
    trailing_pickle=dumps(snapshot()) + dumps({}),
    trailing_byte=dumps(snapshot()) + b"\x00",
)

# Storages

_GOOD = stream(_ONES.tobytes(), 6)
_EVIL = pickle.dumps(_Attack(os.system, _COMMAND), 2)
_PERSISTENT = ("storage", Name("torch", "FloatStorage"), "123", "cpu", 6, None)


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", _EVIL)
    return buffer.getvalue()


def _stream_with(**changes: Any) -> bytes:
    return _in_ema(load(stream(_ONES.tobytes(), 6, **changes)))


def _persistent(index: int, value: Any) -> bytes:
    return _stream_with(persistent=tuple(value if i == index else v for i, v in enumerate(_PERSISTENT)))


_RAW_EVIL = Raw(_EVIL[2:-1])
_FROM_BUFFER = Name("numpy.core.numeric", "_frombuffer")
_add(
    "Unsafe",
    nested_pickle=_in_ema(load(_EVIL)),
    nested_pickle_4=_in_ema(load(pickle.dumps(_Attack(os.system, _COMMAND), 4))),
    nested_in_magic=_stream_with(magic=_RAW_EVIL),
    nested_in_version=_stream_with(version=_RAW_EVIL),
    nested_in_facts=_stream_with(facts={"protocol_version": _RAW_EVIL}),
    nested_in_persistent=_persistent(2, _RAW_EVIL),
    nested_in_keys=_stream_with(keys=[_RAW_EVIL]),
    nested_outer_name=_stream_with(magic=Call(Name("torch.storage", "_load_from_bytes"), (_GOOD,))),
    nested_persid_early=_in_ema(load(dumps(0x1950A86A20F9469CFC6C, 2)[:-1] + b"Q.")),
    storage_untyped=_persistent(1, Name("torch", "UntypedStorage")),
    storage_sparse=_persistent(1, Name("torch", "sparse.FloatStorage")),
    storage_name_text=_persistent(1, "FloatStorage"),
    storage_view_metadata=_persistent(5, ("123", 0, 2)),
    storage_other_word=_persistent(0, "module"),
    storage_key_number=_persistent(2, 5),
    storage_location_none=_persistent(3, None),
    storage_numel_text=_persistent(4, "6"),
    storage_of_five=_stream_with(persistent=_PERSISTENT[:5]),
    storage_old_with_seven=_stream_with(persistent=(*_PERSISTENT, None)),
    storage_of_text=_in_ema(load("text")),
    storage_of_two=_in_ema(Call(Name("torch.storage", "_load_from_bytes"), (_GOOD, _GOOD))),
)
_add(
    "Damaged",
    bytearray8_endless=_p4(b"\x96" + b"\xff" * 8),
    nested_zip=_in_ema(load(_zip())),
    nested_empty=_in_ema(load(b"")),
    nested_tensor=_in_ema(load(dumps(0x1950A86A20F9469CFC6C, 2))),
    storage_magic=_stream_with(magic=1),
    storage_magic_list=_stream_with(magic=[1]),
    storage_version=_stream_with(version=1002),
    storage_big_endian=_stream_with(
        facts={"protocol_version": 1001, "little_endian": False, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    ),
    storage_facts=_stream_with(facts={"little_endian": True}),
    storage_keys=_stream_with(keys=["124"]),
    storage_keys_two=_stream_with(keys=["123", "123"]),
    storage_numel_more=_persistent(4, 7),
    storage_numel_huge=_persistent(4, 1 << 60),
    storage_numel_negative=_persistent(4, -6),
    storage_numel_agreed_huge=_in_ema(load(stream(_ONES.tobytes(), 1 << 61))),
    storage_numel_stored=_in_ema(load(_GOOD.replace(struct.pack("<q", 6) + _ONES.tobytes(), struct.pack("<q", -1)))),
    storage_short=_in_ema(load(_GOOD[:-1])),
    storage_cut=_in_ema(load(_GOOD[:100])),
    storage_trailing=_in_ema(load(_GOOD + b"\x00")),
    storage_trailing_pickle=_in_ema(load(_GOOD + _EVIL)),
)

# Views and numbers


def _view(shape: Any, strides: Any, offset: Any = 0) -> bytes:
    return _in_ema(view(storage(_ONES), shape, strides, offset))


_add(
    "Unsafe",
    view_beyond=_view((2, 4), (4, 1)),
    view_beyond_by_offset=_view((2, 3), (3, 1), 1),
    view_offset_beyond=_view((0,), (1,), 7),
    view_offset_negative=_view((1,), (1,), -1),
    view_offset_flag=_view((1,), (1,), True),
    view_stride_negative=_view((2, 3), (-3, 1), 3),
    view_size_negative=_view((-1,), (1,)),
    view_size_flag=_view((True,), (1,)),
    view_size_float=_view((2.0,), (1,)),
    view_size_text=_view(("2",), (1,)),
    view_overlapping=_view((2, 2), (1, 1)),
    view_overlapping_partly=_view((2, 3), (2, 1)),
    view_zero_stride=_view((2, 3), (0, 1)),
    view_bomb=_view((1 << 40, 1 << 20), (0, 0)),
    view_bomb_of_ones=_view((1 << 61,), (0,)),
    view_huge_sizes=_view((1 << 62, 1 << 100), (1, 1)),
    view_huge_stride=_view((2, 2), (1 << 61, 1)),
    view_dimensions=_view((1,) * 9, (1,) * 9),
    view_uneven=_view((2, 3), (1,)),
    view_list=_view([2, 3], [3, 1]),
    view_of_bytes=_in_ema(view(_ONES.tobytes(), (2, 3), (3, 1))),
    view_of_tensor=_in_ema(view(tensor(_ONES), (2, 3), (3, 1))),
    view_hooks=_in_ema(
        Call(
            Name("torch._utils", "_rebuild_tensor_v2"),
            (storage(_ONES), 0, (6,), (1,), False, Call(Name("collections", "OrderedDict"), items={"a": 1})),
        )
    ),
    view_with_metadata=_in_ema(
        Call(Name("torch._utils", "_rebuild_tensor_v2"), (storage(_ONES), 0, (6,), (1,), False, {}, {"a": 1}))
    ),
    parameter_of_text=_in_ema(parameter("text")),
    parameter_of_storage=_in_ema(parameter(storage(_ONES))),
    dtype_object=_in_ema(dtype("O8", "|")),
    dtype_void=_in_ema(dtype("V8", "|")),
    dtype_text=_in_ema(dtype("U4")),
    dtype_complex=_in_ema(dtype("c16")),
    dtype_time=_in_ema(dtype("M8")),
    dtype_list=_in_ema(dtype([("a", "O")])),
    dtype_big_endian=_in_ema(dtype("f4", ">")),
    dtype_fields=_in_ema(
        Call(Name("numpy", "dtype"), ("f4", False, True), state=(3, "<", None, ("a",), {"a": 1}, -1, -1, 0))
    ),
    dtype_flags=_in_ema(
        Call(Name("numpy", "dtype"), ("f4", False, True), state=(3, "<", None, None, None, -1, -1, 63))
    ),
    dtype_deep=_in_ema(Call(Name("numpy", "dtype"), ("f4", False, True), state=(3, "<", [], None, None, -1, -1, 0))),
    dtype_unbuilt=_in_ema(
        Call(Name("numpy.core.multiarray", "scalar"), (Call(Name("numpy", "dtype"), ("f8", False, True)), bytes(8)))
    ),
    scalar_short=_in_ema(Call(Name("numpy.core.multiarray", "scalar"), (dtype("f8"), bytes(7)))),
    scalar_long=_in_ema(Call(Name("numpy.core.multiarray", "scalar"), (dtype("f8"), bytes(900)))),
    scalar_of_object=_in_ema(Call(Name("numpy.core.multiarray", "scalar"), (dtype("f8"), {"a": 1}))),
    array_of_objects=_in_ema(
        Call(
            Name("numpy.core.multiarray", "_reconstruct"),
            (Name("numpy", "ndarray"), (0,), b"b"),
            state=(1, (1,), dtype("f4"), False, [_RAW_EVIL]),
        )
    ),
    array_of_list=_in_ema(dataclasses.replace(array(_ONES), state=(1, (1,), dtype("f4"), False, [1.0]))),
    array_shape=_in_ema(dataclasses.replace(array(_ONES), state=(1, (7,), dtype("f4"), False, _ONES.tobytes()))),
    array_shape_negative=_in_ema(
        dataclasses.replace(array(_ONES), state=(1, (-2, -3), dtype("f4"), False, _ONES.tobytes()))
    ),
    array_shape_huge=_in_ema(dataclasses.replace(array(_ONES), state=(1, (1 << 80, 0), dtype("f4"), False, b""))),
    array_without_type=_in_ema(dataclasses.replace(array(_ONES), state=(1, (6,), None, False, _ONES.tobytes()))),
    array_of_other_class=_in_ema(
        Call(Name("numpy.core.multiarray", "_reconstruct"), (Name("collections", "OrderedDict"), (0,), b"b"))
    ),
    buffer_of_other_order=_in_ema(Call(_FROM_BUFFER, (_ONES.tobytes(), dtype("f4"), (2, 3), "K"))),
    buffer_of_nothing=_in_ema(Call(_FROM_BUFFER, ())),
    buffer_of_text=_in_ema(Call(_FROM_BUFFER, ("text", dtype("f4"), (1,), "C"))),
    buffer_too_short=_in_ema(Call(_FROM_BUFFER, (_ONES.tobytes(), dtype("f4"), (1 << 40,), "C"))),
    buffer_of_code=_in_ema(Call(_FROM_BUFFER, (_RAW_EVIL, dtype("f4"), (1,), "C"))),
    array_of_matrix=_p4(_global("numpy", "matrix")),
)

# Records


def _record_with(**changes: Any) -> bytes:
    return _in_ema(record("Generator", {}, **changes))


def _record_without(key: str) -> bytes:
    made = record("Generator", {})
    del made.arguments[0][key]
    return _in_ema(made)


_add(
    "Unsafe",
    record_extra=_record_with(extra=1),
    record_missing=_record_without("module_src"),
    record_type=_record_with(type="function"),
    record_version=_record_with(version=7),
    record_version_flag=_record_with(version=True),
    record_version_float=_record_with(version=6.0),
    record_source_number=_record_with(module_src=1),
    record_class_number=_in_ema(record(5, {})),
    record_state_list=_in_ema(record("Generator", [])),
    record_state_none=_in_ema(record("Generator", None)),
    record_of_nothing=_in_ema(Call(Name("torch_utils.persistence", "_reconstruct_persistent_obj"), ())),
    record_of_easydict=_in_ema(Call(Name("torch_utils.persistence", "_reconstruct_persistent_obj"), (easy({}),))),
    record_hooks=_in_ema(record("Generator", {"_forward_hooks": {"1": "os.system"}})),
    record_hook_function=_in_ema(record("Generator", {"_forward_pre_hooks": Name("collections", "OrderedDict")})),
)

# Snapshots that do not fit together


def _changed(*path: str, base: Any = None, **attributes: Any) -> bytes:
    """A snapshot with some attributes of a module changed; `...` removes one."""
    tree = snapshot() if base is None else base
    state = state_of(tree["G_ema"], *path)
    for key, value in attributes.items():
        if value is ...:
            del state[key]
        else:
            state[key] = value
    return dumps(tree)


def _with_tensor(name: str, value: Any, *path: str, kind: str = "_parameters") -> bytes:
    tree = snapshot()
    state_of(tree["G_ema"], *path)[kind][name] = value
    return dumps(tree)


def _with_child(name: str, child: Any, *path: str) -> bytes:
    tree = snapshot()
    children = state_of(tree["G_ema"], *path)["_modules"]
    if child is ...:
        del children[name]
    else:
        children[name] = child
    return dumps(tree)


def _itself() -> bytes:
    """A generator that is its own synthesis network: its children are put into it once it exists."""
    state = {"_parameters": {}, "_buffers": {}, "_modules": Raw(b"}q\xfa")}
    made = dumps(record("Generator", state))[2:-1] + b"q\xfb"
    tie = _text("again") + b"h\xfa" + _text("synthesis") + b"h\xfbs" + b"s"
    return _p4(b"}", _text("G_ema"), made, b"s", tie)


_CONV1 = ("synthesis", "b8", "conv1")
_NAN = np.full((4, 4, 3, 3), np.nan, np.float32)
_EXACT = np.full((4, 4, 3, 3), 0.1, np.float64)
_add(
    "Damaged",
    no_ema=dumps({"G": None}),
    ema_none=dumps({"G_ema": None}),
    ema_tensor=_in_ema(tensor(_ONES)),
    ema_text=_in_ema("text"),
    ema_dict=_in_ema({"_modules": {}}),
    content_list=dumps([snapshot()]),
    content_text=dumps("text"),
    content_number=dumps(1),
    content_pair=dumps((network({}), network({}))),
    content_mixed=dumps((network({}), network({}), {})),
    record_empty=_in_ema(record("Generator", {})),
    module_missing=_with_child("mapping", ...),
    layer_missing=_with_child("fc1", ..., "mapping"),
    block_missing=_with_child("b8", ..., "synthesis"),
    block_extra=_with_child("b32", module("SynthesisBlock", {}, {}), "synthesis"),
    conv_missing=_with_child("conv1", ..., "synthesis", "b8"),
    conv_extra=_with_child("conv2", module("SynthesisLayer", {}, {}), "synthesis", "b8"),
    affine_missing=_with_child("affine", ..., *_CONV1),
    affine_below_affine=_with_child("affine", module("FullyConnectedLayer", {}, {}), *_CONV1, "affine"),
    child_of_text=_with_child("conv1", "text", "synthesis", "b8"),
    tensor_missing=_with_tensor("bias", None, *_CONV1),
    tensor_extra=_with_tensor("extra", tensor(_ONES), *_CONV1),
    tensor_of_text=_with_tensor("bias", "text", *_CONV1),
    tensor_of_numpy=_with_tensor("bias", array(np.ones(4, np.float32)), *_CONV1),
    tensor_twice=_with_tensor("bias", tensor(np.ones(4, np.float32)), *_CONV1, kind="_buffers"),
    tensor_shape=_with_tensor("bias", tensor(np.ones(5, np.float32)), *_CONV1),
    tensor_dimensions=_with_tensor("weight", tensor(np.ones(4, np.float32)), *_CONV1),
    tensor_not_finite=_with_tensor("weight", tensor(_NAN), *_CONV1),
    tensor_whole_numbers=_with_tensor("bias", tensor(np.ones(4), "i8"), *_CONV1),
    tensor_not_float32=_with_tensor("weight", tensor(_EXACT, "f8"), *_CONV1),
    tensor_with_gaps=_with_tensor("bias", view(storage(np.ones(8)), (4,), (2,)), *_CONV1),
    attribute_missing=_changed(*_CONV1, use_noise=...),
    attribute_type=_changed(*_CONV1, use_noise=1),
    attribute_deep=_changed(*_CONV1, up=Raw(b"]" * 100 + b"a" * 99)),
    no_parameters=_changed(*_CONV1, _parameters=...),
    parameters_list=_changed(*_CONV1, _parameters=[]),
    modules_easydict=_changed(*_CONV1, _modules=easy({})),
    z_dim=_changed(z_dim=7),
    z_dim_huge=_changed(z_dim=1 << 70),
    z_dim_flag=_changed(z_dim=True),
    c_dim=_changed(c_dim=3),
    resolution=_changed(img_resolution=32),
    resolution_huge=_changed(img_resolution=1 << 100),
    resolution_negative=_changed(img_resolution=-16),
    resolution_odd=_changed(img_resolution=17),
    channels=_changed(img_channels=4),
    layers=_changed("mapping", num_layers=1 << 40),
    clamp_infinite=_changed("synthesis", "b8", "torgb", conv_clamp=float("inf")),
    clamp_text=_changed(*_CONV1, conv_clamp="256"),
    cut_in_half=dumps(snapshot())[:30_000],
    cut_by_a_byte=dumps(snapshot())[:-1],
    cut_frame=dumps(snapshot(), framed=True)[:-1],
    no_file=b"",
    one_byte=b"\x80",
    only_protocol=b"\x80\x04",
    protocol_0=pickle.dumps({"G_ema": None}, 0),
    protocol_1=pickle.dumps({"G_ema": None}, 1),
    protocol_6=b"\x80\x06N.",
    web_page=b"<!DOCTYPE html><title>Sign in</title>",
    safetensors=struct.pack("<Q", 2) + b"{}",
    no_instruction=_p4(b"\xff"),
    nothing_left=_p4(b""),
    two_left=_p4(b"NN"),
    mark_left=_p4(b"(N"),
    no_mark=_p4(b"t"),
    below_mark=_p4(b"N(a"),
    no_argument=_p4(b"R"),
    memo_missing=_p4(b"h\x05"),
    memo_of_nothing=_p4(b"q\x00"),
    key_without_value=_p4(b"}(", _text("a"), b"u"),
    not_utf8=_p4(b"X\x01\x00\x00\x00\xff"),
    name_not_ascii=b"\x80\x03c\xff\nname\n.",
)


# TensorFlow


def _tf(change: Callable[[dict[str, Any]], Any], **how: Any) -> bytes:
    """A snapshot of TensorFlow with the state of its generator changed."""
    tree = tensorflow(**how)
    change(tree[2].state)
    return dumps(tree)


def _component(state: dict[str, Any], name: str = "synthesis") -> Any:
    return state["components"][name].state


def _rename(state: dict[str, Any], before: str, after: str) -> None:
    variables = _component(state)["variables"]
    variables[:] = [(name.replace(before, after), value) for name, value in variables]


_add(
    "Damaged",
    tf_stateless=dumps((network(None), network(None), network(None))),
    tf_variables=_tf(lambda state: state.update(variables="none")),
    tf_variable_pair=_tf(lambda state: state["variables"].append(("a", 1.0, 2))),
    tf_variable_text=_tf(lambda state: state["variables"].append(("a", "text"))),
    tf_variable_list=_tf(lambda state: state["variables"].append(("a", [[1.0]]))),
    tf_variable_twice=_tf(lambda state: state["variables"].append(("lod", 0.0))),
    tf_variable_shadows=_tf(lambda state: state["variables"].append(("mapping/Dense0/bias", array(np.ones(7))))),
    tf_variable_unknown=_tf(lambda state: state["variables"].append(("extra", 0.0))),
    tf_variable_empty_array=_tf(
        lambda state: state["variables"].append(("a", dataclasses.replace(array(_ONES), state=None)))
    ),
    tf_variable_missing=_tf(lambda state: _component(state)["variables"].pop()),
    tf_average_missing=_tf(lambda state: state["variables"].pop()),
    tf_average_shape=_tf(lambda state: state["variables"].__setitem__(1, ("dlatent_avg", array(_ONES)))),
    tf_noise_strength=_tf(
        lambda state: _component(state)["variables"].append(("8x8/Conv1/noise_strength", scalar(1e300)))
    ),
    tf_strength_nan=_tf(lambda state: _rename(state, "4x4/Conv/noise_strength", "9x9/x")),
    tf_arguments=_tf(lambda state: state.update(static_kwargs=[1])),
    tf_clamp=_tf(lambda state: _component(state)["static_kwargs"].update(conv_clamp="256")),
    tf_multiplier=_tf(lambda state: _component(state, "mapping")["static_kwargs"].update(mapping_lrmul=-1)),
    tf_component_text=_tf(lambda state: state["components"].update(mapping="text")),
    tf_nested_components=_tf(lambda state: _component(state).update(components={"synthesis": network({})})),
    tf_side=_tf(lambda state: _rename(state, "16x16", "32x32")),
    tf_odd_side=_tf(lambda state: _rename(state, "16x16", "17x17")),
    tf_dense_order=_tf(
        lambda state: _component(state, "mapping").update(
            variables=[(n.replace("Dense1", "Dense9"), v) for n, v in _component(state, "mapping")["variables"]]
        )
    ),
    tf_architecture=_tf(lambda state: _component(state)["static_kwargs"].update(architecture="resnet")),
)
_add(
    "Unsupported",
    tf_stylegan1=dumps(tensorflow(version=3)),
    tf_version_text=_tf(lambda state: state.update(version="5")),
    tf_no_components=_tf(lambda state: state.update(components={})),
    tf_more_components=_tf(lambda state: state["components"].update(extra=network({}))),
    tf_torgb_lod=_tf(lambda state: _rename(state, "16x16/ToRGB", "ToRGB_lod0")),
    tf_label_size=_tf(lambda state: _component(state, "mapping")["static_kwargs"].update(label_size=10)),
    tf_activation=_tf(lambda state: _component(state)["static_kwargs"].update(nonlinearity="relu")),
    tf_kernel=_tf(lambda state: _component(state)["static_kwargs"].update(resample_kernel=[0, 0])),
    tf_kernel_text=_tf(lambda state: _component(state)["static_kwargs"].update(resample_kernel="1331")),
    stylegan3=dumps(stylegan3()),
    discriminator=_in_ema(module("Discriminator", {}, {"synthesis": module("SynthesisNetwork", {}, {})})),
    record_of_itself=_itself(),
    torch_zip=_zip(),
    activation=_changed(*_CONV1, activation="relu"),
    activation_of_mapping=_changed("mapping", "fc1", activation="linear"),
    activation_of_affine=_changed(*_CONV1, "affine", activation="lrelu"),
    upsampling=_changed(*_CONV1, up=2),
    upsampling_of_conv0=_changed("synthesis", "b8", "conv0", up=4),
    gain=_changed(*_CONV1, act_gain=1.0),
    gain_of_mapping=_changed("mapping", "fc1", weight_gain=1.0),
    gain_of_torgb=_changed("synthesis", "b8", "torgb", weight_gain=1.0),
    multipliers=_changed("mapping", "fc1", bias_gain=0.02),
    padding=_changed(*_CONV1, padding=0),
    clamps=_changed(*_CONV1, conv_clamp=1.0),
    architectures=_changed("synthesis", "b8", architecture="orig"),
    noises=_changed(*_CONV1, use_noise=False),
    rows_of_w=_changed("mapping", num_ws=5),
)

# Bombs: little to read, much to do

_MANY = 300_000


def _doubling(levels: int = 1000) -> bytes:
    """A tuple of the next one twice, and so on."""
    return b")q\x00" + b"h\x00\x86q\x00" * levels


def _nested(make: bytes, levels: int) -> bytes:
    """Values made of the last one, which is memo entry 0; the pickle would otherwise pile them up."""
    return b")q\x00" + (make + b"\x86q\x00") * levels


def _deep_records() -> bytes:
    """Modules within modules within modules."""
    words = ["type", "class", "version", "module_src", "", "class_name", "C", "state", "a"]
    words_kept = b"".join(_text(word) + b"q" + bytes([i + 1]) for i, word in enumerate(words))
    function = _global("torch_utils.persistence", "_reconstruct_persistent_obj") + b"q\x20"
    content = b"}(h\x01h\x02h\x03K\x06h\x04h\x05h\x06h\x07h\x08}h\x09h\x00su"
    return _p4(b"(", words_kept, function, b"t", _nested(b"h\x20" + content + b"\x85R", 18_000), b"\x86")


def _shared_modules(levels: int = 40) -> bytes:
    """A generator whose modules each have the next one twice."""
    child = module("SynthesisNetwork", {}, {})
    for _ in range(levels):
        child = module("SynthesisNetwork", {}, {"b4": child, "b8": child})
    return _in_ema(module("Generator", {}, {"synthesis": child, "mapping": child}, img_resolution=8))


def _compared_keys() -> bytes:
    """Two equal texts of a quarter of a million letters, compared again and again."""
    text = _text("a" * 250_000)
    return _p4(text, b"q\x00", text, b"q\x01}", (b"h\x00Nsh\x01Ns") * 50_000, b"\x87")


_add(
    "Unsafe",
    bomb_marks=lambda: b"\x80\x04" + b"(" * _MANY,
    bomb_instructions=lambda: _p4(b"](" + b"NNNNe(" * _MANY),
    bomb_stack=lambda: b"\x80\x04" + b"N" * _MANY,
    bomb_texts=lambda: b"\x80\x04](" + _text("a" * 900_000) * 40,
    bomb_text=lambda: _p4(_text("a" * 3_000_000)),
    bomb_text_announced=b"\x80\x04X\xff\xff\xff\xff",
    bomb_text8_announced=b"\x80\x04\x8d" + b"\xff" * 8,
    bomb_long=_p4(b"\x8a\xff" + b"\x7f" * 255),
    bomb_memo=_p4(b"Nr\xff\xff\xff\xff"),
    bomb_memo_moderate=_p4(b"Nr\x00\x00\x00\x10"),
    bomb_tuple_key=lambda: _p4(b"}", _doubling(), b"Ns"),
    bomb_deep_tuple_key=lambda: _p4(b"})" + b"\x85" * 200_000, b"Ns"),
    bomb_tuple_in_set=lambda: _p4(b"\x8f()" + b"\x85" * 200_000, b"\x90"),
    bomb_compared_keys=_compared_keys,
    bomb_sets=lambda: _p4(
        b"]\x94(" + _text("a") + b"\x94" + b"h\x01" * 15_000 + b"e",
        (_global("builtins", "set") + b"h\x00\x85R") * 40_000,
    ),
    bomb_storages=lambda: _p4(
        _global("torch.storage", "_load_from_bytes") + b"q\x00",
        dumps(_GOOD)[2:-1],
        b"q\x01",
        b"h\x00h\x01\x85R" * 19_000,
    ),
    bomb_doubling_shape=_in_ema(view(storage(_ONES), Raw(_doubling()), Raw(_doubling()))),
    bomb_names=lambda: b"\x80\x03" + b"(ccollections\nOrderedDict\nt" * _MANY,
    bomb_unread_blob=lambda: dumps({"G_ema": None, "a": bytes(50_000_000)}) + b"N",
)
_add(
    "Damaged",
    bomb_bytes_announced=b"\x80\x04B\xff\xff\xff\xff",
    bomb_bytes8_announced=b"\x80\x04\x8e" + b"\xff" * 8,
    bomb_frame_announced=b"\x80\x04\x95" + b"\xff" * 8 + b"N.",
    bomb_name_announced=b"\x80\x03c" + b"a" * 500_000,
    bomb_deep_tuples=lambda: _p4(b")" + b"\x85" * 390_000),
    bomb_deep_lists=lambda: _p4(_nested(b"]h\x00a", 75_000)),
    bomb_deep_dicts=lambda: _p4(_text("a"), b"q\x01", _nested(b"}h\x01h\x00s", 60_000), b"\x86"),
    bomb_doubling=_p4(_doubling()),
    bomb_doubling_ema=_p4(b"}", _text("G_ema"), _doubling(), b"s"),
    bomb_list_of_itself=_p4(b"]\x94h\x00ah\x00ah\x00a"),
    bomb_deep_records=_deep_records,
    bomb_shared_modules=_shared_modules,
)
