"""The framing of suspend images."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocaml_compat import suspend_image
from ocaml_compat.suspend_image import ImageError, RecordType


def test_an_image_begins_as_it_always_did() -> None:
    record = suspend_image.record(RecordType.XENOPS, b"ab")
    assert suspend_image.SIGNATURE == b"XenSavedDomv2-\n"
    assert record == bytes.fromhex("0f000000000000000200000000000000") + b"ab"


@given(st.sampled_from(list(RecordType)), st.binary(max_size=100))
def test_records_survive_the_round_trip(kind: RecordType, content: bytes) -> None:
    read = io.BytesIO(suspend_image.record(kind, content)).read
    found, length = suspend_image.read_head(read)
    assert (found, suspend_image.read_content(read, length)) == (kind, content)


@given(st.binary(max_size=40))
def test_rubbish_is_refused(data: bytes) -> None:
    read = io.BytesIO(data).read
    with pytest.raises(ImageError):
        suspend_image.read_signature(read)
        kind, length = suspend_image.read_head(read)
        assert kind and suspend_image.read_content(read, length)
        raise ImageError


def test_an_image_of_an_old_release_says_so() -> None:
    with pytest.raises(ImageError, match="too old"):
        suspend_image.read_signature(io.BytesIO(suspend_image.OLD_SIGNATURE).read)
