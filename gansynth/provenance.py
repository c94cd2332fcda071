"""Provenance inside an image file: that a trained model made it, and which sample it is, in an XMP packet.

A packet of this module says two things:

Iptc4xmpExt:DigitalSourceType   trainedAlgorithmicMedia of the IPTC's controlled vocabulary "Digital Source Type"
dc:identifier                   gansynth:SAMPLE_ID, by which `gansynth trace` finds the sample in manifests

Where a packet goes is laid down in XMP Specification Part 3, "Storage in Files" (Adobe, 2020), for JPEG and PNG, in the
PNG Specification (W3C, third edition, 11.3.3.4) for iTXt, and in the WebP Container Specification (RFC 9649, 2.7) for
WebP. Nothing else in the file changes, so it decodes to the same pixels.
"""

from __future__ import annotations

import io
import re
import warnings
import zlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from gansynth.errors import InputError

if TYPE_CHECKING:
    import PIL.Image

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
# Read-only (end="r") and without padding: whoever rewrites it in place would break PNG's checksums.
_PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about=""{identifier} xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    f'Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPE}"/>'
    '</rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
)
_IDENTIFIER = ' xmlns:dc="http://purl.org/dc/elements/1.1/" dc:identifier="gansynth:{}"'
# Other programs write a property as an element where we write an attribute; both are XMP.
_FOUND_IDENTIFIER = re.compile(rb"\bdc:identifier\s*(?:=\s*[\"']|>)\s*gansynth:([0-9a-f]{32})\s*[\"'<]")
_RDF, _RDF_END = b"<rdf:RDF", b"</rdf:RDF>"

_JPEG_NAMESPACE = b"http://ns.adobe.com/xap/1.0/\0"
_PNG_SIGNATURE, _PNG_KEYWORD = b"\x89PNG\r\n\x1a\n", b"XML:com.adobe.xmp"
_PNG_HEADER = len(_PNG_SIGNATURE) + 25  # IHDR, always the first chunk: 13 bytes in the 12 of every chunk
_WEBP_XMP, _WEBP_ALPHA = 0x04, 0x10  # feature flags of VP8X


def embed(data: bytes, format: str, sample_id: str | None) -> bytes:
    """A copy of an image file with a packet in it; less than 600 bytes longer, and the same for the same arguments.

    Args:
        data: a whole file as an encoder gave it, without XMP.
        format: jpg, png or webp.
        sample_id: 32 hex digits; None for a picture of several samples.

    Raises:
        InputError: the bytes are no file of that format, or no such format.
    """
    splice = _SPLICES.get(format)
    if splice is None:
        raise InputError(f"format: saw {format!r}, which cannot take XMP here; use {', '.join(_SPLICES)}")
    packet = _PACKET.format(identifier=_IDENTIFIER.format(sample_id) if sample_id else "").encode()
    spliced = splice(data, packet)
    if spliced is None:
        raise InputError(
            f"image: saw bytes that are no {format} file, so no XMP can go into them; encode the image again"
        )
    return spliced


def read(data: bytes) -> str | None:
    """The sample_id that an image file states, or None. Takes any bytes: damaged, of another format, or no image.

    XMP that another program wrote back when it saved the image counts too.
    """
    found = (match for packet in _packets(data) if (match := _FOUND_IDENTIFIER.search(packet)))
    match = next(found, None)
    return match[1].decode() if match else None


def says_synthetic(data: bytes) -> bool:
    """Whether an image file states that a trained model made it, with gansynth or without. Takes any bytes."""
    return any(SOURCE_TYPE.encode() in packet for packet in _packets(data))


def is_image(data: bytes) -> bool:
    """Whether bytes begin like an image file that Pillow knows."""
    return _opened(data) is not None


# Writing: where each format keeps XMP. None for bytes that are not of the format.


def _in_jpeg(data: bytes, packet: bytes) -> bytes | None:
    """An APP1 segment behind APP0, which JFIF wants right at the start."""
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    at = 2
    while data[at : at + 2] == b"\xff\xe0":
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    body = _JPEG_NAMESPACE + packet
    return data[:at] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + data[at:]


def _in_png(data: bytes, packet: bytes) -> bytes | None:
    """An iTXt chunk behind IHDR: keyword, two zeros for not compressed, no language, no translated keyword, text."""
    if not data.startswith(_PNG_SIGNATURE) or data[12:16] != b"IHDR":
        return None
    body = b"iTXt" + _PNG_KEYWORD + b"\0" + b"\0\0" + b"\0" + b"\0" + packet
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    return data[:_PNG_HEADER] + chunk + data[_PNG_HEADER:]


def _in_webp(data: bytes, packet: bytes) -> bytes | None:
    """A chunk `XMP ` at the end, which only the extended format may have: VP8X goes before a simple file's image."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return None
    chunks = data[12:]
    if chunks[:4] == b"VP8X":
        chunks = chunks[:8] + bytes([chunks[8] | _WEBP_XMP]) + chunks[9:]
    elif (canvas := _webp_canvas(chunks)) is not None:
        chunks = b"VP8X" + len(canvas).to_bytes(4, "little") + canvas + chunks
    else:
        return None
    padding = b"\0" * (len(packet) % 2)
    body = b"WEBP" + chunks + b"XMP " + len(packet).to_bytes(4, "little") + packet + padding
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def _webp_canvas(chunks: bytes) -> bytes | None:
    """The body of VP8X for a simple file: flags, three reserved bytes, width - 1 and height - 1 in three bytes each."""
    if chunks[:4] == b"VP8 " and chunks[11:14] == b"\x9d\x01\x2a":  # start code of a key frame (RFC 6386, 9.1)
        width, height = (int.from_bytes(chunks[at : at + 2], "little") & 0x3FFF for at in (14, 16))
        alpha = False
    elif chunks[:4] == b"VP8L" and chunks[8:9] == b"\x2f":  # RFC 9649, 3.4: 14 bits, 14 bits, 1 bit
        bits = int.from_bytes(chunks[9:13], "little")
        width, height, alpha = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)
    else:
        return None
    flags = _WEBP_XMP | (_WEBP_ALPHA if alpha else 0)
    return bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")


_SPLICES: dict[str, Callable[[bytes, bytes], bytes | None]] = {"jpg": _in_jpeg, "png": _in_png, "webp": _in_webp}


# Reading


def _packets(data: bytes) -> Iterator[bytes]:
    """XMP in a file: what stands in it plainly, whatever the format and however damaged, then what Pillow unpacks."""
    yield from _rdf(data)
    image = _opened(data)
    for key in ("xmp", "XML:com.adobe.xmp"):  # PNG's may be compressed
        text = image.info.get(key) if image else None
        if isinstance(text, (bytes, str)):
            yield from _rdf(text.encode(errors="replace") if isinstance(text, str) else text)


def _rdf(data: bytes) -> Iterator[bytes]:
    start = data.find(_RDF)
    while start >= 0 and (end := data.find(_RDF_END, start)) >= 0:
        yield data[start:end]
        start = data.find(_RDF, end)


def _opened(data: bytes) -> PIL.Image.Image | None:
    import PIL.Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of images so large that decoding them would take all memory; none is decoded
        try:
            return PIL.Image.open(io.BytesIO(data))
        except Exception:  # Pillow's readers raise what they like on damaged files
            return None
