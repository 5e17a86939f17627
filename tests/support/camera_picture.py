"""Camera picture: a video for the fake camera of Chromium, with a code in its middle.

The format is YUV4MPEG2 (https://wiki.multimedia.cx/index.php/YUV4MPEG2), which
`--use-file-for-fake-video-capture` plays in a loop.
"""

from pathlib import Path

import segno

_WIDTH, _HEIGHT, _FRAMES = 640, 480, 10
_DOT = 8  # pixels of a module
_LIGHT, _DARK, _GREY = 235, 16, 128


def camera_flags(film: Path) -> tuple[str, ...]:
    """The flags of Chromium for a camera that shows the film, allowed without a question."""
    return (
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={film}",
    )


def film_qr(text: str, path: Path) -> None:
    """Write a film that shows the QR code of a text."""
    modules = [bytes(row) for row in segno.make(text, micro=False).matrix]
    side = len(modules) * _DOT
    top, left = (_HEIGHT - side) // 2, (_WIDTH - side) // 2
    lines = [bytearray([_LIGHT]) * _WIDTH for _ in range(_HEIGHT)]
    for y in range(side):
        row = modules[y // _DOT]
        lines[top + y][left : left + side] = bytes(
            _DARK if row[x // _DOT] else _LIGHT for x in range(side)
        )
    colours = bytes([_GREY]) * (_WIDTH * _HEIGHT // 2)
    frame = b"FRAME\n" + b"".join(lines) + colours
    head = f"YUV4MPEG2 W{_WIDTH} H{_HEIGHT} F10:1 Ip A1:1 C420jpeg\n".encode()
    path.write_bytes(head + frame * _FRAMES)
