"""How numbers are written for people: percents, points, bytes, counts, durations."""

from __future__ import annotations

from collections.abc import Iterable

ABSENT = "-"


def percent(fraction: float | None, digits: int = 2) -> str:
    """A fraction as percent: 0.8123 -> "81.23 %"; "-" when there is none."""
    return ABSENT if fraction is None else f"{100 * fraction:.{digits}f} %"


def number(value: float | None, digits: int = 3) -> str:
    """A plain number with a fixed count of decimals; "-" when there is none."""
    return ABSENT if value is None else f"{value:.{digits}f}"


def signed(value: float, digits: int = 2) -> str:
    """A number that always shows its sign, except zero: 0.2 -> "+0.20"."""
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text


def decimals(value: float, digits: int = 2, most: int = 8) -> int:
    """The least count of decimals, at least `digits`, at which `value` does not round to zero."""
    while digits < most and float(f"{value:.{digits}f}") == 0:
        digits += 1
    return digits


def size(count: float | None) -> str:
    """Bytes with a decimal unit (1 kB = 1000 bytes): 312000 -> "312.0 kB"."""
    if count is None:
        return ABSENT
    return _scaled(count, ("B", "kB", "MB", "GB", "TB"))


def amount(count: float | None) -> str:
    """A large count, shortened: 1234567 -> "1.2 M"."""
    if count is None:
        return ABSENT
    return _scaled(count, ("", "k", "M", "G", "T")).strip()


def total(counts: Iterable[float | None]) -> float | None:
    """The sum of the counts that are known; None when none is."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def duration(seconds: float | None) -> str:
    """Seconds as people read them: 7.9 -> "7.9 s", 75 -> "1:15", 4000 -> "1:06:40"."""
    if seconds is None:
        return ABSENT
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def ratio(large: float | None, small: float | None) -> str:
    """How many times smaller: (312000, 14000) -> "22.3x"; "-" when it cannot be said."""
    return ABSENT if not large or not small else f"{large / small:.1f}x"


def plural(count: int, noun: str) -> str:
    """The count with its noun: (1, "seed") -> "1 seed", (3, "seed") -> "3 seeds"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _scaled(count: float, units: tuple[str, ...]) -> str:
    power = 0
    while abs(count) >= 999.95 and power < len(units) - 1:
        count /= 1000
        power += 1
    return f"{count:.0f} {units[0]}" if power == 0 else f"{count:.1f} {units[power]}"
