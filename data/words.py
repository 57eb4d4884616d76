"""Words of messages."""


def counted(num: int, noun: str) -> str:
    """How many there are of a noun in the plural: "3 pictures", "1 picture"."""
    return f"{num} {noun.removesuffix('s') if num == 1 else noun}"
