"""For sqlfluff, which has no engine: a dispatched macro becomes a call of its name."""


def dispatch(macro_name, _package=None):
    """A function that writes the call."""
    return lambda *arguments: f"{macro_name}({', '.join(str(argument) for argument in arguments)})"
