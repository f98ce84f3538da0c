from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Greeting(_message.Message):
    __slots__ = ("spec_json", "policy", "uuids")
    SPEC_JSON_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    UUIDS_FIELD_NUMBER: _ClassVar[int]
    spec_json: str
    policy: str
    uuids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, spec_json: _Optional[str] = ..., policy: _Optional[str] = ..., uuids: _Optional[_Iterable[str]] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("learner", "missing")
    LEARNER_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    learner: str
    missing: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, learner: _Optional[str] = ..., missing: _Optional[_Iterable[str]] = ...) -> None: ...

class EpisodePart(_message.Message):
    __slots__ = ("header", "zstd")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    ZSTD_FIELD_NUMBER: _ClassVar[int]
    header: EpisodeHeader
    zstd: bytes
    def __init__(self, header: _Optional[_Union[EpisodeHeader, _Mapping]] = ..., zstd: _Optional[bytes] = ...) -> None: ...

class EpisodeHeader(_message.Message):
    __slots__ = ("learner", "meta_json", "steps", "crc32")
    LEARNER_FIELD_NUMBER: _ClassVar[int]
    META_JSON_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    CRC32_FIELD_NUMBER: _ClassVar[int]
    learner: str
    meta_json: str
    steps: int
    crc32: int
    def __init__(self, learner: _Optional[str] = ..., meta_json: _Optional[str] = ..., steps: _Optional[int] = ..., crc32: _Optional[int] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Have(_message.Message):
    __slots__ = ("learner", "weights_sha256")
    LEARNER_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_SHA256_FIELD_NUMBER: _ClassVar[int]
    learner: str
    weights_sha256: str
    def __init__(self, learner: _Optional[str] = ..., weights_sha256: _Optional[str] = ...) -> None: ...

class NewsPart(_message.Message):
    __slots__ = ("status", "weights", "content")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    status: Status
    weights: Weights
    content: bytes
    def __init__(self, status: _Optional[_Union[Status, _Mapping]] = ..., weights: _Optional[_Union[Weights, _Mapping]] = ..., content: _Optional[bytes] = ...) -> None: ...

class Status(_message.Message):
    __slots__ = ("phase", "updates", "debt", "episodes", "version", "monotonic_s")
    PHASE_FIELD_NUMBER: _ClassVar[int]
    UPDATES_FIELD_NUMBER: _ClassVar[int]
    DEBT_FIELD_NUMBER: _ClassVar[int]
    EPISODES_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MONOTONIC_S_FIELD_NUMBER: _ClassVar[int]
    phase: str
    updates: int
    debt: int
    episodes: int
    version: int
    monotonic_s: float
    def __init__(self, phase: _Optional[str] = ..., updates: _Optional[int] = ..., debt: _Optional[int] = ..., episodes: _Optional[int] = ..., version: _Optional[int] = ..., monotonic_s: _Optional[float] = ...) -> None: ...

class Weights(_message.Message):
    __slots__ = ("sha256", "size")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    sha256: str
    size: int
    def __init__(self, sha256: _Optional[str] = ..., size: _Optional[int] = ...) -> None: ...
