"""Files that are no picture that is read, told by how they begin: so that a person hears the reason."""

from pathlib import Path

AVIF = "AVIF"
UNREAD: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (0, b"8BPS", "Photoshop (psd)"),
    (0, b"gimp xcf", "GIMP (xcf)"),
    (0, b"%PDF", "PDF"),
    (0, b"%!PS", "PostScript"),
    (0, b"\xc5\xd0\xd3\xc6", "PostScript"),
    (0, b"<svg", "SVG"),
    (0, b"v/1\x01", "OpenEXR"),
    (0, b"#?R", "Radiance HDR"),
    (0, b"DDS ", "DDS"),
    (0, b"\x00\x00\x01\x00", "ICO"),
    (0, b"icns", "ICNS"),
    (0, b"qoif", "QOI"),
    (0, b"\xd7\xcd\xc6\x9a", "WMF"),
    (0, b"SIMPLE  =", "FITS"),
    (0, b"\x89HDF", "HDF5"),
    (0, b"\x93NUMPY", "an array (npy)"),
    (0, b"FUJIFILMCCD-RAW", "a camera's raw file"),
    (0, b"IIRO", "a camera's raw file"),
    (0, b"IIU\x00", "a camera's raw file"),
    (8, b"CR\x02\x00", "a camera's raw file"),
    (128, b"DICM", "DICOM"),
)
"""Where a file of a format says so, and with which bytes."""
BRANDS = {
    b"avif": AVIF,
    b"avis": AVIF,
    b"crx ": "a camera's raw file",
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIC"),
}
"""Of files of the kind of mp4, what a brand at their beginning says; the first that is there tells."""
RAW = (".dng", ".nef", ".arw", ".cr2", ".cr3", ".orf", ".rw2", ".raf", ".pef", ".srw")
"""Endings of raw files of cameras. Most are TIFF files whose first picture is a thumbnail."""
ARCHIVES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"PK\x03\x04", "zip"),
    (0, b"PK\x05\x06", "zip"),
    (257, b"ustar", "tar"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (0, b"Rar!", "rar"),
    (0, b"BZh", "bzip2"),
    (0, b"\xfd7zXZ\x00", "xz"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
)
FILMS: tuple[tuple[int, bytes, str], ...] = (
    (4, b"ftyp", "video"),
    (4, b"moov", "video"),
    (0, b"\x1a\x45\xdf\xa3", "video"),
    (0, b"FLV", "video"),
    (0, b"OggS", "video"),
    (8, b"AVI ", "video"),
    (0, b"\x00\x00\x01\xba", "video"),
    (0, b"\x30\x26\xb2\x75", "video"),
)
NUM_BYTES = 512  # of the beginning of a file, that tell
VIDEO = "is a video, not a picture; save a frame of it as png"


def head(file: Path | bytes) -> bytes:
    """The beginning of a file, or of a file's bytes: as much as tells its format."""
    if isinstance(file, bytes):
        return file[:NUM_BYTES]
    with file.open("rb") as stream:
        return stream.read(NUM_BYTES)


def reason(file: Path | bytes) -> str | None:
    """Why a file, or a file's bytes, is not read as a picture, with how to mend it: VIDEO, or another line; None where
    its beginning does not say."""
    start = head(file)
    if isinstance(file, Path) and file.suffix.lower() in RAW:
        return "a camera's raw file is not read; save it as png"
    if kind := _brand(start) or _kind(start, UNREAD):
        return f"{kind} is not read; save it as png"
    if kind := archive(start):
        return f"an archive ({kind}) is not read; unpack it, and give the folder or a picture of it"
    if _kind(start, FILMS):
        return VIDEO
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS, not the picture; get it by git lfs pull"
    if text.startswith((b"<!doctype html", b"<html")):
        return "is a web page, not a picture; download the picture itself"
    if text.startswith(b"<?xml") and b"<svg" in text:
        return "SVG is not read; save it as png"
    return None


def archive(head: bytes) -> str | None:
    """Which kind of archive a file is by its beginning, None: none."""
    return _kind(head, ARCHIVES)


def _brand(head: bytes) -> str | None:
    """What a file of the kind of mp4 is by its brands, None: a video, or no such file."""
    if head[4:8] != b"ftyp":
        return None
    box = head[8 : max(16, int.from_bytes(head[:4], "big"))]
    brands = {box[at : at + 4] for at in range(0, len(box), 4)}
    return next((kind for brand, kind in BRANDS.items() if brand in brands), None)


def _kind(head: bytes, kinds: tuple[tuple[int, bytes, str], ...]) -> str | None:
    return next((kind for at, mark, kind in kinds if head[at : at + len(mark)] == mark), None)
