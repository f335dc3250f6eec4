"""What figures are drawn with: sheets, axes, ticks, labels, colors, lines, heat maps and keys."""
