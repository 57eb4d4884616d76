"""The one error that tells a person that what they gave cannot be used."""


class InputError(ValueError):
    """A file or a value of the user's is bad. The message is one line: what, where, how to mend."""

    def __init__(self, message: object) -> None:
        super().__init__(" ".join(str(message).split()))
