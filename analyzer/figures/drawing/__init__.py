"""Building blocks of figures: sheets, axes, ticks, labels, colors, lines, heat maps and keys."""
