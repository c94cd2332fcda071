"""XMP in image files: valid, small, invisible in the pixels, and read back from whatever is left of a file."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import PIL.Image
import PIL.PngImagePlugin
import PIL.TiffImagePlugin
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gansynth.encode import encoder
from gansynth.errors import InputError
from gansynth.provenance import embed, is_image, read, says_synthetic
from gansynth.recipe import ImageFormat

SAMPLE_ID = "0123456789abcdef" * 2
RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
OPTIONS: list[dict[str, Any]] = [
    {"format": "jpg"},
    {"format": "jpg", "quality": 30, "subsampling": "4:2:0"},
    {"format": "png"},
    {"format": "png", "compress_level": 0},
    {"format": "webp"},
    {"format": "webp", "lossless": True},
]
options = st.sampled_from(OPTIONS)
sample_ids = st.text("0123456789abcdef", min_size=32, max_size=32)


def encoded(option: dict[str, Any], height: int = 40, width: int = 40, seed: int = 0) -> bytes:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return encoder(ImageFormat(**option).options())(image)


def opened(data: bytes) -> PIL.Image.Image:
    image = PIL.Image.open(io.BytesIO(data))
    image.load()
    return image


def saved(image: PIL.Image.Image, format_name: str, **how: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_name, **how)
    return buffer.getvalue()


MARKED = {str(option): embed(encoded(option), option["format"], SAMPLE_ID) for option in OPTIONS}
marked = st.sampled_from(list(MARKED.values()))


@settings(max_examples=60)
@given(options, sample_ids, st.integers(1, 70), st.integers(1, 70), st.integers(0, 99))
def test_a_marked_file_has_the_same_pixels_and_says_which_sample_it_is(
    option: dict[str, Any], sample_id: str, height: int, width: int, seed: int
) -> None:
    plain = encoded(option, height, width, seed)
    data = embed(plain, option["format"], sample_id)
    before, after = opened(plain), opened(data)
    assert (after.format, after.mode, after.size) == (before.format, before.mode, before.size)
    assert after.tobytes() == before.tobytes()
    assert (read(data), says_synthetic(data)) == (sample_id, True)
    assert (read(plain), says_synthetic(plain)) == (None, False)
    assert 0 < len(data) - len(plain) < 600
    assert embed(plain, option["format"], sample_id) == data


@pytest.mark.parametrize("option", OPTIONS, ids=str)
def test_the_packet_is_xml_that_says_what_the_iptc_asks_for(option: dict[str, Any]) -> None:
    image = opened(MARKED[str(option)])
    packet = image.info["xmp"]
    text = packet if isinstance(packet, str) else packet.decode()
    assert text.startswith('<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>')
    (description,) = ET.fromstring(text.split("?>", 1)[1].rpartition("<?")[0]).iter(f"{RDF}Description")
    assert description.attrib == {
        f"{RDF}about": "",
        "{http://purl.org/dc/elements/1.1/}identifier": f"gansynth:{SAMPLE_ID}",
        "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType": (
            "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
        ),
    }


def test_a_picture_of_several_samples_is_synthetic_and_no_sample() -> None:
    data = embed(encoded({"format": "jpg"}), "jpg", None)
    assert (read(data), says_synthetic(data)) == (None, True)


def test_a_jpeg_still_begins_as_jfif_wants_it() -> None:
    plain, data = encoded({"format": "jpg"}), MARKED[str({"format": "jpg"})]
    assert data[:20] == plain[:20]  # SOI and APP0
    assert data[20:22] == b"\xff\xe1"
    assert opened(data).info["jfif_version"] == opened(plain).info["jfif_version"]


def test_a_png_has_right_checksums() -> None:
    with PIL.Image.open(io.BytesIO(MARKED[str({"format": "png"})])) as image:
        image.verify()


@pytest.mark.parametrize("how", [{"lossless": True}, {"quality": 80}], ids=str)
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_webp_keeps_transparency_and_its_flags_tell_what_is_in_it(mode: str, how: dict[str, Any]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 300, len(mode)), np.uint8)
    plain = saved(PIL.Image.fromarray(pixels, mode), "WEBP", **how)
    data = embed(plain, "webp", SAMPLE_ID)
    assert opened(data).mode == mode
    assert opened(data).tobytes() == opened(plain).tobytes()
    assert data[12:16] == b"VP8X"
    assert data[20] == 0x04 | (0x10 if mode == "RGBA" else 0)
    assert [int.from_bytes(data[at : at + 3], "little") for at in (24, 27)] == [299, 8]
    assert int.from_bytes(data[4:8], "little") == len(data) - 8
    assert len(data) % 2 == 0


# Files that went through other hands


def resaved(image: PIL.Image.Image, format_name: str) -> bytes:
    """With its XMP kept, as a careful program does."""
    packet = image.info["xmp"]
    if format_name == "TIFF":
        tags = PIL.TiffImagePlugin.ImageFileDirectory_v2()
        tags[700] = packet
        return saved(image, format_name, tiffinfo=tags)
    if format_name == "PNG":
        text = PIL.PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", packet.decode(), zip=True)
        return saved(image, format_name, pnginfo=text)
    return saved(image, format_name, xmp=packet)


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_file_saved_again_with_its_xmp_still_says_it(format_name: str) -> None:
    image = opened(MARKED[str({"format": "jpg"})]).rotate(90)
    image.info = opened(MARKED[str({"format": "jpg"})]).info
    assert read(resaved(image, format_name)) == SAMPLE_ID


def test_so_does_one_whose_xmp_was_written_in_another_form() -> None:
    packet = (
        "<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>"
        "<rdf:Description rdf:about='' xmlns:dc='http://purl.org/dc/elements/1.1/'><dc:title>a</dc:title>"
        f"<dc:identifier>\n gansynth:{SAMPLE_ID}\n</dc:identifier></rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    assert read(saved(PIL.Image.new("RGB", (8, 8)), "JPEG", xmp=packet.encode())) == SAMPLE_ID


@pytest.mark.parametrize(
    "identifier", ["0123456789abcdef" * 2, "gansynth:0123", "other:" + "0" * 32, "gansynth:" + "x" * 32]
)
def test_an_identifier_of_somebody_else_is_no_sample(identifier: str) -> None:
    packet = f'<rdf:RDF><rdf:Description dc:identifier="{identifier}"/></rdf:RDF>'.encode()
    assert read(saved(PIL.Image.new("RGB", (8, 8)), "JPEG", xmp=packet)) is None


def test_a_file_saved_again_without_its_xmp_says_nothing() -> None:
    image = opened(MARKED[str({"format": "jpg"})])
    image.info = {}
    data = saved(image, "JPEG")
    assert (read(data), says_synthetic(data), is_image(data)) == (None, False, True)


@settings(max_examples=150)
@given(marked, st.floats(0, 1), st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=20))
def test_a_cut_off_or_damaged_file_says_its_sample_or_nothing(
    data: bytes, kept: float, changes: list[tuple[float, int]]
) -> None:
    damaged = bytearray(data[: int(len(data) * kept)])
    for place, value in changes:
        if damaged:
            damaged[int(place * len(damaged))] = value
    found = read(bytes(damaged))
    assert found is None or len(found) == 32
    assert says_synthetic(bytes(damaged)) in (True, False)
    if not changes and kept > 0.5 and not data.startswith(b"RIFF"):  # WebP has its XMP at the end
        assert found == SAMPLE_ID


@settings(max_examples=150)
@given(st.sampled_from([b"", *(data[:30] for data in MARKED.values())]), st.binary(max_size=200))
def test_any_bytes_can_be_asked(start: bytes, rest: bytes) -> None:
    assert read(start + rest) is None
    assert not says_synthetic(start + rest)
    assert is_image(start + rest) in (True, False)


@pytest.mark.parametrize(
    "data", [b"", b"text", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"RIFF\4\0\0\0WEBP", MARKED[str({"format": "png"})][1:]]
)
@pytest.mark.parametrize("format_name", ["jpg", "png", "webp"])
def test_what_is_no_such_file_is_not_marked(data: bytes, format_name: str) -> None:
    with pytest.raises(InputError, match=f"no {format_name} file"):
        embed(data, format_name, SAMPLE_ID)


def test_a_format_that_takes_no_xmp_here_is_refused() -> None:
    with pytest.raises(InputError, match="use jpg, png, webp"):
        embed(b"", "gif", SAMPLE_ID)
