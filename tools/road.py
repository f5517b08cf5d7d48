"""The map that opens a core lesson: nine stations, from a table of reviews to a certificate.

An SVG that reads in the light and in the dark, and on a page of 400 pixels: every word stands on a
plate of its own. The same lesson gives the same bytes.
"""
STATIONS = {
    "reviews": "reviews",
    "split": "split",
    "batch": "encode, batch",
    "model": "model",
    "loss": "loss",
    "train": "train",
    "evaluate": "evaluate",
    "compare": "compare",
    "certify": "certify",
}
WIDTH, HEIGHT, COLUMNS = 480, 186, 3
PLATE, TALL = 136, 34  # pixels, of a station
BLUE, GREY, RED = "#0072B2", "#999999", "#D55E00"  # of sft_nb.figures
LOOKS = {  # plate, letters, edge
    "here": (BLUE, "#FFFFFF", BLUE),
    "been": ("#D6E8F5", "#003B5C", BLUE),
    "ahead": ("#ECEFF1", "#37474F", GREY),
}
LETTERS = 'font-family="system-ui, sans-serif" text-anchor="middle"'


def place(k):
    "The middle of a station: the road runs right, then left, then right again."
    row, column = divmod(k, COLUMNS)
    if row % 2: column = COLUMNS - 1 - column
    return 78 + 162 * column, 42 + 60 * row


def road(first, last, colour):
    "The road from one station to another, with round corners at its turns."
    x, before = place(first)
    parts = [f"M{x} {before}"]
    for k in range(first + 1, last + 1):
        x, y = place(k)
        side = x + (92 if x > WIDTH / 2 else -92)
        parts.append(f"L{x} {y}" if y == before else f"C{side} {before} {side} {y} {x} {y}")
        before = y
    line = f'<path d="{" ".join(parts)}" fill="none" stroke="{colour}"'
    return f'{line} stroke-width="8" stroke-linecap="round"/>'


DROP = "M0 0C-4 -9 -9 -11 -9 -17A9 9 0 1 1 9 -17C9 -11 4 -9 0 0Z"
PIN = (
    f'<path d="{DROP}" fill="{RED}" stroke="#FFFFFF" stroke-width="1.5"/>'
    '<circle cx="0" cy="-17" r="3.5" fill="#FFFFFF"/>'
)


def pin(k):
    "A pin that points at a station from above."
    x, y = place(k)
    return f'<g transform="translate({x - PLATE // 2 + 12} {y - TALL // 2 + 5})">{PIN}</g>'


def plate(k, name, look):
    "A station: its name on a plate."
    x, y = place(k)
    fill, ink, edge = LOOKS[look]
    weight = "bold" if look == "here" else "normal"
    lines = [
        f'<rect x="{x - PLATE // 2}" y="{y - TALL // 2}" width="{PLATE}" height="{TALL}" rx="9" '
        f'fill="{fill}" stroke="{edge}" stroke-width="2"/>',
        f'<text x="{x}" y="{y + 5}" {LETTERS} font-size="15" font-weight="{weight}" '
        f'fill="{ink}">{STATIONS[name]}</text>',
    ]
    return "\n".join(lines)


def told(here=()):
    "For those who do not see the map."
    way = f"The road: {' → '.join(STATIONS.values())}."
    if not here: return way
    names = [STATIONS[name] for name in here]
    return f"{way} You are here: {'all of it' if len(here) == len(STATIONS) else ', '.join(names)}."


def draw(here, been):
    "The map as text. `here`: names of the lesson's stations; `been`: those of the lessons before."
    order = list(STATIONS)
    looks = ["here" if n in here else "been" if n in been else "ahead" for n in order]
    far = max([order.index(name) for name in (*here, *been)])
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" role="img">',
        f"<title>{told(here)}</title>",
        road(0, len(order) - 1, GREY),
        road(0, far, BLUE),
        *(plate(k, name, look) for k, (name, look) in enumerate(zip(order, looks, strict=True))),
        *(pin(order.index(name)) for name in here if len(here) == 1),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"
