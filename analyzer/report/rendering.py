"""Render templates: plain HTML and CSS, no inline script or style, every name escaped; and format what they show."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analyzer.model.describing import place_text
from analyzer.model.names import printable
from analyzer.model.tables import UNITS, Tables

if TYPE_CHECKING:
    import jinja2

HERE = Path(__file__).parent


def asset(name: str) -> bytes:
    """Return a file that the pages refer to: ``report.css`` or ``report.js``."""
    return (HERE / "assets" / name).read_bytes()


def rendered(template: str, **content: Any) -> bytes:
    """Render a template as UTF-8; everything that is inserted is escaped."""
    return _environment().get_template(template).render(content).encode("utf-8", "backslashreplace")


@cache
def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["shown"] = printable
    environment.filters["number"] = short_number
    environment.filters["coefficient"] = coefficient
    environment.filters["percent"] = percent
    environment.globals["version"] = package_version("weightlapse")
    return environment


def package_version(package: str) -> str | None:
    """Return the version of an installed package, None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def short_number(value: float | None) -> str:
    """Format a number with four significant digits; the exact one is in the CSV files."""
    if value is None or value != value:
        return "–"
    return f"{value:.4g}"


def place_number(value: float) -> str:
    """Format a place on the axis: all digits of a whole number, four significant digits of a fraction."""
    return f"{value:.0f}" if value == round(value) else short_number(value)


def place_of(tables: Tables, position: int) -> str:
    """Return where a checkpoint is: ``epoch 7``, or its name where its place is not known."""
    if tables.axis_label in UNITS:
        return place_text(tables.axis_label, place_number(tables.axis[position]))
    return tables.checkpoints[position].name


def coefficient(value: float | None) -> str:
    """Format a coefficient with two decimals, which is all that a few dozen pairs can support."""
    return "–" if value is None else f"{value:.2f}".replace("-", "−")


def percent(share: float) -> str:
    """Format a probability in whole percent; only what is certain is 0 or 100."""
    if 0 < share < 0.01:
        return "< 1 %"
    return "> 99 %" if 0.99 < share < 1 else f"{100 * share:.0f} %"
