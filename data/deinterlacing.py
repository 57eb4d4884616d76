"""Interlaced frames made whole, by FFmpeg's bwdif: each keeps its own time, progressive frames pass unchanged."""

from collections.abc import Iterator

from av.error import BlockingIOError, EOFError
from av.filter import Graph
from av.filter.context import FilterContext
from av.video.frame import VideoFrame

SMALLEST = (4, 3)  # lines and columns that bwdif takes


def deinterlaced(frames: Iterator[VideoFrame]) -> Iterator[tuple[VideoFrame, bool]]:
    """The frames, as many as there are, and whether the file is interlaced so far.

    Before the first frame that is flagged so nothing is filtered.
    """
    graph: Graph | None = None
    last: VideoFrame | None = None  # that the graph was given
    for frame in frames:
        if graph is not None and last is not None and _kind(last) != _kind(frame):
            yield from _pulled(graph, last, None)
            graph = None
        if graph is None and frame.interlaced_frame and frame.height >= SMALLEST[0] and frame.width >= SMALLEST[1]:
            graph = _graph(frame)
        if graph is None:
            yield frame, False
        else:
            last = frame
            yield from _pulled(graph, frame, frame)
    if graph is not None and last is not None:
        yield from _pulled(graph, last, None)


def _kind(frame: VideoFrame) -> tuple[int, int, str]:
    return frame.height, frame.width, frame.format.name


def _graph(like: VideoFrame) -> Graph:
    graph = Graph()
    nodes: list[FilterContext] = [
        graph.add_buffer(width=like.width, height=like.height, format=like.format, time_base=like.time_base),
        graph.add("bwdif", "mode=send_frame:deint=interlaced"),
        graph.add("buffersink"),
    ]
    graph.link_nodes(*nodes).configure()
    return graph


def _pulled(graph: Graph, like: VideoFrame, given: VideoFrame | None) -> Iterator[tuple[VideoFrame, bool]]:
    """What the graph gives after one more frame, or at the end, with the colours of `like`."""
    graph.vpush(given)
    while True:
        try:
            frame = graph.vpull()
        except (BlockingIOError, EOFError):
            return
        frame.colorspace, frame.color_range = like.colorspace, like.color_range
        frame.color_trc, frame.color_primaries = like.color_trc, like.color_primaries
        yield frame, True
