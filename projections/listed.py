"""What commands list for people, whole: a key that is cut can't be retried. What strangers wrote stays text."""

from collections.abc import Mapping, Sequence

from infra.console import out, printable


def listed(nothing: str, found: Sequence[Mapping[str, object]], columns: Sequence[str] | None = None) -> None:
    """One after another, each field on a line of its own; fields that say nothing are left out."""
    if not found:
        return out.print(nothing)
    names = list(columns or found[0])
    width = max(map(len, names))
    for number, one in enumerate(found):
        if number:
            out.print()
        for name in names:
            if one[name] is not None:
                out.print(f"{name.replace('_', ' '):<{width}}  {printable(str(one[name]))}", markup=False)
    return None
