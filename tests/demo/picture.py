"""Draw the end of a recorded demo, for the README.

    script -qc "make demo" recording.txt && python -m tests.demo.picture recording.txt > tests/demo/end.svg

`script` gives the demo a terminal, so that it speaks in colours; rich turns those into an SVG.
"""

import sys
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

FROM = "\nThe kill"
"""The picture begins with this heading, the last but one."""
WIDTH = 132
SVG = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="The end of make demo">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: {char_height}px; line-height: {line_height}px }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>{lines}</defs>
<rect fill="#15191e" width="{width}" height="{height}" rx="8"/>
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g></g>
</svg>
"""


def draw(recording: str) -> str:
    """Return the SVG of what a recording shows from FROM on."""
    text = Text.from_ansi(recording.replace("\r", "").partition("\nScript done")[0])
    begin = text.plain.rindex(FROM) + 1
    console = Console(record=True, width=WIDTH, file=StringIO())
    console.print(text[begin:])
    return console.export_svg(title="", code_format=SVG, unique_id="demo")


if __name__ == "__main__":
    sys.stdout.write(draw(Path(sys.argv[1]).read_text("utf-8", "replace")))
