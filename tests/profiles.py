"""Small ICC profiles, as cameras and scanners write them. Source: ICC.1:2001-04 (version 2)."""

from __future__ import annotations

import struct
from collections.abc import Sequence

Tag = tuple[bytes, bytes]
Colours = Sequence[tuple[float, float, float]]

D50 = (0.9642, 1.0, 0.8249)
P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))  # adapted to D50
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
LEVELS = [i / 1023 for i in range(1024)]
SRGB_CURVE = [level / 12.92 if level <= 0.04045 else ((level + 0.055) / 1.055) ** 2.4 for level in LEVELS]


def p3_profile() -> bytes:
    """Display P3: red, green and blue of DCI-P3, white D65, the curve of sRGB."""
    return rgb_profile(P3, SRGB_CURVE)


def srgb_profile() -> bytes:
    """sRGB as most cameras write it, with a table for its curve."""
    return rgb_profile(SRGB, SRGB_CURVE)


def linear_profile() -> bytes:
    """The primaries of sRGB, and levels that are proportional to light."""
    return rgb_profile(SRGB, (0.0, 1.0))


def rgb_profile(colours: Colours, curve: Sequence[float]) -> bytes:
    """Primaries, adapted to D50, and the light of equally spaced levels."""
    light = b"curv\0\0\0\0" + struct.pack(f">I{len(curve)}H", len(curve), *(round(65535 * value) for value in curve))
    tags = [(name, _xyz(*colour)) for name, colour in zip((b"rXYZ", b"gXYZ", b"bXYZ"), colours)]
    return _profile(b"mntr", b"RGB ", b"XYZ ", [*tags, *((name, light) for name in (b"rTRC", b"gTRC", b"bTRC"))])


def grey_profile(gamma: float) -> bytes:
    """Grey of a power law."""
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(256 * gamma)) + b"\0\0"
    return _profile(b"mntr", b"GRAY", b"XYZ ", [(b"kTRC", curve)])


def cmyk_profile() -> bytes:
    """Strange inks: no ink is white, full cyan a neutral L* = 50, black is black, and the others do nothing."""
    straight = struct.pack("256B", *range(256))
    lightness = [0 if i % 2 else 128 if i >= 8 else 255 for i in range(16)]  # the first ink is the slowest index
    table = b"".join(bytes((level, 128, 128)) for level in lightness)
    matrix = struct.pack(">9i", *(65536 * (i in (0, 4, 8)) for i in range(9)))
    lut = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + matrix + 4 * straight + table + 3 * straight
    return _profile(b"prtr", b"CMYK", b"Lab ", [(b"A2B0", lut)])


def _xyz(*colour: float) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(65536 * value) for value in colour))


def _profile(kind: bytes, space: bytes, connection: bytes, tags: list[Tag]) -> bytes:
    text = b"test\0"
    description = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78)
    tags = [(b"desc", description), (b"wtpt", _xyz(*D50)), *tags]
    table, body, start = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, content in tags:
        table += name + struct.pack(">2I", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(">I4sI4s4s4s", start + len(body), b"test", 0x02400000, kind, space, connection)
    head += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + _xyz(*D50)[8:] + bytes(48)
    return head + table + body
